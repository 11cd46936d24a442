//! Tensors that outlive a program: weights, tables, the KV cache.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;

use crate::stream::Seat;
use crate::{Access, Gpu, Result};

#[cfg(target_os = "linux")]
const DROP: rustix::mm::Advice = rustix::mm::Advice::LinuxDontNeed;
#[cfg(all(unix, not(target_os = "linux")))]
const DROP: rustix::mm::Advice = rustix::mm::Advice::DontNeed;

/// Bytes on the host that hold a tensor's content, of a memory-mapped file for instance. Clones share them.
#[derive(Clone)]
pub struct HostBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
    /// Whether they are a file's, and so can be dropped from memory and read again.
    mapped: bool,
}

/// A tensor on the device that several programs share. Clones share the bytes.
///
/// Bytes are allocated when the first program that uses it is compiled, so that a graph can be recorded and
/// planned on a machine that could never hold it.
#[derive(Debug)]
pub struct Resident<T, const R: usize> {
    pub(crate) storage: Arc<Storage>,
    shape: [u32; R],
    of: PhantomData<fn() -> T>,
}

/// A [`Resident`] whose element type and shape are forgotten, for code that only moves bytes.
#[derive(Clone, Debug)]
pub struct ResidentBytes(pub(crate) Arc<Storage>);

#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) label: String,
    /// Bytes on the device: those of the elements, rounded up to a multiple of 16.
    pub(crate) bytes: u64,
    /// Content on first use; zeros when absent.
    pub(crate) source: Option<HostBytes>,
    /// Whether kernels may read it as texels too, where the device can.
    texels: bool,
    /// The device that holds it, and the part of a buffer there.
    place: OnceLock<(wgpu::Device, Place)>,
    /// Its turn in a stream, if it is streamed. It then has no `place`.
    seat: OnceLock<Seat>,
}

/// Part of a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The same bytes as texels of 16 bytes, [`TEXEL_ROW`](crate::TEXEL_ROW) to a row.
    pub(crate) texels: Option<wgpu::TextureView>,
}

impl HostBytes {
    /// Part of what `owner` holds.
    ///
    /// # Panics
    ///
    /// If it does not hold that range.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        let len = (*owner).as_ref().len();
        assert!(range.start <= range.end && range.end <= len, "host bytes {range:?} of {len}");
        Self { owner, range, mapped: false }
    }

    /// Part of a file that `owner` maps for reading. The system is told which pages come next and which
    /// are not needed soon.
    ///
    /// # Safety
    ///
    /// What `owner` holds must be the mapping of a file that is only read. Pages of anything else would be lost when
    /// the system is told that they are not needed.
    ///
    /// # Panics
    ///
    /// If it does not hold that range.
    #[expect(unsafe_code, reason = "a promise that only the caller can keep")]
    pub unsafe fn mapped(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        Self { mapped: true, ..Self::new(owner, range) }
    }

    /// Bytes of all of `data`.
    pub fn from_vec<T: Pod + Send + Sync>(data: Vec<T>) -> Self {
        struct Words<T>(Vec<T>);
        impl<T: Pod> AsRef<[u8]> for Words<T> {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        let range = 0..size_of_val(&data[..]);
        Self { owner: Arc::new(Words(data)), range, mapped: false }
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Bytes from their first to the end of what their owner holds.
    pub(crate) fn room(&self) -> usize {
        (*self.owner).as_ref().len() - self.range.start
    }

    /// Part of these bytes.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len(), "{range:?} of {:?}", self.range);
        let start = self.range.start;
        Self { owner: self.owner.clone(), range: start + range.start..start + range.end, mapped: self.mapped }
    }

    /// Asks the system to read part of them from their file, without waiting for it.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        self.advise(range, rustix::mm::Advice::WillNeed);
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Lets part of them go from this process's memory; they are read again when used again.
    pub(crate) fn done_with(&self, range: Range<usize>) {
        #[cfg(unix)]
        self.advise(range, DROP);
        #[cfg(not(unix))]
        let _ = range;
    }

    #[cfg(unix)]
    fn advise(&self, range: Range<usize>, advice: rustix::mm::Advice) {
        let page = rustix::param::page_size();
        let bytes = &self.get()[range];
        let (start, end) = (bytes.as_ptr().addr() / page * page, bytes.as_ptr().addr() + bytes.len());
        if !self.mapped || bytes.is_empty() {
            return;
        }
        #[expect(unsafe_code, reason = "the system's own call")]
        // SAFETY: the pages hold bytes of a mapped file that is only read, which `mapped` promises; the advice
        // changes when they are in memory, not what they hold.
        let advised =
            unsafe { rustix::mm::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, advice) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the system takes no advice on mapped pages");
        }
    }
}

impl fmt::Debug for HostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBytes({:?})", self.range)
    }
}

impl Place {
    /// The first `bytes` of a buffer.
    pub(crate) fn of(buffer: wgpu::Buffer, bytes: u64) -> Self {
        Self { buffer, offset: 0, bytes, texels: None }
    }

    /// Part of it.
    pub(crate) fn part(self, offset: u64, bytes: u64) -> Self {
        debug_assert!(offset + bytes <= self.bytes, "{bytes} bytes at {offset} of {}", self.bytes);
        Self { offset: self.offset + offset, bytes, ..self }
    }

    pub(crate) fn binding(&self, access: Access) -> wgpu::BindingResource<'_> {
        if access == Access::Texels {
            let texels =
                self.texels.as_ref().expect("kernels that read texels are chosen for tensors that have them");
            return wgpu::BindingResource::TextureView(texels);
        }
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes),
        })
    }
}

impl Storage {
    /// Makes it one of a stream's.
    ///
    /// # Panics
    ///
    /// If it is another stream's, on the device, or without content.
    pub(crate) fn seat(&self, seat: Seat) {
        assert!(self.source.is_some(), "{}: streamed without content on the host", self.label);
        assert!(self.place.get().is_none(), "{}: streamed, but already on the device", self.label);
        assert!(self.seat.set(seat).is_ok(), "{}: streamed twice", self.label);
    }

    /// Pieces of its content, of at most `most` bytes, that are in a range.
    pub(crate) fn pieces(&self, range: Range<u64>, most: usize) -> impl Iterator<Item = Range<usize>> {
        let len = self.source.as_ref().map_or(0, |source| source.get().len());
        let [start, end] = [range.start, range.end].map(|at| len.min(at as usize));
        (start..end).step_by(most).map(move |at| at..end.min(at.saturating_add(most)))
    }

    /// Whether kernels can read it as texels, on devices that can. A streamed tensor is never read so.
    pub(crate) fn has_texels(&self) -> bool {
        self.texels && self.seat.get().is_none()
    }

    /// Its turn, if it is streamed.
    pub(crate) fn seated(&self) -> Option<&Seat> {
        self.seat.get()
    }

    /// The buffer that holds it, allocated and filled on first use.
    pub(crate) fn place(&self, gpu: &Gpu) -> Result<Place> {
        if let Some((device, place)) = self.place.get() {
            assert!(device == gpu.device(), "{}: it is on another device", self.label);
            return Ok(place.clone());
        }
        assert!(self.seat.get().is_none(), "{}: streamed, so it has no place of its own", self.label);
        let texels = self.texels && gpu.target().texels;
        let imported = self.source.as_ref().and_then(|source| gpu.import(source, self.bytes, texels));
        let place = match imported {
            Some(place) => place,
            None if texels => {
                let place = gpu.pages(&self.label, self.bytes, self.source.as_ref())?;
                if let Some(source) = &self.source {
                    source.done_with(0..source.get().len());
                }
                place
            }
            None => {
                let buffer = gpu.storage_buffer(&self.label, self.bytes)?;
                if let Some(source) = &self.source {
                    gpu.upload_from(&buffer, source)?;
                }
                Place::of(buffer, self.bytes)
            }
        };
        Ok(self.place.get_or_init(|| (gpu.device().clone(), place)).1.clone())
    }
}

impl<T, const R: usize> Clone for Resident<T, R> {
    fn clone(&self) -> Self {
        Self { storage: self.storage.clone(), shape: self.shape, of: PhantomData }
    }
}

impl<T: Pod, const R: usize> Resident<T, R> {
    fn with(label: &str, shape: [u32; R], source: Option<HostBytes>) -> Self {
        let elements: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let content = elements * size_of::<T>() as u64;
        if let Some(source) = &source {
            assert_eq!(source.get().len() as u64, content, "{label}: bytes for shape {shape:?}");
        }
        let bytes = content.next_multiple_of(16).max(16);
        let storage = Storage {
            label: label.into(),
            bytes,
            source,
            texels: false,
            place: OnceLock::new(),
            seat: OnceLock::new(),
        };
        Self { storage: Arc::new(storage), shape, of: PhantomData }
    }

    /// A tensor of zeros, or whose content will be uploaded later.
    pub fn zeros(label: &str, shape: [u32; R]) -> Self {
        Self::with(label, shape, None)
    }

    /// A tensor whose content is `source`, which is read when the tensor comes to the device. A device that
    /// shares the host's memory may use `source` itself.
    ///
    /// # Panics
    ///
    /// If `source` is not as long as `shape` says.
    pub fn from_host(label: &str, shape: [u32; R], source: HostBytes) -> Self {
        Self::with(label, shape, Some(source))
    }

    /// A tensor that keeps a copy of `data`.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says.
    pub fn from_slice(label: &str, shape: [u32; R], data: &[T]) -> Self {
        let copy = bytemuck::cast_slice::<T, u8>(data).to_vec();
        Self::from_host(label, shape, HostBytes::from_vec(copy))
    }

    /// A tensor allocated now and filled from `data`, of which no copy is kept.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says.
    pub fn upload(gpu: &Gpu, label: &str, shape: [u32; R], data: &[T]) -> Result<Self> {
        Self::zeros(label, shape).filled(gpu, data)
    }

    /// Itself, allocated now and filled from `data`.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as the shape says, or is to go where a source is.
    pub fn filled(self, gpu: &Gpu, data: &[T]) -> Result<Self> {
        let elements: usize = self.shape.iter().map(|&d| d as usize).product();
        assert_eq!(data.len(), elements, "{}: data for shape {:?}", self.label(), self.shape);
        self.write(gpu, data)?;
        Ok(self)
    }

    /// Replaces the first elements of a tensor that was made by [`Resident::zeros`].
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    ///
    /// # Panics
    ///
    /// If the tensor has another source, or is shorter than `data`.
    pub fn write(&self, gpu: &Gpu, data: &[T]) -> Result<()> {
        let (label, bytes) = (&self.storage.label, bytemuck::cast_slice::<T, u8>(data));
        assert!(self.storage.source.is_none(), "{label}: written, but it has a source");
        assert!(
            bytes.len() as u64 <= self.storage.bytes,
            "{label}: {} bytes into {}",
            bytes.len(),
            self.bytes()
        );
        gpu.upload(&self.storage.place(gpu)?.buffer, bytes)
    }

    /// Copies the content back. For inspection: it stalls the device.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<T>> {
        let elements: usize = self.shape.iter().map(|&d| d as usize).product();
        let bytes = gpu.download(&self.storage.place(gpu)?)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..elements * size_of::<T>()]))
    }

    /// Lets kernels read it as texels too, on devices that can: see [`Graph::has_texels`](crate::Graph::has_texels).
    ///
    /// # Panics
    ///
    /// If it has clones.
    #[must_use]
    pub fn with_texels(mut self) -> Self {
        let storage = Arc::get_mut(&mut self.storage);
        storage.expect("a tensor is given texels before it is shared").texels = true;
        self
    }

    /// Elements along each axis.
    pub fn shape(&self) -> [u32; R] {
        self.shape
    }

    /// The label it was made with.
    pub fn label(&self) -> &str {
        &self.storage.label
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.storage.bytes
    }

    /// Itself without its type.
    pub fn untyped(&self) -> ResidentBytes {
        ResidentBytes(self.storage.clone())
    }
}

impl ResidentBytes {
    /// The label it was made with.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Allocates and fills it now, rather than with the first program that uses it.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn place(&self, gpu: &Gpu) -> Result<()> {
        self.placed(gpu).map(drop)
    }

    /// The buffer that holds it.
    pub(crate) fn placed(&self, gpu: &Gpu) -> Result<Place> {
        self.0.place(gpu)
    }
}
