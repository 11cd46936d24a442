//! For backends other than Vulkan. Nothing is imported.

use crate::resident::Place;
use crate::{Error, Gpu, HostBytes, Result};

pub(crate) fn supported(_: &wgpu::Adapter) -> bool {
    false
}

pub(crate) fn enabled(_: &wgpu::Device) -> bool {
    false
}

pub(crate) fn open(_: &wgpu::Adapter, _: &wgpu::DeviceDescriptor<'_>) -> Option<(wgpu::Device, wgpu::Queue)> {
    None
}

pub(crate) fn heap_bytes(_: &wgpu::Device) -> Option<u64> {
    None
}

impl Gpu {
    /// Whether these bytes can be used where they are: never on this backend.
    pub fn can_import(&self, _: &HostBytes) -> bool {
        false
    }

    pub(crate) fn import(&self, _: &HostBytes, _: u64, _: bool) -> Option<Place> {
        None
    }

    pub(crate) fn pages(&self, label: &str, bytes: u64, _: Option<&HostBytes>) -> Result<Place> {
        let reason = "host memory is not imported on this backend".into();
        Err(Error::OutOfMemory { label: label.into(), bytes, reason })
    }

    pub(crate) fn tries_texels(&self) -> bool {
        false
    }
}
