//! Host memory as device memory, where both are the same: `VK_EXT_external_memory_host`.

use std::ffi::{CStr, c_void};
use std::sync::atomic::Ordering;

use wgpu::hal::api::Vulkan;

use crate::resident::Place;
use crate::{Gpu, HostBytes};

use ash::vk;

/// What the device must have been created with.
pub(crate) const EXTENSION: &CStr = ash::ext::external_memory_host::NAME;

/// Tensors below this many bytes are copied: an import is an allocation of its own, of which a driver may allow
/// no more than 4,096.
const LEAST_BYTES: u64 = 64 << 10;

/// Whether an adapter's devices can import host memory, and gain by it.
pub(crate) fn supported(adapter: &wgpu::Adapter) -> bool {
    let shares = crate::gpu::shares_memory(&adapter.get_info());
    #[expect(unsafe_code, reason = "to ask the driver what wgpu does not tell")]
    // SAFETY: the adapter is only looked at.
    let hal = unsafe { adapter.as_hal::<Vulkan>() };
    shares && hal.is_some_and(|hal| hal.physical_device_capabilities().supports_extension(EXTENSION))
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

/// What a device asks pointers and sizes of imported memory to be multiples of; `None` where that is more than a
/// page, since only whole pages are known to be there.
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

fn page_size() -> usize {
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

impl Gpu {
    /// Whether these bytes can be used where they are. A driver that has the extension may refuse mapped files all
    /// the same, which shows only when it is tried; what is not imported is copied.
    pub fn can_import(&self, source: &HostBytes) -> bool {
        self.import(source, source.get().len() as u64).is_some()
    }

    /// The bytes themselves as a buffer that kernels may read, or `None` where that cannot be: they are then
    /// copied. The buffer keeps them alive.
    pub(crate) fn import(&self, source: &HostBytes, bytes: u64) -> Option<Place> {
        if !self.imports() || bytes < LEAST_BYTES || source.get().len() as u64 != bytes {
            return None;
        }
        // What is around the bytes is mapped as well: no unit is larger than a page, and each holds one of them.
        let unit = alignment(self.device())?;
        let start = source.get().as_ptr().addr() / unit * unit;
        let offset = source.get().as_ptr().addr() - start;
        let size = (offset as u64 + bytes).next_multiple_of(unit as u64);
        let limits = self.device().limits();
        let aligned = (offset as u32).is_multiple_of(limits.min_storage_buffer_offset_alignment);
        if !aligned || size > limits.max_buffer_size {
            return None;
        }
        match self.import_pages(source, start, size) {
            Ok(buffer) => {
                self.inner.imported_bytes.fetch_add(bytes, Ordering::Relaxed);
                Some(Place { buffer, offset: offset as u64, bytes })
            }
            Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY | vk::Result::ERROR_OUT_OF_HOST_MEMORY) => None,
            Err(error) => {
                // A driver may refuse mapped files, or memory that cannot be written: then it refuses all of them.
                tracing::warn!(adapter = self.name(), %error, "host memory cannot be imported: it is copied");
                self.inner.imports.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    #[expect(unsafe_code, reason = "Vulkan's own calls")]
    fn import_pages(&self, source: &HostBytes, start: usize, size: u64) -> Result<wgpu::Buffer, vk::Result> {
        let keep = source.clone();
        // SAFETY: `imports` says the extension is enabled. `start .. start + size` are mapped pages, which
        // `keep` holds until the buffer is gone; wgpu keeps the buffer until no submitted work uses it. Nothing
        // writes to them: the buffer has no usage that would. What fails is undone.
        unsafe {
            let hal = self.device().as_hal::<Vulkan>().ok_or(vk::Result::ERROR_EXTENSION_NOT_PRESENT)?;
            let device = hal.raw_device();
            let kind = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
            let pointer = std::ptr::with_exposed_provenance_mut::<c_void>(start);

            let extension =
                ash::ext::external_memory_host::Device::new(hal.shared_instance().raw_instance(), device);
            let mut importable = vk::MemoryHostPointerPropertiesEXT::default();
            let query = extension.fp().get_memory_host_pointer_properties_ext;
            query(device.handle(), kind, pointer, &mut importable).result()?;

            let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(kind);
            let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC;
            let info = vk::BufferCreateInfo::default().size(size).usage(usage).push_next(&mut external);
            let buffer = device.create_buffer(&info, None)?;
            let undo = |error| {
                device.destroy_buffer(buffer, None);
                error
            };
            let needs = device.get_buffer_memory_requirements(buffer);
            let types = needs.memory_type_bits & importable.memory_type_bits;
            if types == 0 || needs.size > size {
                return Err(undo(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE));
            }
            let mut import =
                vk::ImportMemoryHostPointerInfoEXT::default().handle_type(kind).host_pointer(pointer);
            let info = vk::MemoryAllocateInfo::default()
                .allocation_size(size)
                .memory_type_index(types.trailing_zeros())
                .push_next(&mut import);
            let memory = device.allocate_memory(&info, None).map_err(undo)?;
            if let Err(error) = device.bind_buffer_memory(buffer, memory, 0) {
                device.free_memory(memory, None);
                return Err(undo(error));
            }
            let owner = device.clone();
            let free = Box::new(move || {
                owner.destroy_buffer(buffer, None);
                owner.free_memory(memory, None);
                drop(keep);
            });
            let hal_buffer = wgpu::hal::vulkan::Buffer::from_raw_externally_owned(buffer, free);
            drop(hal);
            Ok(self.device().create_buffer_from_hal::<Vulkan>(
                hal_buffer,
                &wgpu::BufferDescriptor {
                    label: Some("imported"),
                    size,
                    usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                },
            ))
        }
    }
}
