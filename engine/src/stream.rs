//! Tensors that take turns on the device, for models that are larger than it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wgpu::BufferUsages as U;

use crate::resident::{Place, Storage};
use crate::{Error, Gpu, ResidentBytes, Result};

/// Groups of tensors (the layers of a model) of which two are on the device at a time: while one is used, the next
/// comes from the host into the place of the one before.
///
/// Programs compiled with a streamed tensor bring its group in by themselves. All groups hold as many tensors; two
/// slots are as large as the largest group.
#[derive(Debug)]
pub struct Stream {
    gpu: Gpu,
    groups: Vec<Vec<Arc<Storage>>>,
    slots: [Vec<wgpu::Buffer>; 2],
    /// Where the host writes, on a device whose storage it cannot map.
    staging: Vec<wgpu::Buffer>,
    state: Mutex<State>,
}

/// What a [`Stream`] has moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes that came to the device.
    pub bytes: u64,
    /// Time during which the device had nothing to do but wait for them.
    pub waiting: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Group in each slot, and whether all of it is there.
    pub(crate) holds: [Option<(usize, bool)>; 2],
    pub(crate) moved: Streamed,
}

/// Which stream, group and tensor of it a [`Storage`] is.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) stream: Weak<Stream>,
    pub(crate) group: usize,
    pub(crate) tensor: usize,
}

impl Stream {
    /// Streams these groups of tensors, none of which may be on the device yet.
    ///
    /// # Errors
    ///
    /// If the device has no room for two groups.
    ///
    /// # Panics
    ///
    /// If groups differ in their number of tensors, or a tensor has no content on the host or is already placed.
    pub fn new(gpu: &Gpu, groups: Vec<Vec<ResidentBytes>>) -> Result<Arc<Self>> {
        let groups: Vec<Vec<Arc<Storage>>> =
            groups.into_iter().map(|group| group.into_iter().map(|r| r.0).collect()).collect();
        let sizes = slot_sizes(&groups);
        let mapped = gpu.maps_storage();
        let usage = U::STORAGE | U::COPY_SRC | if mapped { U::MAP_WRITE } else { U::COPY_DST };
        let slot = |slot: usize| -> Result<Vec<wgpu::Buffer>> {
            let of_size = |(i, &bytes): (usize, &u64)| {
                gpu.buffer(&format!("stream slot {slot} ({})", groups[0][i].label), bytes, usage, false)
            };
            sizes.iter().enumerate().map(of_size).collect()
        };
        let staging = |&bytes: &u64| gpu.buffer("stream staging", bytes, U::MAP_WRITE | U::COPY_SRC, false);
        let staging = if mapped { vec![] } else { sizes.iter().map(staging).collect::<Result<_>>()? };
        let slots = [slot(0)?, slot(1)?];
        let stream = Arc::new_cyclic(|stream| {
            for (g, group) in groups.iter().enumerate() {
                for (tensor, storage) in group.iter().enumerate() {
                    storage.seat(Seat { stream: stream.clone(), group: g, tensor });
                }
            }
            Self { gpu: gpu.clone(), groups, slots, staging, state: Mutex::default() }
        });
        Ok(stream)
    }

    /// Device bytes that streaming groups of these sizes takes: two slots.
    pub fn slot_bytes(largest_group_bytes: u64) -> u64 {
        2 * largest_group_bytes
    }

    /// What it has moved so far.
    pub fn moved(&self) -> Streamed {
        self.state().moved
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a tensor of a group is while the group is in a slot.
    pub(crate) fn place(&self, group: usize, tensor: usize, slot: usize) -> Place {
        Place { buffer: self.slots[slot][tensor].clone(), offset: 0, bytes: self.groups[group][tensor].bytes }
    }

    /// Copies a group to where the device will find it. Nothing submitted may still use the slot, nor, where
    /// there is staging, be copying from it. With `first_only` the first of each round of pieces will do. `idle` is
    /// called now and then.
    pub(crate) fn fill(
        &self,
        group: usize,
        slot: usize,
        first_only: bool,
        mut idle: impl FnMut() -> Result<()>,
    ) -> Result<u64> {
        /// Bytes copied between two calls of `idle`: a fraction of a millisecond's worth.
        const PIECE: usize = 4 << 20;
        let buffers = if self.staging.is_empty() { &self.slots[slot] } else { &self.staging };
        for buffer in buffers {
            buffer.map_async(wgpu::MapMode::Write, .., |_| ());
        }
        self.gpu.device().poll(wgpu::PollType::Poll).map_err(|e| Error::Lost(e.to_string()))?;
        let mut bytes = 0;
        for (storage, buffer) in self.groups[group].iter().zip(buffers) {
            let source = storage.source.as_ref().expect("checked when it was seated").get();
            let mut view = buffer.get_mapped_range_mut(..).map_err(|e| Error::Lost(e.to_string()))?;
            // Whole, or the first piece of each round.
            let (step, length) = match storage.rounds.filter(|_| first_only) {
                Some((piece, of)) => (piece * of, piece),
                None => (PIECE, PIECE),
            };
            let mut since = 0;
            for (i, round) in source.chunks(step).enumerate() {
                let piece = &round[..length.min(round.len())];
                view.slice(i * step..i * step + piece.len()).copy_from_slice(piece);
                bytes += piece.len() as u64;
                since += piece.len();
                if since >= PIECE {
                    idle()?;
                    since = 0;
                }
            }
        }
        for buffer in buffers {
            buffer.unmap();
        }
        Ok(bytes)
    }

    /// Records the copy from staging to a slot; whether there is one.
    pub(crate) fn copy(&self, encoder: &mut wgpu::CommandEncoder, slot: usize) -> bool {
        for (from, to) in self.staging.iter().zip(&self.slots[slot]) {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, to.size());
        }
        !self.staging.is_empty()
    }
}

fn slot_sizes(groups: &[Vec<Arc<Storage>>]) -> Vec<u64> {
    let count = groups.first().map_or(0, Vec::len);
    for group in groups {
        assert_eq!(group.len(), count, "streamed groups hold as many tensors");
    }
    (0..count).map(|i| groups.iter().map(|group| group[i].bytes).max().unwrap_or(0)).collect()
}
