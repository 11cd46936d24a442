//! Projections: gemm over many rows, gemv over one, with their epilogues, and the gather-scatter
//! modality-split projection.

mod operands;
mod reference;
mod way;
mod ways;

use strix_engine::{Graph, Tensor, TensorId};

use crate::dispatch::dispatch;
use crate::gemm_dot;
use crate::packing::{Format, Linear, LinearStrip};

pub use crate::generated::gemm::{KERNEL, Params, Variants};
pub use operands::{Activation, Input, Routing};
pub(crate) use operands::{Operands, epilogue, params};
pub use reference::reference;
pub(crate) use way::{FEW_ROWS, Projection, ProjectionWay, columns, tiles};

/// `y = x Wᵀ + b` for the rows in `rows`, row by row with the weights of its modality where `w` has two sets. Columns
/// that the sets share are the same for both.
///
/// | name   | shape         | dtype |
/// |--------|---------------|-------|
/// | `x`    | `[≥ rows, k]` | f32   |
/// | `w`    | `[sets, n, k]`| packed|
/// | result | `[rows, n]`   | f32   |
///
/// Rows that `rows` does not list are not computed. A `w` split over bindings takes one dispatch a strip.
///
/// # Panics
///
/// If `x` is not as wide as `w`.
pub fn linear(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::None, None)
}

/// [`linear`] plus the first rows of `residual`, `[≥ rows, n]`.
///
/// # Panics
///
/// If `x` is not as wide as `w`, or the residual not as wide as the result.
pub fn linear_add(
    g: &mut Graph,
    x: impl Into<Input>,
    w: &Linear,
    residual: Tensor<f32, 2>,
    rows: Routing,
) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::None, Some(residual))
}

/// `quick_gelu(x Wᵀ + b)`, where `quick_gelu(t) = t · sigmoid(1.702 t)`.
///
/// # Panics
///
/// As [`linear`].
pub fn linear_quick_gelu(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::QuickGelu, None)
}

/// `silu(x Wgᵀ + bg) ⊙ (x Wuᵀ + bu)` over a gated matrix (Shazeer 2020, SwiGLU).
///
/// # Panics
///
/// As [`linear`], or if `w` is not gated.
pub fn swiglu(g: &mut Graph, x: impl Into<Input>, w: &Linear, rows: Routing) -> Tensor<f32, 2> {
    gemm(g, x, w, rows, Activation::SwiGlu, None)
}

/// The projection with any epilogue.
///
/// # Panics
///
/// As [`linear`], if exactly one of `w` and `activation` is gated, or if there is both an activation and a residual.
pub fn gemm(
    g: &mut Graph,
    x: impl Into<Input>,
    w: &Linear,
    rows: Routing,
    activation: Activation,
    residual: Option<Tensor<f32, 2>>,
) -> Tensor<f32, 2> {
    let input = x.into();
    let shape = input.x.shape();
    let n = w.layout.n;
    assert_eq!(shape[1], w.layout.k, "{}: k of x {shape:?} against {:?}", w.name, w.layout);
    assert!(input.norm.is_none() || rows.capacity() == 1, "{}: a norm on the way is for one row", w.name);
    assert_eq!(w.layout.gated, activation == Activation::SwiGlu, "{}: gated weights are SwiGLU's", w.name);
    if let Some(residual) = residual {
        assert_eq!(residual.shape()[1], n, "{}: residual {:?}", w.name, residual.shape());
    }
    let alone = residual.is_none() || activation == Activation::None;
    assert!(alone, "{}: {activation:?} and a residual", w.name);
    if w.rounds() {
        return gemm_dot::gemm_dot(g, &input, w, rows, activation, residual);
    }
    let y = g.activation(&w.name, [rows.capacity(), n]);
    for strip in &w.strips {
        dispatch_strip(g, &input, strip, w, rows, activation, residual, y);
    }
    y
}

#[expect(clippy::too_many_arguments, reason = "the kernel's own arguments")]
fn dispatch_strip(
    g: &mut Graph,
    input: &Input,
    strip: &LinearStrip,
    whole: &Linear,
    rows: Routing,
    activation: Activation,
    residual: Option<Tensor<f32, 2>>,
    y: Tensor<f32, 2>,
) {
    let params = params(strip, whole.layout.n, activation, input.eps());
    let Operands { weight, scale, bias } = Operands::bind(g, strip);
    let (x, gain, routing) = (input.x, input.gain(g), rows.0);
    let read = [Some(x.id()), gain.map(Tensor::id), Some(weight)];
    let texels = read.into_iter().flatten().all(|id| g.has_texels(id));
    let of = Projection {
        rows: rows.capacity(),
        layout: &strip.shape.layout,
        texels,
        norm: gain.is_some(),
        f16: whole.halves(g.target()),
        bias: bias.is_some(),
        epilogue: epilogue(activation, residual.is_some()),
    };
    let grid = ways::specialise(g, &of);
    // Of rows of int8, which are gemm_dot's.
    let row_scale = None::<TensorId>;
    macro_rules! of_format {
        ($format:literal) => {
            dispatch!(
                g,
                grid,
                params,
                [x, row_scale, gain, routing, weight, scale, bias, residual => y],
                reference::<$format>
            )
        };
    }
    match strip.shape.layout.format {
        Format::F32 => of_format!(0),
        Format::Bf16 => of_format!(1),
        Format::Int8 { .. } => of_format!(2),
    }
}
