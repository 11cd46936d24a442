//! The probabilities inside attention, written out for inspection.

use strix_engine::{Graph, Tensor};

use crate::dispatch::dispatch;
use crate::heads::KeyStrides;
use crate::heads::KvRange;
use crate::kernel::lanes;
use crate::kv_cache::KvCache;
use crate::{Cursors, HeadShape, Heads, KvElement, Mask, Variants as _, attention};

pub use crate::generated::attention_probs::{KERNEL, Params, Variants};

/// `p[n, r, j] = softmax_j(q[r, n] · k[j, n'] / √head_dim)`, zero for keys that row r does not see, where n'
/// is n's head of keys. For looking at chosen layers: it is slow, and the result large.
///
/// All zeros for rows that are not live. Rows of `k` that `mask` hides from every row may hold anything.
///
/// | name      | shape                      | dtype      |
/// |-----------|----------------------------|------------|
/// | `q`       | heads of `≥ rows` rows     | f32        |
/// | `k`       | heads of `≥ keys` rows     | f32 or f16 |
/// | `cursors` | see [`Cursors`], if causal | u32        |
/// | result    | `[num_heads, rows, keys]`  | f32        |
///
/// # Panics
///
/// If the heads do not fit their tensors, heads of f16 do not begin at multiples of 4 elements or are not as
/// long, `mask` shows more than `keys` keys to all rows, or there are so
/// many keys that a lane would loop more than [`MAX_TRIPS`](strix_engine::MAX_TRIPS) times: above 7,000 of
/// `head_dim` 128 at 8 lanes.
#[expect(clippy::too_many_arguments, reason = "the equation has them")]
pub fn attention_probs<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    k: Heads<T>,
    shape: HeadShape,
    rows: u32,
    keys: u32,
    mask: Mask,
) -> Tensor<f32, 3> {
    over_parts(g, name, q, &[(shape.all(), k)], shape, [rows, keys], mask)
}

/// [`attention_probs`] over a cache, whose parts it takes one after the other.
///
/// # Panics
///
/// As [`attention_probs`].
#[expect(clippy::too_many_arguments, reason = "the equation has them")]
pub fn cached_attention_probs<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    cache: &KvCache<T>,
    shape: HeadShape,
    rows: u32,
    keys: u32,
    cursors: Cursors,
) -> Tensor<f32, 3> {
    let parts: Vec<_> = cache.heads(g).into_iter().map(|(range, [k, _])| (range, k)).collect();
    over_parts(g, name, q, &parts, shape, [rows, keys], Mask::Causal { cursors })
}

/// [`attention_probs`] over all heads, some of which are in each of `parts`.
fn over_parts<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    parts: &[(KvRange, Heads<T>)],
    shape: HeadShape,
    [rows, keys]: [u32; 2],
    mask: Mask,
) -> Tensor<f32, 3> {
    assert!(rows <= q.rows, "attention_probs: {rows} rows of q of {}", q.rows);
    if let Mask::Full { keys: shown } = mask {
        assert!(shown <= keys, "attention_probs: {shown} keys in {keys} columns");
    }
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;
    let p = g.activation(name, [num_heads, rows, keys]);
    // What a GPU says of its subgroups is not trusted.
    let lanes = lanes(g.target()).filter(|_| g.target().is_cpu);
    for &(range, k) in parts {
        let v = Heads { keys: KeyStrides::rows::<T>(k.row), ..k };
        let heads = shape.alignment("attention_probs", q, (range, [k, v]));
        let [shown, sequences, sequence_pages] = mask.sizes("attention_probs", rows, k.rows);
        let params = Params {
            rows,
            keys: shown.min(keys),
            width: keys,
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
        };
        let (q, k) = (q.id(), k.id());
        let (runs, pages) = (mask.cursors().map(|c| c.runs), mask.cursors().map(|c| c.pages));
        let variants = Variants { lanes: lanes.into(), heads, mask: mask.kind() };
        let grid = variants.over([rows, shape.of_part(range).num_heads, 1]);
        // Values are operand 3 of attention, which this does without.
        let values: Option<Tensor<T, 1>> = None;
        dispatch!(g, grid, params, [q, k, values, runs, pages => p], reference::<T>);
    }
    p
}

/// [`attention_probs`] in the plainest code that is right; with a full mask there are no runs and no pages, and there are
/// no values. Sums in f64.
pub fn reference<T: KvElement>(
    p: &Params,
    q: &[f32],
    k: &[T],
    _values: &[T],
    runs: &[u32],
    pages: &[u32],
    probs: &mut [f32],
) {
    let (dim, width) = (p.head_dim as usize, p.width as usize);
    let keys = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
    let first = p.first_kv_head * p.heads_per_kv;
    let num_heads = p.part_kv_heads * p.heads_per_kv;
    probs[(first * p.rows) as usize * width..][..(num_heads * p.rows) as usize * width].fill(0.0);
    for (row, slots) in attention::seen([p.rows, p.keys, p.sequences, p.sequence_pages], runs, pages) {
        for n in 0..num_heads {
            let head = first + n;
            let q = &q[row * p.q_row as usize + (p.q_offset + head * p.q_stride) as usize..][..dim];
            let k_at = (p.k_offset + n / p.heads_per_kv * p.k_stride) as usize;
            let scores = slots.iter().map(|&j| attention::dot(q, &keys.get(&k[k_at..], j, dim)));
            let probs = &mut probs[((head * p.rows) as usize + row) * width..][..width];
            for (p, exact) in probs.iter_mut().zip(attention::softmax(scores, dim)) {
                *p = exact as f32;
            }
        }
    }
}
