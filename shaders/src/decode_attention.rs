//! Attention of the rows of a decode step, each of another sequence, with their rotation and their append to the cache.

use strix_engine::{Graph, Tensor};

use crate::cursors::{NOT_LIVE, PAGE};
use crate::kernel::read_texels;
use crate::kv_cache::KeyStrides;
use crate::{Cursors, HeadShape, Heads, KvCache, KvElement, RopeTables, attention, dispatch, rope_append};

pub use crate::generated::decode_attention::{KERNEL, Params};

/// `y[r, n] = Σ_j softmax_j(q[r, n] · k[n', j] / √head_dim) v[n', j]` over the keys of row r's sequence at positions up to
/// its own, where n' is n's head of keys: [`rope_append`](crate::rope_append()) and [`attention()`](attention()) of rows
/// that are each of another sequence.
///
/// q and the new key are rotated, and key and value appended to the cache at the row's position, which is read at
/// run time. The result is as if they had been read from there, as f16 where the cache is. What the cache holds
/// past that position is never used, and may be anything; a position for which the sequence has no page is not written.
/// Rows of the result that are not live are left as they were.
///
/// | name             | shape                                               | dtype      |
/// |------------------|-----------------------------------------------------|------------|
/// | `qkv`            | `[rows, (num_heads + 2 · num_kv_heads) · head_dim]` | f32        |
/// | `tables.cos_sin` | `[positions, head_dim]`                             | f32        |
/// | `cache.k`, `.v`  | see [`KvCache`]                                     | f32 or f16 |
/// | `cursors`        | see [`Cursors`]                                     | u32        |
/// | result           | `[rows, num_heads · head_dim]`                      | f32        |
///
/// # Panics
///
/// If a shape does not fit `shape`, `head_dim` is odd, above 256 or, with a cache of f16, no multiple of 4, the tables
/// have fewer positions than a sequence's pages, or there are so many positions that a lane would loop more than
/// [`MAX_TRIPS`](strix_engine::MAX_TRIPS) times: above 260,000 with subgroups, 60,000 without.
pub fn decode_attention<T: KvElement>(
    g: &mut Graph,
    name: &str,
    qkv: Tensor<f32, 2>,
    tables: &RopeTables,
    cache: &KvCache<T>,
    shape: HeadShape,
    cursors: Cursors,
) -> Tensor<f32, 2> {
    let HeadShape { num_heads, num_kv_heads, head_dim } = shape;
    let [rows, _] = qkv.shape();
    let slots = cache.check("decode_attention", tables, shape, cursors, rows);
    assert_eq!(
        qkv.shape(),
        [rows, (num_heads + 2 * num_kv_heads) * head_dim],
        "decode_attention: qkv against {shape:?}"
    );
    let Cursors { rows: cursors, pages, .. } = cursors;
    let [_, sequence_pages] = pages.shape();
    let tables = g.bind(&tables.cos_sin);
    let [k, v] = cache.heads(g);
    let q = Heads::in_rows(qkv, 0, head_dim);
    let heads = shape.alignment("decode_attention", q, k, v);

    let y = g.activation(name, [rows, num_heads * head_dim]);
    let lanes = shape.lanes(g, KERNEL.name, heads, sequence_pages * PAGE);
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
    let KeyStrides { row: k_row, key: k_key, chunk: k_chunk } = k.keys;
    let params = Params {
        rows,
        slots,
        sequence_pages,
        num_heads,
        num_kv_heads,
        heads_per_kv: num_heads / num_kv_heads,
        head_dim,
        k_row,
        k_key,
        k_chunk,
    };
    let (k, v, groups) = (k.id(), v.id(), [num_heads, rows, 1]);
    if texels {
        let reads = [k, v];
        dispatch!(
            g, KERNEL, chosen, params, [qkv, tables, cursors, pages, reads[0], reads[1] => y, k, v], groups,
            reference_of_texels::<T>
        );
    } else {
        dispatch!(g, KERNEL, chosen, params, [qkv, tables, cursors, pages => y, k, v], groups, reference::<T>);
    }
    y
}

/// [`decode_attention`] in the plainest code that is right. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<T: KvElement>(
    p: &Params,
    qkv: &[f32],
    tables: &[f32],
    cursors: &[u32],
    pages: &[u32],
    y: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    let mut rotated = vec![0.0; y.len()];
    let appended = rope_append::Params {
        rows: p.rows,
        num_heads: p.num_heads,
        num_kv_heads: p.num_kv_heads,
        head_dim: p.head_dim,
        slots: p.slots,
        sequence_pages: p.sequence_pages,
        k_row: p.k_row,
        k_key: p.k_key,
        k_chunk: p.k_chunk,
    };
    rope_append::reference(&appended, qkv, tables, cursors, pages, &mut rotated, k, v);
    let row = p.num_heads * p.head_dim;
    let stride = p.slots * p.head_dim;
    let attended = attention::Params {
        rows: p.rows,
        keys: p.sequence_pages * PAGE,
        sequences: pages.len() as u32 / p.sequence_pages,
        sequence_pages: p.sequence_pages,
        num_heads: p.num_heads,
        heads_per_kv: p.heads_per_kv,
        head_dim: p.head_dim,
        q_row: row,
        q_offset: 0,
        q_stride: p.head_dim,
        k_row: p.k_row,
        k_key: p.k_key,
        k_chunk: p.k_chunk,
        k_offset: 0,
        k_stride: stride,
        v_row: p.head_dim,
        v_offset: 0,
        v_stride: stride,
    };
    // Of each sequence one row at most; of those without, runs that are empty.
    let mut runs: Vec<u32> = vec![];
    let live = cursors.chunks_exact(2).take(p.rows as usize).take_while(|cursor| cursor[0] != NOT_LIVE);
    for sequence in 0..=attended.sequences {
        let before = live.clone().filter(|cursor| cursor[0] < sequence).count() as u32;
        let position = live.clone().find(|cursor| cursor[0] == sequence).map_or(0, |cursor| cursor[1]);
        runs.extend([before, position]);
    }
    attention::reference(&attended, &rotated, k, v, &runs, pages, y);
}

/// The same, of which the cache is bound again to be read as texels.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
fn reference_of_texels<T: KvElement>(
    p: &Params,
    qkv: &[f32],
    tables: &[f32],
    cursors: &[u32],
    pages: &[u32],
    _k: &[T],
    _v: &[T],
    y: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    reference(p, qkv, tables, cursors, pages, y, k, v);
}
