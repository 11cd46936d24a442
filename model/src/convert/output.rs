//! Checks where a folder may be written: never into a source that is read.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::source::{SourceFiles, folder_of};
use crate::{Error, Result};

/// The folder to write, as [`resolve`] gives it; an error if it is the source's, or in it.
pub(super) fn outside_of(source: &Path, out: &Path) -> Result<PathBuf> {
    let out = resolve(out)?;
    match folder_of(source).canonicalize() {
        Ok(folder) if out == folder => {
            refuse(out, "is the source itself, which is read: name another folder".into())
        }
        Ok(folder) if out.starts_with(&folder) => {
            refuse(out, format!("is in {}, which is read: name a folder outside of it", folder.display()))
        }
        // A source that is not there is named when it is opened.
        _ => Ok(out),
    }
}

/// Refuses a folder that holds a file of the source: the source may be a folder of links to it.
pub(super) fn refuse_linked(source: &Path, checkpoint: &SourceFiles, out: &Path) -> Result<()> {
    let dir = folder_of(source);
    let beside = checkpoint.files.iter().map(|(name, _)| dir.join(name));
    let weights = checkpoint.weights.files().map(|(path, ..)| path.to_owned());
    for path in weights.chain(beside) {
        if path.canonicalize().is_ok_and(|file| file.parent() == Some(out)) {
            return refuse(
                out.into(),
                format!("holds what {} links to: name another folder", path.display()),
            );
        }
    }
    Ok(())
}

fn refuse<T>(path: PathBuf, reason: String) -> Result<T> {
    Err(Error::File { path, reason })
}

/// An absolute path without links and without `..`, of a folder that need not exist.
///
/// # Errors
///
/// If `..` follows a folder that does not exist: what that means is known only once something is made there. If a
/// part of it is a link to nothing, or cannot be looked at.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    let io = |at: &Path| {
        let path = at.to_owned();
        move |source| Error::Io { path, source }
    };
    let mut resolved = PathBuf::new();
    let mut missing = false;
    for part in std::path::absolute(path).map_err(io(path))?.components() {
        if part == Component::ParentDir {
            if missing {
                let there = resolved.display();
                return refuse(
                    path.into(),
                    format!("goes back from {there}, which is not there: write it without .."),
                );
            }
            resolved.pop();
            continue;
        }
        resolved.push(part);
        if missing || !matches!(part, Component::Normal(_)) {
            continue;
        }
        match resolved.symlink_metadata() {
            Ok(found) => {
                resolved = match resolved.canonicalize() {
                    Ok(to) if to.is_dir() => to,
                    Ok(_) => {
                        let reason = format!("{} is a file: name a folder to write", resolved.display());
                        return refuse(path.into(), reason);
                    }
                    Err(e) if e.kind() == ErrorKind::NotFound && found.is_symlink() => {
                        let link = resolved.display();
                        return refuse(
                            path.into(),
                            format!("{link} is a link to nothing: remove it, or name another"),
                        );
                    }
                    Err(e) => return Err(io(&resolved)(e)),
                };
            }
            Err(e) if e.kind() == ErrorKind::NotFound => missing = true,
            Err(e) => return Err(io(&resolved)(e)),
        }
    }
    Ok(resolved)
}
