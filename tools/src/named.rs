//! A checkpoint that a command reads: what was named, or the model that is built in.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use strix_model::nano_files;
use tempfile::TempDir;

use crate::terminal::note;

/// Name of the model that is built in.
pub(crate) const NANO: &str = "nano";

/// A folder that was named, or `None` for the built-in model, `nano`.
pub(crate) fn named(dir: Option<&Path>) -> Option<&Path> {
    dir.filter(|dir| *dir != Path::new(NANO))
}

/// A path to read while this lives. The built-in model is written to a temporary folder.
pub(crate) struct Named {
    path: PathBuf,
    _files: Option<TempDir>,
}

impl Named {
    pub(crate) fn find(path: &Path) -> anyhow::Result<Self> {
        if named(Some(path)).is_some() {
            return Ok(Self { path: path.into(), _files: None });
        }
        mention_folder(path);
        let why = "the built-in model, in the folder for temporary files";
        let files = tempfile::Builder::new().prefix("strix-nano-").tempdir().context(why)?;
        for (name, contents) in nano_files() {
            let mut file = File::create(files.path().join(name)).context(why)?;
            file.write_all(contents).context(why)?;
            // What is made of it says when its source was written: always the same of what is always the same.
            file.set_modified(SystemTime::UNIX_EPOCH).context(why)?;
        }
        Ok(Self { path: files.path().into(), _files: Some(files) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Says that a folder of the built-in model's name is not what is read.
pub(crate) fn mention_folder(path: &Path) {
    if path.exists() {
        note("nano is the built-in model; the one here is ./nano");
    }
}
