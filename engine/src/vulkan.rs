//! What wgpu does not tell of a Vulkan device: whether it imports host memory, and how much memory of its own is free.

use std::ffi::CStr;

use ash::vk;
use wgpu::hal::api::Vulkan;

/// Extension that the device must have been created with.
const EXTENSION: &CStr = ash::ext::external_memory_host::NAME;

/// Whether an adapter's devices can import host memory.
pub(crate) fn supported(adapter: &wgpu::Adapter) -> bool {
    #[expect(unsafe_code, reason = "to ask the driver what wgpu does not tell")]
    // SAFETY: the adapter is only looked at.
    let hal = unsafe { adapter.as_hal::<Vulkan>() };
    hal.is_some_and(|hal| hal.physical_device_capabilities().supports_extension(EXTENSION))
}

/// Whether a device was created with the extension.
pub(crate) fn enabled(device: &wgpu::Device) -> bool {
    #[expect(unsafe_code, reason = "to ask the device what wgpu does not tell")]
    // SAFETY: the device is only looked at.
    let hal = unsafe { device.as_hal::<Vulkan>() };
    hal.is_some_and(|hal| hal.enabled_device_extensions().contains(&EXTENSION))
}

/// A device created with the extension.
pub(crate) fn open(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> Option<(wgpu::Device, wgpu::Queue)> {
    #[expect(unsafe_code, reason = "wgpu has no way to enable a Vulkan extension")]
    // SAFETY: the callback adds an extension that `supported` has found, and changes nothing else; the device
    // made is the adapter's own, with the features and limits that the descriptor asks for.
    unsafe {
        let hal = adapter.as_hal::<Vulkan>()?;
        let callback = Box::new(|args: wgpu::hal::vulkan::CreateDeviceCallbackArgs<'_, '_, '_>| {
            if !args.extensions.contains(&EXTENSION) {
                args.extensions.push(EXTENSION);
            }
        });
        let open = hal.open_with_callback(
            descriptor.required_features,
            &descriptor.required_limits,
            &descriptor.memory_hints,
            Some(callback),
        );
        drop(hal);
        adapter.create_device_from_hal::<Vulkan>(open.ok()?, descriptor).ok()
    }
}

/// Alignment in bytes of pointers and sizes of imported memory. `None` if it is more than a
/// page: only whole pages are known to be mapped.
pub(crate) fn alignment(device: &wgpu::Device) -> Option<usize> {
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    #[expect(unsafe_code, reason = "to ask the device what wgpu does not tell")]
    // SAFETY: a query of a physical device that the instance it comes from holds.
    unsafe {
        let hal = device.as_hal::<Vulkan>()?;
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
        let instance = hal.shared_instance().raw_instance();
        instance.get_physical_device_properties2(hal.raw_physical_device(), &mut properties);
    }
    let alignment = usize::try_from(host.min_imported_host_pointer_alignment).ok()?.max(1);
    (alignment <= page_size()).then_some(alignment)
}

pub(crate) fn page_size() -> usize {
    #[cfg(unix)]
    return rustix::param::page_size();
    #[cfg(not(unix))]
    4096
}

/// Bytes left in a device's largest heap of its own memory; all of it where the driver does not say what is used.
pub(crate) fn heap_bytes(device: &wgpu::Device) -> Option<u64> {
    #[expect(unsafe_code, reason = "to ask the device what wgpu does not tell")]
    // SAFETY: queries of a physical device that the instance it comes from holds; the budget is asked for only
    // where the driver knows it.
    let (memory, budget) = unsafe {
        let hal = device.as_hal::<Vulkan>()?;
        let (instance, physical) = (hal.shared_instance().raw_instance(), hal.raw_physical_device());
        let known = instance.enumerate_device_extension_properties(physical).ok()?;
        let name = ash::ext::memory_budget::NAME;
        let tells = known.iter().any(|e| e.extension_name_as_c_str().is_ok_and(|found| found == name));
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut memory = vk::PhysicalDeviceMemoryProperties2::default();
        if tells {
            memory = memory.push_next(&mut budget);
        }
        instance.get_physical_device_memory_properties2(physical, &mut memory);
        (memory.memory_properties, tells.then_some(budget))
    };
    let left = |(i, heap): (usize, &vk::MemoryHeap)| match &budget {
        Some(budget) => budget.heap_budget[i].saturating_sub(budget.heap_usage[i]),
        None => heap.size,
    };
    let heaps = memory.memory_heaps_as_slice().iter().enumerate();
    heaps.filter(|(_, heap)| heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL)).map(left).max()
}
