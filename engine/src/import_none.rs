//! Where the backend is not Vulkan: nothing is imported.

use crate::resident::Place;
use crate::{Gpu, HostBytes};

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

    pub(crate) fn import(&self, _: &HostBytes, _: u64) -> Option<Place> {
        None
    }
}
