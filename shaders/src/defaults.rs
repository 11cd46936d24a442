//! The best way on devices of each class, as `strix tune` found it there, where it is not the first legal way of the
//! class's own family.
//!
//! CPU drivers: lavapipe of Mesa 22.3 with vectors of 512 bits, 2026-11-25, int8 without groups 2026-11-29; with vectors of
//! 256 bits those of eight rows come first anyway.

use strix_engine::Family;

use crate::attention::AttentionWay as Attention;
use crate::choose::RowClass;
use crate::gemm::ProjectionWay as Projection;
use crate::generated::variants::{Heads, Loads, Weights};

/// For projections.
pub(crate) fn gemm(class: Family, weights: Weights, rows: RowClass) -> Option<Projection> {
    match (class, weights, rows) {
        (Family::Subgroup, Weights::Int8Group, RowClass::Many) => {
            Some(Projection::Subgroup { rows: 8, loads: Loads::Texels })
        }
        // Most of a tile of matrices would be empty.
        (Family::Coop, _, rows) if rows != RowClass::Many => {
            Some(Projection::Sliced { blocks: 2, threads: 256 })
        }
        _ => None,
    }
}

/// For attention over heads of so many dimensions.
pub(crate) fn attention(class: Family, heads: Heads, dims: u32) -> Option<Attention> {
    match (class, heads, dims) {
        (Family::Subgroup, Heads::Vec4, 64) => {
            Some(Attention::Subgroup { queries: 32, keys: 2, loads: Loads::Texels })
        }
        _ => None,
    }
}
