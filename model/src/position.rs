//! Position tables: sines and cosines of the abstractor (SPEC §4), rotations of the decoder (SPEC §5).
//!
//! All in f32, as the original computes them: the roundings are part of the model.

use crate::config::{RopeScaling, TextConfig};

/// Sines, then cosines, of each position: `[positions, dim]`.
///
/// `w_i = 10000^(-2i/dim)`; a row is `[sin(p w_0), sin(p w_1), .. , cos(p w_0), cos(p w_1), ..]`.
///
/// # Panics
///
/// If `dim` is odd.
pub fn sincos_1d(dim: usize, positions: impl IntoIterator<Item = usize>) -> Vec<f32> {
    assert!(dim.is_multiple_of(2), "sincos_1d: odd dim {dim}");
    let half = dim / 2;
    let w: Vec<f32> = (0..half).map(|i| 1.0 / 10000f32.powf(i as f32 / half as f32)).collect();

    let mut table = Vec::new();
    for p in positions {
        let p = p as f32;
        table.extend(w.iter().map(|w| (p * w).sin()));
        table.extend(w.iter().map(|w| (p * w).cos()));
    }
    table
}

/// The abstractor's table for its picture tokens: `[grid² + 1, dim]`, a row of zeros for the class token first.
///
/// Patch `(row, column)` is at `1 + row * grid + column` and holds [`sincos_1d`] of its *column*, then of its row.
///
/// # Panics
///
/// If `dim` is not a multiple of 4.
pub fn sincos_2d(dim: usize, grid: usize) -> Vec<f32> {
    assert!(dim.is_multiple_of(4), "sincos_2d: dim {dim} is not a multiple of 4");
    let half = dim / 2;
    let along = sincos_1d(half, 0..grid);
    let at = |p: usize| &along[p * half..][..half];

    let mut table = vec![0.0; dim];
    for row in 0..grid {
        for column in 0..grid {
            table.extend_from_slice(at(column));
            table.extend_from_slice(at(row));
        }
    }
    table
}

/// Cosines and sines of the rotary embedding, `[positions, head_dim / 2]` each.
///
/// Column `j` rotates elements `j` and `j + head_dim / 2` of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTables {
    /// `cos(p · theta^(-2j/head_dim))`.
    pub cos: Vec<f32>,
    /// `sin(p · theta^(-2j/head_dim))`.
    pub sin: Vec<f32>,
}

/// Rotary tables for a sequence of `num_positions`, as transformers 4.31 builds them.
///
/// Linear scaling divides the positions. Dynamic scaling raises the base once `num_positions` exceeds
/// `max_position_embeddings`, so that the tables of a longer sequence differ in every row, not only in the added ones.
pub fn rope_tables(c: &TextConfig, num_positions: usize) -> RopeTables {
    let dim = c.head_dim() as f32;
    let (mut theta, mut stretch) = (c.rope_theta, 1.0);
    match c.rope_scaling {
        Some(RopeScaling::Linear { factor }) => stretch = factor,
        Some(RopeScaling::Dynamic { factor }) if num_positions > c.max_position_embeddings => {
            // A Python number, and so in f64.
            let (factor, dim) = (f64::from(factor), f64::from(dim));
            let longer = num_positions as f64 / c.max_position_embeddings as f64;
            let base = f64::from(theta) * (factor * longer - (factor - 1.0)).powf(dim / (dim - 2.0));
            theta = base as f32;
        }
        _ => {}
    }
    let inv_freq: Vec<f32> = (0..c.head_dim() / 2).map(|j| 1.0 / theta.powf(2.0 * j as f32 / dim)).collect();
    let mut angles = Vec::with_capacity(num_positions * inv_freq.len());
    for p in 0..num_positions {
        angles.extend(inv_freq.iter().map(|w| p as f32 / stretch * w));
    }
    RopeTables {
        cos: angles.iter().copied().map(f32::cos).collect(),
        sin: angles.into_iter().map(f32::sin).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Weights};

    fn worst(got: &[f32], want: &[f32]) -> f32 {
        assert_eq!(got.len(), want.len());
        got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn tables_are_those_stored_in_the_golden_checkpoints() {
        for set in ["tiny", "medium", "gqa", "mamoff"] {
            let dir = format!("{}/../tests/golden/{set}", env!("CARGO_MANIFEST_DIR"));
            let a = Config::load(format!("{dir}/hf").as_ref()).unwrap().abstractor;
            let weights = Weights::open(dir.as_ref()).unwrap();
            let stored = |name| {
                let at = "model.visual_abstractor.encoder.layers.0.crossattention.attention";
                weights.get(&format!("{at}.{name}")).unwrap().to_f32().unwrap()
            };
            let q = worst(&sincos_1d(a.hidden_size, 0..a.num_learnable_queries), &stored("q_pos_embed"));
            let k = worst(&sincos_2d(a.hidden_size, a.grid_size), &stored("k_pos_embed"));
            assert!(q < 1e-6 && k < 1e-6, "{set}: worst {q:e} and {k:e}");
        }
    }

    fn text(json: &str) -> TextConfig {
        Config::from_json(json.as_bytes()).unwrap().text
    }

    #[test]
    fn rope_turns_by_its_definition() {
        let c = text("{}");
        let tables = rope_tables(&c, 300);
        let half = c.head_dim() / 2;
        assert_eq!(tables.cos.len(), 300 * half);
        for (p, j) in [(0, 0), (1, 0), (1, 63), (299, 1), (299, 17), (299, 63)] {
            let angle = p as f64 * 10000f64.powf(-2.0 * j as f64 / 128.0);
            // f32 angles: half a unit in the last place of 299 is 1.5e-5.
            assert!((f64::from(tables.cos[p * half + j]) - angle.cos()).abs() < 3e-5, "cos {p} {j}");
            assert!((f64::from(tables.sin[p * half + j]) - angle.sin()).abs() < 3e-5, "sin {p} {j}");
        }
    }

    #[test]
    fn linear_scaling_divides_positions() {
        let plain = rope_tables(&text("{}"), 10);
        let half = rope_tables(&text(r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#), 20);
        for p in 0..10 {
            assert_eq!(half.cos[2 * p * 64..][..64], plain.cos[p * 64..][..64]);
        }
    }

    #[test]
    fn dynamic_scaling_starts_past_the_trained_length() {
        let c =
            text(r#"{"max_position_embeddings": 16, "rope_scaling": {"type": "dynamic", "factor": 2.0}}"#);
        assert_eq!(rope_tables(&c, 16), rope_tables(&text("{}"), 16));
        // 32 positions: base 10000 * (2 * 32/16 - 1)^(128/126).
        let want = text(&format!(r#"{{"rope_theta": {}}}"#, 10000.0 * 3f64.powf(128.0 / 126.0)));
        assert_eq!(rope_tables(&c, 32), rope_tables(&want, 32));
    }
}
