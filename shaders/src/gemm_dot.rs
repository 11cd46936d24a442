//! Projections of activations rounded to int8 by weights of int8.

use strix_engine::{Family, Graph, Tensor};

use crate::choose::{self, Way};
use crate::gemm::{self, Activation, Input, Routing};
use crate::kernel::read_texels;
use crate::packing::{Linear, LinearPart};
use crate::{dispatch, lanes, quantise_rows};

pub use crate::generated::gemm_dot::{KERNEL, Params};

/// Columns whose products of int8 add up to what 32 bits hold.
pub const MAX_COLUMNS: u32 = 131_072;

/// [`gemm()`](gemm::gemm()) of rows rounded to int8: sums over a row, or over the columns that share a scale of the
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
    let epilogue = gemm::epilogue(activation, residual.is_some());
    let y = g.activation(&w.name, [rows.capacity(), w.layout.n]);
    let rounded = match choose::value(&way, "x") {
        "int8" => Some(quantise_rows::quantise_rows(g, &w.name, input, rows)),
        _ => None,
    };
    for part in w.parts_read(g) {
        let params = gemm::params(part, w.layout.n, activation, residual.is_some(), input.norm.as_ref());
        let [weight, scale, bias, residual] = gemm::operands(g, part, residual);
        let (x, gain) = match &rounded {
            Some(rounded) => (rounded.words.id(), rounded.scale.id()),
            None => (input.x.id(), input.gain(g, weight)),
        };
        let routing = rows.0;
        let texels = [x, gain, weight].into_iter().all(|id| g.has_texels(id));
        let normed = input.norm.is_some();
        let (chosen, groups) = specialise(g, &way, part, rows.capacity(), normed, texels, epilogue);
        if rounded.is_some() {
            dispatch!(g, KERNEL, chosen, params, [x, gain, routing, weight, scale, bias, residual => y], groups, reference);
        } else {
            dispatch!(g, KERNEL, chosen, params, [x, gain, routing, weight, scale, bias, residual => y], groups, reference_of_floats);
        }
    }
    y
}

/// The best of the ways there are.
fn choose_way(g: &mut Graph, w: &Linear, rows: u32) -> Way {
    let way = |family: Family, x| vec![("family", family.name()), ("x", x)];
    let mut legal = vec![];
    if lanes(g.target()) != "plain" {
        if rows == 1 && w.layout.k.is_multiple_of(4) {
            legal.push(way(Family::Subgroup, "vec4"));
        }
        legal.push(way(Family::Subgroup, "int8"));
    }
    legal.push(way(Family::Plain, "int8"));
    let situation = format!("{} {}", w.layout.format.variant(), choose::rows_class(rows));
    choose::choose(g, KERNEL.name, &situation, &legal)
}

fn specialise(
    g: &Graph,
    way: &Way,
    part: &LinearPart,
    rows: u32,
    normed: bool,
    texels: bool,
    epilogue: &'static str,
) -> (Vec<(&'static str, &'static str)>, [u32; 3]) {
    let lanes = if choose::value(way, "family") == "plain" { "plain" } else { lanes(g.target()) };
    let x = choose::value(way, "x");
    let tile = if rows == 1 { 1 } else { 8 };
    let chosen = vec![
        ("weights", part.part.layout.format.variant()),
        ("lanes", lanes),
        ("rows", if rows == 1 { "1" } else { "8" }),
        ("x", x),
        ("loads", if texels && read_texels(lanes) { "texels" } else { "storage" }),
        ("norm", if normed && x != "int8" { "yes" } else { "no" }),
        ("epilogue", epilogue),
    ];
    let width = lanes.parse().unwrap_or(32);
    let tiles = (rows.div_ceil(tile) + part.part.layout.sets - 1).min(rows);
    (chosen, [tiles, part.part.layout.packed_rows().div_ceil(4 * width), 1])
}

/// [`gemm()`](gemm::gemm()) of rows of int8 in the plainest code that is right. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference(
    p: &Params,
    x: &[u32],
    row_scale: &[f32],
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
    let p: gemm::Params = bytemuck::cast(Params { norm: 0, ..*p });
    gemm::reference::<2>(&p, &x, &[], routing, weight, scale, bias, residual, y);
}

/// The same of a single row that is rounded on the way.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference_of_floats(
    p: &Params,
    x: &[f32],
    gain: &[f32],
    routing: &[u32],
    weight: &[u32],
    scale: &[f32],
    bias: &[f32],
    residual: &[f32],
    y: &mut [f32],
) {
    let (mut words, mut row_scale) = (vec![0; p.k.div_ceil(32) as usize * 8], [0.0]);
    let rounding = quantise_rows::Params { k: p.k, norm: p.norm, eps: p.eps };
    quantise_rows::reference(&rounding, x, gain, routing, &mut words, &mut row_scale);
    reference(p, &words, &row_scale, routing, weight, scale, bias, residual, y);
}
