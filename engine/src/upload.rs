//! Copies to the device through a ring of mapped buffers of fixed size.

use wgpu::BufferUsages as U;

use crate::ring::{CHUNKS, Ring, Staging};
use crate::{Gpu, HostBytes, Result};

/// Bytes of one staging buffer. lavapipe copies larger writes 4 to 6 times slower.
const CHUNK: u64 = 4 << 20;

/// Bytes ahead of those being copied that the system is asked to read from their file.
const AHEAD: usize = 32 << 20;

/// Bytes of all staging buffers of a device.
pub const STAGING_BYTES: u64 = CHUNK * CHUNKS as u64;

impl Gpu {
    /// Copies `bytes` into `buffer` from its beginning. Returns when the last piece is submitted. Where the app
    /// tells of its frames, no more than it allows comes between two of them.
    pub(crate) fn upload(&self, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<()> {
        self.upload_pieces(buffer, bytes, |_| ())
    }

    /// The same from a file's mapping: what comes next is read ahead, what was copied leaves the process.
    pub(crate) fn upload_from(&self, buffer: &wgpu::Buffer, source: &HostBytes) -> Result<()> {
        let within = |from: usize, to: usize| from.min(source.get().len())..to.min(source.get().len());
        source.will_need(within(0, AHEAD));
        self.upload_pieces(buffer, source.get(), |done| {
            source.will_need(within(done.start + AHEAD, done.end + AHEAD));
            source.done_with(done);
        })
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
    pub(crate) fn take_upload(&self, ring: &mut Ring, bytes: u64) {
        if !self.is_paced() {
            return;
        }
        if ring.left < bytes {
            self.turn();
            ring.left = self.inner.sharing.upload_bytes.max(bytes);
        }
        ring.left -= bytes;
    }

    fn upload_pieces(
        &self,
        buffer: &wgpu::Buffer,
        bytes: &[u8],
        mut copied: impl FnMut(std::ops::Range<usize>),
    ) -> Result<()> {
        let mut ring = self.inner.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut at = 0;
        for piece in bytes.chunks(self.piece_bytes() as usize) {
            self.take_upload(&mut ring, piece.len() as u64);
            let staging = self.staging(&mut ring)?;
            // Copies are of whole words.
            let size = (piece.len() as u64).next_multiple_of(4);
            {
                let mut view = staging.get_mapped_range_mut(..size).map_err(|e| self.lose(e))?;
                view.slice(..piece.len()).copy_from_slice(piece);
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
