//! Tensors that outlive a program: weights, tables, the KV cache.

use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;

use crate::region::Region;
use crate::storage::Storage;
use crate::{Gpu, HostBytes, Result};

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

impl<T, const R: usize> Clone for Resident<T, R> {
    fn clone(&self) -> Self {
        Self { storage: self.storage.clone(), shape: self.shape, of: PhantomData }
    }
}

impl<T: Pod, const R: usize> Resident<T, R> {
    /// A tensor of zeros, or whose content is [given](Resident::give) or [written](Resident::write) later.
    pub fn zeros(label: &str, shape: [u32; R]) -> Self {
        let elements: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let storage = Storage::new(label, elements * size_of::<T>() as u64);
        Self { storage: Arc::new(storage), shape, of: PhantomData }
    }

    /// A tensor with [content](Resident::give).
    ///
    /// # Panics
    ///
    /// If `content` is not as long as `shape` says.
    pub fn from_host(label: &str, shape: [u32; R], content: HostBytes) -> Self {
        let resident = Self::zeros(label, shape);
        resident.give(content);
        resident
    }

    /// Sets the content, which is read when the tensor comes to the device. A device that shares the host's memory may
    /// use `content` itself.
    ///
    /// # Panics
    ///
    /// If `content` is not as long as the shape says, or the tensor has content or is on the device.
    pub fn give(&self, content: HostBytes) {
        self.storage.give(content);
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
    /// If `data` is not as long as the shape says, or the tensor has content on the host.
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
    /// If the tensor has content on the host, or is shorter than `data`.
    pub fn write(&self, gpu: &Gpu, data: &[T]) -> Result<()> {
        let (label, bytes) = (&self.storage.label, bytemuck::cast_slice::<T, u8>(data));
        assert!(self.storage.content().is_none(), "{label}: written, but it has content on the host");
        assert!(
            bytes.len() as u64 <= self.storage.bytes,
            "{label}: {} bytes into {}",
            bytes.len(),
            self.bytes()
        );
        gpu.upload(&self.storage.region(gpu)?.buffer, bytes)
    }

    /// A small tensor, allocated now and filled from `data` without waiting for the device or for an app's frame.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says.
    pub fn little(gpu: &Gpu, label: &str, shape: [u32; R], data: &[T]) -> Result<Self> {
        let resident = Self::zeros(label, shape);
        let bytes = bytemuck::cast_slice::<T, u8>(data);
        let elements: u64 = shape.iter().map(|&d| u64::from(d)).product();
        assert_eq!(data.len() as u64, elements, "{label}: data for shape {shape:?}");
        gpu.upload_little(&resident.storage.region(gpu)?.buffer, bytes)?;
        Ok(resident)
    }

    /// Copies the content back. For inspection: it stalls the device.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<T>> {
        let elements: usize = self.shape.iter().map(|&d| d as usize).product();
        let bytes = gpu.download(&self.storage.region(gpu)?)?;
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
        storage.expect("a tensor is given texels before it is shared").give_texels();
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

    /// Sets the content, as [`Resident::give`] does.
    ///
    /// # Panics
    ///
    /// As [`Resident::give`].
    pub fn give(&self, content: HostBytes) {
        self.0.give(content);
    }

    /// Allocates and fills it now, rather than with the first program that uses it.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn allocate(&self, gpu: &Gpu) -> Result<()> {
        self.region(gpu).map(drop)
    }

    /// The part of a buffer that holds it.
    pub(crate) fn region(&self, gpu: &Gpu) -> Result<Region> {
        self.0.region(gpu)
    }
}
