//! Errors of files, and the room that is left for them.

use std::io;
use std::path::Path;

use crate::Error;

/// Bytes that are free where a folder is, or will be made; `None` where the system does not say.
pub fn free_bytes(out: &Path) -> Option<u64> {
    let existing = out.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    fs4::available_space(existing).ok()
}

/// An error of reading or writing a file; if there is no room for it, with what to do.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = free_bytes(&path).unwrap_or(0);
            wrong(&path, format!("{source}: {free} bytes are free there; make room and run the same again"))
        }
        _ => Error::Io { path, source },
    }
}

pub(super) fn wrong(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}
