//! The probabilities inside attention, written out for inspection.

use strix_engine::{Graph, Tensor};

use crate::cursors::{self, Cursors};
use crate::kv_cache::KeyStrides;
use crate::{HeadShape, Heads, KvElement, Mask, attention, dispatch, lanes};

pub use crate::generated::attention_probs::{KERNEL, Params};

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
    shape.alignment("attention_probs", q, k, Heads { keys: KeyStrides::rows::<T>(k.row), ..k });
    assert!(rows <= q.rows, "attention_probs: {rows} rows of q of {}", q.rows);
    let [shown, _, sequence_pages] = mask.sizes("attention_probs", rows, k.rows);
    if let Mask::Full { keys: shown } = mask {
        assert!(shown <= keys, "attention_probs: {shown} keys in {keys} columns");
    }
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;

    let p = g.activation(name, [num_heads, rows, keys]);
    let cache = if T::IS_F16 { "f16" } else { "f32" };
    let chosen = [("lanes", lanes(g.target())), ("cache", cache), ("mask", mask.name())];
    let params = Params {
        rows,
        keys: shown.min(keys),
        width: keys,
        sequence_pages,
        num_heads,
        heads_per_kv: num_heads / num_kv_heads,
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
    let groups = [rows, num_heads, 1];
    match mask {
        Mask::Full { .. } => dispatch!(g, KERNEL, chosen, params, [q, k => p], groups, reference_full::<T>),
        Mask::Causal { cursors: Cursors { rows, pages, .. } } => {
            dispatch!(g, KERNEL, chosen, params, [q, k, rows, pages => p], groups, reference::<T>);
        }
    }
    p
}

/// [`attention_probs`] with a causal mask in the plainest code that is right. Sums in f64.
pub fn reference<T: KvElement>(
    p: &Params,
    q: &[f32],
    k: &[T],
    cursors: &[u32],
    pages: &[u32],
    probs: &mut [f32],
) {
    let slots_of = |row| -> Vec<usize> {
        let cursor = cursors::live(cursors, row, p.sequence_pages);
        let keys = cursor.map(|[sequence, position]| (sequence, p.keys.min(position + 1)));
        let (sequence, keys) = keys.unwrap_or((0, 0));
        (0..keys).map(|j| cursors::slot(pages, p.sequence_pages, sequence, j)).collect()
    };
    written_out(p, q, k, slots_of, probs);
}

/// [`attention_probs`] with a full mask in the plainest code that is right.
pub fn reference_full<T: KvElement>(p: &Params, q: &[f32], k: &[T], probs: &mut [f32]) {
    written_out(p, q, k, |_| (0..p.keys as usize).collect(), probs);
}

/// Probabilities of the keys in the rows that `seen` tells of each row.
fn written_out<T: KvElement>(
    p: &Params,
    q: &[f32],
    k: &[T],
    seen: impl Fn(usize) -> Vec<usize>,
    probs: &mut [f32],
) {
    let dim = p.head_dim as usize;
    let rows = (0..p.num_heads).flat_map(|head| (0..p.rows).map(move |row| (head, row)));
    for ((head, row), probs) in rows.zip(probs.chunks_exact_mut(p.width as usize)) {
        let q = &q[(row * p.q_row + p.q_offset + head * p.q_stride) as usize..][..dim];
        let k_at = (p.k_offset + head / p.heads_per_kv * p.k_stride) as usize;
        let keys = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
        let seen = seen(row as usize).into_iter();
        let scores = seen.map(|j| attention::dot(q, &keys.get(&k[k_at..], j, dim)));
        probs.fill(0.0);
        for (p, exact) in probs.iter_mut().zip(attention::softmax(scores, dim)) {
            *p = exact as f32;
        }
    }
}
