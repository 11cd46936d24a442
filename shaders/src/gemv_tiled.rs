//! The projection of few rows on a GPU: many workgroups, the columns of x split within each.

use crate::Variants as _;
use crate::gemm::{Projection, ProjectionWay};
use crate::generated::variants::X;
use crate::kernel::Dispatch;

pub use crate::generated::gemv_tiled::{KERNEL, Params, Variants};

/// Most rows that a workgroup takes.
pub const ROWS: u32 = 8;

/// Blocks and threads of a workgroup, the likeliest first.
pub(crate) fn ways() -> [ProjectionWay; 4] {
    [(2, 256), (2, 64), (4, 256), (4, 64)].map(|(blocks, threads)| ProjectionWay::Sliced { blocks, threads })
}

/// [`gemm()`](crate::gemm::gemm()) of few rows, in workgroups of so many blocks and threads.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(blocks: u32, threads: u32, of: &Projection<'_>) -> Dispatch {
    let &Projection { layout, norm, bias, .. } = of;
    let rows = if of.rows == 1 { 1 } else { ROWS };
    let (weights, residual) = (layout.format.weights(), of.residual());
    // Packed rows are of whole steps of 32 columns.
    let x = if layout.k.is_multiple_of(32) { X::Whole } else { layout.x() };
    let variants = Variants { weights, rows, blocks, threads, x, norm, bias, residual };
    variants.over([of.tiles(rows).min(of.rows), layout.blocks().div_ceil(blocks), 1])
}
