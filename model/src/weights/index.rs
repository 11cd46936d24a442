//! Finds the files of a folder that are the checkpoint.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::cursor::shown;
use super::entry::file_error;
use super::folder;
use super::tensors::Weights;

use crate::files::{Beside, Files, provided};
use crate::json::{brief, object};
use crate::read::{MAX_INDEX_BYTES, read_file};
use crate::written::{MANIFEST, refuse_unfinished};
use crate::{Error, Result};

/// Names that transformers gives the files of a checkpoint.
struct FileNames {
    single: &'static str,
    index: &'static str,
    extension: &'static str,
}

/// In the order they are looked for.
const FILE_NAMES: [FileNames; 2] = [
    FileNames {
        single: "model.safetensors",
        index: "model.safetensors.index.json",
        extension: "safetensors",
    },
    FileNames { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", extension: "bin" },
];

impl Weights {
    /// Opens a file, an index of shards, or a folder: safetensors, or the `.bin` that `torch.save` writes.
    ///
    /// Names of tensors are read without what wrappers (`torch.compile`, `DistributedDataParallel`, PEFT, ...) put before or
    /// into all of them, and a training's checkpoint by its one state dict; [`Weights::notes`] tells of it.
    ///
    /// In a folder, the first of these: `model.safetensors`; `model.safetensors.index.json` and its shards; the only
    /// `*.safetensors` there is, or all of `NAME-1-of-N` to `NAME-N-of-N`, zero-padded or not; then the same of
    /// `pytorch_model.bin` and `*.bin`.
    ///
    /// # Errors
    ///
    /// If there is none, a file cannot be read, is cut short or is not what its header says, the index and its shards
    /// disagree, or a pickle asks for what `torch.load(weights_only=True)` refuses; if a folder holds an adapter, or files of
    /// another program: the message says what it is and what to do.
    pub fn open(path: &Path) -> Result<Self> {
        let mut weights = Self::open_as_named(path)?;
        weights.rename();
        for note in &weights.notes {
            tracing::warn!("{}: {note}", path.display());
        }
        Ok(weights)
    }

    /// The same with the names of the file.
    fn open_as_named(path: &Path) -> Result<Self> {
        Self::open_files(path).map_err(|error| {
            let dir = if path.is_file() { path.parent().unwrap_or(Path::new("")) } else { path };
            if dir.join(MANIFEST).exists() { to_be_converted(error) } else { error }
        })
    }

    fn open_files(path: &Path) -> Result<Self> {
        if path.is_file() {
            return match path.to_str().is_some_and(|path| path.ends_with(".index.json")) {
                true => Self::from_index(path.parent().unwrap_or(Path::new("")), path),
                false => Self::from_files(path, &[path.into()]),
            };
        }
        refuse_unfinished(path)?;
        folder::check_adapter(path)?;
        let mut weights = Self::open_folder(path)?;
        weights.notes.extend(folder::passed_over(path));
        Ok(weights)
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort_unstable();
        for names in &FILE_NAMES {
            let (single, index) = (path.join(names.single), path.join(names.index));
            if single.is_file() {
                let mut weights = Self::from_files(path, &[single])?;
                if index.is_file() {
                    weights.notes.push(format!(
                        "both {} and {} are there; {} is read",
                        names.single, names.index, names.single
                    ));
                }
                return Ok(weights);
            }
            if index.is_file() {
                return Self::from_index(path, &index);
            }
            let with_extension = |file: &&PathBuf| {
                file.extension().is_some_and(|extension| extension == names.extension)
                    && file.file_name().is_some_and(|name| folder::is_weights(&name.to_string_lossy()))
                    && folder::beside_bin(file).is_none()
            };
            let candidates: Vec<&PathBuf> = files.iter().filter(with_extension).collect();
            if !candidates.is_empty() {
                return Self::from_files(path, &whole(path, names, &candidates)?);
            }
        }
        Err(file_error(path, folder::no_weights(path)))
    }

    /// Opens the weights among files that the caller provides, under the names that [`Files`] lists.
    ///
    /// # Errors
    ///
    /// If there are none, one cannot be read, is cut short or is not what its header says, or the index and its shards
    /// disagree.
    pub fn provided(files: &dyn Files) -> Result<Self> {
        for names in &FILE_NAMES {
            let mut weights = if let Some(single) = provided(files, names.single)? {
                Self::from_provided(names.single.as_ref(), vec![(names.single, single)])?
            } else if let Some(json) = Beside::Provided(files).read(names.index, MAX_INDEX_BYTES)? {
                Self::from_provided_index(files, names.index.as_ref(), &json)?
            } else {
                continue;
            };
            weights.rename();
            return Ok(weights);
        }
        let reason = "is not among the files that are provided, nor is model.safetensors.index.json or pytorch_model.bin: \
                      one of them holds the weights";
        Err(file_error(FILE_NAMES[0].single.as_ref(), reason.into()))
    }

    fn from_provided_index(files: &dyn Files, index: &Path, json: &[u8]) -> Result<Self> {
        let weight_map = read_index(index, json)?;
        let mut contents = Vec::new();
        for shard in shards(index, &weight_map)? {
            let missing = || {
                let reason =
                    format!("is not among the files that are provided, and {} names it", index.display());
                file_error(shard.as_ref(), reason)
            };
            contents.push((shard, provided(files, shard)?.ok_or_else(missing)?));
        }
        let names: Vec<PathBuf> = contents.iter().map(|(name, _)| name.into()).collect();
        let weights = Self::from_provided(index, contents)?;
        weights.check_index(&weight_map, &names, Path::new(""))?;
        Ok(weights)
    }

    fn from_index(dir: &Path, index: &Path) -> Result<Self> {
        let weight_map = read_index(index, &read_file(index, MAX_INDEX_BYTES)?)?;
        let mut files = Vec::new();
        for shard in shards(index, &weight_map)? {
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
        weights.check_index(&weight_map, &files, dir)?;
        Ok(weights)
    }

    /// Checks that each tensor is in the file of a folder that the index says.
    fn check_index(
        &self,
        weight_map: &BTreeMap<String, String>,
        files: &[PathBuf],
        dir: &Path,
    ) -> Result<()> {
        for (name, shard) in weight_map {
            let unread = self.unread.get(name).map(|(file, _)| *file);
            let found = self.tensors.get(name).map(|entry| entry.file).or(unread).map(|file| &files[file]);
            if found != Some(&dir.join(shard)) {
                let reason = match found {
                    None => {
                        format!("the index places it in {shard}, which does not hold it; download both again")
                    }
                    Some(file) => format!(
                        "the index places it in {shard}, but {} holds it; download the index and both files again",
                        file.display()
                    ),
                };
                return Err(Error::Tensor { name: name.clone(), reason });
            }
        }
        Ok(())
    }
}

/// The map from tensor to shard in an index.
fn read_index(index: &Path, json: &[u8]) -> Result<BTreeMap<String, String>> {
    let wrong = |reason| file_error(index, format!("not an index of shards: {reason}; download it again"));
    weight_map(json).map_err(wrong)
}

/// The shards that an index names, each once.
fn shards<'a>(index: &Path, weight_map: &'a BTreeMap<String, String>) -> Result<Vec<&'a str>> {
    let mut shards: Vec<&str> = weight_map.values().map(String::as_str).collect();
    shards.sort_unstable();
    shards.dedup();
    match shards.iter().find(|shard| !is_file_name(shard)) {
        Some(shard) => {
            let reason = format!("names the shard {shard:?}, which is not a file of this folder");
            Err(file_error(index, reason))
        }
        None => Ok(shards),
    }
}

/// The map from tensor to shard in the text of an index.
fn weight_map(json: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let index = object("it", json)?;
    let Some(Value::Object(map)) = index.get("weight_map") else { return Err("it has no weight_map".into()) };
    map.iter()
        .map(|(name, shard)| match shard {
            Value::String(shard) => Ok((name.clone(), shard.clone())),
            other => Err(format!("of {} it names {}, no shard", shown(name), brief(other))),
        })
        .collect()
}

/// The same error of a folder that nobody can download: `strix convert` wrote it.
fn to_be_converted(error: Error) -> Error {
    let again = |reason: String| {
        let advice = [
            "download the index and both files again",
            "download both again",
            "download it again",
            "download the index",
            "download it",
        ];
        let said = advice.into_iter().find(|&said| reason.contains(said));
        said.map_or(reason.clone(), |said| reason.replacen(said, "convert the checkpoint again", 1))
    };
    match error {
        Error::File { path, reason } => Error::File { path, reason: again(reason) },
        Error::Tensor { name, reason } => Error::Tensor { name, reason: again(reason) },
        error => error,
    }
}

/// The message about one shard of several that was named alone.
pub(super) fn part_of(path: &Path) -> Option<String> {
    let Shard { number, count, .. } =
        FILE_NAMES.iter().find_map(|names| Shard::parse(path, names.extension))?;
    let alone = count > 1 && path.is_file();
    alone.then(|| format!("it is shard {number} of {count} alone: name its folder, or the index beside it"))
}

/// Whether it is a name without a path. An index or manifest names files so; any other may not be read.
pub(crate) fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

/// The candidates, if they are one file or one set of shards without a gap.
fn whole(dir: &Path, names: &FileNames, candidates: &[&PathBuf]) -> Result<Vec<PathBuf>> {
    let shards: Option<Vec<Shard>> =
        candidates.iter().map(|file| Shard::parse(file, names.extension)).collect();
    let Some(shards) = shards.filter(|shards| shards.iter().all(|shard| shard.set() == shards[0].set()))
    else {
        return match candidates {
            [only] => Ok(vec![only.to_path_buf()]),
            _ => Err(file_error(
                dir,
                folder::of_several(dir).unwrap_or_else(|| {
                    format!(
                        "holds {} .{} files and no {} that orders them; name one file, or download the index",
                        candidates.len(),
                        names.extension,
                        names.index
                    )
                }),
            )),
        };
    };
    // At most one more than there are files is looked at, even if their names count more.
    let Shard { stem, count, width, .. } = &shards[0];
    let mut files = Vec::new();
    for number in 1..=*count {
        let mut found = shards.iter().zip(candidates).filter(|(shard, _)| shard.number == number);
        match (found.next(), found.next()) {
            (Some((_, file)), None) => files.push(file.to_path_buf()),
            (None, _) => {
                let name = format!("{stem}-{number:0width$}-of-{count:0width$}.{}", names.extension);
                let reason = format!("is missing: {} of {count} shards are there; download it", shards.len());
                return Err(file_error(&dir.join(name), reason));
            }
            (Some((_, a)), Some((_, b))) => {
                let reason = format!("and {} are both shard {number} of {count}: remove one", b.display());
                return Err(file_error(a, reason));
            }
        }
    }
    match shards.iter().zip(candidates).find(|(shard, _)| !(1..=*count).contains(&shard.number)) {
        Some((shard, file)) => Err(file_error(file, format!("is shard {} of {count}", shard.number))),
        None => Ok(files),
    }
}

/// The name of a shard: `STEM-NUMBER-of-COUNT.EXTENSION`.
struct Shard {
    stem: String,
    number: u64,
    count: u64,
    /// Digits of the numbers, zero-padded; 0 if they are not.
    width: usize,
}

impl Shard {
    fn parse(path: &Path, extension: &str) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let parse = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?;
        let padded = number.starts_with('0') || count.starts_with('0');
        let width = if padded { number.len() } else { 0 };
        Some(Self { stem: stem.into(), number: parse(number)?, count: parse(count)?, width })
    }

    fn set(&self) -> (&str, u64) {
        (&self.stem, self.count)
    }
}
