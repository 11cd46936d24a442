//! The projection of many rows on a GPU: tiles of activations and weights in workgroup memory.

use crate::kernel::Specialised;
use crate::packing::Layout;

pub use crate::generated::gemm_tiled::{KERNEL, Params};

/// [`gemm()`](crate::gemm::gemm()) of up to `rows` rows with a matrix of this layout, by this family.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(rows: u32, layout: &Layout) -> Specialised {
    let (tile, name) = if rows <= 32 { (32, "32") } else { (64, "64") };
    let chosen =
        vec![("weights", layout.format.variant()), ("rows", name), ("cols", "64"), ("x", layout.x_variant())];
    let groups = [rows.div_ceil(tile) + layout.sets - 1, layout.packed_rows().div_ceil(64), 1];
    Specialised { kernel: &KERNEL, chosen, groups }
}
