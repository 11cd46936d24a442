//! Parts of tensors that are on the device: copied within them, read and written.

use std::ops::Range;

use wgpu::BufferUsages as U;

use crate::resident::{Place, ResidentBytes};
use crate::{Gpu, Result};

/// A part of a tensor that is copied to another place in it. All in bytes, multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Offset in bytes.
    pub from: u64,
    /// Offset of its copy in bytes.
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

impl Gpu {
    /// Copies parts of a tensor back, one after the other. All in bytes, multiples of 4.
    ///
    /// # Errors
    ///
    /// If the device has no room for the parts, or is lost.
    ///
    /// # Panics
    ///
    /// If a part is not within the tensor.
    pub fn read_ranges(&self, tensor: &ResidentBytes, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        let bytes = total(tensor, ranges);
        if bytes == 0 {
            return Ok(vec![]);
        }
        let (place, between) =
            (tensor.placed(self)?, self.buffer("read parts", bytes, U::COPY_SRC | U::COPY_DST, false)?);
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for range in ranges {
            let size = range.end - range.start;
            encoder.copy_buffer_to_buffer(&place.buffer, place.offset + range.start, &between, at, size);
            at += size;
        }
        self.submit(encoder)?;
        self.download(&Place::of(between, bytes))
    }

    /// Writes to parts of a tensor, which `content` holds one after the other. All in bytes, multiples of 4.
    ///
    /// # Errors
    ///
    /// If the device has no room for the content, or is lost.
    ///
    /// # Panics
    ///
    /// If a part is not within the tensor, or `content` is not as long as all parts.
    pub fn write_ranges(&self, tensor: &ResidentBytes, ranges: &[Range<u64>], content: &[u8]) -> Result<()> {
        let bytes = total(tensor, ranges);
        assert_eq!(content.len() as u64, bytes, "{}: content of {ranges:?}", tensor.label());
        if bytes == 0 {
            return Ok(());
        }
        let (place, between) =
            (tensor.placed(self)?, self.buffer("written parts", bytes, U::COPY_SRC | U::COPY_DST, false)?);
        self.upload(&between, content)?;
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut at = 0;
        for range in ranges {
            let size = range.end - range.start;
            encoder.copy_buffer_to_buffer(&between, at, &place.buffer, place.offset + range.start, size);
            at += size;
        }
        self.submit(encoder).map(drop)
    }
}

/// Bytes of some parts, which are within a tensor.
fn total(tensor: &ResidentBytes, ranges: &[Range<u64>]) -> u64 {
    for range in ranges {
        assert!(range.end <= tensor.bytes(), "{}: {range:?} of {} bytes", tensor.label(), tensor.bytes());
    }
    ranges.iter().map(|range| range.end - range.start).sum()
}
