//! What a device can do at most, the tokens a second that follow, and the memory that the model takes.

use std::time::{Duration, Instant};

use serde::Serialize;
use strix_benches::{Clock, Roofline};
use strix_engine::Gpu;
use strix_model::{Config, MemoryPart, PlanReport};

use super::finding::{Finding, Level};

/// Time for measuring.
const BUDGET: Duration = Duration::from_secs(8);

/// Positions of the conversation that tokens are decoded in.
const CONTEXT: u64 = 512;

/// What was measured, and what follows from it for the 8.2B model with int8 weights.
#[derive(Serialize)]
pub(super) struct Speed {
    pub(super) bytes_per_s: f64,
    pub(super) flops_per_s: f64,
    /// Bytes that a token reads: weights, keys and values.
    pub(super) token_bytes: u64,
    /// Tokens a second, if they took no longer than their bytes.
    pub(super) decode_tokens_per_s: f64,
    /// Positions of a prompt a second, if they took no longer than their multiply-adds.
    pub(super) prefill_positions_per_s: f64,
}

/// Where the 8.2B model would be.
#[derive(Serialize)]
pub(super) struct Memory {
    pub(super) device_bytes: u64,
    pub(super) budget_bytes: Option<u64>,
    /// Layers of the decoder that stay on the device, and all.
    pub(super) resident_layers: [usize; 2],
    pub(super) parts: Vec<Part>,
}

#[derive(Serialize)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) home: String,
}

pub(super) fn measure(
    gpu: &Gpu,
    config: &Config,
    plan: Option<&PlanReport>,
    findings: &mut Vec<Finding>,
    on: &dyn Fn(&str),
) -> Option<Speed> {
    let roofline =
        Roofline::measure(&Clock::new(gpu), true, Some(Instant::now() + BUDGET), &mut |what| on(what));
    let roofline = roofline.inspect_err(|error| {
        let what = format!("the device could not be timed: {error:#}");
        findings.push(Finding::new(Level::Warning, what, "try `strix bench kernels --quick`, and report it"));
    });
    let (roofline, plan) = (roofline.ok()?, plan?);
    let text = &config.text;
    let kv = 2 * 4 * (text.num_hidden_layers * text.num_key_value_heads * text.head_dim()) as u64;
    let token_bytes = plan.decode_bytes + CONTEXT * kv;
    // Of int8 a weight is a byte; every position multiplies with all of the layers.
    let multiply_adds = plan.decode_bytes as f64;
    Some(Speed {
        bytes_per_s: roofline.bytes_per_s,
        flops_per_s: roofline.flops_per_s,
        token_bytes,
        decode_tokens_per_s: roofline.bytes_per_s / token_bytes as f64,
        prefill_positions_per_s: roofline.flops_per_s / (2.0 * multiply_adds),
    })
}

pub(super) fn memory(plan: strix_model::Result<PlanReport>, findings: &mut Vec<Finding>) -> Option<Memory> {
    let memory = match plan {
        Ok(plan) => plan.memory,
        Err(error) => {
            let what = format!("the 8.2B model with int8 weights does not fit: {error:#}");
            findings.push(Finding::new(
                Level::Warning,
                what,
                "use a smaller --ctx, --kv f16, or another device",
            ));
            return None;
        }
    };
    if memory.streams() {
        let [resident, all] = memory.resident_layers;
        findings.push(Finding::new(
            Level::Warning,
            format!(
                "{resident} of {all} layers of the 8.2B model fit the device: the others come for every token"
            ),
            "free device memory, or use --kv f16 and a smaller --ctx",
        ));
    }
    let part = |part: &MemoryPart| Part {
        name: part.name,
        bytes: part.bytes,
        home: format!("{:?}", part.home).to_lowercase(),
    };
    Some(Memory {
        device_bytes: memory.device_bytes(),
        budget_bytes: memory.budget_bytes,
        resident_layers: memory.resident_layers,
        parts: memory.parts.iter().map(part).collect(),
    })
}
