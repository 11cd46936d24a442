//! The projection of many rows by a GPU's units for small matrices.

use strix_engine::Target;

use crate::Variants as _;
use crate::gemm::Projection;
use crate::generated::variants::{Matrix, X};
use crate::kernel::Dispatch;
use crate::packing::Format;

pub use crate::generated::gemm_coop::{KERNEL, Params, Variants};

/// Whether the device has such units, with matrices that hold the weights: f16 has too few bits for those of f32.
///
/// With matrices of f16 activations lose what is beyond 11 bits, and so do weights times the scale of their group; those
/// of bf16 and whole rows of int8 are exact. Sums are f32.
pub(crate) fn fits(target: &Target, format: Format) -> bool {
    target.coop.is_some_and(|coop| !coop.f16 || format != Format::F32)
}

/// [`gemm()`](crate::gemm::gemm()) by such units.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
///
/// # Panics
///
/// If it does not [fit](fits) the device.
pub(crate) fn specialise(target: &Target, of: &Projection<'_>) -> Dispatch {
    let coop = target.coop.expect("a way of a device with such matrices");
    let matrix = match (coop.f16, coop.size) {
        (true, 16) => Matrix::F16x16,
        (true, _) => Matrix::F16x8,
        (false, _) => Matrix::F32x8,
    };
    // How its work is shared out is best for subgroups of that size, and right for others.
    let lanes = match (coop.lanes, matrix) {
        (..=8, Matrix::F16x8) => 8,
        (64.., _) => 64,
        _ => 32,
    };
    // Rows and columns of a tile.
    let tile = match (matrix, lanes) {
        (Matrix::F16x16, _) => 128,
        (_, 8) => 32,
        _ => 64,
    };
    let (layout, bias, residual) = (of.layout, of.bias, of.residual());
    // Turns of the loop come in pairs.
    let pair = if coop.f16 { 64 } else { 32 };
    let x = if layout.k.is_multiple_of(pair) { X::Whole } else { layout.x() };
    let variants = Variants { weights: layout.format.weights(), matrix, lanes, x, bias, residual };
    variants.over([of.tiles(tile), layout.packed_rows().div_ceil(tile), 1])
}

#[cfg(test)]
mod tests {
    use strix_engine::{Coop, Family, Graph};

    use super::*;
    use crate::gemm::Routing;
    use crate::{Layout, Linear, linear};

    /// The kernel that so many rows by such weights are recorded with.
    fn recorded(target: &Target, rows: u32, format: Format) -> String {
        let layout = Layout { n: 100, k: 96, sets: 2, shared: 0, gated: false, format };
        let w = Linear::declare("w", "w", layout, false, u64::MAX);
        let mut g = Graph::new(target.clone());
        let (x, routing) = (g.input("x", [rows, 96]), Routing(g.input("routing", [rows + 2])));
        linear(&mut g, x, &w, routing);
        let step = &g.steps()[0];
        format!("{} {:?}", step.shader.label, step.groups)
    }

    #[test]
    fn matrices_multiply_many_rows_where_there_are_some() {
        let coop = Some(Coop { size: 16, f16: true, lanes: 32 });
        let target =
            Target { subgroups: true, coop, family: Family::Coop, forced: true, ..Target::default() };
        let int8 = Format::Int8 { group: None };
        let label = recorded(&target, 130, int8);
        assert_eq!(
            label,
            "gemm_coop[weights=int8, matrix=f16x16, lanes=32, x=vec4, bias=no, residual=no] [3, 1, 1]"
        );
        assert!(recorded(&target, 1, int8).starts_with("gemv_tiled"), "a single row");
        let unasked = Target { family: Family::Tiled, forced: false, ..target.clone() };
        assert!(recorded(&unasked, 130, int8).starts_with("gemm_coop"), "the default");
        for few in [2, 4, 8, 16] {
            assert!(recorded(&unasked, few, int8).starts_with("gemv_tiled"), "{few} rows");
        }
        assert!(recorded(&target, 130, Format::F32).starts_with("gemm_tiled"), "f16 is too narrow for f32");
        let apple = Target { coop: Some(Coop { size: 8, f16: false, lanes: 32 }), ..target.clone() };
        assert!(recorded(&apple, 130, Format::F32).starts_with("gemm_coop[weights=f32, matrix=f32x8"));
        let tiled = Target { family: Family::Tiled, ..target.clone() };
        assert!(recorded(&tiled, 130, int8).starts_with("gemm_tiled"), "not asked for");
        assert!(
            recorded(&Target { coop: None, ..target }, 130, int8).starts_with("gemm_tiled"),
            "no such units"
        );
    }
}
