//! Layer normalization of each row, times a learned gain, plus a learned bias.

use strix_engine::{Graph, Resident, Tensor};

use crate::dispatch::dispatch;
use crate::kernel::width;
use crate::{Variants as _, choose};

pub use crate::generated::layer_norm::{KERNEL, Params, Variants};

/// `y = (x - mean(x)) / sqrt(var(x) + eps) · gain + bias`, row by row, with the variance of the population.
///
/// Ba et al. 2016, eq. 4.
///
/// | name   | shape         | dtype |
/// |--------|---------------|-------|
/// | `x`    | `[rows, dim]` | f32   |
/// | `gain` | `[dim]`       | f32   |
/// | `bias` | `[dim]`       | f32   |
/// | result | `[rows, dim]` | f32   |
///
/// # Panics
///
/// If `gain` or `bias` is not as long as a row of `x`.
pub fn layer_norm(
    g: &mut Graph,
    name: &str,
    x: Tensor<f32, 2>,
    gain: &Resident<f32, 1>,
    bias: &Resident<f32, 1>,
    eps: f32,
) -> Tensor<f32, 2> {
    let y = g.activation(name, x.shape());
    layer_norm_into(g, x, gain, bias, eps, y, 0);
    y
}

/// [`layer_norm`] into rows `first_row..` of `out`, whose other rows stay as they are.
///
/// | name   | shape                         | dtype |
/// |--------|-------------------------------|-------|
/// | `x`    | `[rows, dim]`                 | f32   |
/// | `gain` | `[dim]`                       | f32   |
/// | `bias` | `[dim]`                       | f32   |
/// | `out`  | `[first_row + rows.., dim]`   | f32   |
///
/// # Panics
///
/// If `gain` or `bias` is not as long as a row of `x`, or the rows do not fit into `out`.
pub fn layer_norm_into(
    g: &mut Graph,
    x: Tensor<f32, 2>,
    gain: &Resident<f32, 1>,
    bias: &Resident<f32, 1>,
    eps: f32,
    out: Tensor<f32, 2>,
    first_row: u32,
) {
    let [rows, dim] = x.shape();
    assert_eq!(gain.shape(), [dim], "layer_norm: gain against x {:?}", x.shape());
    assert_eq!(bias.shape(), [dim], "layer_norm: bias against x {:?}", x.shape());
    let fits = out.shape()[1] == dim && first_row + rows <= out.shape()[0];
    assert!(fits, "layer_norm: x {:?} into rows {first_row}.. of {:?}", x.shape(), out.shape());

    let (gain, bias) = (g.bind(gain), g.bind(bias));
    let variants = Variants { lanes: choose::lanes_of_rows(g, KERNEL.name, rows), width: width(dim) };
    let params = Params { rows, dim, first_row, eps };
    dispatch!(g, variants.over([rows, 1, 1]), params, [x, gain, bias => out], reference);
}

/// [`layer_norm_into`] in the plainest code that is right. Sums in f64.
pub fn reference(p: &Params, x: &[f32], gain: &[f32], bias: &[f32], y: &mut [f32]) {
    let dim = p.dim as usize;
    let y = y[p.first_row as usize * dim..].chunks_exact_mut(dim);
    for (x, y) in x.chunks_exact(dim).zip(y).take(p.rows as usize) {
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / dim as f64;
        let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / dim as f64;
        let scale = 1.0 / (variance + f64::from(p.eps)).sqrt();
        for (i, y) in y.iter_mut().enumerate() {
            *y = ((f64::from(x[i]) - mean) * scale * f64::from(gain[i]) + f64::from(bias[i])) as f32;
        }
    }
}
