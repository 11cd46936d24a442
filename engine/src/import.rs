//! Host memory as device memory, where both are the same: `VK_EXT_external_memory_host`.

use std::any::Any;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wgpu::hal::api::Vulkan;

use crate::region::Region;
use crate::staging::PIECE;
use crate::vulkan::{alignment, page_size};
use crate::{Error, Gpu, HostBytes, Result, TEXEL_ROW};

use ash::vk;

/// Tensors of fewer bytes are copied: every import is an allocation, and a driver may allow
/// no more than 4,096.
const LEAST_BYTES: u64 = 64 << 10;

/// Bytes of a row of texels.
const TEXEL_ROW_BYTES: u64 = 16 * TEXEL_ROW as u64;

/// Bytes that may be wanted after the last row: one row more than there are (see [`texel_rows`]), and lavapipe counts
/// rows by fours.
const TEXEL_SLACK_BYTES: u64 = 4 * TEXEL_ROW_BYTES;

/// Memory of the host's that the device uses as its own.
#[derive(Clone, Debug)]
pub(crate) struct HostPages(Arc<memmap2::MmapRaw>);

impl HostPages {
    /// Writes bytes at an offset.
    ///
    /// # Safety
    ///
    /// Nobody else writes or reads what is there meanwhile, and neither does work that was submitted to the device.
    ///
    /// # Panics
    ///
    /// If they end beyond the memory.
    #[expect(unsafe_code, reason = "memory that is shared with the device")]
    pub(crate) unsafe fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.0.len(), "{} bytes at {at} of {}", bytes.len(), self.0.len());
        // SAFETY: the range is within the mapping, as was just seen; the caller promises the rest.
        unsafe { self.0.as_mut_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

/// Rows of texels over so many bytes. Never a power of two: lavapipe compiles a kernel once more for those, at the first
/// dispatch, for every image of the kernel's.
fn texel_rows(bytes: u64) -> u32 {
    let rows = bytes.div_ceil(TEXEL_ROW_BYTES) as u32;
    rows + u32::from(rows.is_power_of_two())
}

impl Gpu {
    /// Whether these bytes can be used where they are. A driver that has the extension may refuse mapped files all
    /// the same, which shows only when it is tried; what is not imported is copied.
    pub fn can_import(&self, source: &HostBytes) -> bool {
        self.import(source, source.len() as u64, false).is_some()
    }

    /// The bytes themselves as a buffer that kernels may read, or `None` where that cannot be: they are then
    /// copied. The buffer keeps them alive. With `texels` kernels may also read them as such.
    pub(crate) fn import(&self, source: &HostBytes, bytes: u64, texels: bool) -> Option<Region> {
        if !self.imports() || bytes < LEAST_BYTES || source.len() as u64 != bytes {
            return None;
        }
        // The whole unit around the bytes is mapped: it is no larger than a page, and part of that page is mapped.
        let unit = alignment(self.device())?;
        let address = source.get()?.as_ptr().addr();
        let start = address / unit * unit;
        let offset = address - start;
        // Rows of texels are whole, so what follows the tensor must be there too.
        let needed = if texels { bytes.next_multiple_of(TEXEL_ROW_BYTES) + TEXEL_SLACK_BYTES } else { bytes };
        if needed > source.room() as u64 {
            return None;
        }
        let size = (offset as u64 + needed).next_multiple_of(unit as u64);
        let limits = self.device().limits();
        let aligned = (offset as u32).is_multiple_of(limits.min_storage_buffer_offset_alignment);
        if !aligned || size > limits.max_buffer_size {
            return None;
        }
        let window = Window { start, size, offset: offset as u64, bytes, writable: false };
        match self.import_pages(Box::new(source.clone()), &window, texels) {
            Ok(region) => {
                self.inner.imported_bytes.fetch_add(bytes, Ordering::Relaxed);
                Some(region)
            }
            Err(
                vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
                | vk::Result::ERROR_OUT_OF_HOST_MEMORY
                | vk::Result::ERROR_FORMAT_NOT_SUPPORTED,
            ) => None,
            Err(error) => {
                // A driver may refuse mapped files, or memory that cannot be written: then it refuses all of them.
                tracing::warn!(adapter = self.name(), %error, "host memory cannot be imported: it is copied");
                self.inner.imports.store(false, Ordering::Relaxed);
                None
            }
        }
    }

    /// Memory of the host's that kernels may write, and read as texels: with this content, or zeroed.
    pub(crate) fn pages(&self, label: &str, bytes: u64, content: Option<&HostBytes>) -> Result<Region> {
        // A KV cache takes pages as it fills. A huge page would be cleared whole for its first byte.
        self.host_pages(label, bytes, content, content.is_some()).map(|(region, _)| region)
    }

    /// The same for the host to write again, of huge pages.
    pub(crate) fn shared_pages(&self, label: &str, bytes: u64) -> Result<(Region, HostPages)> {
        self.host_pages(label, bytes, None, true)
    }

    fn host_pages(
        &self,
        label: &str,
        bytes: u64,
        content: Option<&HostBytes>,
        is_huge: bool,
    ) -> Result<(Region, HostPages)> {
        let fail = |reason: String| Error::OutOfMemory { label: label.into(), bytes, reason };
        self.fits(label, bytes, wgpu::BufferUsages::STORAGE)?;
        let unit = alignment(self.device()).unwrap_or_else(page_size) as u64;
        let size = (bytes.next_multiple_of(TEXEL_ROW_BYTES) + TEXEL_SLACK_BYTES).next_multiple_of(unit);
        let pages = memmap2::MmapOptions::new().len(size as usize).map_anon();
        let mut pages = pages.map_err(|e| fail(e.to_string()))?;
        #[cfg(target_os = "linux")]
        {
            use memmap2::Advice;
            let advice = if is_huge { Advice::HugePage } else { Advice::NoHugePage };
            if let Err(error) = pages.advise(advice) {
                tracing::debug!(%error, "the system gives pages of one size");
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = is_huge;
        if let Some(content) = content {
            for start in (0..content.len()).step_by(PIECE) {
                let piece = content.piece(start..content.len().min(start + PIECE))?;
                pages[start..][..piece.len()].copy_from_slice(&piece);
            }
        }
        let pages = HostPages(Arc::new(pages.into()));
        let start = pages.0.as_ptr().expose_provenance();
        let window = Window { start, size, offset: 0, bytes, writable: true };
        let region =
            self.import_pages(Box::new(pages.clone()), &window, true).map_err(|e| fail(e.to_string()))?;
        self.inner.buffers.fetch_add(1, Ordering::Relaxed);
        self.inner.storage_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok((region, pages))
    }

    /// Whether buffers can be read as texels too. It is tried once, with known content.
    pub(crate) fn tries_texels(&self) -> bool {
        self.imports() && self.pages("texels", 16, None).is_ok()
    }

    #[expect(unsafe_code, reason = "Vulkan's own calls")]
    fn import_pages(
        &self,
        keep: Box<dyn Any + Send + Sync>,
        window: &Window,
        texels: bool,
    ) -> std::result::Result<Region, vk::Result> {
        use vk::{BufferUsageFlags as V, Result as E};
        use wgpu::BufferUsages as U;
        let &Window { start, size, offset, bytes, writable } = window;
        // SAFETY: `imports` says the extension is enabled. `start .. start + size` are mapped pages, which
        // `keep` holds until buffer and image are gone; wgpu keeps those until no submitted work uses them. Nothing
        // writes to pages that are not `writable`: the buffer has no usage that would. Buffer and image share the
        // memory: only on software devices, whose dispatches run one after the other on the host's own caches, so that
        // one sees what the other wrote. What fails is undone.
        unsafe {
            let hal = self.device().as_hal::<Vulkan>().ok_or(E::ERROR_EXTENSION_NOT_PRESENT)?;
            let device = hal.raw_device();
            let kind = vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;
            let pointer = std::ptr::with_exposed_provenance_mut::<c_void>(start);

            let extension =
                ash::ext::external_memory_host::Device::new(hal.shared_instance().raw_instance(), device);
            let mut importable = vk::MemoryHostPointerPropertiesEXT::default();
            let query = extension.fp().get_memory_host_pointer_properties_ext;
            query(device.handle(), kind, pointer, &mut importable).result()?;

            let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(kind);
            let mut usage = V::STORAGE_BUFFER | V::TRANSFER_SRC;
            if writable {
                usage |= V::TRANSFER_DST;
            }
            let info = vk::BufferCreateInfo::default().size(size).usage(usage).push_next(&mut external);
            let buffer = device.create_buffer(&info, None)?;
            let mut made = Made { device: device.clone(), buffer, image: None };
            let needs = device.get_buffer_memory_requirements(buffer);
            let mut types = needs.memory_type_bits & importable.memory_type_bits;
            if needs.size > size {
                return Err(E::ERROR_INVALID_EXTERNAL_HANDLE);
            }
            let rows = texel_rows(bytes);
            let image = if texels {
                let mut external = vk::ExternalMemoryImageCreateInfo::default().handle_types(kind);
                let info = vk::ImageCreateInfo::default()
                    .image_type(vk::ImageType::TYPE_2D)
                    .format(vk::Format::R32G32B32A32_UINT)
                    .extent(vk::Extent3D { width: TEXEL_ROW, height: rows, depth: 1 })
                    .mip_levels(1)
                    .array_layers(1)
                    .samples(vk::SampleCountFlags::TYPE_1)
                    .tiling(vk::ImageTiling::LINEAR)
                    .usage(vk::ImageUsageFlags::STORAGE)
                    // As it must be where memory comes from outside. A change from it may lose what is there; those of software
                    // drivers, which alone are read as texels, do nothing.
                    .initial_layout(vk::ImageLayout::UNDEFINED)
                    .push_next(&mut external);
                let image = device.create_image(&info, None)?;
                made.image = Some(image);
                let color =
                    vk::ImageSubresource { aspect_mask: vk::ImageAspectFlags::COLOR, ..Default::default() };
                let layout = device.get_image_subresource_layout(image, color);
                let needs = device.get_image_memory_requirements(image);
                types &= needs.memory_type_bits;
                let fits = offset + needs.size <= size && offset.is_multiple_of(needs.alignment);
                if !fits || layout.offset != 0 || layout.row_pitch != TEXEL_ROW_BYTES {
                    return Err(E::ERROR_FORMAT_NOT_SUPPORTED);
                }
                Some(image)
            } else {
                None
            };
            if types == 0 {
                return Err(E::ERROR_INVALID_EXTERNAL_HANDLE);
            }
            let mut import =
                vk::ImportMemoryHostPointerInfoEXT::default().handle_type(kind).host_pointer(pointer);
            let info = vk::MemoryAllocateInfo::default()
                .allocation_size(size)
                .memory_type_index(types.trailing_zeros())
                .push_next(&mut import);
            let memory = device.allocate_memory(&info, None)?;
            let memory = Arc::new(Memory { device: device.clone(), memory, _keep: keep });
            device.bind_buffer_memory(buffer, memory.memory, 0)?;
            if let Some(image) = image {
                device.bind_image_memory(image, memory.memory, offset)?;
            }
            // From here on wgpu destroys them.
            std::mem::forget(made);
            let (owner, held) = (device.clone(), memory.clone());
            let free = Box::new(move || {
                owner.destroy_buffer(buffer, None);
                drop(held);
            });
            let hal_buffer = wgpu::hal::vulkan::Buffer::from_raw_externally_owned(buffer, free);
            let mut usage = U::STORAGE | U::COPY_SRC;
            if writable {
                usage |= U::COPY_DST;
            }
            let label = Some("imported");
            let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
            let buffer = self.device().create_buffer_from_hal::<Vulkan>(hal_buffer, &descriptor);
            let texels = image.map(|image| {
                let owner = device.clone();
                let free = Box::new(move || {
                    owner.destroy_image(image, None);
                    drop(memory);
                });
                self.texels_of(&hal, image, rows, free)
            });
            Ok(Region { buffer, offset, bytes, texels })
        }
    }

    /// An image of ours as one of wgpu's, and how kernels see it.
    #[expect(unsafe_code, reason = "wgpu has no images over a buffer's memory")]
    unsafe fn texels_of(
        &self,
        hal: &wgpu::hal::vulkan::Device,
        image: vk::Image,
        rows: u32,
        free: wgpu::hal::DropCallback,
    ) -> wgpu::TextureView {
        let size = wgpu::Extent3d { width: TEXEL_ROW, height: rows, depth_or_array_layers: 1 };
        let format = wgpu::TextureFormat::Rgba32Uint;
        let label = Some("texels");
        let hal_descriptor = wgpu::hal::TextureDescriptor {
            label,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUses::STORAGE_READ_ONLY,
            memory_flags: wgpu::hal::MemoryFlags::empty(),
            view_formats: vec![],
        };
        let descriptor = wgpu::TextureDescriptor {
            label,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::STORAGE_BINDING,
            view_formats: &[],
        };
        // SAFETY: the caller's image is as described, and lives until `free` is called.
        let texture = unsafe {
            let memory = wgpu::hal::vulkan::TextureMemory::External;
            let raw = hal.texture_from_raw(image, &hal_descriptor, Some(free), memory);
            let state = wgpu::TextureUses::STORAGE_READ_ONLY;
            self.device().create_texture_from_hal::<Vulkan>(raw, &descriptor, state)
        };
        texture.create_view(&wgpu::TextureViewDescriptor::default())
    }
}

/// Pages to import, and which of their bytes are wanted.
struct Window {
    start: usize,
    size: u64,
    offset: u64,
    bytes: u64,
    writable: bool,
}

/// What is undone if the rest fails.
struct Made {
    device: ash::Device,
    buffer: vk::Buffer,
    image: Option<vk::Image>,
}

impl Drop for Made {
    #[expect(unsafe_code, reason = "Vulkan's own calls")]
    fn drop(&mut self) {
        // SAFETY: both are this value's own, and nothing uses them yet.
        unsafe {
            self.device.destroy_buffer(self.buffer, None);
            if let Some(image) = self.image {
                self.device.destroy_image(image, None);
            }
        }
    }
}

/// Imported memory, and what holds the pages.
struct Memory {
    device: ash::Device,
    memory: vk::DeviceMemory,
    _keep: Box<dyn Any + Send + Sync>,
}

impl Drop for Memory {
    #[expect(unsafe_code, reason = "Vulkan's own calls")]
    fn drop(&mut self) {
        // SAFETY: buffer and image, which hold this value, are gone.
        unsafe { self.device.free_memory(self.memory, None) };
    }
}
