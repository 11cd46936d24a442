//! The config that a command is about: a file, or a built-in one.

use std::path::PathBuf;

use anyhow::Context;
use strix_model::Config;
use strix_model::convert::{PRESETS, preset};
use strix_model::read::{MAX_CONFIG_BYTES, read_file};

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
    /// The text of its `config.json`. It was checked.
    pub(crate) fn json(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.config else {
            return Ok(self.preset.as_deref().and_then(preset).map(ToOwned::to_owned));
        };
        Config::load_file(file)?;
        Ok(Some(
            String::from_utf8(read_file(file, MAX_CONFIG_BYTES)?)
                .with_context(|| file.display().to_string())?,
        ))
    }

    /// The config, and notes on its keys.
    pub(crate) fn read(&self) -> anyhow::Result<Option<(Config, Vec<String>)>> {
        if let Some(file) = &self.config {
            return Ok(Some(Config::load_file_with_notes(file)?));
        }
        let json = self.preset.as_deref().and_then(preset);
        Ok(json.map(|json| Config::from_json(json.as_bytes())).transpose()?.map(|config| (config, vec![])))
    }
}
