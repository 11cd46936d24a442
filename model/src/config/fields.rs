//! JSON files read field by field, so that errors can name the field.

use std::fmt::Display;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Result;
use crate::read::{MAX_CONFIG_BYTES, read_if_there, without_bom};

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

/// The ways the years have written a side: `448`, `{"shortest_edge": 448}`, `{"height": 448, "width": 448}`.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected pixels, {\"shortest_edge\"} or {\"height\", \"width\"}")]
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
    /// Where it is in the file, for messages: `visual_config.visual_model`.
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
        T::deserialize(value).map_err(|e| format!("{}: {e}", self.path(key)))
    }

    /// Refuses every value but the one that is supported, which is also the default.
    pub(super) fn only<T: Display>(&self, key: &str, supported: T) -> Result<(), String>
    where
        Value: PartialEq<T>,
    {
        match self.value(key) {
            Some(value) if *value != supported => {
                Err(format!("{} is {value}; only {supported} is supported", self.path(key)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn section(&self, key: &str, section: &'static str) -> Result<Self, String> {
        match self.value(key) {
            None => Ok(Self { section, map: None }),
            Some(Value::Object(map)) => Ok(Self { section, map: Some(map) }),
            Some(other) => Err(format!("{section} is {other}, expected an object")),
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.section.is_empty() { key.into() } else { format!("{}.{key}", self.section) }
    }
}

pub(super) fn parse(file: &str, json: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(without_bom(json))
        .map_err(|e| format!("not a JSON object: {e}; copy {file} again"))
}

pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    read_if_there(path, MAX_CONFIG_BYTES)
}

pub(super) fn refuse(wrong: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(reason()) } else { Ok(()) }
}
