//! `strix.json`: what a written folder holds, and what it was made from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::packed::{self, LAYOUT_VERSION};
use crate::read::{MAX_MANIFEST_BYTES, read_if_there, without_bom};
use crate::written::MANIFEST;
use crate::{Error, Result};

/// Arrangement of the tensors of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrangement {
    /// Packed as the kernels stream it; `FORMAT.md` describes it.
    Strix,
    /// Row-major under the names of the original code, as on Hugging Face.
    Hf,
}

/// The contents of a `strix.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Arrangement of the tensors.
    pub layout: Arrangement,
    /// [`LAYOUT_VERSION`] of the program that wrote it.
    pub layout_version: u32,
    /// What matrices are stored as: `int8`, `bf16` or `f32`; `auto`, as in the source. With [`Arrangement::Hf`] what
    /// every tensor is: `f32`, `f16` or `bf16`; `mixed`, as in the source.
    pub dtype: String,
    /// With int8: columns that share a scale; absent: a scale an output channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// With int8: whether the vision tower's and the abstractor's matrices are int8 too.
    #[serde(default)]
    pub vision: bool,
    /// The program that wrote it, e.g. `strix 0.1.0`.
    pub program: String,
    /// The options and the files it was made from, in words: the same words, the same result.
    pub made_from: BTreeMap<String, String>,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, TensorEntry>,
    /// The other files.
    pub files: BTreeMap<String, FileEntry>,
}

/// A tensor of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// File that holds it.
    pub file: String,
    /// Type of its elements, as safetensors writes it.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Bytes of its elements.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

/// A file of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its contents, in hexadecimal; absent for files of tensors, each of which has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

impl Manifest {
    /// Reads the manifest of a folder; `None` if it has none.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is damaged, or is of another layout.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        let Some(json) = read_if_there(&path, MAX_MANIFEST_BYTES)? else { return Ok(None) };
        let wrong = |reason| Error::File { path: path.clone(), reason };
        let manifest: Self = serde_json::from_slice(without_bom(&json))
            .map_err(|e| wrong(format!("not a manifest of strix: {e}; convert the checkpoint again")))?;
        if manifest.layout_version != LAYOUT_VERSION {
            return Err(wrong(format!(
                "its layout has version {}, this program knows {LAYOUT_VERSION}: use a newer strix, or convert the \
                 checkpoint again",
                manifest.layout_version
            )));
        }
        if manifest.tensors.values().try_fold(0_u64, |sum, entry| sum.checked_add(entry.bytes)).is_none() {
            let largest = manifest.tensors.iter().max_by_key(|(_, entry)| entry.bytes);
            let (name, bytes) = largest.map_or(("", 0), |(name, entry)| (name, entry.bytes));
            return Err(wrong(format!("{name} would hold {bytes} bytes: convert the checkpoint again")));
        }
        Ok(Some(manifest))
    }

    /// The metadata of each of its files of tensors.
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        match self.layout {
            Arrangement::Hf => BTreeMap::from([(packed::FORMAT.into(), "pt".into())]),
            Arrangement::Strix => {
                let program = self.program.strip_prefix("strix ");
                packed::metadata(self.layout_version, &self.dtype, self.group, self.vision, program)
            }
        }
    }

    /// Bytes of its files of tensors.
    pub(super) fn shard_bytes(&self) -> u64 {
        let shards = self.files.values().filter(|entry| entry.blake3.is_none());
        shards.fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("only strings and numbers");
        json.push(b'\n');
        json
    }
}

/// Stands between the length of a file and when it was written, in what a folder was made from.
pub(super) const WRITTEN: &str = ", written ";

/// The first thing in which two runs differ, in words.
pub(super) fn difference(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let key = then.keys().chain(now.keys()).find(|key| then.get(*key) != now.get(*key))?;
    let words = |of: &BTreeMap<String, String>| of.get(key).cloned().unwrap_or_else(|| "absent".into());
    let (then, now) = (words(then), words(now));
    // The length of a file, then when it was written, in seconds that say nothing to a reader.
    let [(then_len, _), (now_len, _)] = [&then, &now].map(|of| of.split_once(WRITTEN).unwrap_or((of, "")));
    Some(match then_len == now_len {
        true => format!("{key} has as many bytes, and was written at another time"),
        false => format!("{key} was {then_len}, now it is {now_len}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let map =
            |dtype: &str| BTreeMap::from([("a".to_owned(), "1".to_owned()), ("dtype".into(), dtype.into())]);
        assert_eq!(difference(&map("int8"), &map("int8")), None);
        assert_eq!(difference(&map("int8"), &map("bf16")).unwrap(), "dtype was int8, now it is bf16");
        let file = |words: &str| BTreeMap::from([("source file x".to_owned(), words.to_owned())]);
        let of = |then, now| difference(&file(then), &file(now)).unwrap();
        let time = of("5 bytes, written 17.0 s", "5 bytes, written 18.0 s");
        assert_eq!(time, "source file x has as many bytes, and was written at another time");
        let len = of("5 bytes, written 17.0 s", "6 bytes, written 18.0 s");
        assert_eq!(len, "source file x was 5 bytes, now it is 6 bytes");
        assert_eq!(difference(&map("int8"), &BTreeMap::new()).unwrap(), "a was 1, now it is absent");
    }
}
