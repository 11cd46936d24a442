//! Files that are read whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The contents of a file.
///
/// # Errors
///
/// If it cannot be read, is no file but a folder, a device or a pipe, which may never end, or is longer than that.
pub(crate) fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let io = |source| Error::Io { path: path.into(), source };
    let wrong = |reason| Error::File { path: path.into(), reason };
    // Before it is opened: a pipe that nobody writes to does not open.
    let metadata = std::fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a folder" } else { "is a device or a pipe" };
        return Err(wrong(format!("{what}: name a file")));
    }
    let mut bytes = vec![];
    File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes)).map_err(io)?;
    match bytes.len() as u64 > max_bytes {
        true => Err(wrong(format!("holds more than {max_bytes} bytes: is it the right file?"))),
        false => Ok(bytes),
    }
}
