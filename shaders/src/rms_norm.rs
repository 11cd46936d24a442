//! RMS normalization of each row, times a learned gain, which may differ by modality.

use strix_engine::{Graph, Resident, Tensor};

use crate::cursors::NOT_LIVE;
use crate::kernel::width;
use crate::{Cursors, choose, dispatch};

pub use crate::generated::rms_norm::{KERNEL, Params};

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
    let chosen = |rows| [("lanes", lanes), ("rows", rows), ("width", width(dim))];
    let (params, groups) = (Params { rows, dim, eps }, [rows, 1, 1]);
    match mixed {
        None => dispatch!(g, KERNEL, chosen("alike"), params, [x, gain => y], groups, reference_alike),
        Some(Mixed { modality, cursors }) => {
            assert_eq!(modality.shape(), [rows], "rms_norm: modality against x {:?}", x.shape());
            cursors.check("rms_norm", rows);
            let cursors = cursors.rows;
            dispatch!(g, KERNEL, chosen("mixed"), params, [x, gain, modality, cursors => y], groups, reference);
        }
    }
    y
}

/// [`rms_norm`] of mixed rows in the plainest code that is right. Sums in f64.
pub fn reference(p: &Params, x: &[f32], gain: &[f32], modality: &[u32], cursors: &[u32], y: &mut [f32]) {
    let dim = p.dim as usize;
    let live = cursors.chunks_exact(2).map(|cursor| cursor[0] != NOT_LIVE);
    for (row, _) in live.take(p.rows as usize).enumerate().filter(|(_, live)| *live) {
        let x = &x[row * dim..][..dim];
        let gain = &gain[modality[row] as usize * dim..][..dim];
        let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / dim as f64;
        let scale = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
        for ((y, &x), &gain) in y[row * dim..].iter_mut().zip(x).zip(gain) {
            *y = (f64::from(x) * scale * f64::from(gain)) as f32;
        }
    }
}

/// [`rms_norm`] of rows that are alike in the plainest code that is right.
pub fn reference_alike(p: &Params, x: &[f32], gain: &[f32], y: &mut [f32]) {
    let rows = p.rows as usize;
    reference(p, x, gain, &vec![0; rows], &vec![0; 2 * rows], y);
}
