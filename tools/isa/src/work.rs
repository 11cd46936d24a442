//! What a GPU does of the 8.2B model: dispatches, FLOPs and bytes of each kernel.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use strix_engine::Target;
use strix_model::{Config, Dispatch, dispatches};

use crate::select;

/// Positions that the token attends to.
pub const CONTEXT: u32 = 512;
/// Positions of the prompt.
pub const PROMPT: u32 = 512;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// A token behind [`CONTEXT`] positions.
    Decode,
    /// A prompt of [`PROMPT`] positions of text.
    Prefill,
}

/// All dispatches of a kernel in a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The phase.
    pub phase: Phase,
    /// Label of the kernel.
    pub kernel: String,
    /// Number of dispatches.
    pub dispatches: u32,
    /// FLOPs of its products.
    pub flops: f64,
    /// Bytes that it has to read and write, each once a dispatch.
    pub bytes: f64,
}

/// The works of the 8.2B model on a device, with int8 weights.
///
/// # Errors
///
/// If the model has no kernels for the device.
pub fn works(target: &Target) -> Result<Vec<Work>> {
    let config = Config::from_json(b"{}")?;
    let options = select::int8();
    let mut works: Vec<Work> = vec![];
    for dispatch in dispatches(&config, &options, target)? {
        // One run a token; of a prompt one a chunk.
        let (phase, rows, runs) = match dispatch.phase {
            strix_model::Phase::Decode => (Phase::Decode, 1, vec![CONTEXT]),
            strix_model::Phase::Prefill => {
                (Phase::Prefill, options.chunk, (0..PROMPT).step_by(options.chunk as usize).collect())
            }
            strix_model::Phase::Encode => continue,
        };
        for before in runs {
            let (flops, bytes) = work(&config, &dispatch, rows, before);
            let kernel = &dispatch.shader.label;
            let work = match works.iter().position(|w| w.phase == phase && w.kernel == *kernel) {
                Some(at) => &mut works[at],
                None => {
                    works.push(Work { phase, kernel: kernel.clone(), dispatches: 0, flops: 0.0, bytes: 0.0 });
                    works.last_mut().expect("pushed")
                }
            };
            work.dispatches += 1;
            work.flops += flops;
            work.bytes += bytes;
        }
    }
    Ok(works)
}

/// FLOPs and bytes of a dispatch of so many rows behind so many positions. An int8 weight is a byte.
fn work(config: &Config, dispatch: &Dispatch, rows: u32, before: u32) -> (f64, f64) {
    let text = &config.text;
    let [hidden, heads, inner, vocabulary] = [
        text.hidden_size,
        text.num_key_value_heads * text.head_dim(),
        text.intermediate_size,
        text.vocab_size,
    ]
    .map(|size| size as f64);
    let (rows, before) = (f64::from(rows), f64::from(before));
    let step = dispatch.step.rsplit('.').next().unwrap_or_default();
    let passing = dispatch.passing_bytes as f64;
    let weights = match step {
        "qkv_proj" => hidden * (hidden + 2.0 * heads),
        "o_proj" => hidden * hidden,
        "gate_up_proj" => 2.0 * hidden * inner,
        "down_proj" => hidden * inner,
        "lm_head" => hidden * vocabulary,
        _ => 0.0,
    };
    let name = dispatch.shader.name;
    if weights > 0.0 {
        let rows = if step == "lm_head" { 1.0 } else { rows };
        (2.0 * rows * weights, weights + passing)
    } else if name.contains("attention") && !name.ends_with("join") {
        // Each row sees those before it and itself; keys and values are of f32.
        let pairs = rows * before + rows * (rows + 1.0) / 2.0;
        (4.0 * hidden * pairs, 2.0 * 4.0 * heads * (before + rows) + passing)
    } else {
        let table = if name == "embedding" { 2.0 * rows * hidden } else { 0.0 };
        (0.0, table + passing)
    }
}

#[cfg(test)]
mod tests {
    use strix_engine::Family;

    use super::*;

    fn gpu() -> Target {
        Target { family: Family::Tiled, max_binding_bytes: 1 << 30, ..Target::default() }
    }

    #[test]
    fn a_token_reads_its_weights_and_keys_and_multiplies_with_all_of_them() {
        let works = works(&gpu()).unwrap();
        let sum =
            |phase, of: fn(&Work) -> f64| works.iter().filter(|w| w.phase == phase).map(of).sum::<f64>();
        // 6.6 G weights, and 512 positions of 2 x 4096 values in each of 32 layers.
        let weights = 32.0 * (4.0 * 4096.0 * 4096.0 + 3.0 * 4096.0 * 11_008.0) + 4096.0 * 32_000.0;
        let keys = 32.0 * 2.0 * 4.0 * 4096.0 * 513.0;
        assert!((sum(Phase::Decode, |w| w.bytes) / (weights + keys) - 1.0).abs() < 0.02);
        let attention = 32.0 * 4.0 * 4096.0 * 513.0;
        assert!((sum(Phase::Decode, |w| w.flops) / (2.0 * weights + attention) - 1.0).abs() < 1e-3);
        // The head is for the last row of each chunk alone.
        let rows = 512.0 * 2.0 * (weights - 4096.0 * 32_000.0) + 8.0 * 2.0 * 4096.0 * 32_000.0;
        let attention = 32.0 * 4.0 * 4096.0 * (512.0 * 513.0 / 2.0);
        assert!((sum(Phase::Prefill, |w| w.flops) / (rows + attention) - 1.0).abs() < 1e-6);
    }
}
