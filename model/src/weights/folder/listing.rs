//! What is in a folder, by the names of its files.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::kinds;
use crate::read::{MAX_CONFIG_BYTES, open_file, read_file, without_bom};

/// Most names that a message lists.
pub(super) const MAX_SHOWN: usize = 4;
/// Most names of a folder that are looked at.
const MAX_NAMES: usize = 10_000;
pub(super) fn json(path: &Path) -> Option<Map<String, Value>> {
    let bytes = read_file(path, MAX_CONFIG_BYTES).ok()?;
    serde_json::from_slice(without_bom(&bytes)).ok()
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = vec![];
    open_file(path).ok()?.take(512).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Names in a folder, sorted; none if it cannot be read.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().take(MAX_NAMES);
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

pub(super) fn has(dir: &Path, name: &str) -> bool {
    dir.join(name).is_file()
}

/// Whether a file of that name may be one of weights.
pub(in super::super) fn is_weights(name: &str) -> bool {
    (name.ends_with(".safetensors") || name.ends_with(".bin"))
        && !kinds::NOT_WEIGHTS.iter().any(|sign| sign.fits(name))
        && !is_state(name)
}

/// The first few of some names.
pub(super) fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_SHOWN);
    let names = names.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// Whether a file of that name is a part of a training's state.
pub(super) fn is_state(name: &str) -> bool {
    kinds::STATE_SIGNS.iter().any(|sign| sign.fits(name))
}
