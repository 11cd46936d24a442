//! What the splits of [`decode_attention_split`](crate::decode_attention_split) are put together by.

use strix_engine::{Graph, Tensor};

use crate::cursors::{NOT_LIVE, PAGE};
use crate::decode_attention_split::Splits;
use crate::dispatch::dispatch;
use crate::generated::variants::Heads;
use crate::{Cursors, Variants as _};

pub use crate::generated::decode_attention_join::{KERNEL, Params, Variants};

/// `y[r, n] = Σ_s exp(top_s - top) parts[r, n, s] / Σ_s exp(top_s - top) sum_s`. Rows that are not live are left as they
/// were.
///
/// Dao et al. 2023, Flash-Decoding.
pub(crate) fn decode_attention_join(
    g: &mut Graph,
    parts: Tensor<f32, 2>,
    cursors: Cursors,
    splits: Splits,
    heads: Heads,
    head_dim: u32,
    y: Tensor<f32, 2>,
) {
    let Splits { rows, num_heads, splits, dims } = splits;
    let [_, sequence_pages] = cursors.pages.shape();
    let heads = if heads == Heads::Scalar { Heads::Scalar } else { Heads::Vec4 };
    let grid = Variants { dims, heads }.over([num_heads, rows, 1]);
    let params = Params { rows, splits, positions: sequence_pages * PAGE, num_heads, head_dim };
    dispatch!(g, grid, params, [parts, cursors.rows => y], reference);
}

/// `decode_attention_join` in the plainest code that is right. Sums in f64.
pub fn reference(p: &Params, parts: &[f32], cursors: &[u32], y: &mut [f32]) {
    let dim = p.head_dim as usize;
    let dims = dim.next_power_of_two().max(32);
    let splits = Splits { rows: p.rows, num_heads: p.num_heads, splits: p.splits, dims: dims as u32 };
    for row in 0..p.rows as usize {
        let [sequence, position] = [cursors[2 * row], cursors[2 * row + 1]];
        if sequence == NOT_LIVE {
            continue;
        }
        let live = splits.bounds(position.min(p.positions)).len() - 1;
        for head in 0..p.num_heads as usize {
            let at = row * p.num_heads as usize + head;
            let parts: Vec<_> =
                parts[at * p.splits as usize * (dims + 4)..].chunks_exact(dims + 4).take(live).collect();
            let top = parts.iter().map(|part| part[dims]).fold(f32::NEG_INFINITY, f32::max);
            let weight = |part: &[f32]| f64::from(part[dims] - top).exp();
            let sum: f64 = parts.iter().map(|part| weight(part) * f64::from(part[dims + 1])).sum();
            for (d, y) in y[at * dim..][..dim].iter_mut().enumerate() {
                let all: f64 = parts.iter().map(|part| weight(part) * f64::from(part[d])).sum();
                *y = (all / sum) as f32;
            }
        }
    }
}
