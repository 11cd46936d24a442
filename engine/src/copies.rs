//! Copies within tensors that are on the device.

use wgpu::BufferUsages as U;

use crate::resident::ResidentBytes;
use crate::{Gpu, Result};

/// A part of a tensor that is copied to another place in it. All in bytes, multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it begins.
    pub from: u64,
    /// Where its copy begins.
    pub to: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Gpu {
    /// Copies the same parts within each tensor, in one submit. All parts of a tensor are read before one is written.
    ///
    /// # Errors
    ///
    /// If the device has no room for the parts of one tensor, or is lost.
    ///
    /// # Panics
    ///
    /// If a part is not within a tensor.
    pub fn copy_within(&self, tensors: &[ResidentBytes], parts: &[Copied]) -> Result<()> {
        self.check_alive()?;
        let total = parts.iter().map(|part| part.bytes).sum::<u64>();
        if total == 0 {
            return Ok(());
        }
        // wgpu copies from one buffer to another only.
        let between = self.buffer("copied parts", total, U::COPY_SRC | U::COPY_DST, false)?;
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for tensor in tensors {
            let place = tensor.placed(self)?;
            for part in parts {
                let end = part.from.max(part.to) + part.bytes;
                assert!(end <= tensor.bytes(), "{}: {part:?} of {} bytes", tensor.label(), tensor.bytes());
            }
            let mut at = 0;
            for part in parts {
                let from = place.offset + part.from;
                encoder.copy_buffer_to_buffer(&place.buffer, from, &between, at, part.bytes);
                at += part.bytes;
            }
            at = 0;
            for part in parts {
                let to = place.offset + part.to;
                encoder.copy_buffer_to_buffer(&between, at, &place.buffer, to, part.bytes);
                at += part.bytes;
            }
        }
        self.submit(encoder).map(drop)
    }
}
