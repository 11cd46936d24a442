//! Files of a folder that is being written: made anew or opened as what they are, never through a link.
//!
//! A link left where a run writes would have it write over what the link leads to.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use super::disk::{io_error, wrong};
use crate::Result;

/// Opens a file that a run has made, as `options` say, or makes it.
///
/// # Errors
///
/// If there is a link or no file, or it cannot be opened.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    check(path)?;
    // On other systems the check alone has to do: nothing but another program could have changed it since.
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    }
    let file = options.open(path).map_err(io_error(path))?;
    refuse_others(path, &file.metadata().map_err(io_error(path))?)?;
    Ok(file)
}

/// Makes a file anew, in place of one that an earlier run made.
///
/// # Errors
///
/// If there is a link or no file in its place, or it cannot be made.
pub(super) fn create(path: &Path) -> Result<File> {
    if check(path)? {
        fs::remove_file(path).map_err(io_error(path))?;
    }
    // It fails if anything has come there since, even a link.
    OpenOptions::new().write(true).create_new(true).open(path).map_err(io_error(path))
}

/// Removes a file of a run, if it is there.
///
/// # Errors
///
/// If there is a link or no file in its place, or it cannot be removed.
pub(super) fn remove(path: &Path) -> Result<()> {
    if check(path)? {
        fs::remove_file(path).map_err(io_error(path))?;
    }
    Ok(())
}

/// Whether there is a file.
///
/// # Errors
///
/// If there is something else, or it cannot be looked at.
pub(super) fn check(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(metadata) => refuse_others(path, &metadata).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error(path)(e)),
    }
}

fn refuse_others(path: &Path, metadata: &Metadata) -> Result<()> {
    #[cfg(unix)]
    let other_names = std::os::unix::fs::MetadataExt::nlink(metadata) > 1;
    #[cfg(not(unix))]
    let other_names = false;
    let what = match metadata.file_type() {
        kind if kind.is_symlink() => "is a symbolic link",
        kind if kind.is_dir() => "is a folder",
        kind if !kind.is_file() => "is a device or a pipe",
        _ if other_names => "has another name too (a hard link)",
        _ => return Ok(()),
    };
    Err(wrong(
        path,
        format!("{what}, which strix did not make and does not write to: remove it, or name another folder"),
    ))
}
