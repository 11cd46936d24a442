//! Chats in files: what `/save` writes and `/load` reads.

use std::path::Path;

use strix_model::Session;

use crate::Usage;

/// Writes a chat to a file.
pub(super) fn save(_session: &mut Session, path: &Path) -> anyhow::Result<()> {
    Err(Usage(format!("{}: this version cannot save a chat", path.display())).into())
}

/// Reads a chat from a file, in place of the one there is.
pub(super) fn load(_session: &mut Session, path: &Path) -> anyhow::Result<()> {
    Err(Usage(format!("{}: this version cannot load a chat", path.display())).into())
}
