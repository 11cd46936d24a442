//! The model's layers in the plainest code that is right, on the CPU: what the engine is held against at full
//! width, where nothing was recorded.
//!
//! Written from the model's equations over row-major weights under their checkpoint names, the rounding of
//! weights included; shares no code with the kernels. Values and sums are f64, so the distance of a device's
//! result is the device's own error. Every tensor on the way is noted under the name that the golden runs give it.

mod decoder;
mod vision;

pub use decoder::Cache;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use strix_model::{Config, Dtype, LoadOptions, Weights};

/// Output columns that one task computes: their weights stay in its core's cache while all rows pass.
const COLUMNS: usize = 16;

/// A matrix of activations, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Elements of a row.
    pub width: usize,
    /// All elements.
    pub values: Vec<f64>,
}

impl Rows {
    /// Rows of f32 elements.
    pub fn from_f32(width: usize, values: &[f32]) -> Self {
        Self { width, values: values.iter().map(|&v| f64::from(v)).collect() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..][..self.width]
    }

    /// Rows `range` of it.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let values = self.values[range.start * self.width..range.end * self.width].to_vec();
        Self { width: self.width, values }
    }

    /// The rows of `self`, then those of `below`.
    fn stacked(mut self, below: &Self) -> Self {
        self.values.extend(&below.values);
        self
    }

    fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|v| *v = f(*v));
        self
    }

    fn zip(mut self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.values.len(), other.values.len());
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a = f(*a, *b));
        self
    }

    fn plus(self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    fn map_rows(&self, f: impl Fn(usize, &[f64]) -> Vec<f64> + Sync) -> Self {
        let rows: Vec<Vec<f64>> = (0..self.len()).into_par_iter().map(|i| f(i, self.row(i))).collect();
        Self { width: rows.first().map_or(self.width, Vec::len), values: rows.concat() }
    }

    /// Elements as the engine has them.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }
}

/// Tensors on the way, under the names of the golden runs; of several pictures, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Points(pub BTreeMap<String, Vec<f32>>);

impl Points {
    fn note(&mut self, name: impl Into<String>, rows: &Rows) {
        self.0.entry(name.into()).or_default().extend(rows.to_f32());
    }
}

/// What a matrix's weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    /// Not at all.
    Exact,
    /// To bf16, nearest even.
    Bf16,
    /// To 8 bits with a scale for each of so many columns, or for the row.
    Int8(Option<usize>),
}

impl Rounding {
    /// A row of weights as the device is meant to see it.
    fn of(self, row: &[f32]) -> Vec<f64> {
        match self {
            Self::Exact => row.iter().map(|&w| f64::from(w)).collect(),
            Self::Bf16 => row.iter().map(|&w| f64::from(bf16(w))).collect(),
            Self::Int8(group) => row.chunks(group.unwrap_or(row.len())).flat_map(int8).collect(),
        }
    }
}

/// The nearest number with 8 bits of mantissa; of two equally near, the even one. `w` is finite.
fn bf16(w: f32) -> f32 {
    let bits = w.to_bits();
    let (below, rest) = (bits >> 16, bits & 0xffff);
    let up = rest > 0x8000 || rest == 0x8000 && below & 1 == 1;
    f32::from_bits((below + u32::from(up)) << 16)
}

/// Weights that share the scale `max|w| / 127`.
fn int8(weights: &[f32]) -> Vec<f64> {
    let scale = weights.iter().fold(0.0_f32, |m, w| m.max(w.abs())) / 127.0;
    let round = |&w: &f32| if scale > 0.0 { f64::from((w / scale).round_ties_even()) } else { 0.0 };
    weights.iter().map(|w| f64::from(scale) * round(w)).collect()
}

/// The model on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    config: &'a Config,
    weights: &'a Weights,
    dtype: Dtype,
    int8_vision: bool,
}

impl<'a> Reference<'a> {
    /// The model of a config with a checkpoint's weights, rounded as a model that is loaded with `options` has
    /// them.
    ///
    /// # Errors
    ///
    /// If the config stretches rotary positions or has no `lm_head` of its own, which this does not do.
    pub fn new(config: &'a Config, weights: &'a Weights, options: &LoadOptions) -> Result<Self> {
        ensure!(config.text.rope_scaling.is_none(), "rope_scaling has no CPU reference");
        ensure!(!config.text.tie_word_embeddings, "tie_word_embeddings has no CPU reference");
        Ok(Self { config, weights, dtype: options.dtype, int8_vision: options.int8_vision })
    }

    /// int8 is for matrices of the decoder and `lm_head`, those of the vision tower and the abstractor where they
    /// are asked for, bf16 for every matrix and the embedding table.
    fn rounding(&self, module: &str) -> Rounding {
        let of_decoder = module == "lm_head" || module.starts_with("model.layers.");
        let of_vision = module.starts_with("model.vis");
        match self.dtype {
            Dtype::Bf16 => Rounding::Bf16,
            Dtype::Int8 { group } if of_decoder || of_vision && self.int8_vision => {
                Rounding::Int8(group.map(|g| g as usize))
            }
            _ => Rounding::Exact,
        }
    }

    /// A tensor that is never rounded.
    fn tensor(&self, name: &str) -> Result<Vec<f64>> {
        let view = self.weights.get(name).with_context(|| format!("{name}: is not in the checkpoint"))?;
        Ok(view.to_f32()?.into_iter().map(f64::from).collect())
    }

    /// `y = x Wᵀ`, plus the bias where the checkpoint has one.
    fn linear(&self, module: &str, x: &Rows) -> Result<Rows> {
        let name = format!("{module}.weight");
        let view = self.weights.get(&name).with_context(|| format!("{name}: is not in the checkpoint"))?;
        let (n, k) = (view.num_rows(), view.shape[1..].iter().product::<usize>());
        ensure!(x.width == k, "{name}: {k} columns for rows of {}", x.width);
        let bias = format!("{module}.bias");
        let bias = match self.weights.get(&bias) {
            Some(_) => self.tensor(&bias)?,
            None => vec![0.0; n],
        };
        let rounding = self.rounding(module);

        let rows = x.len();
        let mut columns = vec![0.0; n * rows];
        let tasks = columns.par_chunks_mut(COLUMNS * rows).enumerate();
        tasks.try_for_each(|(task, columns)| -> Result<()> {
            let first = task * COLUMNS;
            let mut exact = vec![0.0; k];
            let read = |column: usize| -> Result<Vec<f64>> {
                view.read_f32(column * k, &mut exact)?;
                Ok(rounding.of(&exact))
            };
            let weights: Vec<_> = (first..n.min(first + COLUMNS)).map(read).collect::<Result<_>>()?;
            for row in 0..rows {
                for (i, w) in weights.iter().enumerate() {
                    columns[i * rows + row] = dot(x.row(row), w) + bias[first + i];
                }
            }
            Ok(())
        })?;
        let values = (0..rows).flat_map(|row| columns.iter().skip(row).step_by(rows).copied()).collect();
        Ok(Rows { width: n, values })
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias`, row by row.
    fn layer_norm(&self, module: &str, x: &Rows, eps: f64) -> Result<Rows> {
        let weight = self.tensor(&format!("{module}.weight"))?;
        let bias = self.tensor(&format!("{module}.bias"))?;
        Ok(x.map_rows(|_, x| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            let scale = 1.0 / (var + eps).sqrt();
            x.iter().enumerate().map(|(i, v)| (v - mean) * scale * weight[i] + bias[i]).collect()
        }))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

fn softmax(x: &mut [f64]) {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = x.iter().sum();
    x.iter_mut().for_each(|v| *v /= sum);
}

/// `softmax(q kᵀ / sqrt(head_dim)) v`, head by head; row `i` of `q` sees the first `visible(i)` keys.
fn attention(q: &Rows, k: &Rows, v: &Rows, head_dim: usize, visible: impl Fn(usize) -> usize + Sync) -> Rows {
    let heads_per_kv = q.width / k.width;
    q.map_rows(|i, q| {
        let mut out = vec![0.0; q.len()];
        let heads = q.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim));
        for (head, (q, out)) in heads.enumerate() {
            let columns = head / heads_per_kv * head_dim..(head / heads_per_kv + 1) * head_dim;
            let scores = (0..visible(i)).map(|key| dot(q, &k.row(key)[columns.clone()]));
            let mut p: Vec<f64> = scores.map(|s| s / (head_dim as f64).sqrt()).collect();
            softmax(&mut p);
            for (key, p) in p.iter().enumerate() {
                out.iter_mut().zip(&v.row(key)[columns.clone()]).for_each(|(o, v)| *o += p * v);
            }
        }
        out
    })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f64) -> f64 {
    x * sigmoid(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_and_of_two_the_even() {
        for bits in
            [0x3f80_8000_u32, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0xbf81_8000, 0x0000_8001, 0, 0x7f7f_0001]
        {
            let w = f32::from_bits(bits);
            assert_eq!(bf16(w), half::bf16::from_f32(w).to_f32(), "{bits:x}");
        }
        assert_eq!(bf16(f32::from_bits(0x3f80_8000)).to_bits(), 0x3f80_0000);
        assert_eq!(bf16(f32::from_bits(0x3f81_8000)).to_bits(), 0x3f82_0000);
    }

    #[test]
    fn int8_keeps_the_largest_of_each_group() {
        let row = [-254.0, 1.0, 3.0, 126.0, 0.0, 1.27];
        assert_eq!(Rounding::Int8(None).of(&row), [-254.0, 0.0, 4.0, 126.0, 0.0, 2.0]);
        let grouped = Rounding::Int8(Some(4)).of(&row);
        assert_eq!(grouped[..4], [-254.0, 0.0, 4.0, 126.0]);
        assert!((grouped[5] - 1.27).abs() < 1e-7, "{grouped:?}");
        assert_eq!(Rounding::Int8(None).of(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
