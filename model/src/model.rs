//! A loaded model, and what one would need.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strix_engine::{
    Deviation, Difference, Gpu, Graph, Program, Resident, StepTime, Stream, Streamed, Tensor,
};

use crate::abstractor::Abstractor;
use crate::cache::DeviceCache;
use crate::checkpoint::{Checkpoint, Source, present};
use crate::config::{Config, PreprocessorConfig};
use crate::constraint::Vocabulary;
use crate::context::planned;
use crate::decoder::Decoder;
use crate::encoder::record_vision;
use crate::image::{RgbImage, preprocess};
use crate::kv_cache::{self, LayerCache};
use crate::kv_pool::{Full, Pages, Sequence, Stamp};
use crate::memory::{Declared, MemoryPlan, Room, Sizes};
use crate::options::LoadOptions;
use crate::pictures::{Encoded, PictureId, Pictures};
use crate::place::{Placing, place};
use crate::plan::beyond_training;
use crate::progress::Progress;
use crate::runner::Runner;
use crate::scheduler::{Activity, Scheduler};
use crate::session::{Row, Session, trace as dumped};
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::{Error, Result, pictures};

/// A checkpoint on a device, ready for any number of sessions. Clones share it.
#[derive(Clone)]
pub struct Model {
    // The last of the clones ends the thread, and then frees the device's memory.
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { gpu, ctx, .. } = &*self.inner;
        let parameters = self.num_parameters();
        f.debug_struct("Model")
            .field("adapter", &gpu.name())
            .field("parameters", &parameters)
            .field("ctx", ctx)
            .finish()
    }
}

pub(crate) struct Inner {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) eos: Vec<u32>,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    /// Of the tokenizer, once an answer is constrained.
    pub(crate) vocabulary: Vocabulary,
    pub(crate) options: LoadOptions,
    pub(crate) ctx: u32,
    notes: Vec<String>,
    /// Of its weights and its config.
    pub(crate) fingerprint: String,
    memory: MemoryPlan,
    /// Bytes of its weights.
    sizes: Sizes,
    pub(crate) streams: Vec<Stream>,
    vision: Vision,
    abstractor: Abstractor,
    pub(crate) decoder: Decoder,
    /// Keys and values of all conversations.
    pub(crate) kv: Vec<LayerCache>,
    pages: Mutex<Pages>,
    /// Rows of encoded pictures.
    pub(crate) visual: Resident<f32, 2>,
    /// Whether noise was written to all of the cache once, for timing.
    pub(crate) has_noise: AtomicBool,
    pictures: Mutex<Pictures>,
    /// Compiled with the first session.
    runner: Mutex<Option<Runner>>,
    /// The row that ends every image.
    vit_eos: Vec<f32>,
    /// Compiled with the first picture.
    encoder: Mutex<Option<Encoder>>,
}

impl Inner {
    /// What is on which page of the cache.
    pub(crate) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a sequence as [`Pages::start`] does, with what its last page is to be a copy of.
    pub(crate) fn start<'a>(
        &self,
        rows: &[Row],
        most: usize,
        own: &[Stamp],
        others: impl Iterator<Item = &'a Sequence>,
    ) -> std::result::Result<Sequence, NotBegun> {
        let mut pages = self.pages();
        let mut sequence = pages.start(rows, most, own, others).map_err(NotBegun::Full)?;
        // As long as the pool is locked, nobody writes over the page.
        if let Some(copied) = sequence.copied()
            && let Err(error) = kv_cache::copy_page(&self.gpu, &self.kv, &self.config.text, copied)
        {
            pages.abandon(sequence);
            return Err(NotBegun::Failed(error));
        }
        Ok(sequence)
    }

    /// Encoded pictures.
    pub(crate) fn pictures(&self) -> MutexGuard<'_, Pictures> {
        self.pictures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tokenizer, for what cannot do without.
    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        present(self.tokenizer.as_deref())
    }

    /// What was streamed to the device so far.
    pub(crate) fn streamed(&self) -> Streamed {
        self.streams.iter().map(Stream::moved).fold(Streamed::default(), Streamed::and)
    }

    /// The programs, compiled when they are first needed.
    pub(crate) fn runner(&self) -> Result<Running<'_>> {
        let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if runner.is_none() {
            *runner = Some(Runner::compile(self)?);
        }
        Ok(Running(runner))
    }

    /// Whether the vision tower and the abstractor are compiled. Not while somebody compiles or runs them.
    pub(crate) fn has_encoder(&self) -> bool {
        self.encoder.try_lock().is_ok_and(|encoder| encoder.is_some())
    }

    /// The vision tower and the abstractor, compiled when they are first needed.
    pub(crate) fn encoder(&self) -> Result<MutexGuard<'_, Option<Encoder>>> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        if encoder.is_none() {
            let mut g = Graph::new(self.gpu.target());
            let (pixels, embeds) = record_vision(&mut g, &self.config, &self.vision, &self.abstractor);
            *encoder = Some(Encoder { program: Program::compile(&self.gpu, g)?, pixels, embeds });
        }
        Ok(encoder)
    }

    /// Encodes a picture that is not kept.
    pub(crate) fn encode(&self, id: PictureId, pixels: &[f32]) -> Result<Arc<Encoded>> {
        self.with_encoder(|encoder| {
            encoder.write(pixels)?;
            encoder.program.run(&[])?;
            encoder.keep(self, id)
        })
    }

    pub(crate) fn with_encoder<R>(&self, run: impl FnOnce(&mut Encoder) -> Result<R>) -> Result<R> {
        run(self.encoder()?.as_mut().expect("compiled before it is given"))
    }
}

/// Why a sequence is not begun.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// The pool has no room.
    Full(Full),
    /// The device.
    Failed(Error),
}

impl NotBegun {
    /// The error of a sequence that may come to so many positions.
    pub(crate) fn error(self, positions: usize) -> Error {
        match self {
            Self::Full(full) => full.error(positions),
            Self::Failed(error) => error,
        }
    }
}

/// The programs of a model, as long as nobody else runs them.
pub(crate) struct Running<'a>(MutexGuard<'a, Option<Runner>>);

impl Deref for Running<'_> {
    type Target = Runner;

    fn deref(&self) -> &Runner {
        self.0.as_ref().expect("compiled before it is given")
    }
}

impl DerefMut for Running<'_> {
    fn deref_mut(&mut self) -> &mut Runner {
        self.0.as_mut().expect("compiled before it is given")
    }
}

/// The compiled vision tower and abstractor.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) program: Program,
    pixels: Tensor<f32, 3>,
    pub(crate) embeds: Tensor<f32, 2>,
}

impl Encoder {
    /// Sets the picture of the next run.
    pub(crate) fn write(&mut self, pixels: &[f32]) -> Result<()> {
        let [channels, height, width] = self.pixels.shape();
        if pixels.len() != self.pixels.len() {
            return Err(Error::Image {
                name: "image".into(),
                reason: format!(
                    "{} values; the vision tower takes {channels} x {height} x {width}, {} values, as Model::pixels \
                     gives them",
                    pixels.len(),
                    self.pixels.len()
                ),
            });
        }
        self.program.write(self.pixels, pixels);
        Ok(())
    }

    /// Keeps the picture that the last run encoded. It stays on the device.
    pub(crate) fn keep(&self, inner: &Inner, id: PictureId) -> Result<Arc<Encoded>> {
        let bytes = 4 * self.embeds.len() as u64;
        let end = bytemuck::cast_slice(&inner.vit_eos);
        inner.pictures().keep(id, |rows, at| {
            self.program.copy_to(self.embeds, rows, at)?;
            let last = at + bytes..at + bytes + end.len() as u64;
            Ok(inner.gpu.write_ranges(rows, &[last], end)?)
        })
    }

    /// What the last run gave, and the row that ends every image: `[queries + 1, hidden_size]`.
    pub(crate) fn read(&self, inner: &Inner) -> Result<Vec<f32>> {
        let mut embeds = self.program.read(self.embeds)?;
        embeds.extend(&inner.vit_eos);
        Ok(embeds)
    }

    /// Writes to files what `STRIX_TRACE` names of the picture that was set.
    pub(crate) fn dump(&mut self, inner: &Inner, number: usize) -> Result<()> {
        match dumped::trace_prefix() {
            None => Ok(()),
            Some(prefix) => dumped::dump(&mut self.program, inner, &[], &prefix, &format!("picture{number}")),
        }
    }
}

/// Label and content of every tensor that a traced run wrote, in order.
pub type Trace = Vec<(String, Vec<f32>)>;

impl Model {
    /// Loads a folder, or a file of weights with its config beside it, onto the best adapter, or the one `STRIX_ADAPTER`
    /// names.
    ///
    /// # Errors
    ///
    /// If there is no adapter, or the files are missing, damaged or contradict each other; the message names
    /// the file, the tensor and the numbers.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        Self::load_on(&Gpu::new()?, Source::Dir(path.as_ref()), options, &mut |_| ())
    }

    /// The small model that is compiled into the library, on the best adapter.
    ///
    /// # Errors
    ///
    /// If there is no adapter.
    #[cfg(feature = "nano")]
    pub fn nano(options: &LoadOptions) -> Result<Self> {
        Self::load_on(&Gpu::new()?, Source::Nano, options, &mut |_| ())
    }

    /// Loads onto a device that may be the caller's own; `progress` is called as tensors are read.
    ///
    /// # Errors
    ///
    /// As [`Model::load`], or if the device has no room.
    pub fn load_on(
        gpu: &Gpu,
        source: Source<'_>,
        options: &LoadOptions,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open(source)?;
        let ctx = checkpoint.check_options_but_length(options)?;
        let Checkpoint { config, preprocessor, eos, tokenizer, weights, mut notes } = checkpoint;
        notes.extend(beyond_training(&config, ctx));
        let cache = options.cache_dir.as_ref().map(DeviceCache::new);
        let restored = cache.as_ref().map(|cache| cache.restore(gpu));
        tracing::info!(?restored, "kernels are chosen");
        let target = gpu.target();
        let room = Room::of(gpu, options.device_memory, Some(&weights));
        let (declared, memory, programs) = planned(ctx, |ctx| {
            kv_cache::fits_counters(&config.text, ctx)?;
            let declared = Declared::new(&config, options, &target, Some(&weights), ctx)?;
            let (memory, programs) = declared.plan(&config, options, &target, ctx, room)?;
            Ok((declared, memory, programs))
        })?;
        let compiling = gpu.compile_ahead(programs.shaders());
        drop(programs);

        let placing = Placing { gpu, weights: &weights, progress, cancel: options.cancel.clone() };
        let streams = place(&declared.parts, &memory.streaming(), placing)?;
        let Declared { vision, abstractor, decoder, kv, pages, sizes, .. } = declared;
        let vit_eos = abstractor.vit_eos.get().to_vec();
        let fingerprint = weights.fingerprint();
        weights.check_unchanged()?;
        compiling.wait();
        if let Some(Err(error)) = cache.map(|cache| cache.store_pipelines(gpu)) {
            tracing::warn!(%error, "compiled kernels are not kept");
        }
        let visual = pictures::declare(&config, options, gpu.target().max_binding_bytes);
        let inner = Inner {
            gpu: gpu.clone(),
            kv,
            pages: Pages::new(pages).into(),
            has_noise: AtomicBool::new(false),
            pictures: Pictures::new(gpu, &config, visual.clone()).into(),
            visual,
            runner: Mutex::default(),
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
            vit_eos,
            encoder: Mutex::default(),
        };
        let inner = Arc::new(inner);
        Ok(Self { scheduler: Arc::new(Scheduler::new(inner.clone())), inner })
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

    /// Starts a conversation. It shares the programs and the KV cache with all others.
    ///
    /// # Errors
    ///
    /// If the device has no room for the programs.
    pub fn session(&self) -> Result<Session> {
        Session::new(self)
    }

    /// A conversation that was saved with [`Session::save`]. It goes on with the tokens it would have had.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged or no saved session, or is of another model or of one that was loaded with
    /// other dtypes.
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Session> {
        let session = self.session()?;
        session.restore(path.as_ref())?;
        Ok(session)
    }

    /// A picture as the vision tower takes it: `[channels, image_size, image_size]`.
    ///
    /// # Errors
    ///
    /// If the picture cannot be resized.
    pub fn pixels(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        preprocess(picture, self.inner.options.preprocess, &self.inner.preprocessor)
    }

    /// Pixels to the image's embeddings, `[queries + 1, hidden_size]`: the last row is `vit_eos`.
    ///
    /// # Errors
    ///
    /// If `pixels` is not of the config's size, or the device fails.
    pub fn encode(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        self.inner.with_encoder(|encoder| {
            encoder.write(pixels)?;
            encoder.program.run(&[encoder.embeds.id()])?;
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

/// Every float tensor a program writes in one run.
pub(crate) fn trace(program: &mut Program) -> Result<Trace> {
    let mut trace = vec![];
    program.trace(|step| {
        for (label, bytes) in step.written {
            trace.push((label.to_owned(), bytemuck::pod_collect_to_vec(&bytes)));
        }
    })?;
    Ok(trace)
}

/// Times a program that has run before: a driver may compile a kernel at its first dispatch.
pub(crate) fn profile(program: &mut Program) -> Result<Vec<StepTime>> {
    program.run(&[])?;
    Ok(program.profile()?)
}
