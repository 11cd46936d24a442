//! The ring of mapped buffers that copies to the device go through.

use std::collections::VecDeque;

use crate::staging::CHUNKS;
use crate::submission::Submission;

/// Staging buffers in the order in which they were last submitted.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    chunks: VecDeque<Staging>,
}

/// A staging buffer of the ring.
#[derive(Debug)]
pub(crate) struct Staging {
    pub(crate) buffer: wgpu::Buffer,
    /// The last submission that reads it.
    pub(crate) reader: Submission,
}

impl Ring {
    /// The buffer used longest ago. `None` while the ring is not full: it has `most` buffers, but no more than
    /// [`CHUNKS`].
    pub(crate) fn oldest(&mut self, most: usize) -> Option<Staging> {
        if self.chunks.len() < most.clamp(1, CHUNKS) { None } else { self.chunks.pop_front() }
    }

    /// Puts a buffer behind the others.
    pub(crate) fn put(&mut self, staging: Staging) {
        self.chunks.push_back(staging);
    }
}
