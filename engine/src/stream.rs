//! Tensors that take turns on the device, for models that are larger than it.

use std::sync::Arc;

use crate::slots::{Seat, Slots, Streamed};
use crate::{Gpu, ResidentBytes, Result};

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
    slots: Arc<Slots>,
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
    pub fn new(gpu: &Gpu, groups: &[Vec<ResidentBytes>]) -> Result<Self> {
        let texels =
            |i: usize| groups.iter().filter_map(|group| group.get(i)).all(|tensor| tensor.0.takes_texels());
        let sizes = slot_sizes(groups).into_iter().enumerate().map(|(i, bytes)| (bytes, texels(i)));
        let slots = Arc::new(Slots::new(gpu, &sizes.collect::<Vec<_>>())?);
        for (group, tensors) in groups.iter().enumerate() {
            for (tensor, resident) in tensors.iter().enumerate() {
                resident.0.seat(Seat { slots: slots.clone(), group, tensor });
            }
        }
        Ok(Self { slots })
    }

    /// Bytes of one slot for these groups: there are two, and one more as staging where the host cannot map them.
    pub fn slot_bytes(groups: &[Vec<ResidentBytes>]) -> u64 {
        slot_sizes(groups).iter().sum()
    }

    /// What it has moved so far, for all programs.
    pub fn moved(&self) -> Streamed {
        self.slots.moved()
    }
}

fn slot_sizes(groups: &[Vec<ResidentBytes>]) -> Vec<u64> {
    let count = groups.iter().map(Vec::len).max().unwrap_or(0);
    let largest = |i: usize| groups.iter().filter_map(|group| Some(group.get(i)?.bytes())).max().unwrap_or(0);
    (0..count).map(largest).collect()
}
