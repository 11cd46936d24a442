//! The projection of few rows on a GPU: many workgroups, the columns of x split within each.

use strix_engine::Family;

use crate::choose::{self, Way};
use crate::gemm::Projection;
use crate::kernel::Specialised;

pub use crate::generated::gemv_tiled::{KERNEL, Params};

/// Most rows that a workgroup takes.
pub const ROWS: u32 = 8;

/// Blocks and threads of a workgroup, the likeliest first.
pub(crate) fn ways() -> Vec<Way> {
    let way =
        |(blocks, threads)| vec![("family", Family::Tiled.name()), ("blocks", blocks), ("threads", threads)];
    [("2", "256"), ("2", "64"), ("4", "256"), ("4", "64")].map(way).to_vec()
}

/// [`gemm()`](crate::gemm::gemm()) of few rows, in one of the [`ways`].
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(way: &Way, of: &Projection<'_>) -> Specialised {
    let &Projection { rows, layout, .. } = of;
    let [blocks, threads] = ["blocks", "threads"].map(|name| choose::value(way, name));
    let (tile, rows_variant) = if rows == 1 { (1, "1") } else { (ROWS, "8") };
    let chosen = vec![
        ("weights", layout.format.variant()),
        ("rows", rows_variant),
        ("blocks", blocks),
        ("threads", threads),
        ("x", layout.x_variant()),
        ("norm", of.norm()),
    ];
    let tiles = (rows.div_ceil(tile) + layout.sets - 1).min(rows);
    let groups = layout.blocks().div_ceil(blocks.parse().expect("a number of blocks"));
    Specialised { kernel: &KERNEL, chosen, groups: [tiles, groups, 1] }
}
