//! What is known of a tensor before it is read.

use std::ops::Range;
use std::path::Path;

use super::FileDtype;
use super::computed::Computed;
use crate::Error;

/// A tensor's dtype and shape, and where its elements are.
#[derive(Debug)]
pub(super) struct TensorEntry {
    /// Meaningless for what is computed.
    pub(super) file: usize,
    pub(super) dtype: FileDtype,
    pub(super) shape: Vec<usize>,
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) enum At {
    /// Row-major, one element after the other.
    Bytes(Range<usize>),
    /// From the first element to the last, with a stride in elements for each axis.
    Strided(Range<usize>, Vec<usize>),
    /// Computed, in no file.
    Computed(Computed),
}

/// Why a file is not a checkpoint's.
#[derive(Debug)]
pub(super) enum Fault {
    /// What is wrong with it.
    Wrong(String),
    /// It could not be read.
    Unread(Error),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}

impl Fault {
    /// The error of that file.
    pub(super) fn of(self, path: &Path) -> Error {
        match self {
            Self::Wrong(reason) => file_error(path, reason),
            Self::Unread(error) => error,
        }
    }
}

/// The error of a file.
pub(super) fn file_error(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}
