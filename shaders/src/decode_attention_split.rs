//! Attention of the rows of a decode step on a GPU, the keys of each head split over several workgroups.

use strix_engine::{Graph, Tensor};

use crate::dispatch::dispatch;
use crate::generated::variants::Heads;
use crate::heads::KeyStrides;
use crate::{Cursors, KvElement, Variants as _, attention, cursors, rope_append};

pub use crate::generated::decode_attention_split::{KERNEL, Params, Variants};

/// Keys of a turn of the kernel's loop; a split has a multiple of them.
const KEYS: u32 = 64;

/// Workgroups that are wanted of all heads together: eight for each of 80 units.
const WORKGROUPS: u32 = 640;

/// How a step is split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Splits {
    /// Rows of the step.
    pub(crate) rows: u32,
    /// Heads of q.
    pub(crate) num_heads: u32,
    /// Most splits of a head.
    pub(crate) splits: u32,
    /// Value of the variant `dims`.
    pub(crate) dims: u32,
}

impl Splits {
    /// As many splits of up to `keys` keys as are wanted, and useful.
    pub(crate) fn new(rows: u32, num_heads: u32, keys: u32, dims: u32) -> Self {
        let wanted = WORKGROUPS.div_ceil(rows * num_heads);
        Self { rows, num_heads, splits: wanted.min(keys.div_ceil(KEYS)).max(1), dims }
    }

    /// Room for what they leave.
    pub(crate) fn activation(self, g: &mut Graph, name: &str) -> Tensor<f32, 2> {
        g.activation(name, [self.rows * self.num_heads * self.splits, self.part()])
    }

    /// Floats of what a split leaves: its sums, what they were divided by, and the largest score.
    pub(crate) fn part(self) -> u32 {
        self.dims + 4
    }

    /// Numbers of keys at which each split begins that has any, and where the last one ends. One has the new key alone
    /// where there are no others.
    pub(crate) fn bounds(self, keys: u32) -> Vec<u32> {
        let size = keys.div_ceil(KEYS * self.splits).max(1) * KEYS;
        let splits = keys.div_ceil(size).max(1);
        (0..=splits).map(|split| (split * size).min(keys)).collect()
    }
}

/// Tensors of [`decode_attention()`](crate::decode_attention()), as it has bound them.
pub(crate) struct Operands<T> {
    pub(crate) qkv: Tensor<f32, 2>,
    pub(crate) tables: Tensor<f32, 2>,
    pub(crate) cursors: Cursors,
    pub(crate) k: Tensor<T, 1>,
    pub(crate) v: Tensor<T, 1>,
}

/// What the splits of a part of the cache leave, in `[rows · num_heads · splits, dims + 4]`, for
/// [`decode_attention_join`](crate::decode_attention_join):
/// of the keys of each the sum of their values by their probabilities, not yet divided, the largest score and the sum to
/// divide by. Appends to the cache as well.
pub(crate) fn decode_attention_split<T: KvElement>(
    g: &mut Graph,
    parts: Tensor<f32, 2>,
    p: crate::generated::decode_attention::Params,
    of: &Operands<T>,
    splits: Splits,
    heads: Heads,
    width: u32,
) {
    let Splits { rows, splits: count, dims, .. } = splits;
    let grid = Variants { dims, heads, width }.over([p.part_kv_heads * p.heads_per_kv, rows, count]);
    let params: Params = bytemuck::cast(p);
    let (cursors, pages) = (of.cursors.rows, of.cursors.pages);
    // Nothing is read as texels.
    let (k_texels, v_texels) = (None::<Tensor<T, 1>>, None::<Tensor<T, 1>>);
    dispatch!(
        g,
        grid,
        params,
        [of.qkv, of.tables, cursors, pages, k_texels, v_texels => parts, of.k, of.v],
        reference::<T>
    );
}

/// `decode_attention_split` in the plainest code that is right. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<T: KvElement>(
    p: &Params,
    qkv: &[f32],
    tables: &[f32],
    cursors: &[u32],
    pages: &[u32],
    _k_texels: &[T],
    _v_texels: &[T],
    parts: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    let dim = p.head_dim as usize;
    let rotated = append(&bytemuck::cast(*p), qkv, tables, cursors, pages, k, v);
    let dims = dim.next_power_of_two().max(32);
    let splits = parts.len() / (dims + 4) / (p.rows * p.num_heads) as usize;
    let splits = Splits { rows: p.rows, num_heads: p.num_heads, splits: splits as u32, dims: dims as u32 };
    let strides = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
    for row in 0..p.rows {
        let Some([sequence, position]) = cursors::live(cursors, row as usize, p.sequence_pages) else {
            continue;
        };
        let slot = |key| cursors::slot(pages, p.sequence_pages, sequence, key);
        for n in 0..p.part_kv_heads * p.heads_per_kv {
            let at = (row * p.num_heads + p.first_kv_head * p.heads_per_kv + n) as usize;
            let q = &rotated[at * dim..][..dim];
            let cached = (n / p.heads_per_kv * p.slots) as usize * dim;
            let bounds = splits.bounds(position);
            for (split, ends) in bounds.windows(2).enumerate() {
                // The first has the new key as well.
                let new = (split == 0).then_some(position);
                let slots: Vec<usize> = (ends[0]..ends[1]).chain(new).map(slot).collect();
                let scores: Vec<f64> = slots
                    .iter()
                    .map(|&slot| {
                        attention::dot(q, &strides.get(&k[cached..], slot, dim)) / (dim as f64).sqrt()
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let part = &mut parts[(at * splits.splits as usize + split) * (dims + 4)..][..dims + 4];
                let mut sums = vec![0.0; dim + 1];
                for (&slot, score) in slots.iter().zip(&scores) {
                    let v = &v[cached + slot * dim..][..dim];
                    let weight = (score - top).exp();
                    sums.iter_mut().zip(v).for_each(|(sum, &v)| *sum += weight * v.into());
                    sums[dim] += weight;
                }
                part.iter_mut().zip(&sums[..dim]).for_each(|(part, &sum)| *part = sum as f32);
                (part[dims], part[dims + 1]) = (top as f32, sums[dim] as f32);
            }
        }
    }
}

/// What the references of a decode step do first: appends the new keys and values, and returns q, rotated.
pub(crate) fn append<T: KvElement>(
    p: &crate::generated::decode_attention::Params,
    qkv: &[f32],
    tables: &[f32],
    cursors: &[u32],
    pages: &[u32],
    k: &mut [T],
    v: &mut [T],
) -> Vec<f32> {
    let mut rotated = vec![0.0; (p.rows * p.num_heads * p.head_dim) as usize];
    let params = rope_append::Params {
        rows: p.rows,
        num_heads: p.num_heads,
        num_kv_heads: p.num_kv_heads,
        heads_per_kv: p.heads_per_kv,
        first_kv_head: p.first_kv_head,
        part_kv_heads: p.part_kv_heads,
        head_dim: p.head_dim,
        slots: p.slots,
        sequence_pages: p.sequence_pages,
        k_row: p.k_row,
        k_key: p.k_key,
        k_chunk: p.k_chunk,
    };
    rope_append::reference(&params, qkv, tables, cursors, pages, &mut rotated, k, v);
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_fill_a_large_gpu_from_few_keys_on() {
        let splits = Splits::new(1, 32, 4096, 128);
        let workgroups = |keys| (splits.bounds(keys).len() as u32 - 1) * 32;
        assert_eq!([0, 64, 65, 256].map(workgroups), [32, 32, 64, 128]);
        assert!(workgroups(2048) >= 4 * 80, "{}", workgroups(2048));
        assert!(workgroups(4096) >= 4 * 80, "{}", workgroups(4096));
        assert_eq!(splits.bounds(130), [0, 64, 128, 130]);
        assert_eq!(splits.bounds(0), [0, 0]);
    }

    #[test]
    fn many_rows_are_split_less() {
        assert_eq!(Splits::new(64, 32, 4096, 128).splits, 1);
        assert_eq!(Splits::new(2, 32, 4096, 128).splits, 10);
        assert_eq!(Splits::new(1, 32, 16, 128).splits, 1, "there is but one turn of them");
    }
}
