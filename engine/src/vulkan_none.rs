//! For backends other than Vulkan. They are not asked.

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
