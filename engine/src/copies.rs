//! Parts of tensors that are on the device: copied, read and written.

use std::ops::Range;

use bytemuck::Pod;
use wgpu::BufferUsages as U;

use crate::region::Region;
use crate::{Gpu, Program, ResidentBytes, Result, Tensor};

/// Most bytes that are written without waiting for an app's frame: more than a picture of any model takes.
const LITTLE: usize = 4 << 20;

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
        let ranges = |start: fn(&Copied) -> u64| -> Vec<_> {
            parts.iter().map(|part| start(part)..start(part) + part.bytes).collect()
        };
        let [from, to] = [ranges(|part| part.from), ranges(|part| part.to)];
        let total = total(&from);
        if total == 0 {
            return Ok(());
        }
        // wgpu copies from one buffer to another only.
        let between = self.buffer("copied parts", total, U::COPY_SRC | U::COPY_DST, false)?;
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for tensor in tensors {
            let region = tensor.region(self)?;
            let [from, to] = [&from, &to].map(|ranges| offsets(tensor, ranges));
            for (at, from, bytes) in from {
                encoder.copy_buffer_to_buffer(&region.buffer, region.offset + from, &between, at, bytes);
            }
            for (at, to, bytes) in to {
                encoder.copy_buffer_to_buffer(&between, at, &region.buffer, region.offset + to, bytes);
            }
        }
        self.submit(encoder).map(drop)
    }

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
        let bytes = total(ranges);
        if bytes == 0 {
            return Ok(vec![]);
        }
        let (region, between) =
            (tensor.region(self)?, self.buffer("read parts", bytes, U::COPY_SRC | U::COPY_DST, false)?);
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (at, from, bytes) in offsets(tensor, ranges) {
            encoder.copy_buffer_to_buffer(&region.buffer, region.offset + from, &between, at, bytes);
        }
        self.submit(encoder)?;
        self.download(&Region::of(between, bytes))
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
        let bytes = total(ranges);
        assert_eq!(content.len() as u64, bytes, "{}: content of {ranges:?}", tensor.label());
        if bytes == 0 {
            return Ok(());
        }
        let (region, between) =
            (tensor.region(self)?, self.buffer("written parts", bytes, U::COPY_SRC | U::COPY_DST, false)?);
        // Whoever has a picture's rows written may hold what the app's thread waits for: no frame is waited for then.
        match self.is_shared() && content.len() <= LITTLE {
            true => self.upload_little(&between, content)?,
            false => self.upload(&between, content)?,
        }
        let mut encoder = self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (at, to, bytes) in offsets(tensor, ranges) {
            encoder.copy_buffer_to_buffer(&between, at, &region.buffer, region.offset + to, bytes);
        }
        self.submit(encoder).map(drop)
    }
}

impl Program {
    /// Sets an input of the next run to what a tensor on the device holds. The host sees nothing of it.
    ///
    /// # Errors
    ///
    /// If the device has no room for the tensor, or is lost.
    ///
    /// # Panics
    ///
    /// If it is no input, or the other is shorter.
    pub fn write_from<T: Pod, const R: usize>(
        &mut self,
        input: Tensor<T, R>,
        from: &ResidentBytes,
    ) -> Result<()> {
        let bytes = (input.len() * size_of::<T>()) as u64;
        assert!(bytes <= from.bytes(), "{}: {bytes} bytes of {}", from.label(), from.bytes());
        let gpu = self.gpu().clone();
        let source = from.0.region(&gpu)?;
        if let Some(to) = self.input_place(input.id()) {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&source.buffer, source.offset, &to.buffer, to.offset, bytes);
            gpu.submit(encoder)?;
        }
        Ok(())
    }

    /// Copies an output, as the last run left it, to a place in a tensor that outlives the program: so many bytes from its
    /// start, a multiple of 4. The host sees nothing of it.
    ///
    /// # Errors
    ///
    /// If the device has no room for the tensor, or is lost.
    ///
    /// # Panics
    ///
    /// If what is copied is no output, or goes beyond the other's end.
    pub fn copy_to<T: Pod, const R: usize>(
        &self,
        output: Tensor<T, R>,
        to: &ResidentBytes,
        offset: u64,
    ) -> Result<()> {
        let (gpu, bytes) = (self.gpu(), (output.len() * size_of::<T>()) as u64);
        assert!(offset + bytes <= to.bytes(), "{}: {bytes} bytes at {offset} of {}", to.label(), to.bytes());
        let (from, to) = (self.output_place(output.id()), to.0.region(gpu)?);
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset + offset, bytes);
        gpu.submit(encoder).map(drop)
    }
}

/// Bytes of some parts.
fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// Where each part of a tensor is when all of them lie one after the other, where it is in the tensor, and its bytes.
fn offsets(tensor: &ResidentBytes, ranges: &[Range<u64>]) -> impl Iterator<Item = (u64, u64, u64)> {
    for range in ranges {
        assert!(range.end <= tensor.bytes(), "{}: {range:?} of {} bytes", tensor.label(), tensor.bytes());
    }
    ranges.iter().scan(0, |at, range| {
        let (start, bytes) = (*at, range.end - range.start);
        *at += bytes;
        Some((start, range.start, bytes))
    })
}
