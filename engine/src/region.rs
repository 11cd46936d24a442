//! The part of a buffer that a tensor is in.

use crate::Access;

/// Part of a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The same bytes as texels of 16 bytes, [`TEXEL_ROW`](crate::TEXEL_ROW) to a row.
    pub(crate) texels: Option<wgpu::TextureView>,
}

impl Region {
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
