//! The projection of few rows on a GPU: many workgroups, the columns of x split within each.

use crate::kernel::Specialised;
use crate::packing::Layout;

pub use crate::generated::gemv_tiled::{KERNEL, Params};

/// Most rows it takes at once.
pub const ROWS: u32 = 8;

/// [`gemm()`](crate::gemm::gemm()) of up to `rows` rows, at most [`ROWS`], with a matrix of this layout.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(rows: u32, layout: &Layout) -> Specialised {
    // A thread should find a few chunks to sum, or the end costs more than they do.
    let threads = if layout.k >= 2048 { "256" } else { "64" };
    let chosen = vec![
        ("weights", layout.format.variant()),
        ("rows", if rows == 1 { "1" } else { "8" }),
        ("blocks", "2"),
        ("threads", threads),
        ("x", layout.x_variant()),
    ];
    // Rows of two modalities take a tile each.
    let tiles = rows.min(layout.sets);
    Specialised { kernel: &KERNEL, chosen, groups: [tiles, layout.blocks().div_ceil(2), 1] }
}
