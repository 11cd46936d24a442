//! Tensors that take turns on the device, for models that are larger than it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wgpu::BufferUsages as U;

use crate::resident::{Place, Storage};
use crate::segments::Wanted;
use crate::{Gpu, ResidentBytes, Result};

/// Bytes copied between two looks at what the device has done.
const PIECE: usize = 4 << 20;

/// Groups of tensors (the layers of a model) of which two are on the device at a time: while one is used, the next
/// comes from the host into the place of the one before.
///
/// Programs compiled with a streamed tensor bring its group in by themselves. Each of two slots has room for the
/// largest first tensor of a group, the largest second, and so on.
///
/// On a device whose memory the host maps, the host writes into a slot while the device computes with the other.
/// Elsewhere it writes into staging meanwhile, and the device copies from there between two groups.
#[derive(Debug)]
pub struct Stream {
    gpu: Gpu,
    groups: Vec<Vec<Arc<Storage>>>,
    slots: [Vec<wgpu::Buffer>; 2],
    /// Where the host writes, on a device whose storage it cannot map.
    staging: Vec<wgpu::Buffer>,
    state: Mutex<State>,
    bytes: AtomicU64,
    waiting_ns: AtomicU64,
}

/// What a [`Stream`] has moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Bytes that came to the device.
    pub bytes: u64,
    /// Time during which the device had nothing to do but wait for them.
    pub waiting: Duration,
}

impl Streamed {
    /// What was moved since it was `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            waiting: self.waiting.saturating_sub(before.waiting),
        }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, waiting: self.waiting + other.waiting }
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Group in each slot, and what of its tensors is there.
    pub(crate) holds: [Option<(usize, Wanted)>; 2],
    /// The last submission that uses each slot.
    pub(crate) used: [Option<wgpu::SubmissionIndex>; 2],
    /// The last one that copies from staging.
    pub(crate) staged: Option<wgpu::SubmissionIndex>,
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
    /// If a tensor has no content on the host, is streamed already or is on the device.
    pub fn new(gpu: &Gpu, groups: Vec<Vec<ResidentBytes>>) -> Result<Arc<Self>> {
        let groups: Vec<Vec<Arc<Storage>>> =
            groups.into_iter().map(|group| group.into_iter().map(|r| r.0).collect()).collect();
        let sizes = slot_sizes(&groups);
        let mapped = gpu.maps_storage();
        let usage = U::STORAGE | U::COPY_SRC | if mapped { U::MAP_WRITE } else { U::COPY_DST };
        let slot = |slot: usize| -> Result<Vec<wgpu::Buffer>> {
            let of_size = |(i, &bytes): (usize, &u64)| {
                gpu.buffer(&format!("stream slot {slot}, tensor {i}"), bytes, usage, false)
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
            let state = Mutex::default();
            let (bytes, waiting_ns) = (AtomicU64::new(0), AtomicU64::new(0));
            Self { gpu: gpu.clone(), groups, slots, staging, state, bytes, waiting_ns }
        });
        Ok(stream)
    }

    /// Bytes of one slot for these groups: there are two, and one more as staging where the host cannot map them.
    pub fn slot_bytes(groups: &[Vec<ResidentBytes>]) -> u64 {
        let of = |group: &Vec<ResidentBytes>| group.iter().map(|tensor| tensor.0.clone()).collect();
        slot_sizes(&groups.iter().map(of).collect::<Vec<_>>()).iter().sum()
    }

    /// What it has moved so far, for all programs.
    pub fn moved(&self) -> Streamed {
        Streamed {
            bytes: self.bytes.load(Ordering::Relaxed),
            waiting: Duration::from_nanos(self.waiting_ns.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn note(&self, moved: Streamed) {
        self.bytes.fetch_add(moved.bytes, Ordering::Relaxed);
        self.waiting_ns.fetch_add(moved.waiting.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a tensor of a group is while the group is in a slot.
    pub(crate) fn place(&self, group: usize, tensor: usize, slot: usize) -> Place {
        Place::of(self.slots[slot][tensor].clone(), self.groups[group][tensor].bytes)
    }

    /// Copies a group to where the device will find it. Nothing submitted may still use the slot, nor, where
    /// there is staging, be copying from it. Of each tensor what is wanted will do. `idle` is called now and then.
    pub(crate) fn fill(
        &self,
        group: usize,
        slot: usize,
        wanted: &[Range<u64>],
        mut idle: impl FnMut() -> Result<()>,
    ) -> Result<u64> {
        let slot = if self.staging.is_empty() { &self.slots[slot] } else { &self.staging };
        let buffers = &slot[..self.groups[group].len()];
        for buffer in buffers {
            self.gpu.guarded(|| buffer.map_async(wgpu::MapMode::Write, .., |_| ()))?;
        }
        let filled = self.gpu.poll().and_then(|()| self.write(group, buffers, wanted, &mut idle));
        // Also where it failed: a mapped buffer cannot be used, nor mapped again.
        for buffer in buffers {
            self.gpu.guarded(|| buffer.unmap())?;
        }
        filled
    }

    fn write(
        &self,
        group: usize,
        buffers: &[wgpu::Buffer],
        wanted: &[Range<u64>],
        idle: &mut impl FnMut() -> Result<()>,
    ) -> Result<u64> {
        let (mut bytes, mut since) = (0, 0);
        for ((storage, buffer), wanted) in self.groups[group].iter().zip(buffers).zip(wanted) {
            let source = storage.source.as_ref().expect("checked when it was seated").get();
            let mut view = buffer.get_mapped_range_mut(..).map_err(|e| self.gpu.lose(e))?;
            for piece in storage.pieces(wanted.clone(), PIECE) {
                view.slice(piece.clone()).copy_from_slice(&source[piece.clone()]);
                bytes += piece.len() as u64;
                since += piece.len();
                if since >= PIECE {
                    idle()?;
                    since = 0;
                }
            }
        }
        Ok(bytes)
    }

    /// Records the copy from staging to a slot; whether there is one.
    pub(crate) fn copy(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        group: usize,
        slot: usize,
        wanted: &[Range<u64>],
    ) -> bool {
        let buffers = self.staging.iter().zip(&self.slots[slot]);
        for ((storage, (from, to)), wanted) in self.groups[group].iter().zip(buffers).zip(wanted) {
            for piece in storage.pieces(wanted.clone(), usize::MAX) {
                // Copies are of whole words; tensors have room for them.
                let (at, size) = (piece.start as u64, (piece.len() as u64).next_multiple_of(4));
                encoder.copy_buffer_to_buffer(from, at, to, at, size);
            }
        }
        !self.staging.is_empty()
    }
}

fn slot_sizes(groups: &[Vec<Arc<Storage>>]) -> Vec<u64> {
    let count = groups.iter().map(Vec::len).max().unwrap_or(0);
    let largest = |i: usize| groups.iter().filter_map(|group| Some(group.get(i)?.bytes)).max().unwrap_or(0);
    (0..count).map(largest).collect()
}
