//! Projections of activations rounded to int8 by weights of int8.

use strix_engine::{Family, Graph, Tensor};

use crate::Variants as _;
use crate::choose::{RowClass, Way, choose};
use crate::dispatch::dispatch;
use crate::gemm::{Activation, Input, Operands, Routing, columns, epilogue, params, tiles};
use crate::generated::variants::{Lanes, Loads, X};
use crate::kernel::{Value, lanes, read_texels};
use crate::packing::Linear;
use crate::quantise_rows::{self, Quantised};

pub use crate::generated::gemm_dot::{KERNEL, Params, Variants};

/// Columns whose products of int8 add up to what 32 bits hold.
pub const MAX_COLUMNS: u32 = 131_072;

/// [`gemm()`](crate::gemm::gemm()) of rows rounded to int8: sums over a row, or over the columns that share a scale of the
/// weights, are exact, and then multiplied by the row's scale.
///
/// Many rows take a dispatch of their own to be rounded ([`quantise_rows()`](quantise_rows::quantise_rows())); a single one
/// can be rounded by the projection.
///
/// # Panics
///
/// If a row has so many columns that a sum might not fit into 32 bits: above 131,072.
pub(crate) fn gemm_dot(
    g: &mut Graph,
    input: &Input,
    w: &Linear,
    rows: Routing,
    activation: Activation,
    residual: Option<Tensor<f32, 2>>,
) -> Tensor<f32, 2> {
    let k = w.layout.k;
    assert!(k <= MAX_COLUMNS, "{}: sums over {k} columns of int8 may not fit into 32 bits", w.name);
    let way = choose_way(g, w, rows.capacity());
    let epilogue = epilogue(activation, residual.is_some());
    let y = g.activation(&w.name, [rows.capacity(), w.layout.n]);
    let rounded = match way {
        DotWay::Fused => None,
        DotWay::Subgroup | DotWay::Plain => Some(quantise_rows::quantise_rows(g, &w.name, input, rows)),
    };
    for strip in &w.strips {
        let params = params(strip, w.layout.n, activation, input.eps());
        let params: Params = bytemuck::cast(params);
        let Operands { weight, scale, bias } = Operands::bind(g, strip);
        let (x, row_scale, gain) = match &rounded {
            Some(Quantised { words, scale }) => (words.id(), Some(*scale), None),
            None => (input.x.id(), None, input.gain(g)),
        };
        let read = [Some(x), gain.map(Tensor::id), Some(weight)];
        let texels = read.into_iter().flatten().all(|id| g.has_texels(id));
        let (lanes, loads) = match lanes(g.target()).filter(|_| way != DotWay::Plain) {
            Some(lanes) if texels && read_texels(lanes) => (Lanes::Of(lanes), Loads::Texels),
            lanes => (lanes.into(), Loads::Storage),
        };
        let (layout, tile) = (strip.shape.layout, if rows.capacity() == 1 { 1 } else { 8 });
        let variants = Variants {
            weights: layout.format.weights(),
            lanes,
            rows: tile,
            x: if rounded.is_some() { X::Int8 } else { X::Vec4 },
            loads,
            norm: gain.is_some(),
            epilogue,
            bias: bias.is_some(),
        };
        let tiles = tiles(rows.capacity(), tile, &layout);
        let grid = variants.over([tiles, layout.packed_rows().div_ceil(columns(lanes)), 1]);
        let routing = rows.0;
        macro_rules! with {
            ($reference:expr) => {
                dispatch!(
                    g,
                    grid,
                    params,
                    [x, row_scale, gain, routing, weight, scale, bias, residual => y],
                    $reference
                )
            };
        }
        if rounded.is_some() { with!(reference) } else { with!(reference_of_floats) }
    }
    y
}

/// A way to project rows of int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DotWay {
    /// A subgroup shares what its lanes loaded; a single row is rounded by each workgroup for itself.
    Fused,
    /// The same of rows that are rounded by a dispatch of their own.
    Subgroup,
    /// Without subgroups.
    Plain,
}

impl Way for DotWay {
    fn family(self) -> Family {
        if self == Self::Plain { Family::Plain } else { Family::Subgroup }
    }

    fn values(self) -> Vec<(&'static str, Value)> {
        vec![("x", if self == Self::Fused { X::Vec4 } else { X::Int8 }.into())]
    }
}

/// The best of the ways there are.
fn choose_way(g: &mut Graph, w: &Linear, rows: u32) -> DotWay {
    let mut legal = vec![];
    if lanes(g.target()).is_some() {
        if rows == 1 && w.layout.k.is_multiple_of(4) {
            legal.push(DotWay::Fused);
        }
        legal.push(DotWay::Subgroup);
    }
    legal.push(DotWay::Plain);
    let situation = format!("{} {}", Value::from(w.layout.format.weights()), RowClass::class(rows));
    choose(g, KERNEL.name, &situation, &legal, None)
}

/// [`gemm()`](crate::gemm::gemm()) of rows of int8 in the plainest code that is right. What is absent is empty. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference(
    p: &Params,
    x: &[u32],
    row_scale: &[f32],
    _gain: &[f32],
    routing: &[u32],
    weight: &[u32],
    scale: &[f32],
    bias: &[f32],
    residual: &[f32],
    y: &mut [f32],
) {
    let (k, words) = (p.k as usize, p.k.div_ceil(32) as usize * 8);
    let row = |(words, &scale): (&[u32], &f32)| -> Vec<f32> {
        let columns = words.iter().flat_map(|word| word.to_le_bytes());
        columns.take(k).map(|q| f32::from(q as i8) * scale).collect()
    };
    let x: Vec<f32> = x.chunks_exact(words).zip(row_scale).flat_map(row).collect();
    let p: crate::generated::gemm::Params = bytemuck::cast(*p);
    crate::gemm::reference::<2>(&p, &x, &[], &[], routing, weight, scale, bias, residual, y);
}

/// The same of a single row that is rounded on the way.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference_of_floats(
    p: &Params,
    x: &[f32],
    _row_scale: &[f32],
    gain: &[f32],
    routing: &[u32],
    weight: &[u32],
    scale: &[f32],
    bias: &[f32],
    residual: &[f32],
    y: &mut [f32],
) {
    let (mut words, mut row_scale) = (vec![0; p.k.div_ceil(32) as usize * 8], [0.0]);
    let rounding = quantise_rows::Params { k: p.k, eps: p.eps };
    quantise_rows::reference(&rounding, x, gain, routing, &mut words, &mut row_scale);
    reference(p, &words, &row_scale, &[], routing, weight, scale, bias, residual, y);
}
