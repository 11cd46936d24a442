//! Attention of the one row of a decode step, with its rotation and its append to the cache.

use strix_engine::{Graph, Tensor};

use crate::kernel::read_texels;
use crate::kv_cache::KeyStrides;
use crate::rope_append::rotate;
use crate::{HeadShape, Heads, KvCache, KvElement, RopeTables, attention, dispatch};

pub use crate::generated::decode_attention::{KERNEL, Params};

/// `y[n] = Σ_j softmax_j(q[n] · k[n', j] / √head_dim) v[n', j]` over the keys at positions up to `span[0]`, where n'
/// is n's head of keys: [`rope_append`](crate::rope_append()) and [`attention()`](attention()) of one causal row.
///
/// q and the new key are rotated, and key and value appended to the cache at position `span[0]`, which is read at
/// run time. The result is as if they had been read from there, as f16 where the cache is. What the cache holds
/// past that position is never used, and may be anything; a position past the cache is not written.
///
/// | name             | shape                                            | dtype      |
/// |------------------|--------------------------------------------------|------------|
/// | `qkv`            | `[1, (num_heads + 2 · num_kv_heads) · head_dim]` | f32        |
/// | `tables.cos_sin` | `[positions, head_dim]`                          | f32        |
/// | `cache.k`, `.v`  | see [`KvCache`]                                  | f32 or f16 |
/// | `span`           | `[2]`                                            | u32        |
/// | result           | `[1, num_heads · head_dim]`                      | f32        |
///
/// # Panics
///
/// If a shape does not fit `shape`, `head_dim` is odd, above 256 or, with a cache of f16, no multiple of 4, the tables
/// have fewer positions than the cache, or there are so many positions that a lane would loop more than
/// [`MAX_TRIPS`](strix_engine::MAX_TRIPS) times: above 260,000 with subgroups, 60,000 without.
pub fn decode_attention<T: KvElement>(
    g: &mut Graph,
    name: &str,
    qkv: Tensor<f32, 2>,
    tables: &RopeTables,
    cache: &KvCache<T>,
    shape: HeadShape,
    span: Tensor<u32, 1>,
) -> Tensor<f32, 2> {
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;
    let context = cache.check("decode_attention", tables, shape);
    assert_eq!(
        qkv.shape(),
        [1, (num_heads + 2 * num_kv_heads) * head_dim],
        "decode_attention: qkv against {shape:?}"
    );
    assert_eq!(span.shape(), [2], "decode_attention: span");
    let tables = g.bind(&tables.cos_sin);
    let [k, v] = cache.heads(g);
    let q = Heads::in_rows(qkv, 0, head_dim);
    let heads = shape.alignment("decode_attention", q, k, v);

    let y = g.activation(name, [1, num_heads * head_dim]);
    let lanes = shape.lanes(g, KERNEL.name, heads, context);
    // Barriers cost a software device more than teams gain.
    let teams = match lanes {
        "8" => "one",
        "16" if g.target().is_cpu => "one",
        _ => "many",
    };
    // How many floats of qkv a load moves: the halves of a head are rotated together.
    let width = if heads != "scalar" && head_dim.is_multiple_of(8) { "4" } else { "1" };
    let texels = width == "4" && read_texels(lanes) && [k, v].iter().all(|kv| kv.has_texels(g, head_dim));
    let loads = if texels { "texels" } else { "storage" };
    let chosen = [
        ("lanes", lanes),
        ("dims", shape.dims()),
        ("heads", heads),
        ("teams", teams),
        ("loads", loads),
        ("width", width),
    ];
    // Without texels nothing is read there.
    let [k_texels, v_texels] = if texels { [k.id(), v.id()] } else { [span.id(); 2] };
    let KeyStrides { row: k_row, key: k_key, chunk: k_chunk } = k.keys;
    let params = Params {
        context,
        num_heads,
        num_kv_heads,
        heads_per_kv: num_heads / num_kv_heads,
        head_dim,
        k_row,
        k_key,
        k_chunk,
        k_stride: k.stride,
    };
    let (k, v) = (k.id(), v.id());
    dispatch!(
        g, KERNEL, chosen, params, [qkv, tables, span, k_texels, v_texels => y, k, v], [num_heads, 1, 1], reference::<T>
    );
    y
}

/// [`decode_attention`] in the plainest code that is right. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<T: KvElement>(
    p: &Params,
    qkv: &[f32],
    tables: &[f32],
    span: &[u32],
    _k: &[u32],
    _v: &[u32],
    y: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    let (dim, context, position) = (p.head_dim as usize, p.context as usize, span[0] as usize);
    let cos_sin = &tables[position * dim..][..dim];
    let of = |head: u32| &qkv[head as usize * dim..][..dim];
    let keys = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
    for head in 0..if position < context { p.num_kv_heads } else { 0 } {
        let at = (head as usize * context + position) * dim;
        let mut key = vec![T::zeroed(); dim];
        rotate(of(p.num_heads + head), cos_sin, &mut key);
        keys.set(&mut k[(head * p.k_stride) as usize..], position, &key);
        let new = of(p.num_heads + p.num_kv_heads + head);
        v[at..][..dim].iter_mut().zip(new).for_each(|(v, &x)| *v = T::nearest(x));
    }
    let mut q = vec![0.0; dim];
    for (head, y) in (0..).zip(y.chunks_exact_mut(dim)) {
        let at = (head / p.heads_per_kv) as usize * context * dim;
        let k = &k[(head / p.heads_per_kv * p.k_stride) as usize..];
        let seen = 0..context.min(position + 1);
        rotate(of(head), cos_sin, &mut q);
        let probs = attention::softmax(seen.map(|j| attention::dot(&q, &keys.get(k, j, dim))), dim);
        let values = v[at..].chunks_exact(dim);
        let mut sum = vec![0.0; dim];
        for (p, v) in probs.iter().zip(values) {
            sum.iter_mut().zip(v).for_each(|(sum, &v)| *sum += p * v.into());
        }
        y.iter_mut().zip(sum).for_each(|(y, sum)| *y = sum as f32);
    }
}
