//! What a file of a checkpoint holds, and its parts.

use std::borrow::Cow;
use std::sync::Arc;

use super::entry::Fault;
use crate::files::{Reader, SharedBytes};

/// What a file holds.
pub(super) enum Content {
    /// A memory map, or memory.
    Bytes(SharedBytes),
    /// What is read when it is needed.
    Reader(Arc<Reader>),
}

impl Content {
    /// Bytes in all.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => (**bytes).as_ref().len() as u64,
            Self::Reader(reader) => reader.len(),
        }
    }

    /// So many bytes from `at` on, copied only where they have to be read; `None` if the file does not have them all.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(super) fn part(&self, at: u64, len: u64) -> Result<Option<Cow<'_, [u8]>>, Fault> {
        let Some(end) = at.checked_add(len).filter(|&end| end <= self.len()) else { return Ok(None) };
        Ok(Some(match self {
            Self::Bytes(bytes) => Cow::Borrowed(&(**bytes).as_ref()[at as usize..end as usize]),
            Self::Reader(reader) => Cow::Owned(reader.part(at, len)?),
        }))
    }

    /// Its first bytes: so many, or all that there are.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(super) fn first(&self, len: u64) -> Result<Cow<'_, [u8]>, Fault> {
        Ok(self.part(0, len.min(self.len()))?.unwrap_or_default())
    }
}
