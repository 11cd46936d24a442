//! Names in a folder that this library wrote, and whether it was finished.

use std::path::Path;

use crate::{Error, Result};

/// Name of the manifest. It is written last: a folder that has one is complete.
pub const MANIFEST: &str = "strix.json";
/// The folder in it that holds what is being written.
pub(crate) const PARTIAL: &str = ".partial";
/// The file there that tells what is done.
pub(crate) const JOURNAL: &str = "journal.jsonl";

/// Refuses to read a folder that a run has begun and not finished.
pub(crate) fn refuse_unfinished(dir: &Path) -> Result<()> {
    if dir.join(MANIFEST).exists() || !dir.join(PARTIAL).join(JOURNAL).exists() {
        return Ok(());
    }
    let reason = "is unfinished: run the strix convert, export or synth again that began it";
    Err(Error::File { path: dir.into(), reason: reason.into() })
}
