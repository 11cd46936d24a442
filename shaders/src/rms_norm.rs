//! RMS normalization of each row, times a learned gain, which may differ by modality.

use strix_engine::{Graph, Resident, Tensor};

use crate::kernel::width;
use crate::{choose, dispatch};

pub use crate::generated::rms_norm::{KERNEL, Params};

/// `y = x / sqrt(mean(x²) + eps) · gain[modality]`, row by row. Rows from `span[1]` on are skipped.
///
/// Zhang & Sennrich 2019, eq. 4; a gain per modality as in Ye et al. 2023, eq. 4.
///
/// | name       | shape               | dtype |
/// |------------|---------------------|-------|
/// | `x`        | `[rows, dim]`       | f32   |
/// | `gain`     | `[modalities, dim]` | f32   |
/// | `modality` | `[rows]`            | u32   |
/// | `span`     | `[2]`               | u32   |
/// | result     | `[rows, dim]`       | f32   |
///
/// # Panics
///
/// If `gain` is not as wide as `x`, or `modality` not as long as it has rows.
pub fn rms_norm(
    g: &mut Graph,
    name: &str,
    x: Tensor<f32, 2>,
    gain: &Resident<f32, 2>,
    modality: Tensor<u32, 1>,
    span: Tensor<u32, 1>,
    eps: f32,
) -> Tensor<f32, 2> {
    let [rows, dim] = x.shape();
    assert_eq!(gain.shape()[1], dim, "rms_norm: gain against x {:?}", x.shape());
    assert_eq!(modality.shape(), [rows], "rms_norm: modality against x {:?}", x.shape());
    assert_eq!(span.shape(), [2], "rms_norm: span");

    let gain = g.bind(gain);
    let y = g.activation(name, [rows, dim]);
    let chosen = [("lanes", choose::lanes_of_rows(g, KERNEL.name, rows)), ("width", width(dim))];
    let params = Params { rows, dim, eps };
    dispatch!(g, KERNEL, chosen, params, [x, gain, modality, span => y], [rows, 1, 1], reference);
    y
}

/// [`rms_norm`] in the plainest code that is right. Sums in f64.
pub fn reference(p: &Params, x: &[f32], gain: &[f32], modality: &[u32], span: &[u32], y: &mut [f32]) {
    let dim = p.dim as usize;
    for row in 0..p.rows.min(span[1]) as usize {
        let x = &x[row * dim..][..dim];
        let gain = &gain[modality[row] as usize * dim..][..dim];
        let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / dim as f64;
        let scale = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
        for ((y, &x), &gain) in y[row * dim..].iter_mut().zip(x).zip(gain) {
            *y = (f64::from(x) * scale * f64::from(gain)) as f32;
        }
    }
}
