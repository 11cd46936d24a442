//! Attention of the one row of a decode step.

use strix_engine::{Graph, Tensor};

use crate::{HeadShape, Heads, KvElement, attention, dispatch};

pub use crate::generated::decode_attention::{KERNEL, Params};

/// `y[n] = Σ_j softmax_j(q[n] · k[j, n'] / √head_dim) v[j, n']` over the keys at positions up to `span[0]`,
/// where n' is n's head of keys: [`attention()`](attention()) of one causal row.
///
/// `span` is read at run time. Rows of `k` and `v` past it are never used, and may hold anything.
///
/// | name     | shape                      | dtype      |
/// |----------|----------------------------|------------|
/// | `q`      | heads in `[≥ 1, _]`        | f32        |
/// | `k`, `v` | heads in `[ctx, _]`        | f32 or f16 |
/// | `span`   | `[2]`                      | u32        |
/// | result   | `[1, num_heads · head_dim]` | f32       |
///
/// # Panics
///
/// If the heads do not fit their tensors, `head_dim` is above 256, heads of f16 do not begin at multiples of
/// 4 elements or are not as long, or there are so many keys that a lane
/// would loop more than [`MAX_TRIPS`](strix_engine::MAX_TRIPS) times: above 260,000 with subgroups, 60,000
/// without.
pub fn decode_attention<T: KvElement>(
    g: &mut Graph,
    name: &str,
    q: Heads,
    k: Heads<T>,
    v: Heads<T>,
    shape: HeadShape,
    span: Tensor<u32, 1>,
) -> Tensor<f32, 2> {
    let heads = shape.alignment("decode_attention", q, k, v);
    assert_eq!(span.shape(), [2], "decode_attention: span");
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;

    let y = g.activation(name, [1, num_heads * head_dim]);
    let lanes = shape.lanes(g, KERNEL.name, heads, k.tensor.shape()[0]);
    let chosen = [("lanes", lanes), ("dims", shape.dims()), ("heads", heads)];
    let params = Params {
        keys: k.tensor.shape()[0],
        heads_per_kv: num_heads / num_kv_heads,
        head_dim,
        q_offset: q.offset,
        q_stride: q.stride,
        k_row: k.tensor.shape()[1],
        k_offset: k.offset,
        k_stride: k.stride,
        v_row: v.tensor.shape()[1],
        v_offset: v.offset,
        v_stride: v.stride,
    };
    let (q, k, v) = (q.tensor, k.tensor, v.tensor);
    dispatch!(g, KERNEL, chosen, params, [q, k, v, span => y], [num_heads, 1, 1], reference::<T>);
    y
}

/// [`decode_attention`] in the plainest code that is right. Sums in f64.
pub fn reference<T: KvElement>(p: &Params, q: &[f32], k: &[T], v: &[T], span: &[u32], y: &mut [f32]) {
    let dim = p.head_dim as usize;
    let keys = p.keys.min(span[0] + 1) as usize;
    for (head, y) in (0..).zip(y.chunks_exact_mut(dim)) {
        let kv_head = head / p.heads_per_kv;
        let q = &q[(p.q_offset + head * p.q_stride) as usize..][..dim];
        let k = |j| &k[j * p.k_row as usize + (p.k_offset + kv_head * p.k_stride) as usize..][..dim];
        let v = |j| &v[j * p.v_row as usize + (p.v_offset + kv_head * p.v_stride) as usize..][..dim];
        let probs = attention::softmax((0..keys).map(|j| attention::dot(q, k(j))), dim);
        for (d, y) in y.iter_mut().enumerate() {
            *y = probs.iter().enumerate().map(|(j, p)| p * v(j)[d].into()).sum::<f64>() as f32;
        }
    }
}
