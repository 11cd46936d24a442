//! The projection of few rows on a GPU: many workgroups, the columns of x split within each.

use crate::Variants as _;
use crate::gemm::{FEW_ROWS, Projection, ProjectionWay};
use crate::generated::variants::X;
use crate::kernel::Dispatch;

pub use crate::generated::gemv_tiled::{KERNEL, Params, Variants};

/// Blocks and threads of a workgroup, the likeliest first. Of several rows more blocks are more than a small GPU has
/// registers for.
pub(crate) fn ways(rows: u32) -> impl Iterator<Item = ProjectionWay> {
    let sizes = [(2, 256), (2, 64), (4, 256), (4, 64)].into_iter().take(if rows == 1 { 4 } else { 2 });
    sizes.map(|(blocks, threads)| ProjectionWay::Sliced { blocks, threads })
}

/// [`gemm()`](crate::gemm::gemm()) of few rows, in workgroups of so many blocks and threads.
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(blocks: u32, threads: u32, of: &Projection<'_>) -> Dispatch {
    let &Projection { layout, norm, bias, .. } = of;
    let rows = of.rows.next_power_of_two().min(FEW_ROWS);
    let (weights, residual) = (layout.format.weights(), of.residual());
    // Packed rows are of whole steps of 32 columns.
    let x = if layout.k.is_multiple_of(32) { X::Whole } else { layout.x() };
    let variants = Variants { weights, rows, blocks, threads, x, norm, bias, residual };
    variants.over([of.tiles(rows), layout.blocks().div_ceil(blocks), 1])
}

#[cfg(test)]
mod tests {
    use strix_engine::{Graph, Target};

    use crate::gemm::Routing;
    use crate::{Format, Layout, Linear, linear};

    #[test]
    fn few_rows_are_taken_by_one_workgroup_so_that_weights_are_read_once() {
        let format = Format::Int8 { group: None };
        let layout = Layout { n: 100, k: 96, sets: 1, shared: 0, gated: false, format };
        let w = Linear::declare("w", "w", layout, false, u64::MAX);
        for (rows, taken) in [(1, 1), (2, 2), (3, 4), (7, 8), (9, 16), (16, 16)] {
            let mut g = Graph::new(Target::default());
            let (x, routing) = (g.input("x", [rows, 96]), Routing(g.input("routing", [rows + 2])));
            linear(&mut g, x, &w, routing);
            let step = &g.steps()[0];
            let label = &step.shader.label;
            assert!(
                label.starts_with("gemv_tiled[") && label.contains(&format!(" rows={taken},")),
                "{label}"
            );
            assert_eq!(step.groups[0], 1, "{rows} rows");
        }
    }
}
