//! Projections: many rows are a gemm, one is a gemv, each with what follows the sum.

use strix_model::Config;
use strix_model::tune::data;
use strix_shaders::gemm::{Activation, Input, gemm};
use strix_shaders::packing::BLOCK;
use strix_shaders::{Layout, Routing};

use super::bench::{BATCH, Bench, Operands, PREFILL, Record, Turns, copies};
use crate::{Error, Result, Shape, Work};

/// A projection with its epilogue.
#[derive(Clone, Copy)]
struct Projection {
    rows: u32,
    layout: Layout,
    /// Whether half of the rows are an image's.
    mixed: bool,
    bias: bool,
    residual: bool,
    norm: bool,
    activation: Activation,
}

pub(super) fn bench(shape: Shape) -> Result<Bench> {
    let unknown = || Error::Shape { shape: shape.to_string(), reason: "it is no projection".into() };
    let format = shape.format().ok_or_else(unknown)?;
    let (rows, n, k) = match shape.sizes[..] {
        [n, k] => (1, n, k),
        [rows, n, k] => (rows, n, k),
        _ => return Err(unknown()),
    };
    let fused = shape.kernel.get(5..).unwrap_or("");
    // Projections of the vision tower have a bias, and all their rows are of one modality.
    let vision = ["vision", "abstractor"].contains(&shape.regime.as_str());
    let activation = match fused {
        "swiglu" => Activation::SwiGlu,
        "quick_gelu" => Activation::QuickGelu,
        _ => Activation::None,
    };
    // Queries, keys and values are three matrices in one. The modalities share the first.
    let (sets, shared) = if fused == "by" { (2, n / 3 / BLOCK * BLOCK) } else { (1, 0) };
    let p = Projection {
        rows,
        layout: Layout { n, k, sets, shared, gated: activation == Activation::SwiGlu, format },
        mixed: rows > 1 && !vision,
        bias: matches!(fused, "bias" | "quick_gelu") || vision && !fused.is_empty(),
        residual: fused == "add",
        norm: fused == "normed",
        activation,
    };
    Ok(Bench::new(shape, p.work(), move |operands| p.make(operands)))
}

impl Projection {
    fn work(&self) -> Work {
        let Layout { n, k, gated, .. } = self.layout;
        let [rows, n, k] = [self.rows, n, k].map(u64::from);
        let matrices = if gated { 2 } else { 1 };
        // A single row reads the weights of its own modality only.
        let weights = if self.rows == 1 { self.layout.set_bytes() } else { self.layout.bytes() };
        let vectors = u64::from(self.bias) * matrices * n + u64::from(self.norm) * k;
        let activations = rows * k + rows * n * (1 + u64::from(self.residual));
        Work { bytes: weights + 4 * (vectors + activations), flops: 2 * rows * n * k * matrices }
    }

    fn make(self, operands: &mut Operands) -> Result<Record> {
        let Layout { n, k, .. } = self.layout;
        // Few rows stream their weights, as those of a decode step; many use each often enough.
        let streams = self.rows <= BATCH[BATCH.len() - 1];
        let num_copies = if streams { copies(self.layout.bytes()) } else { 1 };
        let weights = Turns::new(operands.linears(self.layout, self.bias, num_copies)?);
        let x = operands.tensor("x", [self.rows, k])?;
        let residual = self.residual.then(|| operands.tensor("residual", [self.rows, n])).transpose()?;
        let gain = self.norm.then(|| operands.tensor("gain", [2, k])).transpose()?;
        let (all, few) = (data::routing(self.rows, self.mixed), data::few_rows(self.rows, self.mixed));
        Ok(Box::new(move |g, quickly| {
            let x = g.bind(&x);
            let input = gain.as_ref().map_or(Input::from(x), |gain| Input::normed(x, gain, 1e-5));
            let residual = residual.as_ref().map(|r| g.bind(r));
            let rows = Routing(g.bind(if quickly { &few } else { &all }));
            gemm(g, input, weights.next(), rows, self.activation, residual);
        }))
    }
}

/// The projections of the model, those that share a matrix next to each other.
pub(super) fn list(config: &Config, list: &mut Vec<(Shape, bool)>) {
    let (t, v, a) = (&config.text, &config.vision, &config.abstractor);
    let [dim, wide, vocab, qkv] =
        [t.hidden_size, t.intermediate_size, t.vocab_size, t.hidden_size + 2 * t.kv_dim()].map(|n| n as u32);
    let all: Vec<&str> = data::FORMATS.iter().map(|(name, _)| *name).collect();
    let mut push = |kernel: &str, regime: &str, sizes: &[u32], dtypes: &[&str], quick: &[&str]| {
        for dtype in dtypes {
            list.push((Shape::new(kernel, regime, sizes, dtype), quick.contains(dtype)));
        }
    };

    // One row, a decode step; then the rows of a prefill over the same matrix. f32 once, at the smallest.
    let stored = &all[1..];
    push("gemv", "decode", &[dim, dim], &all, &["f32", "bf16", "int8"]);
    for rows in PREFILL {
        let quick: &[&str] = if rows == PREFILL[0] { &["bf16", "int8"] } else { &[] };
        push("gemm", "prefill", &[rows, dim, dim], if rows == PREFILL[0] { &all } else { stored }, quick);
    }
    // A decode step of several conversations at once.
    for rows in BATCH {
        push("gemm_swiglu", "decode", &[rows, wide, dim], &all[1..3], &[]);
    }
    push("gemv_by", "decode", &[qkv, dim], stored, &[]);
    for rows in PREFILL {
        let quick: &[&str] = if rows == PREFILL[0] { &["int8"] } else { &[] };
        push("gemm_by", "prefill", &[rows, qkv, dim], stored, quick);
    }
    push("gemv_swiglu", "decode", &[wide, dim], stored, &["int8"]);
    for rows in PREFILL {
        let quick: &[&str] = if rows == PREFILL[0] { &["int8"] } else { &[] };
        push("gemm_swiglu", "prefill", &[rows, wide, dim], stored, quick);
    }
    push("gemv_add", "decode", &[dim, wide], stored, &["int8"]);
    for rows in PREFILL {
        push("gemm_add", "prefill", &[rows, dim, wide], stored, &[]);
    }
    push("gemv_normed", "decode", &[vocab, dim], stored, &[]);
    // The cost of each epilogue on the same matrix.
    push("gemv_bias", "decode", &[dim, dim], &all[2..3], &[]);
    push("gemm_bias", "prefill", &[64, dim, dim], &all[2..3], &[]);
    push("gemm_quick_gelu", "prefill", &[64, dim, dim], &all[2..3], &[]);

    // The vision tower and the abstractor: one image. `--vision` rounds it, else it is bf16.
    let [v_dim, v_wide, v_rows, patch] =
        [v.hidden_size, v.intermediate_size, v.num_tokens(), v.patch_dim()].map(|n| n as u32);
    let [a_dim, a_wide, queries] =
        [a.hidden_size, a.intermediate_size, a.num_learnable_queries].map(|n| n as u32);
    let image = &all[1..3];
    push("gemm", "vision", &[v_rows - 1, v_dim, patch], image, &[]);
    push("gemm_bias", "vision", &[v_rows, 3 * v_dim, v_dim], image, &[]);
    push("gemm_add", "vision", &[v_rows, v_dim, v_dim], image, &[]);
    push("gemm_quick_gelu", "vision", &[v_rows, v_wide, v_dim], image, &["bf16"]);
    push("gemm_add", "vision", &[v_rows, v_dim, v_wide], image, &[]);
    push("gemm_bias", "abstractor", &[queries, a_dim, a_dim], image, &[]);
    push("gemm_bias", "abstractor", &[queries + v_rows, a_dim, a_dim], image, &[]);
    push("gemm_swiglu", "abstractor", &[queries, a_wide, a_dim], image, &[]);
    push("gemm_add", "abstractor", &[queries, a_dim, a_wide], image, &[]);
    push("gemm_bias", "abstractor", &[queries, dim, a_dim], image, &[]);
}
