//! Which files of a folder are the checkpoint.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::files::Opened;
use super::{Weights, file_error};
use crate::{Error, Result};

impl Weights {
    pub(super) fn from_files(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut weights = Self::empty(path);
        for file in files {
            weights.add(Opened::map(file)?)?;
        }
        Ok(weights)
    }

    pub(super) fn from_index(dir: &Path, index: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let json = std::fs::read(index).map_err(|source| Error::Io { path: index.into(), source })?;
        let Index { weight_map } = serde_json::from_slice(&json)
            .map_err(|e| file_error(index, format!("not an index of shards: {e}; download it again")))?;

        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        let mut files = Vec::new();
        for shard in shards {
            // An index may not make us read elsewhere: only a plain name is a shard.
            let mut parts = Path::new(shard).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(file_error(
                    index,
                    format!("names the shard {shard:?}, which is not a file of this folder"),
                ));
            }
            let file = dir.join(shard);
            if !file.is_file() {
                return Err(file_error(
                    &file,
                    format!("is missing, and {} names it; download it", index.display()),
                ));
            }
            files.push(file);
        }
        let weights = Self::from_files(dir, &files)?;
        for (name, shard) in &weight_map {
            let found = weights.tensors.get(name).map(|place| &files[place.file]);
            if found != Some(&dir.join(shard)) {
                let reason = match found {
                    None => {
                        format!("the index places it in {shard}, which does not hold it; download both again")
                    }
                    Some(file) => format!("the index places it in {shard}, but {} holds it", file.display()),
                };
                return Err(Error::Tensor { name: name.clone(), reason });
            }
        }
        Ok(weights)
    }
}
