//! The checkpoint that a folder is made from, and what is noted of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use super::manifest::{self, Manifest, WRITTEN};
use crate::read::{MAX_CONFIG_BYTES, MAX_SENTENCEPIECE_BYTES, MAX_TOKENIZER_JSON_BYTES, read_if_there};
use crate::weights::{Located, Weights};
use crate::{Config, Result};

/// Files that go along with a checkpoint's tensors, where it has them, and the most bytes of each.
const COPIED: [(&str, u64); 7] = [
    ("config.json", MAX_CONFIG_BYTES),
    ("generation_config.json", MAX_CONFIG_BYTES),
    ("preprocessor_config.json", MAX_CONFIG_BYTES),
    ("special_tokens_map.json", MAX_CONFIG_BYTES),
    ("tokenizer.json", MAX_TOKENIZER_JSON_BYTES),
    ("tokenizer.model", MAX_SENTENCEPIECE_BYTES),
    ("tokenizer_config.json", MAX_CONFIG_BYTES),
];

/// Whether a file of that name is copied.
pub(super) fn is_copied(name: &str) -> bool {
    COPIED.iter().any(|(copied, _)| *copied == name)
}

/// Prefix of the keys of [`Manifest`] that name source files.
const SOURCE_FILE: &str = "source file ";
pub(super) const SEED: &str = "seed";

/// A checkpoint with the files beside it.
#[derive(Debug)]
pub(super) struct SourceFiles {
    pub config: Config,
    pub weights: Weights,
    /// The files of [`COPIED`] that are there.
    pub files: Vec<(String, Vec<u8>)>,
    /// Names and checksums of the files it was read from, for a [`Manifest`].
    pub made_from: BTreeMap<String, String>,
}

impl SourceFiles {
    /// Opens a folder, or a file whose folder holds the config.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let located = Located::find(path)?;
        let dir = &*located.config;
        let config = Config::load(dir)?;
        let weights = Weights::open(&located.weights)?;
        let mut files = vec![];
        for (name, max_bytes) in COPIED {
            if let Some(contents) = read_if_there(&dir.join(name), max_bytes)? {
                files.push((name.to_owned(), contents));
            }
        }
        let mut made_from = describe_files(&files);
        for (path, bytes, modified) in weights.files() {
            let since = modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let since = since.map_or("at an unknown time".into(), |since| {
                format!("{}.{:09} s", since.as_secs(), since.subsec_nanos())
            });
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            made_from.insert(format!("{SOURCE_FILE}{name}"), format!("{bytes} bytes{WRITTEN}{since}"));
        }
        Ok(Self { config, weights, files, made_from })
    }
}

/// Differences of a checkpoint from the one that a folder was made from, in words; `None` if there are none, or if
/// nothing is known of that: a folder without a [`Manifest`].
///
/// # Errors
///
/// If the manifest or the checkpoint cannot be read.
pub fn source_difference(path: &Path, source: &Path) -> Result<Option<String>> {
    let Some(manifest) = Manifest::load(folder_of(path))? else { return Ok(None) };
    let mut then = manifest.made_from;
    // The options are no part of the source.
    then.retain(|key, _| key.starts_with(SOURCE_FILE) || key == SEED || is_copied(key));
    Ok(manifest::difference(&then, &SourceFiles::open(source)?.made_from))
}

/// The folder itself, or that of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.is_file() {
        true => path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        false => path,
    }
}

pub(super) fn describe_files(files: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    files
        .iter()
        .map(|(name, contents)| (name.clone(), format!("blake3 {}", blake3::hash(contents))))
        .collect()
}
