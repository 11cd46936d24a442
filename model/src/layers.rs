//! Pieces that the vision tower, the abstractor and the decoder have in common.

use strix_engine::{Graph, Resident, Tensor};
use strix_shaders::{Routing, layer_norm};

use crate::parts::ComponentParts;

/// Gain and bias of a LayerNorm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub weight: Resident<f32, 1>,
    pub bias: Resident<f32, 1>,
}

impl Norm {
    /// Declares `{module}.weight` and `{module}.bias`.
    pub(crate) fn declare(parts: &mut ComponentParts<'_, '_>, module: &str, label: &str, dim: usize) -> Self {
        let mut vector =
            |what: &str| parts.tensor(&format!("{module}.{what}"), &format!("{label}.{what}"), [dim as u32]);
        Self { weight: vector("weight"), bias: vector("bias") }
    }

    /// Records the norm as the step `name`.
    pub(crate) fn record(&self, g: &mut Graph, name: &str, x: Tensor<f32, 2>, eps: f32) -> Tensor<f32, 2> {
        layer_norm(g, name, x, &self.weight, &self.bias, eps)
    }
}

/// All rows of a tensor, for projections that every row takes.
pub(crate) fn all_rows(g: &mut Graph, rows: usize) -> Routing {
    let routing = Routing::of(&vec![0; rows]);
    Routing(g.bind(&Resident::from_slice("all rows", [rows as u32 + 2], &routing)))
}
