//! The projection of many rows by a GPU's units for small matrices.

use strix_engine::Target;

use crate::Variants as _;
use crate::gemm::Projection;
use crate::generated::variants::Matrix;
use crate::kernel::Dispatch;
use crate::packing::Format;

pub use crate::generated::gemm_coop::{KERNEL, Params, Variants};

/// Whether the device has such units, with matrices that hold the weights: f16 has too few bits for those of f32.
///
/// With matrices of f16 activations lose what is beyond 11 bits, and so do weights times the scale of their group; those
/// of bf16 and whole rows of int8 are exact. Sums are f32.
pub(crate) fn fits(target: &Target, format: Format) -> bool {
    let holds = target.coop.is_some_and(|coop| !coop.f16 || format != Format::F32);
    holds && matches!(target.subgroup, Some(32 | 64))
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
    let lanes = if target.subgroup == Some(64) { 64 } else { 32 };
    let (layout, bias, residual) = (of.layout, of.bias, of.residual());
    let variants =
        Variants { weights: layout.format.weights(), matrix, lanes, x: layout.x(), bias, residual };
    variants.over([of.tiles(64), layout.packed_rows().div_ceil(64), 1])
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
    fn matrices_multiply_many_rows_where_they_were_asked_for() {
        let coop = Some(Coop { size: 16, f16: true });
        let target =
            Target { subgroup: Some(32), coop, family: Family::Coop, forced: true, ..Target::default() };
        let int8 = Format::Int8 { group: None };
        let label = recorded(&target, 130, int8);
        assert_eq!(
            label,
            "gemm_coop[weights=int8, matrix=f16x16, lanes=32, x=vec4, bias=no, residual=no] [4, 2, 1]"
        );
        assert!(recorded(&target, 1, int8).starts_with("gemv_tiled"), "a single row");
        assert!(recorded(&target, 130, Format::F32).starts_with("gemm_tiled"), "f16 is too narrow for f32");
        let apple = Target { coop: Some(Coop { size: 8, f16: false }), ..target.clone() };
        assert!(recorded(&apple, 130, Format::F32).starts_with("gemm_coop[weights=f32, matrix=f32x8"));
        let tiled = Target { family: Family::Tiled, ..target.clone() };
        assert!(recorded(&tiled, 130, int8).starts_with("gemm_tiled"), "not asked for");
        assert!(
            recorded(&Target { coop: None, ..target }, 130, int8).starts_with("gemm_tiled"),
            "no such units"
        );
    }
}
