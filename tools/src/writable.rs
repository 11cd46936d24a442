//! Whether files and folders can be written, before the work for them is done.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::Context;

/// Sees to it that a file can be written; one that is there is not touched.
pub(crate) fn try_file(path: &Path) -> anyhow::Result<()> {
    let failed = || format!("{}: no file can be written there", path.display());
    match path.exists() {
        true => OpenOptions::new().append(true).open(path).map(drop).with_context(failed),
        false => tempfile::tempfile_in(
            path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(".".as_ref()),
        )
        .map(drop)
        .with_context(failed),
    }
}

/// Sees to it that a folder can be written to.
pub(crate) fn try_folder(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("{}: nothing can be written there", dir.display());
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    tempfile::tempfile_in(dir).map(drop).with_context(failed)
}
