//! Rotary embedding of queries and keys, and append of keys and values to their cache.

use strix_engine::{Graph, Tensor};

use crate::cursors::{self, Cursors};
use crate::dispatch::dispatch;
use crate::generated::variants::Stored;
use crate::heads::KeyStrides;
use crate::heads::KvRange;
use crate::{HeadShape, KvCache, KvElement, Variants as _};

pub use crate::generated::rope_append::{KERNEL, Params, Variants};
pub use crate::rope_tables::RopeTables;

/// Rotates q and k, appends k and v to the cache, and returns the rotated q.
///
/// With `h = head_dim / 2`, `p` the position of row `r` and `c`, `s` the cosine and sine of
/// `(p, j)`: `y[j] = x[j] c - x[j+h] s`, `y[j+h] = x[j+h] c + x[j] s` in every head. Su et al. 2021, eq. 34,
/// in the half-split order of the converted LLaMA weights.
///
/// A cache of f16 gets the nearest f16, ties to even, and of what is larger than any, 65,504: no infinity
/// enters it. Below the smallest normal f16, 2^-14, the rounding is the device's, which may flush to zero.
///
/// Rows that are not live write nothing, nor do positions for which a sequence has no page; what of the cache is no row's
/// stays as it is.
///
/// | name             | shape                                | dtype      |
/// |------------------|--------------------------------------|------------|
/// | `qkv`            | `[rows, (num_heads + 2 · num_kv_heads) · head_dim]` | f32 |
/// | `tables.cos_sin` | `[positions, head_dim]`              | f32        |
/// | `cache.k`, `.v`  | see [`KvCache`]                      | f32 or f16 |
/// | `cursors`        | see [`Cursors`]                      | u32        |
/// | result           | `[rows, num_heads · head_dim]`       | f32        |
///
/// # Panics
///
/// If a shape does not fit `heads`, `head_dim` is odd or, with a cache of f16, no multiple of 4, or the tables
/// have fewer positions than a sequence's pages.
pub fn rope_append<T: KvElement>(
    g: &mut Graph,
    name: &str,
    qkv: Tensor<f32, 2>,
    tables: &RopeTables,
    cache: &KvCache<T>,
    heads: HeadShape,
    cursors: Cursors,
) -> Tensor<f32, 2> {
    let HeadShape { num_heads, num_kv_heads, head_dim } = heads;
    let [rows, _] = qkv.shape();
    let slots = cache.check("rope_append", tables, heads, cursors, rows);
    assert_eq!(
        qkv.shape(),
        [rows, (num_heads + 2 * num_kv_heads) * head_dim],
        "rope_append: qkv against {heads:?}"
    );

    let rotated = g.activation(name, [rows, num_heads * head_dim]);
    let tables = g.bind(&tables.cos_sin);
    let Cursors { rows: cursors, pages, .. } = cursors;
    let [_, sequence_pages] = pages.shape();
    let KeyStrides { row: k_row, key: k_key, chunk: k_chunk } = KeyStrides::blocks::<T>(head_dim);
    let stored = match (T::IS_F16, head_dim.is_multiple_of(8)) {
        (true, true) => Stored::F16x4,
        (true, false) => Stored::F16x2,
        (false, true) => Stored::F32x4,
        (false, false) => Stored::F32x1,
    };
    for (range, [k, v]) in cache.heads(g) {
        let KvRange { first: first_kv_head, count: part_kv_heads } = range;
        let part_heads = heads.of_part(range).num_heads;
        let grid = Variants { stored }.over([(part_heads + 2 * part_kv_heads).div_ceil(8), rows, 1]);
        let params = Params {
            rows,
            num_heads,
            num_kv_heads,
            heads_per_kv: num_heads / num_kv_heads,
            first_kv_head,
            part_kv_heads,
            head_dim,
            slots,
            sequence_pages,
            k_row,
            k_key,
            k_chunk,
        };
        let (k, v) = (k.id(), v.id());
        dispatch!(g, grid, params, [qkv, tables, cursors, pages => rotated, k, v], reference::<T>);
    }
    rotated
}

/// [`rope_append`] in the plainest code that is right.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<T: KvElement>(
    p: &Params,
    qkv: &[f32],
    tables: &[f32],
    cursors: &[u32],
    pages: &[u32],
    rotated: &mut [f32],
    k: &mut [T],
    v: &mut [T],
) {
    let head_dim = p.head_dim as usize;
    let (num_heads, num_kv_heads, slots) = (p.num_heads as usize, p.num_kv_heads as usize, p.slots as usize);
    let keys = KeyStrides { row: p.k_row, key: p.k_key, chunk: p.k_chunk };
    for row in 0..p.rows as usize {
        let Some([sequence, position]) = cursors::live(cursors, row, p.sequence_pages) else { continue };
        let slot = cursors::slot(pages, p.sequence_pages, sequence, position);
        let cos_sin = &tables[position as usize * head_dim..][..head_dim];
        let all = (num_heads + 2 * num_kv_heads) * head_dim;
        let x = |head: usize| &qkv[row * all + head * head_dim..][..head_dim];
        let heads_per_kv = p.heads_per_kv as usize;
        for n in 0..p.part_kv_heads as usize {
            let kv_head = p.first_kv_head as usize + n;
            for head in kv_head * heads_per_kv..(kv_head + 1) * heads_per_kv {
                rotate(x(head), cos_sin, &mut rotated[(row * num_heads + head) * head_dim..][..head_dim]);
            }
            let mut key = vec![T::zeroed(); head_dim];
            rotate(x(num_heads + kv_head), cos_sin, &mut key);
            keys.set(&mut k[n * slots * head_dim..], slot, &key);
            let v = v[(n * slots + slot) * head_dim..].iter_mut();
            v.zip(x(num_heads + num_kv_heads + kv_head)).for_each(|(v, &x)| *v = T::nearest(x));
        }
    }
}

/// Rotates a head.
pub(crate) fn rotate<T: KvElement>(x: &[f32], cos_sin: &[f32], y: &mut [T]) {
    let half = x.len() / 2;
    let (cos, sin) = cos_sin.split_at(half);
    for j in 0..half {
        let [a, b, cos, sin] = [x[j], x[j + half], cos[j], sin[j]].map(f64::from);
        y[j] = T::nearest((a * cos - b * sin) as f32);
        y[j + half] = T::nearest((b * cos + a * sin) as f32);
    }
}
