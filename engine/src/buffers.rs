//! Buffers of a device: made within its limits, counted, and copied back.

use std::sync::atomic::Ordering;

use crate::region::Region;
use crate::{Error, Gpu, Result};

impl Gpu {
    pub(crate) fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped: bool,
    ) -> Result<wgpu::Buffer> {
        self.check_alive()?;
        self.fits(label, bytes, usage)?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: mapped,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::OutOfMemory { label: label.into(), bytes, reason: error.to_string() });
        }
        self.inner.buffers.fetch_add(1, Ordering::Relaxed);
        if usage.contains(wgpu::BufferUsages::STORAGE) {
            self.inner.storage_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(buffer)
    }

    /// An error if no buffer of that use may be so large.
    pub(crate) fn fits(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<()> {
        let limits = self.inner.device.limits();
        let mut limit = limits.max_buffer_size;
        if usage.contains(wgpu::BufferUsages::STORAGE) {
            limit = limit.min(limits.max_storage_buffer_binding_size);
        }
        if bytes > limit {
            return Err(Error::BufferTooLarge { label: label.into(), bytes, limit });
        }
        Ok(())
    }

    /// A zeroed buffer that kernels may bind and the host may copy to and from.
    pub(crate) fn storage_buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        use wgpu::BufferUsages as U;
        self.buffer(label, bytes, U::STORAGE | U::COPY_DST | U::COPY_SRC, false)
    }

    pub(crate) fn bind_group(&self, descriptor: &wgpu::BindGroupDescriptor<'_>) -> wgpu::BindGroup {
        self.inner.bind_groups.fetch_add(1, Ordering::Relaxed);
        self.inner.device.create_bind_group(descriptor)
    }

    /// Copies part of a buffer back.
    pub(crate) fn download(&self, region: &Region) -> Result<Vec<u8>> {
        use wgpu::BufferUsages as U;
        let staging = self.buffer("download", region.bytes, U::MAP_READ | U::COPY_DST, false)?;
        let mut encoder =
            self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&region.buffer, region.offset, &staging, 0, region.bytes);
        let copied = self.submit(encoder)?;
        self.guarded(|| staging.map_async(wgpu::MapMode::Read, .., |_| ()))?;
        self.wait_for(&copied)?;
        let view = staging.get_mapped_range(..).map_err(|e| self.lose(e))?;
        Ok(view.to_vec())
    }
}
