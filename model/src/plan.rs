//! Plans the bytes, dispatches and kernels of a config's model, before anything is read or allocated.

use std::sync::Arc;

use strix_engine::{Decision, Graph, Shader, Step, Target, Usage};
use strix_shaders::cursors::PAGE;

use crate::Result;
use crate::config::Config;
use crate::context::planned;
use crate::decoder::Regime;
use crate::memory::{Declared, MemoryPlan, Programs, Room};
use crate::options::{LoadOptions, check_options, fits_activations, fits_packing};
use crate::packed::Dtype;
use crate::weights::Weights;

/// The note on a context beyond the length that the model was trained for.
pub(crate) fn beyond_training(config: &Config, ctx: u32) -> Option<String> {
    let trained = config.text.max_position_embeddings;
    (ctx as usize > trained).then(|| {
        format!(
            "a context of {ctx} positions, and the model was trained for {trained} (max_position_embeddings): answers \
             get worse past them"
        )
    })
}

/// The bytes, dispatches and programs of a config's model, before anything is read or allocated.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// Positions of a conversation.
    pub ctx: u32,
    /// Notes on the options for the user, a line each: see [`Model::notes`](crate::Model::notes).
    pub notes: Vec<String>,
    /// The target that the programs below are planned for.
    pub dtype: String,
    /// Bytes that the weights would take with each dtype.
    pub weights: Vec<WeightPlan>,
    /// Device bytes of the KV cache, which all conversations share.
    pub kv_cache_bytes: u64,
    /// Positions that it has room for, in pages of 16.
    pub kv_cache_positions: u64,
    /// Bindings that the keys of a layer take, and its values: attention runs once for each.
    pub kv_cache_bindings: usize,
    /// Name, bytes and dispatches of each program.
    pub programs: Vec<(String, Usage)>,
    /// Dispatches of one decoder layer when decoding.
    pub decode_dispatches_per_layer: usize,
    /// Bytes of the weights that a decoded token reads.
    pub decode_bytes: u64,
    /// Where each part lives.
    pub memory: MemoryPlan,
}

/// The weights under one dtype.
#[derive(Clone, Debug)]
pub struct WeightPlan {
    /// E.g. `int8 group 32`.
    pub dtype: String,
    /// Device bytes.
    pub bytes: u64,
    /// Dispatches of one decoder layer when decoding; more where a matrix is split over bindings.
    pub decode_dispatches_per_layer: usize,
}

/// Plans a model of this config: weight bytes under each dtype, KV cache, activations, dispatches, and what lives
/// where. Needs neither weights nor a device; `weights` tell what dtypes are stored.
/// [`Checkpoint::plan`](crate::Checkpoint::plan) plans an open checkpoint for a device.
///
/// ```
/// use strix_model::engine::Target;
/// use strix_model::{Config, LoadOptions, Room, plan};
///
/// // The published model on a device of WebGPU's default limits with 4 GiB.
/// let config = Config::from_json(b"{}")?;
/// let room = Room { budget_bytes: Some(4 << 30), ..Room::default() };
/// let options = LoadOptions { ctx: Some(1024), ..LoadOptions::default() };
/// let report = plan(&config, &options, &Target::default(), None, room)?;
/// assert!(report.memory.streams() && report.memory.device_bytes() <= 4 << 30);
/// # Ok::<(), strix_model::Error>(())
/// ```
///
/// # Errors
///
/// If the options contradict the config, or the model does not fit the room there is.
pub fn plan(
    config: &Config,
    options: &LoadOptions,
    target: &Target,
    weights: Option<&Weights>,
    room: Room,
) -> Result<PlanReport> {
    let ctx = check_options(config, options)?;
    if let Some(weights) = weights {
        weights.check(config)?;
        fits_packing(weights, options)?;
    }
    fits_activations(weights, options)?;
    let declare = |dtype, ctx| {
        // A converted checkpoint is what it is; of another, each dtype is a choice.
        let stored = weights.filter(|weights| dtype == options.dtype || !weights.is_packed());
        Declared::new(config, &LoadOptions { dtype, ..options.clone() }, target, stored, ctx)
    };
    let int8 = |group| Dtype::Int8 { group };
    let dtypes = [Dtype::F32, Dtype::Bf16, int8(None), int8(Some(128)), int8(Some(64)), int8(Some(32))];
    let weight_plan = |dtype: Dtype| -> Result<WeightPlan> {
        let declared = declare(dtype, ctx)?;
        Ok(WeightPlan {
            dtype: dtype.to_string(),
            bytes: declared.sizes.weights(),
            decode_dispatches_per_layer: dispatches_per_layer(
                &declared.record_run(config, target, Regime::Decode, 1).graph,
            ),
        })
    };
    let (declared, memory, recorded) = planned(ctx, |ctx| {
        let declared = declare(options.dtype, ctx)?;
        let (memory, recorded) = declared.plan(config, options, target, room)?;
        Ok((declared, memory, recorded))
    })?;
    let all = dtypes.into_iter().map(weight_plan).collect::<Result<_>>()?;
    let programs = vec![
        ("vision".to_owned(), recorded.encode.graph.plan().usage),
        (format!("prefill {}", memory.chunk), recorded.prefill.graph.plan().usage),
        ("decode".to_owned(), recorded.decode.graph.plan().usage),
    ];
    // Without a file to ask, `auto` is what the published weights are.
    let dtype = match (options.dtype, weights) {
        (Dtype::Auto, None) => Dtype::Bf16.to_string(),
        (Dtype::Auto, Some(weights)) => {
            weights.stored_rounding()?.map_or(Dtype::Auto, |r| r.dtype).word().into()
        }
        (dtype, _) => dtype.to_string(),
    };
    let kv_cache_bytes = declared.kv_bytes();
    Ok(PlanReport {
        ctx,
        notes: beyond_training(config, ctx).into_iter().collect(),
        dtype,
        weights: all,
        kv_cache_bytes,
        kv_cache_positions: u64::from(declared.pages) * u64::from(PAGE),
        kv_cache_bindings: declared.kv.first().map_or(0, |layer| layer.parts().len()),
        programs,
        decode_dispatches_per_layer: dispatches_per_layer(&recorded.decode.graph),
        decode_bytes: declared.sizes.decode(),
        memory,
    })
}

/// Every kernel that a model of this config runs on a device, as it is specialised there: of decoding, of prefill and of
/// encoding a picture, each once. Needs neither weights nor a device.
///
/// # Errors
///
/// If the options contradict the config.
pub fn shaders(config: &Config, options: &LoadOptions, target: &Target) -> Result<Vec<Arc<Shader>>> {
    let ctx = check_options(config, options)?;
    let declared = Declared::new(config, options, target, None, ctx)?;
    Ok(declared.programs(config, target, options.chunk).shaders())
}

/// What a model's programs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Another token.
    Decode,
    /// A chunk of a prompt.
    Prefill,
    /// A picture.
    Encode,
}

/// A dispatch of one of a model's programs.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What its program is for.
    pub phase: Phase,
    /// Its name: `decoder.3.q_proj`.
    pub step: String,
    /// The kernel.
    pub shader: Arc<Shader>,
    /// Bytes of its tensors that stay on the device from run to run: weights, the KV cache.
    pub resident_bytes: u64,
    /// Bytes of its other tensors.
    pub passing_bytes: u64,
}

/// Every dispatch of decoding, of a chunk of a prompt and of encoding a picture, in order. Needs neither weights nor a
/// device.
///
/// # Errors
///
/// If the options contradict the config.
pub fn dispatches(config: &Config, options: &LoadOptions, target: &Target) -> Result<Vec<Dispatch>> {
    let ctx = check_options(config, options)?;
    let declared = Declared::new(config, options, target, None, ctx)?;
    let Programs { encode, prefill, decode } = declared.programs(config, target, options.chunk);
    let phases =
        [(Phase::Decode, decode.graph), (Phase::Prefill, prefill.graph), (Phase::Encode, encode.graph)];
    let of = |(phase, graph): &(Phase, Graph)| -> Vec<Dispatch> {
        let dispatch = |step: &Step| {
            let (resident, passing): (Vec<_>, Vec<_>) =
                step.args.iter().map(|arg| arg.id).partition(|&id| graph.is_resident(id));
            let bytes = |ids: Vec<_>| ids.into_iter().map(|id| graph.bytes_of(id)).sum();
            Dispatch {
                phase: *phase,
                step: step.label.clone(),
                shader: step.shader.clone(),
                resident_bytes: bytes(resident),
                passing_bytes: bytes(passing),
            }
        };
        graph.steps().iter().map(dispatch).collect()
    };
    Ok(phases.iter().flat_map(of).collect())
}

/// Dispatches of one decoder layer.
fn dispatches_per_layer(g: &Graph) -> usize {
    g.steps().iter().filter(|step| step.label.starts_with("decoder.0.")).count()
}

/// The choices that the same kernels were chosen by on a device, each once: what else each could have taken.
///
/// # Errors
///
/// If the options contradict the config.
pub fn decisions(config: &Config, options: &LoadOptions, target: &Target) -> Result<Vec<Decision>> {
    let ctx = check_options(config, options)?;
    let declared = Declared::new(config, options, target, None, ctx)?;
    Ok(declared.programs(config, target, options.chunk).decisions())
}

#[cfg(test)]
mod tests;
