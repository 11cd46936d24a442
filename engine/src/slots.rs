//! Two slots on the device in which groups of tensors take turns, and how a group comes into one.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wgpu::BufferUsages as U;

use crate::import::HostPages;
use crate::region::Region;
use crate::staging::PIECE;
use crate::submission::Submission;
use crate::{Gpu, HostBytes, Result};

/// What a [`Stream`](crate::Stream) has moved so far.
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

/// The place of the tensors with one index.
#[derive(Debug)]
struct Slot {
    region: Region,
    /// Memory that the host writes without mapping the buffer.
    pages: Option<HostPages>,
}

/// Where the host writes.
enum To<'a> {
    View(wgpu::BufferViewMut),
    Pages(&'a HostPages),
}

/// Two sets of buffers. Each has room for the largest first tensor of a group, the largest second, and so on.
#[derive(Debug)]
pub(crate) struct Slots {
    gpu: Gpu,
    slots: [Vec<Slot>; 2],
    /// The host writes here, on a device whose storage it cannot map.
    staging: Vec<wgpu::Buffer>,
    state: Mutex<State>,
    bytes: AtomicU64,
    waiting_ns: AtomicU64,
}

/// Content of the slots, and the submissions that use them.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Group in each slot, and what of its tensors is there.
    pub(crate) holds: [Option<(usize, Wanted)>; 2],
    /// The last submission that uses each slot.
    pub(crate) used: [Option<Submission>; 2],
    /// The last one that copies from staging.
    pub(crate) staged: Option<Submission>,
}

/// Part of a tensor that must be in a slot.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    /// Index of the tensor in its group, and of its buffer in a slot.
    pub(crate) tensor: usize,
    /// Content of the whole tensor.
    pub(crate) content: HostBytes,
    /// Bytes of it.
    pub(crate) range: Range<u64>,
}

/// Parts of a group's tensors, by rising tensor.
pub(crate) type Wanted = Arc<[Needed]>;

/// Place of a tensor in a stream.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// The slots of its stream.
    pub(crate) slots: Arc<Slots>,
    /// Its group.
    pub(crate) group: usize,
    /// Its index in the group.
    pub(crate) tensor: usize,
}

impl Slots {
    /// Allocates two slots for tensors of these sizes, some of which kernels may read as texels where the device can.
    pub(crate) fn new(gpu: &Gpu, sizes: &[(u64, bool)]) -> Result<Self> {
        let mapped = gpu.maps_storage();
        let usage = U::STORAGE | U::COPY_SRC | if mapped { U::MAP_WRITE } else { U::COPY_DST };
        let slot = |slot: usize| -> Result<Vec<Slot>> {
            let of_size = |(i, &(bytes, texels)): (usize, &(u64, bool))| {
                let label = format!("stream slot {slot}, tensor {i}");
                if texels && mapped && gpu.target().texels {
                    let (region, pages) = gpu.shared_pages(&label, bytes)?;
                    return Ok(Slot { region, pages: Some(pages) });
                }
                let buffer = gpu.buffer(&label, bytes, usage, false)?;
                Ok(Slot { region: Region::of(buffer, bytes), pages: None })
            };
            sizes.iter().enumerate().map(of_size).collect()
        };
        let staging = |&(bytes, _): &(u64, bool)| {
            gpu.buffer("stream staging", bytes, U::MAP_WRITE | U::COPY_SRC, false)
        };
        let staging = if mapped { vec![] } else { sizes.iter().map(staging).collect::<Result<_>>()? };
        Ok(Self {
            gpu: gpu.clone(),
            slots: [slot(0)?, slot(1)?],
            staging,
            state: Mutex::default(),
            bytes: AtomicU64::new(0),
            waiting_ns: AtomicU64::new(0),
        })
    }

    /// What came into the slots so far.
    pub(crate) fn moved(&self) -> Streamed {
        Streamed {
            bytes: self.bytes.load(Ordering::Relaxed),
            waiting: Duration::from_nanos(self.waiting_ns.load(Ordering::Relaxed)),
        }
    }

    /// Adds to what came.
    pub(crate) fn note(&self, moved: Streamed) {
        self.bytes.fetch_add(moved.bytes, Ordering::Relaxed);
        self.waiting_ns.fetch_add(moved.waiting.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `bytes` of a tensor while its group is in a slot.
    pub(crate) fn region(&self, tensor: usize, slot: usize, bytes: u64) -> Region {
        self.slots[slot][tensor].region.clone().part(0, bytes)
    }

    /// Whether kernels can read a tensor as texels while its group is in a slot.
    pub(crate) fn has_texels(&self, tensor: usize) -> bool {
        self.slots[0][tensor].region.texels.is_some()
    }

    /// Copies what is wanted of a group to where the device will find it. Nothing submitted may still use the slot,
    /// nor, where there is staging, be copying from it. `idle` is called now and then.
    pub(crate) fn fill(
        &self,
        slot: usize,
        wanted: &[Needed],
        mut idle: impl FnMut() -> Result<()>,
    ) -> Result<u64> {
        let slot = &self.slots[slot];
        let is_mapped = |needed: &&Needed| slot[needed.tensor].pages.is_none();
        let buffers = || wanted.iter().filter(is_mapped).map(|needed| self.mapped(slot, needed));
        for buffer in buffers() {
            self.gpu.guarded(|| buffer.map_async(wgpu::MapMode::Write, .., |_| ()))?;
        }
        let filled = self.gpu.poll().and_then(|()| self.write(slot, wanted, &mut idle));
        // Also where it failed: a mapped buffer cannot be used, nor mapped again.
        for buffer in buffers() {
            self.gpu.guarded(|| buffer.unmap())?;
        }
        filled
    }

    /// The buffer that the host maps for a tensor.
    fn mapped<'a>(&'a self, slot: &'a [Slot], needed: &Needed) -> &'a wgpu::Buffer {
        self.staging.get(needed.tensor).unwrap_or(&slot[needed.tensor].region.buffer)
    }

    fn write(&self, slot: &[Slot], wanted: &[Needed], idle: &mut impl FnMut() -> Result<()>) -> Result<u64> {
        let (mut bytes, mut since) = (0, 0);
        for needed in wanted {
            let mut to = match &slot[needed.tensor].pages {
                Some(pages) => To::Pages(pages),
                None => {
                    let buffer = self.mapped(slot, needed);
                    To::View(buffer.get_mapped_range_mut(..).map_err(|e| self.gpu.lose(e))?)
                }
            };
            for piece in needed.pieces(PIECE) {
                let part = &*needed.content.piece(piece.clone())?;
                match &mut to {
                    To::View(view) => view.slice(piece.clone()).copy_from_slice(part),
                    To::Pages(pages) => {
                        #[expect(unsafe_code, reason = "memory that is shared with the device")]
                        // SAFETY: nothing submitted uses the slot, and whoever fills it holds the state's lock.
                        unsafe {
                            pages.write(piece.start, part);
                        }
                    }
                }
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

    /// Whether the host writes to staging, from which the device copies.
    pub(crate) fn has_staging(&self) -> bool {
        !self.staging.is_empty()
    }

    /// Pieces of what is wanted of a group, each of one tensor and of at most `most` bytes.
    pub(crate) fn pieces<'a>(
        &self,
        wanted: &'a [Needed],
        most: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        wanted.iter().flat_map(move |needed| needed.pieces(most).map(move |piece| (needed.tensor, piece)))
    }

    /// Records the copy of a piece from staging to a slot.
    pub(crate) fn copy(&self, encoder: &mut wgpu::CommandEncoder, slot: usize, piece: (usize, Range<usize>)) {
        let (tensor, piece) = piece;
        let (from, to) = (&self.staging[tensor], &self.slots[slot][tensor].region.buffer);
        // Copies are of whole words. Tensors have room for them.
        let (at, size) = (piece.start as u64, (piece.len() as u64).next_multiple_of(4));
        encoder.copy_buffer_to_buffer(from, at, to, at, size);
    }
}

impl Needed {
    /// Pieces of the content that are needed, of at most `most` bytes.
    fn pieces(&self, most: usize) -> impl Iterator<Item = Range<usize>> {
        let len = self.content.len();
        let [start, end] = [self.range.start, self.range.end].map(|at| len.min(at as usize));
        (start..end).step_by(most).map(move |at| at..end.min(at.saturating_add(most)))
    }

    /// Whether `held` has all of it.
    fn is_in(&self, held: &[Self]) -> bool {
        let has = |held: &Self| {
            held.tensor == self.tensor
                && held.range.start <= self.range.start
                && self.range.end <= held.range.end
        };
        held.iter().any(has)
    }
}

impl State {
    /// Whether a slot holds all that is wanted of a group.
    pub(crate) fn has(&self, slot: usize, group: usize, wanted: &[Needed]) -> bool {
        let held = self.holds[slot].as_ref().filter(|(held, _)| *held == group);
        held.is_some_and(|(_, held)| wanted.iter().all(|needed| needed.is_in(held)))
    }
}
