//! A loaded model, and what one would need.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use strix_engine::{Difference, Gpu, Graph, Program, StepTime, Target, Tensor, Usage};

use crate::abstractor::Abstractor;
use crate::config::{Config, GenerationConfig, PreprocessorConfig};
use crate::decoder::{Decoder, Rows, Tap};
use crate::image::{Preprocess, RgbImage, preprocess};
use crate::kv_cache;
use crate::loader::{Dtype, From, Loader, Progress};
use crate::session::Session;
use crate::tokenizer::Tokenizer;
use crate::vision::Vision;
use crate::weights::Weights;
use crate::{Error, Result};

/// How a model is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// What matrices are stored as on the device.
    pub dtype: Dtype,
    /// Positions of the KV cache; `None`: the config's `max_position_embeddings`.
    pub ctx: Option<u32>,
    /// Rows of one prefill chunk.
    pub chunk: u32,
    /// How pictures are made square.
    pub preprocess: Preprocess,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { dtype: Dtype::Auto, ctx: None, chunk: 64, preprocess: Preprocess::Resize }
    }
}

/// Where a checkpoint comes from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'a> {
    /// A folder in Hugging Face layout: `config.json`, safetensors, tokenizer.
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
    /// The small model that is compiled into the library.
    #[cfg(feature = "nano")]
    Nano,
}

/// A checkpoint on a device, ready for any number of sessions. Clones share it.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) eos: Vec<u32>,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    pub(crate) options: LoadOptions,
    pub(crate) ctx: u32,
    vision: Vision,
    abstractor: Abstractor,
    pub(crate) decoder: Decoder,
    /// The row that ends every image.
    vit_eos: Vec<f32>,
    /// Compiled with the first picture.
    encoder: Mutex<Option<Encoder>>,
}

/// The compiled vision tower and abstractor.
#[derive(Debug)]
struct Encoder {
    program: Program,
    pixels: Tensor<f32, 3>,
    embeds: Tensor<f32, 2>,
}

/// Label and content of every tensor that a traced run wrote, in order.
pub type Trace = Vec<(String, Vec<f32>)>;

/// The files of a checkpoint.
struct Checkpoint {
    config: Config,
    preprocessor: PreprocessorConfig,
    eos: Vec<u32>,
    tokenizer: Option<Arc<Tokenizer>>,
    weights: Arc<Weights>,
}

impl Checkpoint {
    fn open(source: Source<'_>) -> Result<Self> {
        match source {
            Source::Dir(dir) => Self::open(Source::Files { config: dir, weights: dir }),
            Source::Files { config: dir, weights } => {
                let config = Config::load(dir)?;
                Ok(Self {
                    preprocessor: PreprocessorConfig::load(dir, &config.vision)?,
                    eos: GenerationConfig::load(dir, &config.text)?.eos_token_id,
                    // Without one, only prepared ids can be run.
                    tokenizer: match dir.join("tokenizer.model").exists()
                        || dir.join("tokenizer.json").exists()
                    {
                        true => Some(Tokenizer::from_dir(dir)?.into()),
                        false => None,
                    },
                    weights: Weights::open(weights)?.into(),
                    config,
                })
            }
            Source::Weights { config, weights, tokenizer } => Ok(Self {
                preprocessor: PreprocessorConfig::new(config.vision.image_size),
                eos: config.text.eos_token_id.clone(),
                tokenizer: tokenizer.cloned(),
                weights: weights.clone(),
                config: config.clone(),
            }),
            #[cfg(feature = "nano")]
            Source::Nano => {
                let config = Config::from_json(include_bytes!("../nano/config.json"))?;
                Ok(Self {
                    preprocessor: PreprocessorConfig::new(config.vision.image_size),
                    eos: config.text.eos_token_id.clone(),
                    tokenizer: Some(
                        Tokenizer::from_sentencepiece(include_bytes!("../nano/tokenizer.model"), true)?
                            .into(),
                    ),
                    weights: Weights::from_bytes(include_bytes!("../nano/model.safetensors"))?.into(),
                    config,
                })
            }
        }
    }
}

impl Model {
    /// Loads a folder onto the best adapter, or the one `STRIX_ADAPTER` names.
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
        let Checkpoint { config, preprocessor, eos, tokenizer, weights } = Checkpoint::open(source)?;
        weights.check(&config)?;
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
        let ctx = check_options(&config, options)?;
        let total_bytes = weights.names().filter_map(|n| weights.get(n)).map(|v| v.byte_len() as u64).sum();
        let from = From { gpu, weights: &weights, progress, done_bytes: 0, total_bytes };
        let mut loader = Loader { target: gpu.target(), dtype: options.dtype, from: Some(from) };
        let vision = Vision::load(&mut loader, &config.vision)?;
        let abstractor = Abstractor::load(&mut loader, &config)?;
        let decoder = Decoder::load(&mut loader, &config.text, ctx as usize)?;
        let vit_eos = abstractor.vit_eos.download(gpu)?;
        weights.check_unchanged()?;
        let inner = Inner {
            gpu: gpu.clone(),
            config,
            preprocessor,
            eos,
            tokenizer,
            options: options.clone(),
            ctx,
            vision,
            abstractor,
            decoder,
            vit_eos,
            encoder: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
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
        let missing = "the folder has no tokenizer.model or tokenizer.json: copy one of them there";
        self.inner.tokenizer.as_deref().ok_or_else(|| Error::Option(missing.into()))
    }

    /// Parameters in all.
    pub fn num_parameters(&self) -> u64 {
        self.inner.config.num_parameters()
    }

    /// Bytes of the weights on the device.
    pub fn weight_bytes(&self) -> u64 {
        self.inner.vision.bytes() + self.inner.abstractor.bytes() + self.inner.decoder.bytes()
    }

    /// Positions of a session's KV cache.
    pub fn ctx(&self) -> u32 {
        self.inner.ctx
    }

    /// Starts a conversation, with a KV cache of its own.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn session(&self) -> Result<Session> {
        Session::new(self)
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
    /// If the device fails.
    ///
    /// # Panics
    ///
    /// If `pixels` is not of the config's size.
    pub fn encode(&self, pixels: &[f32]) -> Result<Vec<f32>> {
        self.with_encoder(|encoder| {
            encoder.program.write(encoder.pixels, pixels);
            encoder.program.run(&[encoder.embeds.id()])?;
            let mut embeds = encoder.program.read(encoder.embeds);
            embeds.extend(&self.inner.vit_eos);
            Ok(embeds)
        })
    }

    /// [`Model::encode`] with every tensor on the way.
    ///
    /// # Errors
    ///
    /// If the device fails.
    ///
    /// # Panics
    ///
    /// If `pixels` is not of the config's size.
    pub fn trace_encode(&self, pixels: &[f32]) -> Result<Trace> {
        self.with_encoder(|encoder| {
            encoder.program.write(encoder.pixels, pixels);
            trace(&mut encoder.program)
        })
    }

    /// Device time of every step of encoding a picture.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries.
    pub fn profile_encode(&self) -> Result<Vec<StepTime>> {
        self.with_encoder(|encoder| profile(&mut encoder.program))
    }

    /// Encodes pixels step by step, each also through its kernel's CPU reference on the same inputs; the
    /// first step whose result is further than `tolerance` (relative to the tensor's largest value) from it.
    ///
    /// # Errors
    ///
    /// If the device fails.
    ///
    /// # Panics
    ///
    /// If `pixels` is not of the config's size.
    pub fn replay_encode(&self, pixels: &[f32], tolerance: f32) -> Result<Option<Difference>> {
        self.with_encoder(|encoder| {
            encoder.program.write(encoder.pixels, pixels);
            Ok(encoder.program.replay(tolerance)?)
        })
    }

    fn with_encoder<R>(&self, run: impl FnOnce(&mut Encoder) -> Result<R>) -> Result<R> {
        let mut encoder = self.inner.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *encoder {
            Some(encoder) => run(encoder),
            None => {
                let mut g = Graph::new(self.inner.gpu.target());
                let (pixels, embeds) =
                    record_vision(&mut g, &self.inner.config, &self.inner.vision, &self.inner.abstractor);
                let program = Program::compile(&self.inner.gpu, g)?;
                run(encoder.insert(Encoder { program, pixels, embeds }))
            }
        }
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

fn record_vision(
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

/// Checks the options against the config; returns the positions of the KV cache.
fn check_options(config: &Config, options: &LoadOptions) -> Result<u32> {
    let trained = config.text.max_position_embeddings as u32;
    let ctx = options.ctx.unwrap_or(trained);
    let option = |message: String| Err(Error::Option(message));
    if ctx == 0 || ctx > 1 << 20 {
        return option(format!("a context of {ctx} positions; it is 1 to {}", 1 << 20));
    }
    if !(2..=4096).contains(&options.chunk) {
        return option(format!("prefill chunks of {} rows; they are 2 to 4096", options.chunk));
    }
    if let Dtype::Int8 { group: Some(group) } = options.dtype
        && ![32, 64, 128].contains(&group)
    {
        return option(format!("int8 groups of {group} columns; there are 32, 64 and 128"));
    }
    if matches!(config.text.rope_scaling, Some(crate::config::RopeScaling::Dynamic { .. })) && ctx > trained {
        return option(format!(
            "a context of {ctx} positions under dynamic rope_scaling, which is supported up to max_position_embeddings, {trained}"
        ));
    }
    Ok(ctx)
}

/// What a model of some config needs, before any of it is read or allocated.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// Positions of the KV cache.
    pub ctx: u32,
    /// What the programs below are planned for.
    pub dtype: String,
    /// What each dtype would take.
    pub weights: Vec<WeightPlan>,
    /// Device bytes of one session's KV cache.
    pub kv_cache_bytes: u64,
    /// Name, bytes and dispatches of each program.
    pub programs: Vec<(String, Usage)>,
    /// Dispatches of one decoder layer when decoding.
    pub decode_dispatches_per_layer: usize,
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

/// Plans a model of this config: weight bytes under each dtype, KV cache, activations, dispatches. Needs
/// neither weights nor a device.
///
/// # Errors
///
/// If the options contradict the config.
pub fn plan(config: &Config, options: &LoadOptions, target: &Target) -> Result<PlanReport> {
    let ctx = check_options(config, options)?;
    let load = |dtype| -> Result<_> {
        let mut loader = Loader { target: *target, dtype, from: None };
        let vision = Vision::load(&mut loader, &config.vision)?;
        let abstractor = Abstractor::load(&mut loader, config)?;
        Ok((vision, abstractor, Decoder::load(&mut loader, &config.text, ctx as usize)?))
    };
    let kv = kv_cache::allocate(&config.text, ctx);
    let record = |decoder: &Decoder, rows: u32| {
        let mut g = Graph::new(*target);
        let inputs = Rows::declare(&mut g, &config.text, rows);
        decoder.record(&mut g, &config.text, &kv, inputs, false, &mut Tap::default());
        let layer = g.steps().iter().filter(|s| s.label.starts_with("decoder.0.")).count();
        (g.plan().usage, layer)
    };
    let int8 = |group| Dtype::Int8 { group };
    let dtypes = [Dtype::F32, Dtype::Bf16, int8(None), int8(Some(128)), int8(Some(64)), int8(Some(32))];
    let weight_plan = |dtype: Dtype| -> Result<WeightPlan> {
        let (vision, abstractor, decoder) = load(dtype)?;
        let bytes = vision.bytes() + abstractor.bytes() + decoder.bytes();
        Ok(WeightPlan { dtype: dtype.to_string(), bytes, decode_dispatches_per_layer: record(&decoder, 1).1 })
    };
    let weights = dtypes.into_iter().map(weight_plan).collect::<Result<_>>()?;

    let (vision, abstractor, decoder) = load(options.dtype)?;
    let mut g = Graph::new(*target);
    record_vision(&mut g, config, &vision, &abstractor);
    let (decode, decode_dispatches_per_layer) = record(&decoder, 1);
    let programs = vec![
        ("vision".to_owned(), g.plan().usage),
        (format!("prefill {}", options.chunk), record(&decoder, options.chunk).0),
        ("decode".to_owned(), decode),
    ];
    let kv_cache_bytes = kv.iter().map(|kv| kv.k.bytes() + kv.v.bytes()).sum();
    // Without a file to ask, `auto` is what the published weights are.
    let dtype = if options.dtype == Dtype::Auto { Dtype::Bf16 } else { options.dtype }.to_string();
    Ok(PlanReport { ctx, dtype, weights, kv_cache_bytes, programs, decode_dispatches_per_layer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_8b(dtype: Dtype) -> PlanReport {
        let json =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spec/config_8b.json")).unwrap();
        let options = LoadOptions { dtype, ctx: Some(2048), ..LoadOptions::default() };
        plan(&Config::from_json(&json).unwrap(), &options, &Target::default()).unwrap()
    }

    #[test]
    fn the_8b_model_is_planned_without_weights_or_device() {
        let report = plan_8b(Dtype::Auto);
        assert_eq!(report.kv_cache_bytes, 32 * 2 * 2048 * 4096 * 4);
        let bytes = |name: &str| report.weights.iter().find(|w| w.dtype == name).unwrap().bytes as f64;
        let parameters = 8_197_859_328.0;
        assert!((bytes("f32") / (4.0 * parameters) - 1.0).abs() < 0.01, "f32 {}", bytes("f32"));
        assert!((bytes("bf16") / (2.0 * parameters) - 1.0).abs() < 0.01, "bf16 {}", bytes("bf16"));
        let (_, prefill) = &report.programs[1];
        assert!(prefill.activation_bytes < prefill.unshared_bytes / 10, "{prefill:?}");
    }

    #[test]
    fn a_decode_step_takes_at_most_9_dispatches_a_layer() {
        for dtype in [Dtype::Auto, Dtype::Bf16, Dtype::Int8 { group: None }, Dtype::Int8 { group: Some(32) }]
        {
            let report = plan_8b(dtype);
            println!("{dtype}: {report:?}");
            assert!(
                report.decode_dispatches_per_layer <= 9,
                "{dtype}: {}",
                report.decode_dispatches_per_layer
            );
        }
    }
}
