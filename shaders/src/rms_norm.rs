//! RMS normalization of each row, times a learned gain, which may differ by modality.

use strix_engine::{Graph, Resident, Tensor};

use crate::cursors::NOT_LIVE;
use crate::dispatch::dispatch;
use crate::generated::variants::Rows;
use crate::kernel::width;
use crate::{Cursors, Variants as _, choose};

pub use crate::generated::rms_norm::{KERNEL, Params, Variants};

/// What tells the rows of a run apart.
#[derive(Clone, Copy, Debug)]
pub struct Mixed {
    /// `[rows]`: row of the gain that each takes.
    pub modality: Tensor<u32, 1>,
    /// Which rows are live.
    pub cursors: Cursors,
}

/// `y = x / sqrt(mean(x²) + eps) · gain[modality]`, row by row. Without `mixed` all rows take the first gain; with it those
/// that are not live are skipped.
///
/// Zhang & Sennrich 2019, eq. 4; a gain per modality as in Ye et al. 2023, eq. 4.
///
/// | name             | shape               | dtype |
/// |------------------|---------------------|-------|
/// | `x`              | `[rows, dim]`       | f32   |
/// | `gain`           | `[modalities, dim]` | f32   |
/// | `mixed.modality` | `[rows]`            | u32   |
/// | `mixed.cursors`  | see [`Cursors`]     | u32   |
/// | result           | `[rows, dim]`       | f32   |
///
/// # Panics
///
/// If `gain` is not as wide as `x`, or `mixed` not for as many rows as it has.
pub fn rms_norm(
    g: &mut Graph,
    name: &str,
    x: Tensor<f32, 2>,
    gain: &Resident<f32, 2>,
    mixed: Option<Mixed>,
    eps: f32,
) -> Tensor<f32, 2> {
    let [rows, dim] = x.shape();
    assert_eq!(gain.shape()[1], dim, "rms_norm: gain against x {:?}", x.shape());

    let gain = g.bind(gain);
    let y = g.activation(name, [rows, dim]);
    let lanes = choose::lanes_of_rows(g, KERNEL.name, rows);
    let kind = if mixed.is_some() { Rows::Mixed } else { Rows::Alike };
    let grid = Variants { lanes, rows: kind, width: width(dim) }.over([rows, 1, 1]);
    if let Some(Mixed { modality, cursors }) = mixed {
        assert_eq!(modality.shape(), [rows], "rms_norm: modality against x {:?}", x.shape());
        cursors.check("rms_norm", rows);
    }
    let (modality, cursors) = (mixed.map(|m| m.modality), mixed.map(|m| m.cursors.rows));
    dispatch!(g, grid, Params { rows, dim, eps }, [x, gain, modality, cursors => y], reference);
    y
}

/// [`rms_norm`] in the plainest code that is right; rows that are alike have no modality and no cursors. Sums in f64.
pub fn reference(p: &Params, x: &[f32], gain: &[f32], modality: &[u32], cursors: &[u32], y: &mut [f32]) {
    let dim = p.dim as usize;
    for row in 0..p.rows as usize {
        if cursors.get(2 * row) == Some(&NOT_LIVE) {
            continue;
        }
        let x = &x[row * dim..][..dim];
        let modality = modality.get(row).map_or(0, |&modality| modality as usize);
        let gain = &gain[modality * dim..][..dim];
        let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / dim as f64;
        let scale = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
        for ((y, &x), &gain) in y[row * dim..].iter_mut().zip(x).zip(gain) {
            *y = (f64::from(x) * scale * f64::from(gain)) as f32;
        }
    }
}
