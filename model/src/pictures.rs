//! Encoded pictures that a model keeps, by what their pixels are: conversations about the same one encode it once. They
//! stay on the device, where the embedding reads their rows; those that others take the place of wait on the host.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use strix_engine::{Gpu, Resident, ResidentBytes};

use crate::config::Config;
use crate::decoder::TOGETHER;
use crate::{Error, LoadOptions, Result};

/// A picture as the vision tower takes it.
#[derive(Clone, Debug)]
pub(crate) enum Pixels {
    Host(Arc<[f32]>),
    /// Prepared on the device, where it stays.
    Device(Resident<f32, 3>),
}

/// Pictures that are kept at most. One of the 8.2B model takes 1 MiB.
const MOST: usize = 64;

/// Number of a picture: equal where pixels are, and never given to another.
pub(crate) type PictureId = u64;

/// A picture as the decoder sees it: `[queries + 1, hidden_size]`.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) id: PictureId,
    place: Mutex<Place>,
}

#[derive(Clone, Debug)]
enum Place {
    /// Slot on the device.
    Device(usize),
    Host(Arc<[f32]>),
}

impl Encoded {
    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pictures of a model.
#[derive(Debug)]
pub(crate) struct Pictures {
    known: Known,
    slots: Slots,
    /// Number of pictures encoded so far.
    pub encoded: u64,
    /// Number of pictures so far of which nothing is known.
    unnamed: u64,
    /// What no other process has.
    seed: [u8; 8],
}

impl Pictures {
    /// `rows` is what [`declare`] made.
    pub(crate) fn new(gpu: &Gpu, config: &Config, rows: Resident<f32, 2>) -> Self {
        let each = config.num_image_tokens();
        let slot = || Slot { holder: Weak::new(), used: 0 };
        let slots = (0..rows.shape()[0] as usize / each).map(|_| slot()).collect();
        let slots = Slots { gpu: gpu.clone(), rows, each, slots, needed: vec![], clock: 0 };
        let seed = RandomState::new().build_hasher().finish().to_le_bytes();
        Self { known: Known::default(), slots, encoded: 0, unnamed: 0, seed }
    }

    /// The number of a picture of these pixels, or of these embeddings, and the hash that it is known by.
    pub(crate) fn id(&mut self, what: &str, values: &[f32]) -> (PictureId, blake3::Hash) {
        let hash =
            blake3::Hasher::new().update(what.as_bytes()).update(bytemuck::cast_slice(values)).finalize();
        (self.known.id_of(hash), hash)
    }

    /// The number of a picture of which only a name is known, and the hash that it is known by; one without a name is like no
    /// other.
    pub(crate) fn named(&mut self, name: Option<&[u8]>) -> (PictureId, blake3::Hash) {
        let mut hasher = blake3::Hasher::new();
        match name {
            Some(name) => hasher.update(b"named").update(name),
            None => {
                self.unnamed += 1;
                // Also like none of another process, whose sessions may be restored here.
                hasher.update(b"unnamed").update(&self.unnamed.to_le_bytes()).update(&self.seed)
            }
        };
        let hash = hasher.finalize();
        (self.known.id_of(hash), hash)
    }

    /// The number of a picture of this hash.
    pub(crate) fn id_of(&mut self, hash: blake3::Hash) -> PictureId {
        self.known.id_of(hash)
    }

    /// A picture as the decoder sees it, if that is kept.
    pub(crate) fn get(&self, id: PictureId) -> Option<Arc<Encoded>> {
        self.known.get(id)
    }

    /// Keeps a picture that was encoded now: `fill` puts it on the device, so many bytes from the tensor's start.
    pub(crate) fn keep(
        &mut self,
        id: PictureId,
        fill: impl FnOnce(&ResidentBytes, u64) -> Result<()>,
    ) -> Result<Arc<Encoded>> {
        let slot = self.slots.vacate()?;
        fill(&self.slots.rows.untyped(), self.slots.range(slot).start)?;
        let encoded = Arc::new(Encoded { id, place: Place::Device(slot).into() });
        self.slots.hold(slot, &encoded);
        self.encoded += 1;
        tracing::debug!(picture = id, "encoded");
        self.known.keep(&encoded);
        Ok(encoded)
    }

    /// A picture whose embeddings somebody else has.
    pub(crate) fn given(&mut self, id: PictureId, values: Arc<[f32]>) -> Arc<Encoded> {
        self.known.get(id).unwrap_or_else(|| {
            let encoded = Arc::new(Encoded { id, place: Place::Host(values).into() });
            self.known.keep(&encoded);
            encoded
        })
    }

    /// Has these pictures on the device until others are needed; the first row of each.
    ///
    /// # Errors
    ///
    /// If they are more than it has slots for, or it is lost.
    pub(crate) fn need(&mut self, pictures: Vec<Arc<Encoded>>) -> Result<Vec<(PictureId, u32)>> {
        self.slots.need(pictures)
    }

    /// What a picture is.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub(crate) fn read(&self, encoded: &Encoded) -> Result<Arc<[f32]>> {
        self.slots.read(&encoded.place())
    }
}

/// Declares the rows of the pictures on the device: as many as the runs of prompts need at once, and of one that is being
/// encoded. Those of up to [`TOGETHER`] prompts begin and end within a picture each.
pub(crate) fn declare(config: &Config, options: &LoadOptions, limit: u64) -> Resident<f32, 2> {
    /// Rows of the largest chunk that is chosen where layers take turns.
    const CHUNK: u32 = 512;
    let (each, dim) = (config.num_image_tokens(), config.text.hidden_size);
    let slots = 2 * TOGETHER + options.chunk.max(CHUNK) as usize / each + 1;
    let fit = limit as usize / (4 * each * dim);
    Resident::zeros("pictures", [(slots.min(fit).max(1) * each) as u32, dim as u32])
}

/// The pictures seen last.
#[derive(Debug, Default)]
struct Known {
    /// The one seen last is at the end.
    kept: Vec<Kept>,
    next: PictureId,
}

#[derive(Debug)]
struct Kept {
    hash: blake3::Hash,
    id: PictureId,
    /// Once it is encoded.
    encoded: Option<Arc<Encoded>>,
}

impl Known {
    fn id_of(&mut self, hash: blake3::Hash) -> PictureId {
        let known = self.kept.iter().position(|kept| kept.hash == hash);
        let kept = known.map_or_else(
            || {
                self.next += 1;
                Kept { hash, id: self.next, encoded: None }
            },
            |at| self.kept.remove(at),
        );
        let id = kept.id;
        if self.kept.len() == MOST {
            self.kept.remove(0);
        }
        self.kept.push(kept);
        id
    }

    fn get(&self, id: PictureId) -> Option<Arc<Encoded>> {
        self.kept.iter().find(|kept| kept.id == id)?.encoded.clone()
    }

    fn keep(&mut self, encoded: &Arc<Encoded>) {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.id == encoded.id) {
            kept.encoded = Some(encoded.clone());
        }
    }
}

/// Places of pictures on the device.
#[derive(Debug)]
struct Slots {
    gpu: Gpu,
    /// `[slots · (queries + 1), hidden_size]`.
    rows: Resident<f32, 2>,
    /// Rows of a picture.
    each: usize,
    slots: Vec<Slot>,
    /// Pictures of the run that was set last: they stay.
    needed: Vec<Arc<Encoded>>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    /// The slot is free when nobody has the picture any more.
    holder: Weak<Encoded>,
    /// When it was needed last.
    used: u64,
}

impl Slots {
    /// Where a slot is, in bytes.
    fn range(&self, slot: usize) -> Range<u64> {
        let bytes = 4 * u64::from(self.rows.shape()[1]) * self.each as u64;
        slot as u64 * bytes..(slot as u64 + 1) * bytes
    }

    fn hold(&mut self, slot: usize, picture: &Arc<Encoded>) {
        self.clock += 1;
        self.slots[slot] = Slot { holder: Arc::downgrade(picture), used: self.clock };
    }

    /// The slot that is free, or whose picture was not needed for the longest time. That picture is on the host now, if
    /// somebody still has it.
    fn vacate(&self) -> Result<usize> {
        let stays =
            |slot: &Slot| self.needed.iter().any(|needed| slot.holder.as_ptr() == Arc::as_ptr(needed));
        let slots = self.slots.iter().enumerate().filter(|(_, slot)| !stays(slot));
        let oldest = slots.min_by_key(|(_, slot)| (slot.holder.strong_count() > 0).then_some(slot.used));
        let (at, slot) = oldest.ok_or_else(|| {
            let most = self.slots.len();
            Error::Prompt(format!(
                "more than {most} pictures in one run: load the model with a smaller chunk"
            ))
        })?;
        if let Some(holder) = slot.holder.upgrade() {
            let mut place = holder.place();
            *place = Place::Host(self.read(&place)?);
        }
        Ok(at)
    }

    fn need(&mut self, mut pictures: Vec<Arc<Encoded>>) -> Result<Vec<(PictureId, u32)>> {
        pictures.sort_unstable_by_key(Arc::as_ptr);
        pictures.dedup_by(|a, b| Arc::ptr_eq(a, b));
        self.needed = pictures;
        let mut rows = vec![];
        for picture in self.needed.clone() {
            // The lock is let go of here.
            let place = picture.place().clone();
            let slot = match place {
                Place::Device(slot) => slot,
                Place::Host(values) => {
                    let slot = self.vacate()?;
                    let range = self.range(slot);
                    self.gpu.write_ranges(&self.rows.untyped(), &[range], bytemuck::cast_slice(&values))?;
                    *picture.place() = Place::Device(slot);
                    slot
                }
            };
            self.hold(slot, &picture);
            rows.push((picture.id, (slot * self.each) as u32));
        }
        Ok(rows)
    }

    fn read(&self, place: &Place) -> Result<Arc<[f32]>> {
        match place {
            Place::Host(values) => Ok(values.clone()),
            Place::Device(slot) => {
                let range = self.range(*slot);
                let bytes = self.gpu.read_ranges(&self.rows.untyped(), &[range])?;
                Ok(bytemuck::pod_collect_to_vec(&bytes).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: u64) -> blake3::Hash {
        blake3::hash(&of.to_le_bytes())
    }

    #[test]
    fn equal_pixels_are_one_picture_as_long_as_it_is_kept() {
        let mut known = Known::default();
        let [a, b] = [1, 2].map(|of| known.id_of(hash(of)));
        assert_ne!(a, b);
        assert_eq!(known.id_of(hash(1)), a);
        known.keep(&Arc::new(Encoded { id: a, place: Place::Host([7.0].into()).into() }));
        assert_eq!([a, b].map(|id| known.get(id).is_some()), [true, false]);
        for other in 0..MOST as u64 {
            known.id_of(hash(100 + other));
        }
        assert!(known.get(a).is_none());
        assert_ne!(known.id_of(hash(1)), a, "its number is not given again");
    }

    #[test]
    fn pictures_that_lose_their_slot_come_back_as_they_were() {
        let gpu = Gpu::new().expect("an adapter");
        let rows = Resident::zeros("pictures", [6, 4]);
        let slots = (0..3).map(|_| Slot { holder: Weak::new(), used: 0 }).collect();
        let mut slots = Slots { gpu, rows, each: 2, slots, needed: vec![], clock: 0 };
        let values = |id: PictureId| -> Arc<[f32]> { (0..8).map(|i| (id * 10 + i) as f32).collect() };
        let given = |id| Arc::new(Encoded { id, place: Place::Host(values(id)).into() });
        let pictures: Vec<_> = (0..5).map(given).collect();
        let is_on_device = |id: usize| matches!(*pictures[id].place(), Place::Device(_));
        for needed in [vec![0, 1, 2], vec![3, 0], vec![4], vec![1, 2, 4], vec![0, 3]] {
            let all = needed.iter().map(|&id: &usize| pictures[id].clone()).collect();
            let rows = slots.need(all).expect("there is room");
            for (id, row) in rows {
                assert_eq!(row % 2, 0);
                assert_eq!(slots.read(&Place::Device(row as usize / 2)).unwrap(), values(id), "{needed:?}");
            }
            assert!(needed.into_iter().all(is_on_device));
        }
        for picture in &pictures {
            assert_eq!(slots.read(&picture.place()).unwrap(), values(picture.id));
        }
        assert!((0..5).filter(|&id| is_on_device(id)).count() <= 3);
        let error = slots.need(pictures[..4].to_vec()).unwrap_err().to_string();
        assert!(error.contains("more than 3 pictures"), "{error}");
        // What nobody has any more makes room before what somebody has.
        slots.need(vec![]).unwrap();
        let mut pictures = pictures;
        slots.need(pictures[..3].to_vec()).unwrap();
        slots.need(vec![]).unwrap();
        pictures.remove(2);
        slots.need(vec![pictures[2].clone()]).unwrap();
        let on_device = pictures.iter().map(|picture| matches!(*picture.place(), Place::Device(_)));
        assert_eq!(on_device.collect::<Vec<_>>(), [true, true, true, false]);
    }
}
