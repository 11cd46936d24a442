//! Sources that nobody trained, written to disk: the real size on a machine that holds no real checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use super::jobs::{Copy, Job};
use super::manifest::{Arrangement, Manifest};
use super::output;
use super::packing::packing;
use super::report::{Report, WriteOptions};
use super::run::Work;
use super::source::{SEED, SourceFiles, describe_files};
use crate::packed::{LAYOUT_VERSION, Rounding};
use crate::progress::OnProgress;
use crate::weights::{FileDtype, Weights};
use crate::{Config, Error, Result};

/// Names of the built-in configs, largest first.
pub const PRESETS: [&str; 4] = ["8.2b", "1.1b", "130m", "8m"];

/// The `config.json` of a built-in config: `8.2b` is the published model, the others are the same architecture.
pub fn preset(name: &str) -> Option<&'static str> {
    match name {
        "8.2b" => Some(include_str!("../../presets/8.2b.json")),
        "1.1b" => Some(include_str!("../../presets/1.1b.json")),
        "130m" => Some(include_str!("../../presets/130m.json")),
        "8m" => Some(include_str!("../../presets/8m.json")),
        _ => None,
    }
}

/// A checkpoint to be made up.
#[derive(Clone, Debug)]
pub struct Synthesis {
    /// Its `config.json`.
    pub config: String,
    /// The dtype that its values are rounded to before anything else: F32, F16 or BF16.
    pub dtype: FileDtype,
    /// Other seeds, other values.
    pub seed: u64,
    /// Packed so; `None`: row-major, as on Hugging Face.
    pub rounding: Option<Rounding>,
}

impl Synthesis {
    /// Takes another number of decoder layers.
    ///
    /// # Errors
    ///
    /// If the config is not a JSON object.
    pub fn set_layers(&mut self, layers: usize) -> Result<()> {
        let mut config = crate::json::object("config.json", self.config.as_bytes()).map_err(Error::Config)?;
        config.insert("num_hidden_layers".into(), layers.into());
        self.config = format!("{:#}\n", serde_json::Value::Object(config));
        Ok(())
    }

    fn checkpoint(&self) -> Result<SourceFiles> {
        if !matches!(self.dtype, FileDtype::F32 | FileDtype::F16 | FileDtype::BF16) {
            return Err(Error::out_of_range("dtype", self.dtype, "F32, F16 or BF16"));
        }
        let config = Config::from_json(self.config.as_bytes())?;
        let mut files = vec![("config.json".to_owned(), self.config.clone().into_bytes())];
        if let Some(tokenizer) = tokenizer(config.text.vocab_size) {
            files.push(("tokenizer.model".into(), tokenizer));
        }
        let mut made_from = describe_files(&files);
        made_from.insert(SEED.into(), self.seed.to_string());
        made_from.insert("values".into(), self.dtype.to_string());
        let weights = Weights::synthetic(&config, self.dtype, self.seed);
        Ok(SourceFiles { config, weights, files, made_from })
    }

    /// Bytes of the files that [`synthesize`] would write.
    ///
    /// # Errors
    ///
    /// If the config or an option is wrong.
    pub fn bytes(&self, options: &WriteOptions) -> Result<u64> {
        self.work(&self.checkpoint()?, options)?.bytes()
    }

    fn work<'a>(&self, checkpoint: &'a SourceFiles, options: &WriteOptions) -> Result<Work<'a>> {
        match self.rounding {
            Some(rounding) => packing(checkpoint, rounding, options),
            None => plain(checkpoint, self.dtype.to_string(), options, |name| {
                Ok(Box::new(Copy::new(checkpoint.weights.view(name)?, self.dtype)))
            }),
        }
    }
}

/// Writes a checkpoint of made-up values, the same ones for the same seed, with a tokenizer of as many pieces as the
/// config says if it is large enough for nano's. See [`Weights::synthetic`] for the values and
/// [`super::convert`] for what happens when it is interrupted.
///
/// # Errors
///
/// As [`super::convert`], or if there is no room for it.
pub fn synthesize(
    synthesis: &Synthesis,
    out: &Path,
    options: &WriteOptions,
    progress: OnProgress<'_>,
) -> Result<Report> {
    let out = output::resolve(out)?;
    let checkpoint = synthesis.checkpoint()?;
    let work = synthesis.work(&checkpoint, options)?;
    work.run(&out, options.force, progress)
}

/// The work of writing every tensor that a config lists and the source can give, row-major.
pub(super) fn plain<'a>(
    checkpoint: &'a SourceFiles,
    dtype: String,
    options: &WriteOptions,
    job: impl Fn(&str) -> Result<Box<dyn Job + 'a>>,
) -> Result<Work<'a>> {
    let mut jobs = vec![];
    for spec in checkpoint.config.tensors() {
        if spec.required || checkpoint.weights.get(&spec.name).is_some() {
            jobs.push(job(&spec.name)?);
        }
    }
    let mut made_from = checkpoint.made_from.clone();
    made_from.extend([
        ("layout".to_owned(), "hf".to_owned()),
        ("dtype".into(), dtype.clone()),
        ("shard size".into(), format!("{} bytes", options.shard_bytes)),
    ]);
    let manifest = Manifest {
        layout: Arrangement::Hf,
        layout_version: LAYOUT_VERSION,
        dtype: dtype.to_lowercase(),
        group: None,
        vision: false,
        program: concat!("strix ", env!("CARGO_PKG_VERSION")).into(),
        made_from,
        tensors: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    Ok(Work {
        source: &checkpoint.weights,
        jobs,
        shard_bytes: options.shard_bytes,
        manifest,
        files: checkpoint.files.clone(),
    })
}

/// nano's tokenizer, filled up to `vocab_size` pieces that no text is split into; `None` if nano's are more.
#[cfg(feature = "nano")]
fn tokenizer(vocab_size: usize) -> Option<Vec<u8>> {
    let mut file = include_bytes!("../../nano/tokenizer.model").to_vec();
    let pieces = crate::sentencepiece::SentencePiece::parse(&file).ok()?.pieces.len();
    if vocab_size < pieces {
        return None;
    }
    for id in pieces..vocab_size {
        // ModelProto.pieces (field 1): piece (field 1), score (field 2); its type is NORMAL when absent.
        let text = format!("⟨{id}⟩");
        let score = (-(id as f32)).to_le_bytes();
        file.extend([0x0a, text.len() as u8 + 7, 0x0a, text.len() as u8]);
        file.extend(text.as_bytes());
        file.push(0x15);
        file.extend(score);
    }
    Some(file)
}

#[cfg(not(feature = "nano"))]
fn tokenizer(_vocab_size: usize) -> Option<Vec<u8>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_as_large_as_their_names_say() {
        let parameters = |name| Config::from_json(preset(name).unwrap().as_bytes()).unwrap().num_parameters();
        assert_eq!(parameters("8.2b"), 8_197_859_328);
        for (name, want) in [("1.1b", 1.1e9), ("130m", 130e6), ("8m", 8e6)] {
            let found = parameters(name) as f64;
            assert!((found / want - 1.0).abs() < 0.05, "{name}: {found}");
        }
        assert!(PRESETS.iter().all(|name| preset(name).is_some()));
        assert!(preset("9b").is_none());
    }

    #[test]
    fn the_8b_preset_is_the_published_config() {
        let published = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spec/config_8b.json");
        let published = Config::from_json(&std::fs::read(published).unwrap()).unwrap();
        assert_eq!(Config::from_json(preset("8.2b").unwrap().as_bytes()).unwrap(), published);
    }

    #[cfg(feature = "nano")]
    #[test]
    fn the_tokenizer_is_filled_up_and_splits_text_as_nano_does() {
        let filled =
            crate::tokenizer::Tokenizer::from_sentencepiece(&tokenizer(32000).unwrap(), true).unwrap();
        let nano = include_bytes!("../../nano/tokenizer.model");
        let nano = crate::tokenizer::Tokenizer::from_sentencepiece(nano, true).unwrap();
        assert_eq!(filled.vocab_size(), 32000);
        for text in ["What is in the picture?", "⟨1024⟩", "the ⟨ of 31999⟩ 日本"] {
            assert_eq!(filled.encode(text, true), nano.encode(text, true), "{text}");
        }
        assert_eq!(tokenizer(1023), None);
    }
}
