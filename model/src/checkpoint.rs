//! The files of a checkpoint, opened and checked before a device is.

use std::path::Path;
use std::sync::Arc;

use strix_engine::Gpu;

use crate::config::{Config, GenerationConfig, PreprocessorConfig};
use crate::files::{Beside, Files};
use crate::memory::Room;
use crate::options::{LoadOptions, check_options, fits_activations, fits_packing};
use crate::plan::{PlanReport, plan};
use crate::prompt::Prompt;
use crate::rows;
use crate::tokenizer::Tokenizer;
use crate::weights::{Located, Weights, check_config};
use crate::{Error, Result};

/// Where a checkpoint comes from.
///
/// ```
/// use std::sync::Arc;
///
/// use strix_model::{Config, Gpu, LoadOptions, Model, Source, Weights, nano_files, unwatched};
///
/// // Weights that are open are shared by models, here of two dtypes.
/// let [(_, config), _, (_, weights), ..] = nano_files();
/// let (config, weights) = (Config::from_json(config)?, Arc::new(Weights::from_bytes(weights)?));
/// let source = Source::Weights { config: &config, weights: &weights, tokenizer: None };
/// let model = Model::load_on(&Gpu::new()?, source, &LoadOptions::default(), &mut unwatched)?;
/// assert!(model.tokenizer().is_err() && model.weight_bytes() > 0);
/// # Ok::<(), strix_model::Error>(())
/// ```
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
    /// Files that are in no folder: bytes in memory, readers, or a callback that has either. Names and layout are those of
    /// [`Files`].
    Provided(&'a dyn Files),
    /// Files that are open already.
    Checkpoint(&'a Checkpoint),
    /// The small model that is compiled into the library by the feature `nano`.
    #[cfg(feature = "nano")]
    Nano,
}

/// The files of a checkpoint, opened and checked against each other; no weight is read yet.
///
/// What is wrong with files, options or a prompt is found here, before a device is opened and a model is loaded:
///
/// ```
/// use strix_model::{Checkpoint, Error, Gpu, LoadOptions, Model, Source, unwatched};
///
/// let checkpoint = Checkpoint::open(Source::Nano)?;
/// let options = LoadOptions { ctx: Some(128), ..LoadOptions::default() };
/// let positions = checkpoint.check_prompt("USER: <|image|>What is this? ASSISTANT:", 1, &options)?;
/// assert!(positions < 128);
/// // The same without its picture is an error before anything is loaded.
/// let refused = checkpoint.check_prompt("USER: <|image|>What is this? ASSISTANT:", 0, &options);
/// assert!(matches!(refused, Err(Error::PictureMismatch { places: 1, pictures: 0 })));
///
/// let gpu = Gpu::new()?;
/// println!("{} bytes on the device", checkpoint.plan(&gpu, &options)?.memory.device_bytes());
/// let model = Model::load_on(&gpu, Source::Checkpoint(&checkpoint), &options, &mut unwatched)?;
/// assert_eq!(model.memory().device_bytes(), checkpoint.plan(&gpu, &options)?.memory.device_bytes());
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(crate) config: Config,
    pub(crate) preprocessor: PreprocessorConfig,
    pub(crate) eos: Vec<u32>,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    pub(crate) weights: Arc<Weights>,
    /// What its files say that has no effect, and [`Weights::notes`].
    pub(crate) notes: Vec<String>,
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
                Self::files(Beside::Dir(&config), || Weights::open(&weights))
            }
            Source::Files { config, weights } => {
                check_config(config)?;
                Self::files(Beside::Dir(config), || Weights::open(weights))
            }
            Source::Provided(files) => Self::files(Beside::Provided(files), || Weights::provided(files)),
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

    /// Reads files of which [`check_config`] has nothing to say.
    fn files(files: Beside<'_>, weights: impl FnOnce() -> Result<Weights>) -> Result<Self> {
        let (config, mut notes) = Config::beside(files)?;
        let (preprocessor, more) = PreprocessorConfig::beside(files, &config.vision)?;
        notes.extend(more);
        let (generation, more) = GenerationConfig::beside(files, &config.text)?;
        notes.extend(more);
        Ok(Self {
            notes,
            preprocessor,
            eos: generation.eos_token_id,
            // Without one, only prepared ids can be run.
            tokenizer: Tokenizer::beside(files, config.text.vocab_size)?.map(Arc::new),
            weights: weights()?.into(),
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

    /// Its weights, of which none is read yet.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
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
        let ctx = check_options(&self.config, options)?;
        fits_packing(&self.weights, options)?;
        fits_activations(Some(&self.weights), options)?;
        Ok(ctx)
    }

    /// Plans a model of it on a device, before anything is allocated: what would live where, and how many bytes it takes.
    ///
    /// # Errors
    ///
    /// If an option is out of its range or contradicts the files, or the model does not fit:
    /// [`Error::remedies`] says which options would make it fit.
    pub fn plan(&self, gpu: &Gpu, options: &LoadOptions) -> Result<PlanReport> {
        let room = Room::of(gpu, options.device_memory, Some(&self.weights));
        plan(&self.config, options, &gpu.target(), Some(&self.weights), room)
    }

    /// Checks that a prompt with so many pictures can be run by a model of it, loaded with these options; returns its
    /// positions. What [`Session::complete`](crate::Session::complete) refuses is refused here.
    ///
    /// # Errors
    ///
    /// If the folder has no tokenizer, places and pictures differ in number, or the context does not hold the prompt.
    pub fn check_prompt(
        &self,
        prompt: impl Into<Prompt>,
        num_images: usize,
        options: &LoadOptions,
    ) -> Result<usize> {
        let ctx = self.check_options(options)?;
        let tokenizer = present(self.tokenizer.as_deref())?;
        let pictures: Vec<_> = (0..num_images as u64).collect();
        Ok(rows::of_prompt(tokenizer, &self.config, ctx, &prompt.into(), &pictures)?.len())
    }
}

/// The tokenizer, for what cannot do without.
pub(crate) fn present(tokenizer: Option<&Tokenizer>) -> Result<&Tokenizer> {
    tokenizer.ok_or(Error::NoTokenizer)
}
