//! The ways in which a projection can be specialised, and the choice among them.

use strix_engine::{Family, Graph, Target};

use super::{KERNEL, Variants};
use crate::choose::{self, Rows, choose};
use crate::generated::variants::{Epilogue, Lanes, Loads, X};
use crate::kernel::{Dispatch, Value, lanes, read_texels};
use crate::packing::{Format, Layout};
use crate::{Variants as _, defaults, gemm_coop, gemm_tiled, gemv_tiled};

/// A way to project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A subgroup takes so many rows, with such loads of rows and weights.
    Subgroup { rows: u32, loads: Loads },
    /// See [`gemv_tiled`].
    Sliced { blocks: u32, threads: u32 },
    /// See [`gemm_tiled`].
    Tiled { rows: u32, cols: u32 },
    /// See [`gemm_coop`].
    Coop,
    /// As `Subgroup`, without broadcasts: every lane loads all of x.
    Plain,
}

impl choose::Way for Way {
    fn family(self) -> Family {
        match self {
            Self::Subgroup { .. } => Family::Subgroup,
            Self::Sliced { .. } | Self::Tiled { .. } => Family::Tiled,
            Self::Coop => Family::Coop,
            Self::Plain => Family::Plain,
        }
    }

    fn values(self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Subgroup { rows, loads } => vec![("rows", rows.into()), ("loads", loads.into())],
            Self::Sliced { blocks, threads } => {
                vec![("blocks", blocks.into()), ("threads", threads.into())]
            }
            Self::Tiled { rows, cols } => vec![("rows", rows.into()), ("cols", cols.into())],
            Self::Coop | Self::Plain => vec![],
        }
    }
}

/// A projection to be specialised.
pub(crate) struct Projection<'a> {
    /// At most so many rows.
    pub(crate) rows: u32,
    /// The matrix.
    pub(crate) layout: &'a Layout,
    /// Whether rows, gain and weights can be read as texels.
    pub(crate) texels: bool,
    /// Whether the row is normalised on the way.
    pub(crate) norm: bool,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    /// Epilogue of the sum.
    pub(crate) epilogue: Epilogue,
}

impl Projection<'_> {
    /// Whether there is a residual.
    pub(crate) fn residual(&self) -> bool {
        self.epilogue == Epilogue::Residual
    }

    /// Tiles of so many rows that hold them all: those of the second set begin another.
    pub(crate) fn tiles(&self, rows: u32) -> u32 {
        self.rows.div_ceil(rows) + self.layout.sets - 1
    }
}

/// Every way to project that is legal on such a device, the likeliest of each family first.
fn ways(target: &Target, of: &Projection<'_>) -> Vec<Way> {
    let rows = of.rows;
    let mut ways = vec![];
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
            ways.extend(tiles.iter().map(|&rows| Way::Subgroup { rows, loads }));
        }
    }
    if rows <= gemv_tiled::ROWS {
        ways.extend(gemv_tiled::ways());
    }
    if rows > 1 {
        ways.extend(gemm_tiled::ways(target, rows));
        ways.extend(gemm_coop::fits(target, of.layout.format).then_some(Way::Coop));
    }
    ways.push(Way::Plain);
    ways
}

/// The dispatch of a projection, in the best of its ways.
pub(super) fn specialise(g: &mut Graph, of: &Projection<'_>) -> Dispatch {
    let (weights, class) = (of.layout.format.weights(), Rows::class(of.rows));
    let best = defaults::gemm(g.target().class(), weights, class);
    let legal = ways(g.target(), of);
    let way = choose(g, KERNEL.name, &format!("{} {class}", Value::from(weights)), &legal, best);
    match way {
        Way::Subgroup { rows, loads } => lanes_wide(lanes(g.target()).into(), rows, loads, of),
        Way::Plain => lanes_wide(Lanes::Plain, if of.rows == 1 { 1 } else { 8 }, Loads::Storage, of),
        Way::Sliced { blocks, threads } => gemv_tiled::specialise(blocks, threads, of),
        Way::Tiled { rows, cols } => gemm_tiled::specialise(rows, cols, of),
        Way::Coop => gemm_coop::specialise(g.target(), of),
    }
}

/// [`Way::Subgroup`] and [`Way::Plain`].
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

/// Packed columns of a workgroup of so many lanes: each has four.
pub(crate) fn columns(lanes: Lanes) -> u32 {
    match lanes {
        Lanes::Of(lanes) => 4 * lanes,
        _ => 4 * 32,
    }
}
