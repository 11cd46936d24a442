//! Attention of many rows at once, without a matrix of scores in memory.

mod way;

use strix_engine::{Family, Graph, Target, Tensor};

use crate::choose::choose;
use crate::cursors;
use crate::dispatch::dispatch;
use crate::generated::variants::{self, Loads};
use crate::heads::KeyStrides;
use crate::heads::KvRange;
use crate::kernel::{Dispatch, Value, lanes, read_texels};
use crate::kv_cache::KvCache;
use crate::{Cursors, Variants as _, attention_plain, attention_tiled, defaults};

pub use crate::generated::attention::{KERNEL, Params, Variants};
pub use crate::heads::{HeadShape, Heads, KvElement, Mask};
pub(crate) use way::AttentionWay;

impl HeadShape {
    /// What attends to `rows` rows at once, over up to `keys` keys; `texels` if they can be read as such.
    fn specialise(
        self,
        g: &mut Graph,
        heads: variants::Heads,
        mask: Mask,
        rows: u32,
        keys: u32,
        texels: bool,
    ) -> Dispatch {
        let lanes = self.subgroup_lanes(g.target(), heads);
        let mut ways = lanes.map_or(vec![], |lanes| subgroup_ways(lanes, texels));
        ways.push(AttentionWay::Tiled);
        ways.extend(self.plain_fits(g.target(), heads, keys).then_some(AttentionWay::Plain));
        let best = defaults::attention(g.target().class(), heads, self.dims());
        let way = choose(g, KERNEL.name, &self.situation(heads), &ways, best);
        match (way, lanes) {
            (AttentionWay::Subgroup { queries, keys, loads }, Some(lanes)) => {
                let (dims, mask_kind) = (self.dims(), mask.kind());
                let variants = Variants { lanes, dims, heads, mask: mask_kind, queries, keys, loads };
                variants.over([mask.tiles(rows, queries), self.num_heads, 1])
            }
            (AttentionWay::Plain, _) => attention_plain::specialise(self, heads, mask, rows),
            _ => attention_tiled::specialise(g.target(), self, heads, mask, rows),
        }
    }

    fn situation(self, heads: variants::Heads) -> String {
        format!("{} dims={}", Value::from(heads), self.dims())
    }

    /// Lanes of the kernels of one subgroup, where there are some for such heads. Unrolled over few lanes, the largest would
    /// take a software driver 2 to 9 seconds to compile.
    pub(crate) fn subgroup_lanes(self, target: &Target, heads: variants::Heads) -> Option<u32> {
        let most = if heads == variants::Heads::Scalar { 64 } else { 128 };
        lanes(target).filter(|lanes| !matches!(lanes, 8 | 16) || self.head_dim <= most)
    }

    /// Whether kernels without subgroups may be taken. A lane would loop too often over very many keys, where there is
    /// another.
    fn plain_fits(self, target: &Target, heads: variants::Heads, keys: u32) -> bool {
        keys <= 8192 || self.subgroup_lanes(target, heads).is_none()
    }

    /// Family of a kernel of which there is one for subgroups, one for GPUs and one without either.
    pub(crate) fn family(self, g: &mut Graph, kernel: &str, heads: variants::Heads, keys: u32) -> Family {
        let mut legal = vec![];
        legal.extend(self.subgroup_lanes(g.target(), heads).map(|_| Family::Subgroup));
        legal.push(Family::Tiled);
        legal.extend(self.plain_fits(g.target(), heads, keys).then_some(Family::Plain));
        choose(g, kernel, &self.situation(heads), &legal, None)
    }

    /// Value of the variant `dims`: the least that holds a head.
    pub(crate) fn dims(self) -> u32 {
        match self.head_dim {
            0..=32 => 32,
            33..=64 => 64,
            65..=128 => 128,
            _ => 256,
        }
    }
}

/// Queries of a workgroup, keys of a lane and loads of keys and values, for kernels of one subgroup; the likeliest first.
fn subgroup_ways(lanes: u32, texels: bool) -> Vec<AttentionWay> {
    let tiles: &[(u32, u32)] = match lanes {
        16 => &[(16, 2), (32, 2), (16, 1), (8, 4), (16, 4), (8, 2), (8, 1)],
        8 => &[(8, 2), (8, 4), (16, 2), (16, 1), (16, 4), (8, 1)],
        _ => &[(8, 1)],
    };
    let loads: &[Loads] =
        if texels && read_texels(lanes) { &[Loads::Texels, Loads::Storage] } else { &[Loads::Storage] };
    let way =
        |&loads| tiles.iter().map(move |&(queries, keys)| AttentionWay::Subgroup { queries, keys, loads });
    loads.iter().flat_map(way).collect()
}

/// `y[r, n] = Σ_j softmax_j(q[r, n] · k[j, n'] / √head_dim) v[j, n']` over the keys that row r sees, where
/// n' is n's head of keys.
///
/// Dao et al. 2022, algorithm 1. `q`, `k` and `v` may lie in one tensor. Rows of `k` and `v` that `mask`
/// hides from every row are never used, and may hold anything. Rows of the result that are not live are
/// left as they were. With a causal mask rows may be of several sequences, whose keys and values are found by their
/// pages; row n of `k` and of `v` is slot n.
///
/// | name      | shape                          | dtype      |
/// |-----------|--------------------------------|------------|
/// | `q`       | heads of `≥ rows` rows         | f32        |
/// | `k`, `v`  | heads of `≥ keys` rows         | f32 or f16 |
/// | `cursors` | see [`Cursors`], if causal     | u32        |
/// | result    | `[rows, num_heads · head_dim]` | f32        |
///
/// # Panics
///
/// If the heads do not fit their tensors, `head_dim` is above 256, heads of f16 do not begin at multiples of
/// 4 elements or are not as long, or there are so many keys that a lane
/// would loop more than [`MAX_TRIPS`](strix_engine::MAX_TRIPS) times: above 260,000 with subgroups; without,
/// above 21,000 of `head_dim` 128 or 12,000 of 256.
#[expect(clippy::too_many_arguments, reason = "the equation has them")]
pub fn attention<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    k: Heads<T>,
    v: Heads<T>,
    shape: HeadShape,
    rows: u32,
    mask: Mask,
) -> Tensor<f32, 2> {
    over_parts(g, name, q, &[(shape.all(), [k, v])], shape, rows, mask)
}

/// [`attention`] over a cache, whose parts it takes one after the other.
///
/// # Panics
///
/// As [`attention`].
pub fn cached_attention<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    cache: &KvCache<T>,
    shape: HeadShape,
    rows: u32,
    cursors: Cursors,
) -> Tensor<f32, 2> {
    let parts = cache.heads(g);
    over_parts(g, name, q, &parts, shape, rows, Mask::Causal { cursors })
}

/// [`attention`] over all heads, some of which are in each of `parts`.
fn over_parts<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    parts: &[(KvRange, [Heads<T>; 2])],
    shape: HeadShape,
    rows: u32,
    mask: Mask,
) -> Tensor<f32, 2> {
    assert!(rows <= q.rows, "attention: {rows} rows of q of {}", q.rows);
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;
    let y = g.activation(name, [rows, num_heads * head_dim]);
    for &(range, [k, v]) in parts {
        let heads = shape.alignment("attention", q, (range, [k, v]));
        let [keys, sequences, sequence_pages] = mask.sizes("attention", rows, v.rows);
        let texels = heads != variants::Heads::Scalar && [k, v].iter().all(|kv| kv.has_texels(g, head_dim));
        let grid = shape.of_part(range).specialise(g, heads, mask, rows, keys, texels);
        let params = Params {
            rows,
            keys,
            sequences,
            sequence_pages,
            num_heads,
            heads_per_kv: num_heads / num_kv_heads,
            first_kv_head: range.first,
            part_kv_heads: range.count,
            head_dim,
            q_row: q.row,
            q_offset: q.offset,
            q_stride: q.stride,
            k_row: k.keys.row,
            k_key: k.keys.key,
            k_chunk: k.keys.chunk,
            k_offset: k.offset,
            k_stride: k.stride,
            v_row: v.row,
            v_offset: v.offset,
            v_stride: v.stride,
        };
        let (q, k, v) = (q.id(), k.id(), v.id());
        let (runs, pages) = (mask.cursors().map(|c| c.runs), mask.cursors().map(|c| c.pages));
        dispatch!(g, grid, params, [q, k, v, runs, pages => y], reference::<T>);
    }
    y
}

/// [`attention`] in the plainest code that is right; with a full mask there are no runs and no pages. Sums in f64.
pub fn reference<T: KvElement>(
    p: &Params,
    q: &[f32],
    k: &[T],
    v: &[T],
    runs: &[u32],
    pages: &[u32],
    y: &mut [f32],
) {
    for (row, slots) in seen([p.rows, p.keys, p.sequences, p.sequence_pages], runs, pages) {
        attend(p, q, k, v, row, &slots, y);
    }
}

/// Each live row and the slots of the keys that it sees: `sizes` are most rows, most keys, sequences and pages of each.
pub(crate) fn seen<'a>(
    [rows, keys, sequences, sequence_pages]: [u32; 4],
    runs: &'a [u32],
    pages: &'a [u32],
) -> Box<dyn Iterator<Item = (usize, Vec<usize>)> + 'a> {
    if runs.is_empty() {
        return Box::new((0..rows as usize).map(move |row| (row, (0..keys as usize).collect())));
    }
    Box::new((0..sequences).flat_map(move |sequence| {
        let [first, start, end] = [0, 1, 2].map(|i| runs[2 * sequence as usize + i]);
        (first..end.min(rows)).map(move |row| {
            let seen = (start + row - first + 1).min(keys);
            let slot = |j| cursors::slot(pages, sequence_pages, sequence, j);
            (row as usize, (0..seen).map(slot).collect())
        })
    }))
}

/// One row over the keys and values in these rows.
fn attend<T: KvElement>(p: &Params, q: &[f32], k: &[T], v: &[T], row: usize, seen: &[usize], y: &mut [f32]) {
    let dim = p.head_dim as usize;
    let keys = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
    for n in 0..p.part_kv_heads * p.heads_per_kv {
        let (head, kv_head) = (p.first_kv_head * p.heads_per_kv + n, n / p.heads_per_kv);
        let q = &q[row * p.q_row as usize + (p.q_offset + head * p.q_stride) as usize..][..dim];
        let k_head = (p.k_offset + kv_head * p.k_stride) as usize;
        let v_head = (p.v_offset + kv_head * p.v_stride) as usize;
        let probs = softmax(seen.iter().map(|&j| dot(q, &keys.get(&k[k_head..], j, dim))), dim);
        let y = &mut y[(row * p.num_heads as usize + head as usize) * dim..][..dim];
        let mut sum = vec![0.0; dim];
        for (j, p_j) in seen.iter().zip(&probs) {
            let v = &v[j * p.v_row as usize + v_head..][..dim];
            sum.iter_mut().zip(v).for_each(|(sum, &v)| *sum += p_j * v.into());
        }
        y.iter_mut().zip(sum).for_each(|(y, sum)| *y = sum as f32);
    }
}

/// Product of two vectors.
pub(crate) fn dot<T: KvElement>(a: &[f32], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * b.into()).sum()
}

/// Softmax of `scores / √dim`.
pub(crate) fn softmax(scores: impl Iterator<Item = f64>, dim: usize) -> Vec<f64> {
    let scores: Vec<_> = scores.map(|s| s / (dim as f64).sqrt()).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<_> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}
