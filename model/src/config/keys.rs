//! The keys of a checkpoint's JSON files and the effect of each: the tables of `CONFIG.md`.
//!
//! A key that changes numbers is read, or refused with its name and value unless it asks for what Strix does anyway. Of a
//! key that no table has, its name tells ([`super::words`]); those that pass are named in a note: published files carry keys
//! of whoever trained them.

use serde_json::{Map, Value};

pub(crate) use super::key::{Key, Section, Use};
use super::{tables, words};
use crate::json::brief;

impl Section {
    /// The tables of its keys: its own first.
    pub(crate) fn tables(self) -> &'static [&'static [Key]] {
        match self {
            Self::Text => &[tables::TEXT, tables::INHERITED, tables::GENERATION],
            Self::Visual => &[tables::VISUAL],
            Self::VisionModel => &[tables::VISION_MODEL, tables::INHERITED],
            Self::Abstractor => &[tables::ABSTRACTOR, tables::INHERITED],
            Self::Rope => &[tables::ROPE],
            Self::Generation => &[tables::GENERATION_FILE, tables::GENERATION],
            Self::Preprocessor => &[tables::PREPROCESSOR],
            Self::Tokenizer => &[tables::TOKENIZER],
        }
    }

    /// The key of that name.
    pub(crate) fn key(self, name: &str) -> Option<&'static Key> {
        self.tables().iter().copied().flatten().find(|key| key.name == name)
    }

    /// Whether generating a text reads this section: in those of the vision tower and the abstractor the same keys are
    /// leftovers of the class that saved them.
    fn generates(self) -> bool {
        !matches!(self, Self::VisionModel | Self::Abstractor)
    }
}

/// Notes on what was read, for whoever loads the files.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Paths of keys that no table has.
    unknown: Vec<String>,
    /// Paths and values of keys that the options of a call decide instead.
    noted: Vec<String>,
}

impl Notes {
    /// Holds an object against its tables.
    ///
    /// # Errors
    ///
    /// If a key has a value that changes numbers and is not supported.
    pub(super) fn judge(
        &mut self,
        section: Section,
        at: &str,
        map: &Map<String, Value>,
    ) -> Result<(), String> {
        let path = |name: &str| match at {
            "" => name.to_owned(),
            at => format!("{at}.{name}"),
        };
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match section.key(name).map(|key| (key.does, key.why)) {
                None if !section.generates() && is_generation(name) => {}
                None if words::change_numbers(section, name) && !words::is_harmless(name, value) => {
                    return Err(format!(
                        "{} is {}, which Strix does not know, and by its name it changes numbers; take it out of the file \
                         if the model was trained without it",
                        crate::shown(path(name)),
                        brief(value)
                    ));
                }
                None => self.unknown.push(path(name)),
                Some((Use::Only(values), why)) if !is_one_of(value, values) => {
                    let values = match values {
                        [] => "only leaving it out".to_owned(),
                        values => format!("only {}", values.join(" or ")),
                    };
                    return Err(format!("{} is {}; {values} is supported: {why}", path(name), brief(value)));
                }
                Some((Use::Noted(values), _)) if !is_one_of(value, values) => {
                    self.noted.push(format!("{} {}", path(name), brief(value)));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// One line for each kind of note.
    pub(super) fn lines(&self, file: &str) -> Vec<String> {
        let mut lines = vec![];
        if !self.unknown.is_empty() {
            let keys = listed(&self.unknown);
            lines.push(format!("{file}: keys that Strix does not know and passes over: {keys}"));
        }
        if !self.noted.is_empty() {
            let keys = listed(&self.noted);
            lines.push(format!("{file}: not applied, as the options of a call decide: {keys}"));
        }
        lines
    }
}

/// The first few, escaped.
fn listed(names: &[String]) -> String {
    const MOST: usize = 8;
    let cut = |name: &String| {
        let name: String = name.chars().take(160).collect();
        if name.chars().any(char::is_control) { format!("{name:?}") } else { name }
    };
    let cut_names: Vec<String> = names.iter().take(MOST).map(cut).collect();
    match names.len().saturating_sub(MOST) {
        0 => cut_names.join(", "),
        more => format!("{} and {more} more", cut_names.join(", ")),
    }
}

fn is_generation(name: &str) -> bool {
    tables::GENERATION.iter().any(|key| key.name == name)
}

/// Whether a value is one of some in JSON; numbers are equal by value, and a token is its text.
fn is_one_of(value: &Value, allowed: &[&str]) -> bool {
    // tokenizer_config.json writes special tokens as objects too.
    let value = value.get("content").unwrap_or(value);
    allowed.iter().any(|text| match serde_json::from_str::<Value>(text) {
        Ok(want) if want.is_number() => want.as_f64() == value.as_f64(),
        Ok(want) => want == *value,
        Err(_) => false,
    })
}
