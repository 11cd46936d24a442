//! `generation_config.json`: where answers begin and end.

use std::path::Path;

use super::check;
use super::fields::{Fields, OneOrMany, load_beside};
use super::keys::{Notes, Section};
use super::sizes::TextConfig;
use crate::files::Beside;
use crate::json::object;
use crate::{Error, Result};

const NAME: &str = "generation_config.json";

/// `generation_config.json`: where answers begin and end.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Token put before a prompt.
    pub bos_token_id: u32,
    /// Tokens that end an answer.
    pub eos_token_id: Vec<u32>,
}

impl GenerationConfig {
    /// Reads a folder's `generation_config.json`; without one, or for what it lacks, `config.json` decides.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read, or is not what it should be.
    pub fn load(dir: &Path, text: &TextConfig) -> Result<Self> {
        Self::load_with_notes(dir, text).map(|(config, _)| config)
    }

    /// [`GenerationConfig::load`], with a line for whoever loads it on each kind of key that was passed over.
    ///
    /// # Errors
    ///
    /// As [`GenerationConfig::load`].
    pub fn load_with_notes(dir: &Path, text: &TextConfig) -> Result<(Self, Vec<String>)> {
        Self::beside(Beside::Dir(dir), text)
    }

    /// [`Self::load_with_notes`] of files that may be in no folder.
    pub(crate) fn beside(files: Beside<'_>, text: &TextConfig) -> Result<(Self, Vec<String>)> {
        load_beside(files, NAME, |json, notes| Self::read(json, text, notes))
    }

    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    ///
    /// As [`GenerationConfig::load`].
    pub fn from_json(json: &[u8], text: &TextConfig) -> Result<Self> {
        Self::read(json, text, &mut Notes::default())
            .map_err(|reason| Error::File { path: NAME.into(), reason })
    }

    pub(super) fn read(json: &[u8], text: &TextConfig, notes: &mut Notes) -> Result<Self, String> {
        let root = object(NAME, json)?;
        notes.judge(Section::Generation, "", &root)?;
        let f = Fields { section: "", map: Some(&root) };
        let config = Self {
            bos_token_id: f.get("bos_token_id", text.bos_token_id)?,
            eos_token_id: f.get("eos_token_id", OneOrMany::Many(text.eos_token_id.clone()))?.into(),
        };
        check::tokens(config.bos_token_id, &config.eos_token_id, text.vocab_size)?;
        Ok(config)
    }
}
