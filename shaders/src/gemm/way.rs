//! A projection to be specialised, and the ways to do it.

use strix_engine::Family;

use crate::choose::Way;
use crate::generated::variants::{Epilogue, Lanes, Loads};
use crate::kernel::Value;
use crate::packing::Layout;

/// At most so many rows read the weights once, whatever that costs in products: see [`gemv_tiled`](crate::gemv_tiled).
pub(crate) const FEW_ROWS: u32 = 16;

/// A way to project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProjectionWay {
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

impl Way for ProjectionWay {
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
    /// Whether products of many rows are of f16.
    pub(crate) f16: bool,
    /// Epilogue of the sum.
    pub(crate) epilogue: Epilogue,
}

impl Projection<'_> {
    /// Whether there is a residual.
    pub(crate) fn residual(&self) -> bool {
        self.epilogue == Epilogue::Residual
    }

    /// Whether its products are of f16: few rows wait for their weights, not for products.
    pub(crate) fn halves(&self) -> bool {
        self.f16 && self.rows > FEW_ROWS && self.layout.k.is_multiple_of(4)
    }

    /// See [`tiles`].
    pub(crate) fn tiles(&self, rows: u32) -> u32 {
        tiles(self.rows, rows, self.layout)
    }
}

/// Tiles of `size` rows that hold `rows` rows: those of the second set begin another, and none is empty.
pub(crate) fn tiles(rows: u32, size: u32, layout: &Layout) -> u32 {
    (rows.div_ceil(size) + layout.sets - 1).min(rows)
}

/// Packed columns of a workgroup of so many lanes: each has four.
pub(crate) fn columns(lanes: Lanes) -> u32 {
    match lanes {
        Lanes::Of(lanes) => 4 * lanes,
        _ => 4 * 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Format;

    #[test]
    fn no_tile_is_empty_and_the_second_sets_rows_begin_another() {
        let layout = |sets| Layout { n: 32, k: 32, sets, shared: 0, gated: false, format: Format::F32 };
        for (rows, size, sets, count) in
            [(1, 1, 1, 1), (1, 8, 2, 1), (2, 8, 2, 2), (8, 8, 1, 1), (9, 8, 1, 2), (9, 8, 2, 3)]
        {
            assert_eq!(
                tiles(rows, size, &layout(sets)),
                count,
                "{rows} rows of {sets} sets in tiles of {size}"
            );
        }
    }
}
