//! The ways in which a projection can be specialised, and the choice among them.

use strix_engine::{Graph, Target};

use super::way::{FEW_ROWS, Projection, ProjectionWay, columns};
use crate::choose::{RowClass, choose};
use crate::generated::gemm::{KERNEL, Variants};
use crate::generated::variants::{Lanes, Loads, X};
use crate::kernel::{Dispatch, Value, lanes, read_texels};
use crate::packing::Format;
use crate::{Variants as _, defaults, gemm_coop, gemm_tiled, gemv_tiled};

/// Every way to project that is legal on such a device, the likeliest of each family first.
fn ways(target: &Target, of: &Projection<'_>) -> Vec<ProjectionWay> {
    let rows = of.rows;
    let mut ways = vec![];
    if of.halves() {
        ways.extend(gemm_tiled::ways(target, rows, true));
        ways.extend(gemm_coop::fits(target, of.layout.format).then_some(ProjectionWay::Coop));
        return ways;
    }
    if let Some(lanes) = lanes(target) {
        let tiles: &[u32] = match (rows, lanes) {
            (1, _) => &[1],
            (2, 16 | 8) => &[2, 4, 8],
            (3..=4, 16 | 8) => &[4, 2, 8],
            (5..=8, 16 | 8) => &[8, 4, 16],
            (_, 16) => &[16, 8],
            (_, 8) => &[8, 16],
            _ => &[8],
        };
        let texels = of.texels && of.layout.k.is_multiple_of(4) && read_texels(lanes);
        let loads: &[Loads] = if texels { &[Loads::Texels, Loads::Storage] } else { &[Loads::Storage] };
        for &loads in loads {
            ways.extend(tiles.iter().map(|&rows| ProjectionWay::Subgroup { rows, loads }));
        }
    }
    if rows <= FEW_ROWS {
        ways.extend(gemv_tiled::ways(rows));
    }
    if rows > 1 {
        ways.extend(gemm_tiled::ways(target, rows, false));
        ways.extend(gemm_coop::fits(target, of.layout.format).then_some(ProjectionWay::Coop));
    }
    ways.push(ProjectionWay::Plain);
    ways
}

/// The dispatch of a projection, in the best of its ways.
pub(super) fn specialise(g: &mut Graph, of: &Projection<'_>) -> Dispatch {
    let (weights, class) = (of.layout.format.weights(), RowClass::class(of.rows));
    let best = defaults::gemm(g.target().class(), weights, class);
    let legal = ways(g.target(), of);
    let halves = if of.halves() { " f16" } else { "" };
    let situation = format!("{}{halves} {class}", Value::from(weights));
    let way = choose(g, KERNEL.name, &situation, &legal, best);
    match way {
        ProjectionWay::Subgroup { rows, loads } => lanes_wide(lanes(g.target()).into(), rows, loads, of),
        ProjectionWay::Plain => {
            lanes_wide(Lanes::Plain, if of.rows == 1 { 1 } else { 8 }, Loads::Storage, of)
        }
        ProjectionWay::Sliced { blocks, threads } => gemv_tiled::specialise(blocks, threads, of),
        ProjectionWay::Tiled { rows, cols } => gemm_tiled::specialise(rows, cols, of),
        ProjectionWay::Coop => gemm_coop::specialise(g.target(), of),
    }
}

/// [`ProjectionWay::Subgroup`] and [`ProjectionWay::Plain`].
fn lanes_wide(lanes: Lanes, rows: u32, loads: Loads, of: &Projection<'_>) -> Dispatch {
    let &Projection { layout, norm, bias, epilogue, .. } = of;
    let width = columns(lanes);
    // A turn of the loop takes 128 columns of one row with groups, else what one load of all lanes has.
    let step = match layout.format {
        Format::Int8 { group: Some(_) } if of.rows == 1 => width.max(128),
        _ => width,
    };
    let whole = lanes != Lanes::Plain && layout.k.is_multiple_of(step);
    let x = if whole { X::Whole } else { layout.x() };
    let variants = Variants { weights: layout.format.weights(), lanes, rows, x, loads, norm, epilogue, bias };
    variants.over([of.tiles(rows), layout.packed_rows().div_ceil(width), 1])
}
