//! A loaded model, and what one would need.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strix_engine::{Deviation, Difference, Gpu, Resident, Shared, StepTime, Streamed, TextureRegion};

use crate::Result;
use crate::cache::DeviceCache;
use crate::checkpoint::{Checkpoint, Source};
use crate::config::Config;
use crate::context::planned;
use crate::image::{RgbImage, preprocess};
use crate::inner::Inner;
use crate::kv_pool::Pages;
use crate::loaded::Loaded;
use crate::memory::{Declared, MemoryPlan, Planned, Room};
use crate::options::{LoadOptions, fits_device};
use crate::pictures::Pictures;
use crate::place::{Placing, place};
use crate::plan::beyond_training;
use crate::progress::{OnProgress, unwatched};
use crate::scheduler::{Activity, Scheduler};
use crate::texture::prepare;
use crate::tokenizer::Tokenizer;
use crate::trace::{Trace, profile, trace};

/// A checkpoint on a device, ready for any number of sessions. Clones share it, and threads may.
///
/// When the last clone, session and answer of it is dropped, its memory on the device is freed.
///
/// ```
/// use strix_model::{GenerateOptions, Gpu, LoadOptions, Model, Source, unwatched};
///
/// let options = LoadOptions { ctx: Some(256), ..LoadOptions::default() };
/// let model = Model::load_on(&Gpu::new()?, Source::Nano, &options, &mut unwatched)?;
/// assert_eq!((model.ctx(), model.num_parameters()), (256, 2_467_712));
/// let answer = model.session()?.ask("What is 3 + 4?", &GenerateOptions::default())?.finish()?;
/// assert_eq!(answer.text, "7");
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone)]
pub struct Model {
    // The last of the clones ends the thread, and then frees the device's memory.
    pub(crate) scheduler: Shared<Arc<Scheduler>>,
    pub(crate) inner: Shared<Arc<Inner>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { gpu, ctx, .. } = &***self.inner;
        let parameters = self.num_parameters();
        f.debug_struct("Model")
            .field("adapter", &gpu.name())
            .field("parameters", &parameters)
            .field("ctx", ctx)
            .finish()
    }
}

impl Model {
    /// Loads a folder, or a file of weights with its config beside it, onto the best adapter, or the one `STRIX_ADAPTER`
    /// names.
    ///
    /// # Errors
    ///
    /// If there is no adapter, or the files are missing, damaged or contradict each other; the message names
    /// the file, the tensor and the numbers.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::load_on(&Gpu::new()?, Source::Dir(path.as_ref()), options, &mut unwatched)
    }

    /// The small model that is compiled into the library by the feature `nano`, on the best adapter.
    ///
    /// # Errors
    ///
    /// If there is no adapter.
    #[cfg(feature = "nano")]
    pub fn nano(options: &LoadOptions) -> Result<Self> {
        Self::load_on(&Gpu::new()?, Source::Nano, options, &mut unwatched)
    }

    /// Loads onto a device that may be the caller's own; `progress` is called after each tensor, and breaks off by
    /// returning [`ControlFlow::Break`](std::ops::ControlFlow::Break). [`unwatched`] takes no interest.
    ///
    /// # Errors
    ///
    /// As [`Model::load`], or if the device has no room; [`Error::Interrupted`](crate::Error::Interrupted) if `progress`
    /// breaks.
    pub fn load_on(
        gpu: &Gpu,
        source: Source<'_>,
        options: &LoadOptions,
        progress: OnProgress<'_>,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(source)?;
        let ctx = checkpoint.check_options(options)?;
        fits_device(gpu, options)?;
        options.go_on()?;
        let Checkpoint { config, preprocessor, eos, tokenizer, weights, mut notes } = checkpoint;
        notes.extend(beyond_training(&config, ctx));
        let cache = options.cache_dir.as_ref().map(DeviceCache::new);
        let restored = cache.as_ref().map(|cache| cache.restore(gpu));
        tracing::info!(?restored, "kernels are chosen");
        let target = gpu.target();
        let room = Room::of(gpu, options.device_memory, Some(&weights));
        let (declared, memory, programs) = planned(ctx, |ctx| {
            let declared = Declared::new(&config, options, &target, Some(&weights), ctx)?;
            let (memory, programs) = declared.plan(&config, options, &target, room)?;
            Ok((declared, memory, programs))
        })?;
        options.go_on()?;
        let compiling = gpu.compile_ahead(programs.shaders());

        let placing = Placing { gpu, weights: &weights, progress, options };
        let streams = place(&declared.parts, &memory.streaming(), placing)?;
        // Whether a tensor that takes turns can be read as texels is known only now.
        let replans = memory.streams() && target.texels;
        let planned = if replans { Planned::default() } else { Planned::from(programs) };
        let Declared { vision, abstractor, decoder, kv, pages, sizes, pictures: visual, .. } = declared;
        let vit_eos = abstractor.vit_eos.get().to_vec();
        let fingerprint = weights.fingerprint()?;
        weights.check_unchanged()?;
        if !compiling.wait_while(|| options.go_on().is_ok()) {
            return Err(crate::Error::Interrupted);
        }
        if let Some(Err(error)) = cache.map(|cache| cache.store_pipelines(gpu)) {
            tracing::warn!(%error, "compiled kernels are not kept");
            notes.push(format!("compiled kernels are not kept: {error}"));
        }
        let loaded = Loaded {
            gpu: gpu.clone(),
            kv,
            pages: Pages::new(pages).into(),
            has_noise: AtomicBool::new(false),
            pictures: Pictures::new(gpu, &config, visual.clone()).into(),
            visual,
            config,
            preprocessor,
            eos,
            tokenizer,
            vocabulary: Default::default(),
            options: LoadOptions { chunk: memory.chunk, cancel: None, ..options.clone() },
            notes,
            fingerprint,
            memory,
            sizes,
            streams,
            ctx,
            vision,
            abstractor,
            decoder,
            planned: planned.into(),
            vit_eos,
        };
        let inner = Arc::new(Inner::new(loaded));
        let scheduler = Arc::new(Scheduler::new(inner.clone()));
        Ok(Self { scheduler: Shared::new(scheduler), inner: Shared::new(inner) })
    }

    /// Sizes, names and constants of the model.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.inner.gpu
    }

    /// Its tokenizer.
    ///
    /// # Errors
    ///
    /// If the folder holds none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.inner.tokenizer()
    }

    /// Parameters in all.
    pub fn num_parameters(&self) -> u64 {
        self.inner.config.num_parameters()
    }

    /// Bytes of the weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.sizes.weights()
    }

    /// Bytes of the weights that one decoded token reads: it is text, and of the keys' and values' weights reads those
    /// of text.
    pub fn decode_bytes(&self) -> u64 {
        self.inner.sizes.decode()
    }

    /// What a user should know of the files and the options, a line each: keys that were passed over, a context that is
    /// longer than what the model was trained for, a prefix that was taken off the names of tensors.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// What lives where.
    pub fn memory(&self) -> &MemoryPlan {
        &self.inner.memory
    }

    /// What was streamed to the device so far, by all sessions.
    pub fn streamed(&self) -> Streamed {
        self.inner.streamed()
    }

    /// Positions that a conversation may come to.
    pub fn ctx(&self) -> u32 {
        self.inner.ctx
    }

    /// What it is doing for all sessions.
    pub fn activity(&self) -> Activity {
        self.scheduler.activity()
    }

    /// Waits until nothing is held for answers that were cancelled.
    pub(crate) fn wait_for_cancelled(&self) {
        self.scheduler.wait_for_cancelled();
    }

    /// A picture as the vision tower takes it: `[channels, image_size, image_size]`.
    ///
    /// # Errors
    ///
    /// If the picture cannot be resized.
    pub fn pixels(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        preprocess(picture, self.inner.options.preprocess, &self.inner.preprocessor)
    }

    /// The vision tower's input of a texture, prepared on the device.
    pub(crate) fn prepare(&self, picture: TextureRegion<'_>) -> Result<Resident<f32, 3>> {
        prepare(self.gpu(), picture, self.inner.options.preprocess, &self.inner.preprocessor)
    }

    /// [`Model::pixels`] of a texture, prepared on the device as [`Session::add_texture`](crate::Session::add_texture) does,
    /// and copied to the host. For inspection: it waits for the device.
    ///
    /// # Errors
    ///
    /// As [`Session::add_texture`](crate::Session::add_texture).
    pub fn texture_pixels<'a>(&self, picture: impl Into<TextureRegion<'a>>) -> Result<Vec<f32>> {
        Ok(self.prepare(picture.into())?.download(self.gpu())?)
    }

    /// Pixels to the image's embeddings, `[queries + 1, hidden_size]`: the last row is `vit_eos`.
    ///
    /// # Errors
    ///
    /// If `pixels` is not of the config's size, or the device fails.
    pub fn encode(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        self.inner.with_encoder(|encoder| {
            encoder.write(pixels)?;
            let embeds = encoder.embeds.id();
            encoder.program.run_while(&[embeds], self.inner.options.slice, &|| true)?;
            encoder.read(&self.inner)
        })
    }

    /// [`Model::encode`] with every tensor on the way.
    ///
    /// # Errors
    ///
    /// As [`Model::encode`].
    pub fn trace_encode(&self, pixels: &[f32]) -> Result<Trace> {
        self.inner.with_encoder(|encoder| {
            encoder.write(pixels)?;
            trace(&mut encoder.program)
        })
    }

    /// Device time of every step of encoding a picture.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries.
    pub fn profile_encode(&self) -> Result<Vec<StepTime>> {
        self.inner.with_encoder(|encoder| profile(&mut encoder.program))
    }

    /// Encodes pixels step by step, each also through its kernel's CPU reference on the same inputs: how far each result
    /// is from it. Slow.
    ///
    /// # Errors
    ///
    /// As [`Model::encode`].
    pub fn deviations_encode(&self, pixels: &[f32]) -> Result<Vec<Deviation>> {
        self.inner.with_encoder(|encoder| {
            encoder.write(pixels)?;
            Ok(encoder.program.deviations()?)
        })
    }

    /// Encodes pixels step by step, each also through its kernel's CPU reference on the same inputs; the
    /// first step whose result is further than `tolerance` (relative to the tensor's largest value) from it.
    ///
    /// # Errors
    ///
    /// As [`Model::encode`].
    pub fn replay_encode(&self, pixels: &[f32], tolerance: f32) -> Result<Option<Difference>> {
        self.inner.with_encoder(|encoder| {
            encoder.write(pixels)?;
            Ok(encoder.program.replay(tolerance)?)
        })
    }
}
