//! Which config a command is about: a file, or one that is built in.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use strix_model::Config;
use strix_model::convert::{PRESETS, preset};

/// A config without weights.
#[derive(clap::Args)]
#[group(id = "shape", multiple = false)]
pub(crate) struct Shape {
    /// A built-in config
    #[arg(long, group = "of", value_parser = PRESETS)]
    pub(crate) preset: Option<String>,
    /// A config.json
    #[arg(long, value_name = "FILE", group = "of")]
    pub(crate) config: Option<PathBuf>,
}

impl Shape {
    /// The text of its `config.json`, which is a good one.
    pub(crate) fn json(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.config else {
            return Ok(self.preset.as_deref().and_then(preset).map(ToOwned::to_owned));
        };
        Config::load_file(file)?;
        Ok(Some(fs::read_to_string(file).with_context(|| file.display().to_string())?))
    }

    /// The config, and what is to be said of its keys.
    pub(crate) fn read(&self) -> anyhow::Result<Option<(Config, Vec<String>)>> {
        if let Some(file) = &self.config {
            return Ok(Some(Config::load_file_with_notes(file)?));
        }
        let json = self.preset.as_deref().and_then(preset);
        Ok(json.map(|json| Config::from_json(json.as_bytes())).transpose()?.map(|config| (config, vec![])))
    }
}
