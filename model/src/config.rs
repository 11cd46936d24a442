//! `config.json`: every size and constant of the model, and from them the tensors a checkpoint must hold.
//!
//! Fields keep the file's names. Absent keys and `null`s take the defaults of the original code, which are those
//! of the 8.2B model; what contradicts itself or is not supported is refused, and keys that no table knows are named in
//! a note. `CONFIG.md` lists every key.

mod check;
mod fields;
mod generation;
mod key;
mod keys;
#[cfg(test)]
mod keys_tests;
mod preprocessor;
mod quantised;
mod rope;
mod sizes;
mod tables;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;
mod words;

use std::path::Path;

use serde_json::{Map, Value};

pub use generation::GenerationConfig;
pub use preprocessor::PreprocessorConfig;
pub(crate) use quantised::{UNQUANTISED, quantised};
pub use rope::RopeScaling;
pub use sizes::{AbstractorConfig, Config, TextConfig, VisionConfig};
pub use tensors::TensorSpec;
pub(crate) use tokenizer::legacy_of;

use crate::files::Beside;
use crate::json::{brief, object};
use crate::read::{MAX_CONFIG_BYTES, read_file};
use crate::weights::of_other_model;
use crate::written::refuse_unfinished;
use crate::{Error, Result};
use fields::{Fields, OneOrMany};
use keys::{Notes, Section};

impl Config {
    /// Reads a checkpoint folder's `config.json`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or as [`Config::from_json`].
    pub fn load(dir: &Path) -> Result<Self> {
        refuse_unfinished(dir)?;
        Self::load_file(&dir.join("config.json"))
    }

    /// Reads a `config.json` of any name. What it says is wrong names that file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or says nothing of a model, or as [`Config::from_json`].
    pub fn load_file(path: &Path) -> Result<Self> {
        Self::load_file_with_notes(path).map(|(config, _)| config)
    }

    /// [`Config::load`], with a line for whoever loads it on each kind of key that was passed over.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_with_notes(dir: &Path) -> Result<(Self, Vec<String>)> {
        refuse_unfinished(dir)?;
        Self::load_file_with_notes(&dir.join("config.json"))
    }

    /// [`Config::load_file`], with a line for whoever loads it on each kind of key that was passed over.
    ///
    /// # Errors
    ///
    /// As [`Config::load_file`].
    pub fn load_file_with_notes(path: &Path) -> Result<(Self, Vec<String>)> {
        Self::of_file(path, &read_file(path, MAX_CONFIG_BYTES)?)
    }

    /// The `config.json` beside other files, with a line for whoever loads it on each kind of key that was passed over.
    pub(crate) fn beside(files: Beside<'_>) -> Result<(Self, Vec<String>)> {
        if let Beside::Dir(dir) = files {
            return Self::load_with_notes(dir);
        }
        let name = "config.json";
        let wrong = |reason| Error::File { path: name.into(), reason };
        let json = files.read(name, MAX_CONFIG_BYTES)?;
        let json = json.ok_or_else(|| {
            wrong("is not among the files that are provided: it says of what sizes the model is".into())
        })?;
        of_other_model(&json).map_or(Ok(()), |reason| Err(wrong(reason)))?;
        Self::of_file(name.as_ref(), &json)
    }

    /// Reads the text of a file of that path.
    fn of_file(path: &Path, json: &[u8]) -> Result<(Self, Vec<String>)> {
        let wrong = |reason| Error::File { path: path.into(), reason };
        let root = object("it", json).map_err(wrong)?;
        if !["model_type", "hidden_size", "num_hidden_layers", "visual_config"]
            .iter()
            .any(|&key| root.contains_key(key))
        {
            let reason = "says neither model_type nor hidden_size: is it the config.json of a model?";
            return Err(wrong(reason.into()));
        }
        let mut notes = Notes::default();
        let config = Self::read(&root, &mut notes).map_err(wrong)?;
        let file = path.file_name().map_or("config.json".into(), |name| name.to_string_lossy());
        Ok((config, notes.lines(&file)))
    }

    /// The config of the small model that is compiled into the library.
    #[cfg(feature = "nano")]
    pub fn nano() -> Self {
        Self::from_json(crate::nano::CONFIG).expect("it is part of the library")
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// If it is not JSON, a value has the wrong type, the model is another one, two values contradict each other,
    /// or a size is zero or too large to index.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let root = object("config.json", json).map_err(Error::Config)?;
        Self::read(&root, &mut Notes::default()).map_err(Error::Config)
    }

    fn read(root: &Map<String, Value>, notes: &mut Notes) -> Result<Self, String> {
        let f = Fields { section: "", map: Some(root) };
        // The kind of model comes first: the sizes of another one would only confuse the message.
        if f.value("model_type").is_some_and(|kind| kind == "mplug_owl2_1") {
            return Err("model_type mplug_owl2_1 is mPLUG-Owl2.1 (Qwen and ViT-G), another architecture; \
                        only mplug_owl2 is supported"
                .into());
        }
        if let Some((key, value)) = root.get_key_value("model_type") {
            notes.judge(Section::Text, "", &Map::from_iter([(key.clone(), value.clone())]))?;
        }
        if let Some(reason) = quantised(root) {
            return Err(reason);
        }
        notes.judge(Section::Text, "", root)?;
        let visual = f.section("visual_config", "visual_config")?;
        let vision = visual.section("visual_model", "visual_config.visual_model")?;
        let abstractor = visual.section("visual_abstractor", "visual_config.visual_abstractor")?;
        for (section, fields) in
            [(Section::Visual, &visual), (Section::VisionModel, &vision), (Section::Abstractor, &abstractor)]
        {
            if let Some(map) = fields.map {
                notes.judge(section, fields.section, map)?;
            }
        }
        let text = TextConfig::from_fields(&f, notes)?;
        let (vision, heads) = (VisionConfig::from_fields(&vision)?, [&f, &vision, &abstractor]);
        let grid = vision.image_size.checked_div(vision.patch_size).unwrap_or(0);
        let abstractor = AbstractorConfig::from_fields(&abstractor, grid)?;
        let config = Self { text, vision, abstractor };
        check::sizes(&config)?;
        check::head_dims(&config, heads)?;
        Ok(config)
    }
}

impl TextConfig {
    fn from_fields(f: &Fields, notes: &mut Notes) -> Result<Self, String> {
        let num_attention_heads = f.get("num_attention_heads", 32)?;
        let max_position_embeddings = f.get("max_position_embeddings", 2048)?;
        let (rope_theta, rope_scaling) = rope::read(f, max_position_embeddings, notes)?;
        let full = |kinds: &Vec<Value>| kinds.iter().all(|kind| kind == "full_attention");
        if let Some(kinds) = f.value("layer_types")
            && !kinds.as_array().is_some_and(full)
        {
            return Err(format!("layer_types is {}; only full_attention is supported", brief(kinds)));
        }
        Ok(Self {
            vocab_size: f.get("vocab_size", 32000)?,
            hidden_size: f.get("hidden_size", 4096)?,
            intermediate_size: f.get("intermediate_size", 11008)?,
            num_hidden_layers: f.get("num_hidden_layers", 32)?,
            num_attention_heads,
            num_key_value_heads: f.get("num_key_value_heads", num_attention_heads)?,
            max_position_embeddings,
            rms_norm_eps: f.get("rms_norm_eps", 1e-6)?,
            rope_theta,
            rope_scaling,
            attention_bias: f.get("attention_bias", false)?,
            tie_word_embeddings: f.get("tie_word_embeddings", false)?,
            bos_token_id: f.get("bos_token_id", 1)?,
            eos_token_id: f.get("eos_token_id", OneOrMany::One(2))?.into(),
        })
    }
}

impl VisionConfig {
    fn from_fields(f: &Fields) -> Result<Self, String> {
        Ok(Self {
            hidden_size: f.get("hidden_size", 1024)?,
            intermediate_size: f.get("intermediate_size", 4096)?,
            num_hidden_layers: f.get("num_hidden_layers", 24)?,
            num_attention_heads: f.get("num_attention_heads", 16)?,
            num_channels: f.get("num_channels", 3)?,
            image_size: f.get("image_size", 448)?,
            patch_size: f.get("patch_size", 14)?,
            layer_norm_eps: f.get("layer_norm_eps", 1e-6)?,
        })
    }
}

impl AbstractorConfig {
    fn from_fields(f: &Fields, grid: usize) -> Result<Self, String> {
        Ok(Self {
            num_learnable_queries: f.get("num_learnable_queries", 64)?,
            hidden_size: f.get("hidden_size", 1024)?,
            encoder_hidden_size: f.get("encoder_hidden_size", 1024)?,
            intermediate_size: f.get("intermediate_size", 2816)?,
            num_hidden_layers: f.get("num_hidden_layers", 6)?,
            num_attention_heads: f.get("num_attention_heads", 16)?,
            layer_norm_eps: f.get("layer_norm_eps", 1e-6)?,
            grid_size: f.get("grid_size", grid)?,
        })
    }
}
