//! What a path is that someone names as a model: where its config and its weights are, or what it is instead.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::cursor::shown;
use super::kinds::{self, Sign};
use super::{Weights, file_error};
use crate::convert::refuse_unfinished;
use crate::read::{MAX_CONFIG_BYTES, open_file, read_file, without_bom};
use crate::{Error, Result};

/// Most names of a folder that are looked at.
const MAX_NAMES: usize = 10_000;
/// Most folders in a folder whose folders are looked at.
const MAX_BELOW: usize = 100;
/// Most names that a message lists.
const MAX_SHOWN: usize = 4;
/// Small files of a model, of any of which a clone may have a pointer only.
const SMALL: [&str; 5] = [
    "config.json",
    "tokenizer.model",
    "tokenizer.json",
    "generation_config.json",
    "preprocessor_config.json",
];

/// Where the parts of a checkpoint are that someone named by one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The folder with `config.json`, and with the tokenizer if there is one.
    pub config: PathBuf,
    /// A file of weights, an index of shards, or a folder of either: what [`Weights::open`] takes.
    pub weights: PathBuf,
}

impl Located {
    /// Finds a checkpoint by its folder, or by a file where one is enough: a file of weights or an index of shards with
    /// `config.json` beside it. A `config.json` stands for its folder.
    ///
    /// A folder one level too high or too low is not guessed from: the error names the right one.
    ///
    /// # Errors
    ///
    /// If there is no such path, or it is no checkpoint of this model: the message says what it is instead (an adapter,
    /// a quantised or sharded checkpoint, one of another program or another model, a download that did not end, a folder
    /// of folders) and what to do.
    pub fn find(path: &Path) -> Result<Self> {
        let located = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::in_folder(path)?,
            Ok(_) => Self::of_file(path)?,
            Err(source) => return Err(not_there(path, source)),
        };
        check_config(&located.config)?;
        Ok(located)
    }

    fn in_folder(dir: &Path) -> Result<Self> {
        refuse_unfinished(dir)?;
        if has(dir, "config.json") {
            return Ok(Self { config: dir.into(), weights: dir.into() });
        }
        Err(file_error(dir, no_config(dir)))
    }

    fn of_file(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if name == "config.json" {
            return Self::in_folder(dir);
        }
        if let Some(kind) = head(path).and_then(|bytes| kinds::of_bytes(&bytes)) {
            return Err(file_error(path, format!("is {}: {}", kind.what, kind.todo)));
        }
        if is_adapter(&name) {
            return Err(file_error(path, is_adapter_of(dir)));
        }
        if [".json", ".model", ".txt", ".md"].iter().any(|end| name.ends_with(end))
            && !name.ends_with(".index.json")
        {
            return Err(file_error(
                path,
                "is no file of weights: name its folder, or the file of weights".into(),
            ));
        }
        if has(dir, "config.json") {
            return Ok(Self { config: dir.into(), weights: path.into() });
        }
        let reason = match cache_of(dir) {
            Some(reason) => reason,
            None => format!(
                "has no config.json beside it, which says of what sizes the model is: copy the one of the model to {}",
                dir.display()
            ),
        };
        Err(file_error(path, reason))
    }
}

/// Refuses what a `config.json` says that no weights can mend: another model, quantised weights. So is a small file of the
/// model that is none: a pointer of Git LFS, a page of HTML.
///
/// What is wrong with it otherwise, [`crate::Config::load`] says.
pub(crate) fn check_config(dir: &Path) -> Result<()> {
    for name in SMALL {
        let path = dir.join(name);
        if let Some(kind) = head(&path).and_then(|bytes| kinds::of_bytes(&bytes)) {
            return Err(file_error(&path, format!("is {}: {}", kind.what, kind.todo)));
        }
    }
    let path = dir.join("config.json");
    let Some(config) = json(&path) else { return Ok(()) };
    match other_model(&config).or_else(|| quantised(dir, &config)) {
        Some(reason) => Err(file_error(&path, reason)),
        None => Ok(()),
    }
}

/// What a config says of another model.
fn other_model(config: &Map<String, Value>) -> Option<String> {
    const TYPE: &str = "mplug_owl2";
    const ARCHITECTURE: &str = "MPLUGOwl2LlamaForCausalLM";
    let said = config.get("model_type").and_then(Value::as_str);
    let architectures = config.get("architectures").and_then(Value::as_array);
    let architectures: Vec<&str> = architectures.into_iter().flatten().filter_map(Value::as_str).collect();
    if architectures.contains(&ARCHITECTURE)
        || said.is_none_or(|said| said == TYPE) && architectures.is_empty()
    {
        return None;
    }
    let called = match said.filter(|said| *said != TYPE) {
        Some(said) => kinds::model_type(said),
        None => architectures.first()?,
    };
    let architectures =
        architectures.iter().take(MAX_SHOWN).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    Some(format!(
        "is the config of another model, {} (model_type {}, architectures [{architectures}]); this program runs \
         mPLUG-Owl2 alone: model_type {TYPE}, architectures [{ARCHITECTURE}]",
        shown(called),
        said.map_or("none".into(), shown),
    ))
}

/// What a config, or a quantiser's own file beside it, says of quantised weights.
fn quantised(dir: &Path, config: &Map<String, Value>) -> Option<String> {
    for key in ["quantization_config", "compression_config"] {
        let Some(section) = config.get(key).filter(|value| !value.is_null()) else { continue };
        if section.as_object().is_some_and(Map::is_empty) {
            continue;
        }
        let said =
            |key: &str| section.get(key).filter(|value| !value.is_null() && **value != Value::Bool(false));
        let method = match said("quant_method").and_then(Value::as_str) {
            Some("bitsandbytes") | None if said("load_in_8bit").is_some() => "bitsandbytes_8bit",
            Some("bitsandbytes") | None if said("load_in_4bit").is_some() => "bitsandbytes_4bit",
            Some(method) => method,
            None => "a way it does not name",
        };
        return Some(format!(
            "its {key} says that the weights are quantised with {}, which is not read: {}. If they are not, take {key} \
             out of the file",
            shown(kinds::method(method)),
            kinds::UNQUANTISED
        ));
    }
    for (name, method) in
        [("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ"), ("hf_quant_config.json", "ModelOpt")]
    {
        if has(dir, name) {
            return Some(format!(
                "{name} beside it says that the weights are quantised with {method}, which is not read: {}. If they are \
                 not, move {name} away",
                kinds::UNQUANTISED
            ));
        }
    }
    None
}

/// Refuses a folder with an adapter, even if the base's weights are beside it: those alone are another model.
pub(super) fn check_adapter(dir: &Path) -> Result<()> {
    let names = names(dir);
    let Some(found) = first(&names, &kinds::ADAPTER_SIGNS) else { return Ok(()) };
    let base = names.iter().find(|name| is_weights(name) && !is_adapter(name));
    let reason = match base {
        Some(base) => format!(
            "holds {} beside {}: it {}. To run the base alone, name {}",
            shown(found),
            shown(base),
            is_adapter_of(dir),
            shown(base)
        ),
        None => format!("holds {}, which {}", shown(found), is_adapter_of(dir)),
    };
    Err(file_error(dir, reason))
}

/// What a folder is in which no weights were found.
pub(super) fn no_weights(dir: &Path) -> String {
    let names = names(dir);
    if let Some(reason) = other_kind(dir, &names) {
        return reason;
    }
    if let Some(reason) = cache_of(dir) {
        return reason;
    }
    let below = below(dir, &names, |dir| self::names(dir).iter().any(|name| is_weights(name)));
    match &below[..] {
        [] => {
            "holds no .safetensors or .bin file: is it a checkpoint's folder? download the weights too".into()
        }
        _ => format!(
            "holds no .safetensors or .bin file, but its folder {} does: move its files here",
            listed(&below)
        ),
    }
}

/// What a folder is in which there is no `config.json`.
fn no_config(dir: &Path) -> String {
    let names = names(dir);
    if let Some(found) = first(&names, &kinds::ADAPTER_SIGNS) {
        return format!("holds {}, which {}", shown(found), is_adapter_of(dir));
    }
    // Its parts have configs of their own.
    if names.iter().any(|name| name == kinds::PIPELINE) {
        return other_kind(dir, &names).unwrap_or_default();
    }
    if let Some(reason) = cache_of(dir) {
        return reason;
    }
    let holds = |dir: &Path| has(dir, "config.json");
    let mut below = self::below(dir, &names, holds);
    if below.is_empty() {
        let within = |name: &String| {
            let dir = dir.join(name);
            let found = self::below(&dir, &self::names(&dir), holds).into_iter();
            found.map(|below| format!("{}/{below}", shown(name))).collect::<Vec<_>>()
        };
        below = names.iter().take(MAX_BELOW).flat_map(within).collect();
    }
    match &below[..] {
        [] => {}
        [one] => return format!("holds no config.json, but its folder {one} does: name that one"),
        _ => {
            return format!(
                "holds no config.json, but {} of its folders do: name one of {}",
                below.len(),
                listed(&below)
            );
        }
    }
    let parent = std::path::absolute(dir).ok().and_then(|dir| Some(dir.parent()?.to_owned()));
    let weights = names.iter().find(|name| is_weights(name));
    if let Some(parent) = parent.filter(|parent| has(parent, "config.json")) {
        let what = other_kind(dir, &names)
            .map_or("holds no config.json".into(), |what| format!("{what}; it holds no config.json"));
        return format!("{what}, but the folder it is in does: name {}", parent.display());
    }
    if let Some(reason) = other_kind(dir, &names) {
        return reason;
    }
    match weights {
        Some(weights) => format!(
            "holds {} and no config.json, which says of what sizes the model is: copy the one of the model there",
            shown(weights)
        ),
        None if names.is_empty() => "is an empty folder: name one with config.json and weights".into(),
        None => "holds no config.json: is it a model's folder? name one with config.json and weights".into(),
    }
}

/// What a line of the table says of a folder, or of a file in it.
fn other_kind(dir: &Path, names: &[String]) -> Option<String> {
    let of_table = kinds::FOLDERS.iter().find_map(|(sign, kind)| {
        let found = names.iter().find(|name| sign.fits(name))?;
        Some(format!("holds {}, {}: {}", shown(found), kind.what, kind.todo))
    });
    of_table.or_else(|| {
        let not_whole = kinds::DOWNLOADS.iter().find_map(|below| {
            let name =
                self::names(&dir.join(below)).into_iter().find(|name| name.ends_with(".incomplete"))?;
            Some(format!("{below}/{}", shown(&name)))
        })?;
        Some(format!("holds {not_whole}, a download that did not end: let the download go on"))
    })
}

/// What a folder of the hub's cache is, and which of it holds a model. One above, below or within a snapshot.
fn cache_of(dir: &Path) -> Option<String> {
    let dir = std::path::absolute(dir).ok()?;
    let is_repository =
        |dir: &&Path| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("models--"));
    let Some(repository) = dir.ancestors().take(4).find(is_repository) else {
        let names: Vec<_> = names(&dir).into_iter().filter(|name| name.starts_with("models--")).collect();
        if names.is_empty() {
            return None;
        }
        let snapshots: Vec<String> = names.iter().flat_map(|name| snapshots(&dir.join(name))).collect();
        return Some(match snapshots.is_empty() {
            true => format!(
                "is a cache of Hugging Face, and of none of {} a config.json is there: download it again",
                listed(&names)
            ),
            false => {
                format!("is a cache of Hugging Face with {}: name {}", listed(&names), listed(&snapshots))
            }
        });
    };
    // A snapshot that holds a config is a model's folder as any other.
    let snapshots: Vec<String> = snapshots(repository);
    if snapshots.iter().any(|snapshot| Path::new(snapshot) == dir) {
        return None;
    }
    Some(match &snapshots[..] {
        [] => "is of the cache of Hugging Face, and no snapshot there holds a config.json: download the model again".into(),
        [one] => format!("is of the cache of Hugging Face; the model's folder is a snapshot in it: name {one}"),
        _ => format!("is of the cache of Hugging Face; a model's folder is one of its snapshots: name {}", listed(&snapshots)),
    })
}

/// Paths of the snapshots of a repository in the hub's cache that hold a config.
fn snapshots(repository: &Path) -> Vec<String> {
    let dir = repository.join("snapshots");
    let whole = |name: &String| has(&dir.join(name), "config.json");
    names(&dir).into_iter().filter(whole).map(|name| dir.join(name).display().to_string()).collect()
}

/// Folders in a folder of which that is true, by name.
fn below(dir: &Path, names: &[String], holds: impl Fn(&Path) -> bool) -> Vec<String> {
    let is = |name: &&String| {
        let below = dir.join(name.as_str());
        below.is_dir() && holds(&below)
    };
    names.iter().filter(is).map(|name| shown(name)).collect()
}

/// Why there is nothing to open.
fn not_there(path: &Path, source: std::io::Error) -> Error {
    let text = path.to_string_lossy();
    let is_part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [owner, name] if source.kind() == std::io::ErrorKind::NotFound && is_part(owner) && is_part(name) => {
            let reason = "is no file or folder here. If it is the name of a repository: nothing is downloaded by this \
                          program; download it first, e.g. hf download NAME --local-dir FOLDER, and name that folder";
            file_error(path, reason.into())
        }
        _ => Error::Io { path: path.into(), source },
    }
}

/// `is WHAT. TODO`, with the base that an adapter was learned on, and what its tensors look like.
fn is_adapter_of(dir: &Path) -> String {
    let kinds::Kind { what, todo } = kinds::ADAPTER;
    let base = base_of(dir).map_or(String::new(), |base| format!(" (its base: {base})"));
    let file = names(dir).into_iter().find(|name| is_adapter(name) && is_weights(name));
    let weights = file.and_then(|file| Weights::from_files(dir, &[dir.join(file)]).ok());
    let tensors: Vec<String> = weights.iter().flat_map(|w| w.names().take(2).map(shown)).collect();
    let tensors = match tensors.is_empty() {
        true => String::new(),
        false => format!(
            "Its tensors are such as {}; a model's are such as {}. ",
            tensors.join(", "),
            kinds::EXPECTED
        ),
    };
    format!("is {what}{base}. {tensors}{todo}")
}

/// The model that an adapter was learned on, as its config says.
fn base_of(dir: &Path) -> Option<String> {
    let config = json(&dir.join("adapter_config.json"))?;
    Some(shown(config.get("base_model_name_or_path")?.as_str()?))
}

fn json(path: &Path) -> Option<Map<String, Value>> {
    let bytes = read_file(path, MAX_CONFIG_BYTES).ok()?;
    serde_json::from_slice(without_bom(&bytes)).ok()
}

/// The first bytes of a file.
fn head(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = vec![];
    open_file(path).ok()?.take(512).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Names in a folder, sorted; none if it cannot be read.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(MAX_NAMES);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn has(dir: &Path, name: &str) -> bool {
    dir.join(name).is_file()
}

fn first<'n>(names: &'n [String], signs: &[Sign]) -> Option<&'n String> {
    names.iter().find(|name| signs.iter().any(|sign| sign.fits(name)))
}

fn is_adapter(name: &str) -> bool {
    kinds::ADAPTER_SIGNS.iter().any(|sign| sign.fits(name))
}

/// Whether a file of that name may be one of weights.
pub(super) fn is_weights(name: &str) -> bool {
    (name.ends_with(".safetensors") || name.ends_with(".bin"))
        && !kinds::NOT_WEIGHTS.iter().any(|sign| sign.fits(name))
}

/// The first few of some names.
fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let names = names.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}
