//! Copies to the device through a ring of mapped buffers of fixed size.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use wgpu::BufferUsages as U;

use crate::ring::{Ring, Staging};
use crate::staging::CHUNK;
use crate::{Gpu, HostBytes, Result};

/// Bytes ahead of those being copied that the system is asked to read from their file.
const AHEAD: usize = 32 << 20;

impl Gpu {
    /// Copies `bytes` into `buffer` from its beginning. Returns when the last piece is submitted. Where the app
    /// tells of its frames, no more than it allows comes between two of them.
    pub(crate) fn upload(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.upload_pieces(buffer, bytes.len(), |range| Ok(Cow::Borrowed(&bytes[range])), |_| ())
    }

    /// The same from a file's mapping: what comes next is read ahead, what was copied leaves the process.
    pub(crate) fn upload_from(&self, buffer: &wgpu::Buffer, source: &HostBytes) -> Result<()> {
        let within = |from: usize, to: usize| from.min(source.len())..to.min(source.len());
        source.will_need(within(0, AHEAD));
        self.upload_pieces(
            buffer,
            source.len(),
            |range| source.piece(range),
            |done| {
                source.will_need(within(done.start + AHEAD, done.end + AHEAD));
                source.done_with(done);
            },
        )
    }

    /// A mapped staging buffer: a new one while the ring is not full, else the one used longest ago.
    fn staging(&self, ring: &mut Ring) -> Result<wgpu::Buffer> {
        let most = self.inner.sharing.upload_bytes / self.piece_bytes();
        let Some(Staging { buffer, reader }) = ring.oldest(most as usize) else {
            return self.buffer("staging", CHUNK, U::MAP_WRITE | U::COPY_SRC, true);
        };
        // Mapped on submission; the call ends when the copy and then the mapping are done.
        self.wait_for(&reader)?;
        Ok(buffer)
    }

    /// Bytes of a piece of what is copied to the device.
    pub(crate) fn piece_bytes(&self) -> u64 {
        // Copies are of whole words.
        (self.inner.sharing.upload_bytes / 4 * 4).clamp(4, CHUNK)
    }

    /// Waits for a turn that has room for so many bytes, where the app tells of its frames.
    pub(crate) fn take_upload(&self, bytes: u64) {
        if !self.is_paced() {
            return;
        }
        let left = &self.inner.upload_left;
        if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_err() {
            // Nothing is locked meanwhile: whoever copies little does not wait for whoever loads.
            self.turn();
            left.store(self.inner.sharing.upload_bytes.saturating_sub(bytes), Relaxed);
        }
    }

    /// Copies a little without waiting for anything: for threads that draw.
    pub(crate) fn upload_little(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        let whole = bytes.len() / 4 * 4;
        self.guarded(|| {
            self.inner.queue.write_buffer(buffer, 0, &bytes[..whole]);
            if whole < bytes.len() {
                let mut last = [0; 4];
                last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
                self.inner.queue.write_buffer(buffer, whole as u64, &last);
            }
        })
    }

    fn upload_pieces<'a>(
        &self,
        buffer: &wgpu::Buffer,
        len: usize,
        piece: impl Fn(Range<usize>) -> Result<Cow<'a, [u8]>>,
        mut copied: impl FnMut(Range<usize>),
    ) -> Result<()> {
        let mut at = 0;
        let most = self.piece_bytes() as usize;
        for start in (0..len).step_by(most) {
            // Neither a reader nor the app's next frame is waited for while a buffer of the ring is away.
            let piece = piece(start..len.min(start + most))?;
            self.take_upload(piece.len() as u64);
            let mut ring = self.inner.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let staging = self.staging(&mut ring)?;
            // Copies are of whole words.
            let size = (piece.len() as u64).next_multiple_of(4);
            {
                let mut view = staging.get_mapped_range_mut(..size).map_err(|e| self.lose(e))?;
                view.slice(..piece.len()).copy_from_slice(&piece);
                view.slice(piece.len()..).copy_from_slice(&[0; 4][..size as usize - piece.len()]);
            }
            copied(at as usize..at as usize + piece.len());
            self.guarded(|| staging.unmap())?;
            let mut encoder =
                self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&staging, 0, buffer, at, size);
            let reader = self.submit(encoder)?;
            self.guarded(|| staging.map_async(wgpu::MapMode::Write, .., |_| ()))?;
            ring.put(Staging { buffer: staging, reader });
            at += size;
        }
        Ok(())
    }
}
