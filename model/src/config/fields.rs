//! JSON files read field by field, so that errors can name the field.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::keys::Notes;
use crate::files::Beside;
use crate::json::brief;
use crate::read::MAX_CONFIG_BYTES;
use crate::{Error, Result};

/// A number or a list of them.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of them")]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Vec<u32> {
    fn from(ids: OneOrMany) -> Self {
        match ids {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}

/// A number for all colours, or one for each.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected a number or three of them")]
pub(super) enum Colours {
    All(f64),
    Each([f64; 3]),
}

impl From<Colours> for [f64; 3] {
    fn from(colours: Colours) -> Self {
        match colours {
            Colours::All(value) => [value; 3],
            Colours::Each(values) => values,
        }
    }
}

/// The ways the years have written a side: `448`, `{"shortest_edge": 448}`, `{"height": 448, "width": 448}`.
#[derive(serde::Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected pixels, {\"shortest_edge\"} or {\"height\", \"width\"}"
)]
pub(super) enum Size {
    Side(usize),
    Shortest { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Size {
    pub(super) fn side(self, name: &str) -> Result<usize, String> {
        match self {
            Self::Side(side) | Self::Shortest { shortest_edge: side } => Ok(side),
            Self::Both { height, width } if height == width => Ok(height),
            Self::Both { height, width } => {
                Err(format!("{name} is {height} high and {width} wide; only squares are supported"))
            }
        }
    }
}

/// An object of a JSON file, read field by field so that errors can name the field.
pub(super) struct Fields<'a> {
    /// Its path in the file, for messages: `visual_config.visual_model`.
    pub(super) section: &'static str,
    /// Absent as a whole: every field takes its default.
    pub(super) map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn get<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, String> {
        let Some(value) = self.value(key) else { return Ok(default) };
        T::deserialize(value).map_err(|e| format!("{} is {}: {e}", self.path(key), brief(value)))
    }

    pub(super) fn section(&self, key: &str, section: &'static str) -> Result<Self, String> {
        match self.value(key) {
            None => Ok(Self { section, map: None }),
            Some(Value::Object(map)) => Ok(Self { section, map: Some(map) }),
            Some(other) => Err(format!("{section} is {}, expected an object", brief(other))),
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.section.is_empty() { key.into() } else { format!("{}.{key}", self.section) }
    }
}

/// Reads the file `name` beside others, or `{}` where it is not there, with a line on each kind of key that was passed over.
pub(super) fn load_beside<T>(
    files: Beside<'_>,
    name: &str,
    read: impl FnOnce(&[u8], &mut Notes) -> Result<T, String>,
) -> Result<(T, Vec<String>)> {
    let json = files.read(name, MAX_CONFIG_BYTES)?;
    let mut notes = Notes::default();
    let config = read(json.as_deref().unwrap_or(b"{}"), &mut notes);
    let config = config.map_err(|reason| Error::File { path: files.path(name), reason })?;
    Ok((config, notes.lines(name)))
}

pub(super) fn refuse(wrong: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(reason()) } else { Ok(()) }
}
