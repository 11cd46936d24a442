//! Rows of activations as int8.

use strix_engine::{Graph, Tensor};

use crate::dispatch::dispatch;
use crate::gemm::{Input, Routing};
use crate::generated::variants::X;
use crate::{Variants as _, choose};

pub use crate::generated::quantise_rows::{KERNEL, Params, Variants};

/// Rows of int8, and what they are multiples of.
#[derive(Clone, Copy, Debug)]
pub struct Quantised {
    /// Four columns a word, `[rows, k / 4]`, padded with zeros to a multiple of 32 columns.
    pub words: Tensor<u32, 2>,
    /// `[rows]`.
    pub scale: Tensor<f32, 1>,
}

/// `q = round(127 x / max |x|)`, `scale = max |x| / 127`, row by row, to nearest, ties to even, for the first rows of x:
/// as many as `rows` has room for. A row that is to be normalised is so.
///
/// | name    | shape         | dtype |
/// |---------|---------------|-------|
/// | `x`     | `[≥ rows, k]` | f32   |
/// | `words` | `[rows, k/4]` | int8, four a word |
/// | `scale` | `[rows]`      | f32   |
///
/// # Panics
///
/// If `x` has fewer rows.
pub fn quantise_rows(g: &mut Graph, name: &str, input: &Input, rows: Routing) -> Quantised {
    let x = input.x;
    let ([x_rows, k], count) = (x.shape(), rows.capacity());
    assert!(count <= x_rows, "quantise_rows: {count} rows of x {:?}", x.shape());
    let words = g.activation(&format!("{name}.int8"), [count, k.div_ceil(32) * 8]);
    let scale = g.activation(&format!("{name}.int8_scale"), [count]);
    let (gain, eps) = (input.gain(g), input.eps());
    let variants = Variants {
        lanes: choose::lanes_of_rows(g, KERNEL.name, count),
        x: if k.is_multiple_of(4) { X::Vec4 } else { X::Scalar },
        norm: gain.is_some(),
    };
    // What modality a row is of matters to its gain alone.
    let routing = gain.map(|_| rows.0);
    let grid = variants.over([count, 1, 1]);
    dispatch!(g, grid, Params { k, eps }, [x, gain, routing => words, scale], reference);
    Quantised { words, scale }
}

/// [`quantise_rows`] in the plainest code that is right; there is no gain where no row is normalised. A quotient that lies between two integers is as the kernel has it
/// only if it is computed as there, in f32.
pub fn reference(p: &Params, x: &[f32], gain: &[f32], routing: &[u32], words: &mut [u32], scale: &mut [f32]) {
    let (k, padded) = (p.k as usize, p.k.div_ceil(32) as usize * 32);
    let rows = (words.len() * 4 / padded).min(x.len() / k);
    for row in 0..rows {
        let mut x = x[row * k..][..k].to_vec();
        let mut root = 1.0;
        if !gain.is_empty() {
            let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / k as f64;
            root = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
            let gain = &gain[usize::from(routing[0] == 0) * k..][..k];
            x.iter_mut().zip(gain).for_each(|(x, gain)| *x *= gain);
        }
        let largest = x.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        x.resize(padded, 0.0);
        for (word, x) in words[row * padded / 4..].iter_mut().zip(x.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(x.map(|v| (v * factor).round_ties_even() as i8 as u8));
        }
        scale[row] = (f64::from(largest / 127.0) * root) as f32;
    }
}
