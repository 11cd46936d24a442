//! The projection of many rows on a GPU: tiles of activations and weights in workgroup memory.

use strix_engine::{Maker, Target};

use crate::Variants as _;
use crate::gemm::{Projection, ProjectionWay};
use crate::generated::variants::{Arithmetic, X};
use crate::kernel::Dispatch;

pub use crate::generated::gemm_tiled::{KERNEL, Params, Variants};

/// Rows and columns of the tiles, the likeliest first for `rows` rows.
pub(crate) fn ways(target: &Target, rows: u32, f16: bool) -> [ProjectionWay; 5] {
    let sizes = match rows {
        // Sums of f16 and of f32 are more than an M1 has registers for.
        33.. if f16 && target.maker == Maker::Apple => [(64, 64), (64, 128), (128, 64), (32, 64), (128, 128)],
        // The largest is more than an Adreno 660 has registers for.
        33.. if target.maker == Maker::Qualcomm => [(64, 64), (64, 128), (128, 64), (32, 64), (128, 128)],
        0..=32 => [(32, 64), (64, 64), (64, 128), (128, 64), (128, 128)],
        33..=511 => [(64, 64), (32, 64), (64, 128), (128, 64), (128, 128)],
        _ => [(128, 128), (64, 64), (64, 128), (128, 64), (32, 64)],
    };
    sizes.map(|(rows, cols)| ProjectionWay::Tiled { rows, cols })
}

/// [`gemm()`](crate::gemm::gemm()) in tiles of so many rows and columns.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(rows: u32, cols: u32, of: &Projection<'_>) -> Dispatch {
    let (layout, bias, residual) = (of.layout, of.bias, of.residual());
    // A turn of the loop takes 16 columns.
    let x = if layout.k.is_multiple_of(16) { X::Whole } else { layout.x() };
    let arithmetic = if of.halves() { Arithmetic::F16 } else { Arithmetic::F32 };
    let variants = Variants { weights: layout.format.weights(), rows, cols, arithmetic, x, bias, residual };
    variants.over([of.tiles(rows), layout.packed_rows().div_ceil(cols), 1])
}
