//! A loaded model, and what one would need.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strix_engine::{Difference, Gpu, Graph, Program, StepTime, Stream, Streamed, Tensor};
use strix_shaders::Activations;
use strix_shaders::gemm_dot::MAX_COLUMNS;

use crate::abstractor::Abstractor;
use crate::cache::DeviceCache;
use crate::config::{Config, GenerationConfig, PreprocessorConfig};
use crate::constraint::Vocabulary;
use crate::context::planned;
use crate::decoder::Decoder;
use crate::image::{Preprocess, RgbImage, preprocess};
use crate::kv_cache::{self, KvDtype, LayerCache};
use crate::kv_pool::Pages;
use crate::loader::{Device, Dtype, Loader, Progress, Rounding, Streaming};
use crate::memory::{Declared, MemoryPlan, Room};
use crate::pictures::{PictureId, Pictures};
use crate::plan::beyond_training;
use crate::runner::Runner;
use crate::scheduler::{Activity, Scheduler};
use crate::session::{Session, rows, trace as dumped};
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::weights::{Located, Weights, check_config};
use crate::{Error, Result};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What matrices are stored as on the device.
    pub dtype: Dtype,
    /// What keys and values are stored as.
    pub kv: KvDtype,
    /// What projections by int8 weights make of the rows they are given.
    pub activations: Activations,
    /// Positions of a conversation; `None`: the config's `max_position_embeddings`.
    pub ctx: Option<u32>,
    /// Bytes of the KV cache, which all conversations share page by page. `None`: for one of `ctx` positions, or as many
    /// as take no more than 1 GiB, up to 16.
    pub kv_memory: Option<u64>,
    /// With int8: the vision tower's and the abstractor's matrices as well.
    pub int8_vision: bool,
    /// Rows of one prefill chunk; up to 512 where layers are streamed, since each chunk brings all of them.
    pub chunk: u32,
    /// Requests that may wait for a turn, beyond those that run: one more is refused.
    pub queue: usize,
    /// How pictures are made square.
    pub preprocess: Preprocess,
    /// Bytes of device memory to stay within: what does not fit is streamed. `None`: what the device has free.
    pub device_memory: Option<u64>,
    /// Longest time for which what was submitted keeps the device: a cancelled run ends, and another app's frame comes,
    /// within it. A single step of a large model may take longer.
    pub slice: Duration,
    /// Folder of a [`DeviceCache`] to use the tuning of, and to keep compiled kernels in. `None`: nothing is kept.
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
            cache_dir: None,
        }
    }
}

/// Where a checkpoint comes from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'a> {
    /// A folder in Hugging Face layout: `config.json`, weights, tokenizer; or a file of weights in one, as
    /// [`Located::find`] takes it.
    Dir(&'a Path),
    /// A folder with `config.json` and the tokenizer, and the weights elsewhere: a safetensors file, or a
    /// folder of them.
    Files {
        /// The folder.
        config: &'a Path,
        /// The weights.
        weights: &'a Path,
    },
    /// Weights that are open already or were never in a file, with CLIP's preprocessing. Any number of models
    /// can share them.
    Weights {
        /// Sizes, names and constants.
        config: &'a Config,
        /// The weights.
        weights: &'a Arc<Weights>,
        /// Without one, only prepared ids can be run.
        tokenizer: Option<&'a Arc<Tokenizer>>,
    },
    /// Files that are open already.
    Checkpoint(&'a Checkpoint),
    /// The small model that is compiled into the library.
    #[cfg(feature = "nano")]
    Nano,
}

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
    pub(crate) streams: Vec<Arc<Stream>>,
    vision: Vision,
    abstractor: Abstractor,
    pub(crate) decoder: Decoder,
    /// Keys and values of all conversations.
    pub(crate) kv: Vec<LayerCache>,
    pages: Mutex<Pages>,
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
        self.streams.iter().map(|stream| stream.moved()).fold(Streamed::default(), Streamed::and)
    }

    /// The programs, compiled when they are first needed.
    pub(crate) fn runner(&self) -> Result<Running<'_>> {
        let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if runner.is_none() {
            *runner = Some(Runner::compile(self)?);
        }
        Ok(Running(runner))
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

    pub(crate) fn with_encoder<R>(&self, run: impl FnOnce(&mut Encoder) -> Result<R>) -> Result<R> {
        run(self.encoder()?.as_mut().expect("compiled before it is given"))
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

    /// What the last run gave, and the row that ends every image: `[queries + 1, hidden_size]`.
    pub(crate) fn read(&self, inner: &Inner) -> Result<Vec<f32>> {
        let mut embeds = self.program.read(self.embeds)?;
        embeds.extend(&inner.vit_eos);
        Ok(embeds)
    }

    /// Writes to files what `STRIX_TRACE` names of the picture that was set.
    pub(crate) fn dump(&mut self, inner: &Inner, picture: PictureId) -> Result<()> {
        match dumped::trace_prefix() {
            None => Ok(()),
            Some(prefix) => {
                dumped::dump(&mut self.program, inner, &[], &prefix, &format!("picture{picture}"))
            }
        }
    }
}

/// Label and content of every tensor that a traced run wrote, in order.
pub type Trace = Vec<(String, Vec<f32>)>;

/// The files of a checkpoint, opened and checked against each other; no weight is read yet.
///
/// What is wrong with files, options or a prompt is found here, before a device is opened and a model is loaded:
///
/// ```no_run
/// use strix_engine::Gpu;
/// use strix_model::{Checkpoint, LoadOptions, Model, Source};
///
/// let options = LoadOptions::default();
/// let checkpoint = Checkpoint::open(Source::Dir("mplug-owl2-llama2-7b".as_ref()))?;
/// checkpoint.check_prompt("USER: <|image|>What is this? ASSISTANT:", 1, &options)?;
/// let model = Model::load_on(&Gpu::new()?, Source::Checkpoint(&checkpoint), &options, &mut |_| ())?;
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    config: Config,
    preprocessor: PreprocessorConfig,
    eos: Vec<u32>,
    tokenizer: Option<Arc<Tokenizer>>,
    weights: Arc<Weights>,
    /// What its files say that has no effect, and [`Weights::notes`].
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens the files of a checkpoint.
    ///
    /// # Errors
    ///
    /// If they are missing, damaged or contradict each other; the message names the file, the tensor and the numbers.
    pub fn open(source: Source<'_>) -> Result<Self> {
        if let Source::Checkpoint(open) = source {
            return Ok(open.clone());
        }
        let mut checkpoint = Self::read(source)?;
        checkpoint.check()?;
        checkpoint.notes.extend_from_slice(checkpoint.weights.notes());
        Ok(checkpoint)
    }

    fn read(source: Source<'_>) -> Result<Self> {
        match source {
            Source::Dir(path) => {
                let Located { config, weights } = Located::find(path)?;
                Self::files(&config, &weights)
            }
            Source::Files { config, weights } => {
                check_config(config)?;
                Self::files(config, weights)
            }
            Source::Checkpoint(checkpoint) => Ok(checkpoint.clone()),
            Source::Weights { config, weights, tokenizer } => Ok(Self {
                preprocessor: PreprocessorConfig::new(config.vision.image_size),
                eos: config.text.eos_token_id.clone(),
                tokenizer: tokenizer.cloned(),
                weights: weights.clone(),
                config: config.clone(),
                notes: vec![],
            }),
            #[cfg(feature = "nano")]
            Source::Nano => {
                let config = Config::nano();
                Ok(Self {
                    preprocessor: PreprocessorConfig::new(config.vision.image_size),
                    eos: config.text.eos_token_id.clone(),
                    tokenizer: Some(Tokenizer::from_sentencepiece(crate::nano::TOKENIZER, true)?.into()),
                    weights: Weights::from_bytes(crate::nano::WEIGHTS)?.into(),
                    config,
                    notes: vec![],
                })
            }
        }
    }

    /// Reads a folder of which [`check_config`] has nothing to say.
    fn files(dir: &Path, weights: &Path) -> Result<Self> {
        let (config, mut notes) = Config::load_with_notes(dir)?;
        let (preprocessor, more) = PreprocessorConfig::load_with_notes(dir, &config.vision)?;
        notes.extend(more);
        let (generation, more) = GenerationConfig::load_with_notes(dir, &config.text)?;
        notes.extend(more);
        Ok(Self {
            notes,
            preprocessor,
            eos: generation.eos_token_id,
            // Without one, only prepared ids can be run.
            tokenizer: match dir.join("tokenizer.model").exists() || dir.join("tokenizer.json").exists() {
                true => Some(Tokenizer::of_model(dir, config.text.vocab_size)?.into()),
                false => None,
            },
            weights: Weights::open(weights)?.into(),
            config,
        })
    }

    fn check(&self) -> Result<()> {
        let Self { config, preprocessor, tokenizer, weights, .. } = self;
        weights.check(config)?;
        if preprocessor.crop_size != config.vision.image_size {
            return Err(Error::Config(format!(
                "vision image_size {} against preprocessor_config.json's crop_size {}",
                config.vision.image_size, preprocessor.crop_size
            )));
        }
        if let Some(tokenizer) = tokenizer.as_ref().filter(|t| t.vocab_size() > config.text.vocab_size) {
            return Err(Error::Config(format!(
                "vocab_size {} against the tokenizer's {} pieces",
                config.text.vocab_size,
                tokenizer.vocab_size()
            )));
        }
        Ok(())
    }

    /// Sizes, names and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a user should know of its files, a line each, such as keys without effect.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Checks loading options against it; returns the positions that the KV cache would have.
    ///
    /// # Errors
    ///
    /// If one is out of its range, or contradicts the files.
    pub fn check_options(&self, options: &LoadOptions) -> Result<u32> {
        let ctx = self.check_options_but_length(options)?;
        kv_cache::fits_counters(&self.config.text, ctx)?;
        Ok(ctx)
    }

    /// The same before it is known how long a context may be, which depends on the device too.
    fn check_options_but_length(&self, options: &LoadOptions) -> Result<u32> {
        let ctx = check_options_but_length(&self.config, options)?;
        fits_packing(&self.weights, options)?;
        fits_activations(Some(&self.weights), options)?;
        Ok(ctx)
    }

    /// Checks that a prompt with so many pictures can be run by a model of it, loaded with these options; returns its
    /// positions. What [`Session::complete`] refuses is refused here.
    ///
    /// # Errors
    ///
    /// If the folder has no tokenizer, places and pictures differ in number, or the context does not hold the prompt.
    pub fn check_prompt(&self, prompt: &str, num_images: usize, options: &LoadOptions) -> Result<usize> {
        let ctx = self.check_options(options)?;
        let tokenizer = present(self.tokenizer.as_deref())?;
        let pictures: Vec<_> = (0..num_images as u64).collect();
        Ok(rows::of_prompt(tokenizer, &self.config, ctx, prompt, &pictures)?.len())
    }
}

/// The tokenizer, for what cannot do without.
fn present(tokenizer: Option<&Tokenizer>) -> Result<&Tokenizer> {
    tokenizer.ok_or(Error::NoTokenizer)
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
        let rounding = options.rounding();
        let room = Room::of(gpu, options.device_memory, Some(&weights));
        let (declared, memory) = planned(ctx, |ctx| {
            kv_cache::fits_counters(&config.text, ctx)?;
            let declared = Declared::new(&config, options, &target, Some(&weights), ctx)?;
            let memory = declared.plan(&config, options, &target, ctx, room)?;
            Ok((declared, memory))
        })?;
        let compiling = gpu.compile_ahead(declared.shaders(&config, &target, memory.chunk));
        let pages = declared.pages;
        drop(declared);

        let total_bytes = weights.names().filter_map(|n| weights.get(n)).map(|v| v.byte_len() as u64).sum();
        let device = Device { gpu, progress, done_bytes: 0, total_bytes };
        let mut loader = Loader {
            device: Some(device),
            streaming: memory.streaming(),
            activations: options.activations,
            ..Loader::declare(target, rounding, Some(&weights))
        };
        let vision = Vision::load(&mut loader, &config.vision)?;
        let abstractor = Abstractor::load(&mut loader, &config)?;
        let decoder = Decoder::load(&mut loader, &config.text, ctx as usize)?;
        let streaming = std::mem::take(&mut loader.streaming);
        let mut device = loader.device.take().expect("given above");
        let streams = place(&mut device, &weights, &vision, &abstractor, &decoder, &streaming)?;
        let vit_eos = abstractor.vit_eos.download(gpu)?;
        let fingerprint = weights.fingerprint();
        weights.check_unchanged()?;
        compiling.wait();
        if let Some(Err(error)) = cache.map(|cache| cache.store_pipelines(gpu)) {
            tracing::warn!(%error, "compiled kernels are not kept");
        }
        let inner = Inner {
            gpu: gpu.clone(),
            kv: kv_cache::allocate(&config.text, options.kv, pages),
            pages: Pages::new(pages).into(),
            has_noise: AtomicBool::new(false),
            pictures: Mutex::default(),
            runner: Mutex::default(),
            config,
            preprocessor,
            eos,
            tokenizer,
            vocabulary: Vocabulary::default(),
            options: LoadOptions { chunk: memory.chunk, ..options.clone() },
            notes,
            fingerprint,
            memory,
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
        self.inner.vision.bytes() + self.inner.abstractor.bytes() + self.inner.decoder.bytes()
    }

    /// Bytes of the weights that one decoded token reads: it is text, and of the keys' and values' weights reads those
    /// of text.
    pub fn decode_bytes(&self) -> u64 {
        let decoder = &self.inner.decoder;
        decoder.decoded_bytes().iter().sum::<u64>() + decoder.head_bytes()
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

/// Puts everything that is not streamed on the device, and has the rest take turns.
fn place(
    device: &mut Device<'_>,
    weights: &Weights,
    vision: &Vision,
    abstractor: &Abstractor,
    decoder: &Decoder,
    streaming: &Streaming,
) -> Result<Vec<Arc<Stream>>> {
    let (mut stay, mut streams) = ([vision.others(), abstractor.others(), decoder.others()].concat(), vec![]);
    let towers: [Vec<_>; 2] = [vision.layers().collect(), abstractor.layers().collect()];
    let mut layers: Vec<_> = towers.into_iter().map(|layers| (layers, vec![])).collect();
    if streaming.vision {
        layers.iter_mut().for_each(|(stay, turns)| std::mem::swap(stay, turns));
    }
    let mut decoders = (vec![], vec![]);
    for (i, layer) in decoder.layers().enumerate() {
        let turns = streaming.decoder.get(i).copied().unwrap_or_default();
        if turns { decoders.1.push(layer) } else { decoders.0.push(layer) }
    }
    layers.push(decoders);
    for (staying, turns) in layers {
        stay.extend(staying.into_iter().flatten());
        if !turns.is_empty() {
            streams.push(Stream::new(device.gpu, turns)?);
        }
    }
    if weights.is_packed() {
        device.total_bytes = stay.iter().map(|tensor| tensor.bytes()).sum();
    }
    for tensor in &stay {
        tensor.place(device.gpu)?;
        if weights.is_packed() {
            device.done_bytes += tensor.bytes();
            let (what, done_bytes, total_bytes) =
                (tensor.label().to_owned(), device.done_bytes, device.total_bytes);
            (device.progress)(&Progress { what, done_bytes, total_bytes });
        }
    }
    Ok(streams)
}

pub(crate) fn record_vision(
    g: &mut Graph,
    c: &Config,
    vision: &Vision,
    abstractor: &Abstractor,
) -> (Tensor<f32, 3>, Tensor<f32, 2>) {
    let size = c.vision.image_size as u32;
    let pixels = g.input("pixels", [c.vision.num_channels as u32, size, size]);
    let features = vision.record(g, &c.vision, pixels);
    let embeds = abstractor.record(g, &c.abstractor, features);
    (pixels, g.output(embeds))
}

impl LoadOptions {
    /// What matrices become.
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding { dtype: self.dtype, vision: self.int8_vision }
    }
}

/// Refuses another dtype than that of a converted folder.
pub(crate) fn fits_packing(weights: &Weights, options: &LoadOptions) -> Result<()> {
    if !weights.is_packed() || options.dtype == Dtype::Auto {
        return Ok(());
    }
    let said = |key: &str| weights.metadata().get(key).map_or("", String::as_str);
    let (dtype, group, vision) = (said("strix.dtype"), said("strix.group"), said("strix.vision") == "true");
    let stored = if group.is_empty() { dtype.to_owned() } else { format!("{dtype} group {group}") };
    let wanted = options.dtype.to_string();
    if stored == wanted && (!options.int8_vision || vision) {
        return Ok(());
    }
    let words = |dtype, vision| if vision { format!("{dtype}, the vision tower too") } else { dtype };
    Err(Error::Converted { stored: words(stored, vision), wanted: words(wanted, options.int8_vision) })
}

/// Refuses to round activations where no weights are int8.
pub(crate) fn fits_activations(weights: Option<&Weights>, options: &LoadOptions) -> Result<()> {
    let stored = weights.filter(|weights| weights.is_packed()).and_then(|w| w.metadata().get("strix.dtype"));
    let int8 = matches!(options.dtype, Dtype::Int8 { .. }) || stored.is_some_and(|dtype| dtype == "int8");
    if options.activations == Activations::F32 || int8 {
        return Ok(());
    }
    Err(Error::Option(format!(
        "activations of int8 need weights of int8, and these are {}: ask for int8 weights too, or leave activations f32",
        stored.map_or_else(|| options.dtype.to_string(), String::clone),
    )))
}

/// Refuses rows of int8 that are so wide that a sum of their products might not fit.
fn fits_sums(config: &Config, options: &LoadOptions) -> Result<()> {
    if options.activations == Activations::F32 {
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
    let ctx = check_options_but_length(config, options)?;
    kv_cache::fits_counters(&config.text, ctx)?;
    Ok(ctx)
}

/// The same without the limits on the context that [`planned`] is about.
pub(crate) fn check_options_but_length(config: &Config, options: &LoadOptions) -> Result<u32> {
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
    if matches!(config.text.rope_scaling, Some(crate::config::RopeScaling::Dynamic { .. })) && ctx > trained {
        let range = format!(
            "at most max_position_embeddings, {trained}, as that is how far dynamic rope_scaling is supported"
        );
        return Err(Error::out_of_range("ctx", ctx, range));
    }
    kv_cache::check(&config.text, options.kv)?;
    fits_sums(config, options)?;
    Ok(ctx)
}
