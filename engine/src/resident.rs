//! Tensors that outlive a program: weights, tables, the KV cache.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use bytemuck::Pod;

use crate::{Gpu, Result};

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

#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) label: String,
    pub(crate) bytes: u64,
    /// Content to upload on first use; zeros when absent.
    initial: Option<Box<[u8]>>,
    /// The buffer and the device it is on.
    buffer: OnceLock<(wgpu::Device, wgpu::Buffer)>,
}

impl Storage {
    /// The buffer, allocated and filled on first use.
    pub(crate) fn buffer(&self, gpu: &Gpu) -> Result<wgpu::Buffer> {
        if let Some((device, buffer)) = self.buffer.get() {
            assert!(device == gpu.device(), "{}: it is on another device", self.label);
            return Ok(buffer.clone());
        }
        let buffer = gpu.storage_buffer(&self.label, self.bytes)?;
        if let Some(initial) = &self.initial {
            gpu.upload(&buffer, 0, initial)?;
        }
        Ok(self.buffer.get_or_init(|| (gpu.device().clone(), buffer)).1.clone())
    }
}

impl<T, const R: usize> Clone for Resident<T, R> {
    fn clone(&self) -> Self {
        Self { storage: self.storage.clone(), shape: self.shape, of: PhantomData }
    }
}

impl<T: Pod, const R: usize> Resident<T, R> {
    fn with(label: &str, shape: [u32; R], initial: Option<Box<[u8]>>) -> Self {
        let elements: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let bytes = (elements * size_of::<T>() as u64).next_multiple_of(16).max(16);
        let storage = Storage { label: label.into(), bytes, initial, buffer: OnceLock::new() };
        Self { storage: Arc::new(storage), shape, of: PhantomData }
    }

    /// A tensor of zeros, or whose content will be uploaded later.
    pub fn zeros(label: &str, shape: [u32; R]) -> Self {
        Self::with(label, shape, None)
    }

    /// A tensor that keeps a copy of `data` until it is allocated.
    ///
    /// # Panics
    ///
    /// If `data` is not as long as `shape` says.
    pub fn from_slice(label: &str, shape: [u32; R], data: &[T]) -> Self {
        let elements: usize = shape.iter().map(|&d| d as usize).product();
        assert_eq!(data.len(), elements, "{label}: data for shape {shape:?}");
        Self::with(label, shape, Some(bytemuck::cast_slice(data).into()))
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
        let tensor = Self::zeros(label, shape);
        let elements: usize = shape.iter().map(|&d| d as usize).product();
        assert_eq!(data.len(), elements, "{label}: data for shape {shape:?}");
        gpu.upload(&tensor.storage.buffer(gpu)?, 0, bytemuck::cast_slice(data))?;
        Ok(tensor)
    }

    /// Copies the content back. For inspection: it stalls the device.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<T>> {
        let elements: usize = self.shape.iter().map(|&d| d as usize).product();
        let bytes = gpu.download(&self.storage.buffer(gpu)?, self.storage.bytes)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..elements * size_of::<T>()]))
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
}
