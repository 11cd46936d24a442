//! Finds the config and the weights of a path that is named as a model, or tells what it is instead.

mod adapter;
mod cache;
mod listing;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::cursor::shown;
use super::entry::file_error;
use super::kinds::{self, FileKind, Sign};
use super::names;
use super::tensors::Weights;
use crate::config::{UNQUANTISED, quantised};
use crate::read::{LFS_ADVICE, is_lfs_pointer, without_bom};
use crate::written::refuse_unfinished;
use crate::{Error, Result};
use adapter::{adapter_in, holds_adapter, is_adapter, is_adapter_of};
use cache::cache_of;
use listing::{MAX_SHOWN, has, head, is_state, json, listed, names};

pub(super) use adapter::check_adapter;
pub(super) use listing::is_weights;

/// Most folders in a folder whose folders are looked at.
const MAX_BELOW: usize = 100;
/// Most bytes of a Git LFS pointer.
const MAX_POINTER: u64 = 1024;
/// Ends of the names of a model's small files. A clone may have a Git LFS pointer in place of any, and the lack would
/// not be seen otherwise.
const SMALL_ENDS: [&str; 3] = [".json", ".model", ".jinja"];
/// Small files of a model that may be something else.
const SMALL: [&str; 5] = [
    "config.json",
    "tokenizer.model",
    "tokenizer.json",
    "generation_config.json",
    "preprocessor_config.json",
];

/// Paths of the parts of a checkpoint that was named by one path.
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
        let bytes = head(path).unwrap_or_default();
        if is_lfs_pointer(&bytes) {
            return Err(file_error(path, LFS_ADVICE.into()));
        }
        if let Some(kind) = of_name(&name).or_else(|| beside_bin(path)).or_else(|| kinds::of_bytes(&bytes)) {
            return Err(file_error(path, format!("is {}: {}", kind.what, kind.todo)));
        }
        if is_adapter(&name) {
            return Err(file_error(path, is_adapter_of(dir, &name)));
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
        let reason = match cache_of(dir).or_else(|| inside(path)) {
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
    let small =
        |name: &String| SMALL_ENDS.iter().any(|end| name.ends_with(end)) && is_pointer(&dir.join(name));
    if let Some(name) = names(dir).into_iter().find(small) {
        return Err(file_error(&dir.join(name), LFS_ADVICE.into()));
    }
    for name in SMALL {
        let path = dir.join(name);
        if let Some(kind) = head(&path).and_then(|bytes| kinds::of_bytes(&bytes)) {
            return Err(file_error(&path, format!("is {}: {}", kind.what, kind.todo)));
        }
    }
    let path = dir.join("config.json");
    let Some(config) = json(&path) else { return Ok(()) };
    match other_model(&config).or_else(|| quantised(&config)).or_else(|| quantiser_beside(dir)) {
        Some(reason) => Err(file_error(&path, reason)),
        None => Ok(()),
    }
}

/// The message about the text of a `config.json` that is in no folder, if it is of another model.
pub(crate) fn of_other_model(json: &[u8]) -> Option<String> {
    other_model(&serde_json::from_slice(without_bom(json)).ok()?)
}

/// The message about the config of another model.
fn other_model(config: &Map<String, Value>) -> Option<String> {
    const TYPE: &str = "mplug_owl2";
    const ARCHITECTURE: &str = "MPLUGOwl2LlamaForCausalLM";
    let said = config.get("model_type").and_then(Value::as_str);
    let architectures = config.get("architectures").and_then(Value::as_array);
    // Keys of other programs: TensorRT-LLM, timm, diffusers.
    let built = config.get("pretrained_config").and_then(Value::as_object).unwrap_or(config);
    let others = ["architecture", "_class_name"].iter().filter_map(|&key| built.get(key));
    let others = others.filter(|_| said.is_none());
    let architectures: Vec<&str> =
        architectures.into_iter().flatten().chain(others).filter_map(Value::as_str).collect();
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

/// The message about a quantiser's own file beside a config.
fn quantiser_beside(dir: &Path) -> Option<String> {
    let files = [
        ("quantize_config.json", "GPTQ"),
        ("quant_config.json", "AWQ"),
        ("hf_quant_config.json", "ModelOpt"),
    ];
    let (name, method) = files.into_iter().find(|(name, _)| has(dir, name))?;
    Some(format!(
        "{name} beside it says that the weights are quantised with {method}, which is not read: {UNQUANTISED}. If they are \
         not, move {name} away"
    ))
}

/// Notes on a folder whose weights load: the files in it that are not read.
pub(super) fn passed_over(dir: &Path) -> Vec<String> {
    let names = names(dir);
    let pointer = |name: &&String| is_weights(name) && is_pointer(&dir.join(name.as_str()));
    let pointers: Vec<String> = names.iter().filter(pointer).map(|name| shown(name)).collect();
    let adapters = below(dir, &names, |dir| adapter_in(&self::names(dir)).is_some());
    let said =
        |found: Vec<String>, what: &str| (!found.is_empty()).then(|| format!("{}: {what}", listed(&found)));
    [
        said(pointers, "a Git LFS pointer, not the file itself; it is not read"),
        said(adapters, "a folder with an adapter, which is not applied: what is read is the base alone"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The message about several files without an index, if another program wrote them.
pub(super) fn of_several(dir: &Path) -> Option<String> {
    let names = names(dir);
    of_tables(&names, &[&kinds::PARTS, &kinds::OTHER_PROGRAMS, &kinds::OTHERS])
        .or_else(|| inside(&dir.join(names.iter().find(|name| is_weights(name))?)))
}

/// The message about a folder without weights.
pub(super) fn no_weights(dir: &Path) -> String {
    let names = names(dir);
    if let Some(reason) = other_kind(dir, &names) {
        return reason;
    }
    if let Some(reason) = cache_of(dir) {
        return reason;
    }
    let weights = |dir: &Path| self::names(dir).iter().any(|name| is_weights(name) && !is_adapter(name));
    match &below(dir, &names, weights)[..] {
        [] => adapter_below(dir, &names).or_else(|| kind_below(dir, &names)).unwrap_or_else(|| {
            "holds no .safetensors or .bin file: is it a checkpoint's folder? download the weights too".into()
        }),
        below => format!(
            "holds no .safetensors or .bin file, but its folder {} does: move its files here",
            listed(below)
        ),
    }
}

/// The message about an adapter in a folder of the folder.
fn adapter_below(dir: &Path, names: &[String]) -> Option<String> {
    names.iter().take(MAX_BELOW).find_map(|name| {
        let dir = dir.join(name);
        let held = self::names(&dir);
        let found = adapter_in(&held)?;
        Some(format!("holds no model, and its folder {} {}", shown(name), holds_adapter(&dir, found)))
    })
}

/// The message about a folder without `config.json`.
fn no_config(dir: &Path) -> String {
    let names = names(dir);
    if let Some(name) = names.iter().find(|name| is_pointer(&dir.join(name.as_str()))) {
        return format!("holds no config.json, and {} {LFS_ADVICE}", shown(name));
    }
    if dir.join("config.json").is_symlink() {
        return "holds a config.json that is a link to nothing: copy the file that it points to, or download it again".into();
    }
    if let Some(found) = adapter_in(&names) {
        return holds_adapter(dir, found);
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
    if let Some(reason) = weights.and_then(|name| inside(&dir.join(name))) {
        return reason;
    }
    if let Some(reason) = adapter_below(dir, &names).or_else(|| kind_below(dir, &names)) {
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

/// The tables' message about a folder, or a file in it.
fn other_kind(dir: &Path, names: &[String]) -> Option<String> {
    let tables = [&kinds::PARTS[..], &kinds::OTHER_PROGRAMS, &kinds::OTHERS];
    of_tables(names, &tables)
        .or_else(|| {
            // None of a training's own files is the model, and a folder is no file of torch.
            let files = names.iter().filter(|name| !is_state(name) && !dir.join(name.as_str()).is_dir());
            of_tables(&files.cloned().collect::<Vec<_>>(), &[&kinds::TORCH_SIGNS])
        })
        .or_else(|| {
            let not_whole = kinds::DOWNLOADS.iter().find_map(|below| {
                let name =
                    self::names(&dir.join(below)).into_iter().find(|name| name.ends_with(".incomplete"))?;
                Some(format!("{below}/{}", shown(&name)))
            })?;
            Some(format!("holds {not_whole}, a download that did not end: let the download go on"))
        })
        .or_else(|| {
            let found = names.iter().find(|name| is_state(name) && !is_weights(name))?;
            Some(said_of(found, kinds::STATE))
        })
}

/// The first line of some tables that fits a name.
fn of_tables(names: &[String], tables: &[&[(Sign, FileKind)]]) -> Option<String> {
    tables.iter().copied().flatten().find_map(|&(sign, kind)| {
        let found = names.iter().find(|name| sign.fits(name))?;
        Some(said_of(found, kind))
    })
}

fn said_of(found: &str, kind: FileKind) -> String {
    format!("holds {}, {}: {}", shown(found), kind.what, kind.todo)
}

/// The tables' message about a folder in a folder, such as one of ONNX.
fn kind_below(dir: &Path, names: &[String]) -> Option<String> {
    names.iter().take(MAX_BELOW).find_map(|name| {
        let held = self::names(&dir.join(name));
        let said = of_tables(&held, &[&kinds::PARTS, &kinds::OTHER_PROGRAMS])?;
        Some(format!("holds no weights, and its folder {} {said}", shown(name)))
    })
}

/// The message about a file that is no checkpoint by its name alone.
fn of_name(name: &str) -> Option<FileKind> {
    let other = kinds::OTHER_PROGRAMS.iter().find(|(sign, _)| sign.fits(name)).map(|&(_, kind)| kind);
    other.or_else(|| is_state(name).then_some(kinds::STATE))
}

/// The message about a `.bin` beside another program's file of the same name.
pub(super) fn beside_bin(path: &Path) -> Option<FileKind> {
    let is_bin = path.extension().is_some_and(|extension| extension == "bin");
    let beside = |(extension, _): &&(&str, FileKind)| is_bin && path.with_extension(extension).is_file();
    kinds::BESIDE_BIN.iter().find(beside).map(|&(_, kind)| kind)
}

/// The message about the tensors of a file without a config, if they are no model's.
fn inside(path: &Path) -> Option<String> {
    let weights = Weights::from_files(path, &[path.into()]).ok()?;
    let Err(Error::File { reason, .. }) = weights.refuse_others() else {
        let held: Vec<&str> = weights.names().collect();
        let other = names::other_model(&held)?;
        return Some(format!(
            "holds tensors that look like those of {other}, another model, and no config.json"
        ));
    };
    Some(reason)
}

/// Whether a file is a Git LFS pointer.
fn is_pointer(path: &Path) -> bool {
    let small =
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_POINTER);
    small && head(path).is_some_and(|bytes| is_lfs_pointer(&bytes))
}

/// Names of the folders in a folder for which `holds` is true.
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
    if text.contains("://") {
        let reason = "is an address, and nothing is downloaded by this program: download it first, e.g. hf download NAME \
                      --local-dir FOLDER, and name that folder";
        return file_error(path, reason.into());
    }
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
