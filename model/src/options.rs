//! Options of loading, and their checks against a config and a checkpoint.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strix_engine::Gpu;
use strix_shaders::Activations;
use strix_shaders::gemm_dot::MAX_COLUMNS;

use crate::config::{Config, RopeScaling};
use crate::image::Preprocess;
use crate::kv_cache::{self, KvDtype};
use crate::packed::{Dtype, Rounding};
use crate::weights::Weights;
use crate::{Error, Result};

/// How a model is loaded.
///
/// ```
/// use strix_model::{Dtype, Error, KvDtype, LoadOptions, Model, Remedy};
///
/// let options = LoadOptions {
///     dtype: Dtype::Int8 { group: None },
///     kv: KvDtype::F16,
///     device_memory: Some(1 << 20),
///     ..LoadOptions::default()
/// };
/// // What does not fit is refused before anything is allocated, with what would make it fit.
/// let error = Model::nano(&options).unwrap_err();
/// let Some(Remedy::DeviceMemory(needed)) = error.remedies().pop() else { panic!("{error}") };
/// let model = Model::nano(&LoadOptions { device_memory: Some(needed), ..options })?;
/// assert!(model.memory().streams());
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What matrices are stored as on the device.
    pub dtype: Dtype,
    /// What keys and values are stored as.
    pub kv: KvDtype,
    /// What projections make of the rows they are given: by int8 weights where it is int8, by any but f32 where it is f16.
    pub activations: Activations,
    /// Positions of a conversation; `None`: the config's `max_position_embeddings`.
    pub ctx: Option<u32>,
    /// Bytes of the KV cache, which all conversations share page by page. `None`: for one of `ctx` positions, or as many
    /// as take no more than 1 GiB, up to 16.
    pub kv_memory: Option<u64>,
    /// With int8: the vision tower's and the abstractor's matrices as well.
    pub int8_vision: bool,
    /// Rows of one prefill chunk, 64 by default; up to 512 where layers are streamed, since each chunk brings all of them.
    pub chunk: u32,
    /// Requests that may wait for a turn, beyond those that run: one more is refused. 1,024 by default.
    pub queue: usize,
    /// How pictures are made square.
    pub preprocess: Preprocess,
    /// Bytes of device memory to stay within: what does not fit is streamed. `None`: what the device has free.
    pub device_memory: Option<u64>,
    /// Longest time for which what was submitted keeps the device: a cancelled run ends, and another app's frame comes,
    /// within it. A single step of a large model may take longer. Where the app tells of its
    /// [frames](strix_engine::Frames), it is the device's time that is taken between two of them; 4 ms is a good start. 50 ms
    /// by default.
    pub slice: Duration,
    /// Set it, from any thread, to end loading with [`Error::Interrupted`](crate::Error::Interrupted).
    pub cancel: Option<Arc<AtomicBool>>,
    /// Folder of a [`DeviceCache`](crate::DeviceCache), for tunings and compiled kernels. `None`: nothing is kept.
    pub cache_dir: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            dtype: Dtype::Auto,
            kv: KvDtype::F32,
            activations: Activations::F32,
            ctx: None,
            kv_memory: None,
            int8_vision: false,
            chunk: 64,
            queue: 1024,
            preprocess: Preprocess::Resize,
            device_memory: None,
            slice: Duration::from_millis(50),
            cancel: None,
            cache_dir: None,
        }
    }
}

impl LoadOptions {
    /// An error if nobody wants the model any more.
    pub(crate) fn go_on(&self) -> Result<()> {
        match self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            true => Err(Error::Interrupted),
            false => Ok(()),
        }
    }

    /// What matrices become.
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding { dtype: self.dtype, vision: self.int8_vision }
    }
}

/// Refuses another dtype than that of a converted folder.
pub(crate) fn fits_packing(weights: &Weights, options: &LoadOptions) -> Result<()> {
    if options.dtype == Dtype::Auto {
        return Ok(());
    }
    let Some(stored) = weights.stored_rounding()? else { return Ok(()) };
    let wanted = options.rounding();
    if stored.dtype == wanted.dtype && (!wanted.vision || stored.vision) {
        return Ok(());
    }
    Err(Error::Converted { stored: stored.to_string(), wanted: wanted.to_string() })
}

/// Refuses to round activations to int8 where no weights are int8.
pub(crate) fn fits_activations(weights: Option<&Weights>, options: &LoadOptions) -> Result<()> {
    if options.activations != Activations::Int8 {
        return Ok(());
    }
    let stored = weights.map(Weights::stored_rounding).transpose()?.flatten().map(|stored| stored.dtype);
    if [Some(options.dtype), stored].iter().any(|dtype| matches!(dtype, Some(Dtype::Int8 { .. }))) {
        return Ok(());
    }
    Err(Error::Option(format!(
        "activations of int8 need weights of int8, and these are {}: ask for int8 weights too, or leave activations f32",
        stored.unwrap_or(options.dtype),
    )))
}

/// Refuses activations of f16 on a device that cannot compute in it.
pub(crate) fn fits_device(gpu: &Gpu, options: &LoadOptions) -> Result<()> {
    match options.activations == Activations::F16 && !gpu.target().f16 {
        true => Err(Error::Option(format!(
            "activations of f16 need a device that computes in it, and {} was opened without SHADER_F16: leave activations f32",
            gpu.name(),
        ))),
        false => Ok(()),
    }
}

/// Refuses rows of int8 that are so wide that a sum of their products might not fit.
fn fits_sums(config: &Config, options: &LoadOptions) -> Result<()> {
    if options.activations != Activations::Int8 {
        return Ok(());
    }
    let (text, vision, abstractor) = (&config.text, &config.vision, &config.abstractor);
    let mut widths = vec![("hidden_size", text.hidden_size), ("intermediate_size", text.intermediate_size)];
    if options.int8_vision {
        widths.extend([
            ("visual_model.hidden_size", vision.hidden_size),
            ("visual_model.intermediate_size", vision.intermediate_size),
            ("visual_model.patch_size squared, of 3 colours,", vision.patch_dim()),
            ("visual_abstractor.intermediate_size", abstractor.intermediate_size),
        ]);
    }
    match widths.into_iter().find(|(_, width)| *width > MAX_COLUMNS as usize) {
        None => Ok(()),
        Some((name, width)) => Err(Error::Option(format!(
            "activations of int8 with rows of {width} values ({name}): sums of at most {MAX_COLUMNS} products fit; leave \
             activations f32"
        ))),
    }
}

/// Checks the options against the config; returns the positions of the KV cache.
pub(crate) fn check_options(config: &Config, options: &LoadOptions) -> Result<u32> {
    let trained = config.text.max_position_embeddings as u32;
    let ctx = options.ctx.unwrap_or(trained);
    if ctx == 0 || ctx > 1 << 20 {
        return Err(Error::out_of_range("ctx", ctx, format!("1 to {}", 1 << 20)));
    }
    if !(2..=4096).contains(&options.chunk) {
        return Err(Error::out_of_range("chunk", options.chunk, "2 to 4096"));
    }
    if let Dtype::Int8 { group: Some(group) } = options.dtype
        && ![32, 64, 128].contains(&group)
    {
        return Err(Error::out_of_range("group", group, "32, 64 or 128"));
    }
    if matches!(config.text.rope_scaling, Some(RopeScaling::Dynamic { .. })) && ctx > trained {
        let range = format!(
            "at most max_position_embeddings, {trained}, as that is how far dynamic rope_scaling is supported"
        );
        return Err(Error::out_of_range("ctx", ctx, range));
    }
    kv_cache::check(&config.text, options.kv)?;
    fits_sums(config, options)?;
    Ok(ctx)
}
