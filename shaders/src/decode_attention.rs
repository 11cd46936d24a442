//! Attention of the rows of a decode step, each of another sequence, with their rotation and their append to the cache.

use strix_engine::{Family, Graph, Tensor};

use crate::cursors::{NOT_LIVE, PAGE};
use crate::decode_attention_join::decode_attention_join;
use crate::decode_attention_split::{Operands, Splits, append, decode_attention_split};
use crate::dispatch::dispatch;
use crate::generated::variants::{self, Loads, Teams};
use crate::heads::KeyStrides;
use crate::heads::KvRange;
use crate::kernel::read_texels;
use crate::{
    Cursors, HeadShape, Heads, KvCache, KvElement, RopeTables, Variants as _, attention,
    decode_attention_plain,
};

pub use crate::generated::decode_attention::{KERNEL, Params, Variants};

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
    let all = cursors;
    let Cursors { rows: cursors, pages, .. } = cursors;
    let [_, sequence_pages] = pages.shape();
    let tables = g.bind(&tables.cos_sin);
    let parts = cache.heads(g);
    let q = Heads::in_rows(qkv, 0, head_dim);
    // Heads are alike in every part.
    let heads = shape.alignment("decode_attention", q, parts[0]);

    let y = g.activation(name, [rows, num_heads * head_dim]);
    // How many floats of qkv a load moves: the halves of a head are rotated together.
    let width = if heads != variants::Heads::Scalar && head_dim.is_multiple_of(8) { 4 } else { 1 };
    let dims = shape.dims();
    let family = shape.family(g, KERNEL.name, heads, sequence_pages * PAGE);
    let KeyStrides { row: k_row, key: k_key, chunk: k_chunk } = KeyStrides::blocks::<T>(head_dim);
    let params = |KvRange { first, count }| Params {
        rows,
        slots,
        sequence_pages,
        num_heads,
        num_kv_heads,
        heads_per_kv: num_heads / num_kv_heads,
        first_kv_head: first,
        part_kv_heads: count,
        head_dim,
        k_row,
        k_key,
        k_chunk,
    };
    if family == Family::Tiled {
        let at_once = parts.iter().map(|(range, _)| shape.of_part(*range).num_heads).max();
        let splits = Splits::new(rows, at_once.unwrap_or(1), sequence_pages * PAGE, dims);
        let splits = Splits { num_heads, ..splits };
        let split = splits.activation(g, &format!("{name}.splits"));
        for (range, [k, v]) in parts {
            let of = Operands { qkv, tables, cursors: all, k: k.elements, v: v.elements };
            decode_attention_split(g, split, params(range), &of, splits, heads, width);
        }
        decode_attention_join(g, split, all, splits, heads, head_dim, y);
        return y;
    }
    let lanes = shape.subgroup_lanes(g.target(), heads).filter(|_| family == Family::Subgroup);
    for (range, [k, v]) in parts {
        let groups = [shape.of_part(range).num_heads, rows, 1];
        let (grid, texels) = match lanes {
            None => (decode_attention_plain::Variants { dims, heads, width }.over(groups), false),
            Some(lanes) => {
                // Barriers cost a software device more than teams gain.
                let one = lanes == 8 || (lanes == 16 && g.target().is_cpu);
                let texels =
                    width == 4 && read_texels(lanes) && [k, v].iter().all(|kv| kv.has_texels(g, head_dim));
                let loads = if texels { Loads::Texels } else { Loads::Storage };
                let teams = if one { Teams::One } else { Teams::Many };
                (Variants { lanes, dims, heads, teams, loads, width }.over(groups), texels)
            }
        };
        let (k, v) = (k.id(), v.id());
        // What this step writes of the cache it does not read, so it may be bound again as texels.
        let (k_texels, v_texels) = (texels.then_some(k), texels.then_some(v));
        dispatch!(
            g,
            grid,
            params(range),
            [qkv, tables, cursors, pages, k_texels, v_texels => y, k, v],
            reference::<T>
        );
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
    _k_texels: &[T],
    _v_texels: &[T],
    y: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    let rotated = append(p, qkv, tables, cursors, pages, k, v);
    let row = p.num_heads * p.head_dim;
    let stride = p.slots * p.head_dim;
    let attended = attention::Params {
        rows: p.rows,
        keys: p.sequence_pages * PAGE,
        sequences: pages.len() as u32 / p.sequence_pages,
        sequence_pages: p.sequence_pages,
        num_heads: p.num_heads,
        heads_per_kv: p.heads_per_kv,
        first_kv_head: p.first_kv_head,
        part_kv_heads: p.part_kv_heads,
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
