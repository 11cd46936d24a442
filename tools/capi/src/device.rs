//! The adapters of this machine, and a device of one.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;

use strix_engine::wgpu::{AdapterInfo, Backend, DeviceType};
use strix_engine::{AdapterReport, Gpu, GpuOptions, adapters, driver};

use crate::failure::{ErrorPlace, Failure};
use crate::guard::{guard, quietly};
use crate::log::{Log, StrixLog};
use crate::raw::{self, filled, given, handle, optional_text, place};
use crate::remedy::out_of;
use crate::status::StrixStatus;
use crate::text::ending;

/// The kind of an adapter.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixDeviceType {
    /// None of those below.
    Other = 0,
    /// A GPU with memory of its own.
    Discrete = 1,
    /// A GPU that shares the processor's memory.
    Integrated = 2,
    /// A GPU of a virtual machine.
    Virtual = 3,
    /// The processor itself.
    Software = 4,
}

/// The interface that an adapter is reached through.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixBackend {
    /// None of those below.
    Other = 0,
    /// Vulkan.
    Vulkan = 1,
    /// Metal.
    Metal = 2,
    /// Direct3D 12.
    Dx12 = 3,
    /// OpenGL.
    Gl = 4,
}

/// Choice of an adapter. All zeros are the best one. It is read during the call only.
///
/// Four environment variables are obeyed too, also where no options are given. STRIX_ADAPTER names the adapter, unless adapter
/// does. STRIX_NO_IMPORT=1 is as no_import, STRIX_NO_SUBGROUPS=1 makes no use of subgroups, and STRIX_FAMILY chooses the family
/// of kernels: subgroup, tiled, plain or coop.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixDeviceOptions {
    /// Set by the caller: sizeof(StrixDeviceOptions).
    pub size: usize,
    /// Words of the adapter's name or backend, in any case: "nvidia", "vulkan llvmpipe". NULL: what the environment
    /// variable STRIX_ADAPTER names, else discrete before integrated before software.
    pub adapter: *const c_char,
    /// Where messages go; NULL: nowhere.
    pub log: *const StrixLog,
    /// 1: weights are copied to the device even where it could use the mapped file itself.
    pub no_import: u32,
    /// 0.
    pub reserved: u32,
}

/// An adapter, or the device of one. The texts are those of the handle that it was asked of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixDeviceInfo {
    /// Set by the caller: sizeof(StrixDeviceInfo).
    pub size: usize,
    /// Its name.
    pub name: *const c_char,
    /// Its driver and the driver's version.
    pub driver: *const c_char,
    /// Why it cannot be used; NULL if it can.
    pub missing: *const c_char,
    /// Bytes of its memory; 0 if unknown. Of a device: those that were free when it was opened.
    pub memory: u64,
    /// Bytes of the largest buffer that a kernel can be given.
    pub max_binding: u64,
    /// What it is.
    pub device_type: StrixDeviceType,
    /// How it is reached.
    pub backend: StrixBackend,
    /// 1 if its memory is the processor's.
    pub shares_memory: u32,
    /// 1 if it uses mapped files where they are, without a copy.
    pub imports: u32,
    /// 1 if it is the one that would be opened; of a device, 1.
    pub chosen: u32,
    /// 0.
    pub reserved: u32,
}

given!(StrixDeviceOptions);
filled!(StrixDeviceInfo);

/// Reads the choice of an adapter.
fn read(options: *const StrixDeviceOptions) -> Result<(GpuOptions, Log), Failure> {
    let StrixDeviceOptions { adapter, log, no_import, .. } = raw::options(options)?;
    let mut chosen = GpuOptions::from_env();
    if let Some(adapter) = optional_text(adapter, "adapter")? {
        chosen.adapter = Some(adapter.to_owned());
    }
    chosen.no_import |= no_import != 0;
    Ok((chosen, Log::of(log)?))
}

/// What is known of an adapter, with the texts that C is given.
struct Known {
    name: CString,
    driver: CString,
    missing: Option<CString>,
    info: StrixDeviceInfo,
}

// SAFETY: the pointers in `info` are `NULL` until a copy of it is given out.
unsafe impl Send for Known {}
// SAFETY: as above.
unsafe impl Sync for Known {}

impl Known {
    fn new(info: &AdapterInfo, missing: Option<&str>, memory: Option<u64>, max_binding: u64) -> Self {
        let device_type = match info.device_type {
            DeviceType::DiscreteGpu => StrixDeviceType::Discrete,
            DeviceType::IntegratedGpu => StrixDeviceType::Integrated,
            DeviceType::VirtualGpu => StrixDeviceType::Virtual,
            DeviceType::Cpu => StrixDeviceType::Software,
            DeviceType::Other => StrixDeviceType::Other,
        };
        let backend = match info.backend {
            Backend::Vulkan => StrixBackend::Vulkan,
            Backend::Metal => StrixBackend::Metal,
            Backend::Dx12 => StrixBackend::Dx12,
            Backend::Gl => StrixBackend::Gl,
            _ => StrixBackend::Other,
        };
        let info_of_c = StrixDeviceInfo {
            size: 0,
            name: std::ptr::null(),
            driver: std::ptr::null(),
            missing: std::ptr::null(),
            memory: memory.unwrap_or(0),
            max_binding,
            device_type,
            backend,
            shares_memory: 0,
            imports: 0,
            chosen: 1,
            reserved: 0,
        };
        Self {
            name: ending(info.name.as_str()),
            driver: ending(driver(info)),
            missing: missing.map(ending),
            info: info_of_c,
        }
    }

    fn of_report(report: &AdapterReport) -> Self {
        let binding = report.limits.max_storage_buffer_binding_size;
        let mut known = Self::new(&report.info, report.missing.as_deref(), report.memory_bytes, binding);
        known.info.shares_memory = report.shares_memory.into();
        known.info.imports = report.imports.into();
        known.info.chosen = report.chosen.into();
        known
    }

    fn of_device(gpu: &Gpu) -> Self {
        let binding = gpu.device().limits().max_storage_buffer_binding_size;
        let mut known = Self::new(gpu.info(), None, gpu.memory_bytes(), binding);
        known.info.shares_memory = gpu.shares_memory().into();
        known.info.imports = gpu.imports().into();
        known
    }

    fn fill(&self, out: *mut StrixDeviceInfo) -> Result<(), Failure> {
        let missing = self.missing.as_ref().map_or(std::ptr::null(), |text| text.as_ptr());
        let info =
            StrixDeviceInfo { name: self.name.as_ptr(), driver: self.driver.as_ptr(), missing, ..self.info };
        raw::fill(out, info)
    }
}

/// The adapters of this machine, best first.
///
/// It does not change: any number of threads may read it.
pub struct StrixDevices(Vec<Known>);

/// Lists the adapters of this machine, those that cannot be used too. There may be none: that is no error. options may be NULL.
///
/// The caller frees devices. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_devices_list(
    options: *const StrixDeviceOptions,
    devices: Option<&mut MaybeUninit<Option<Box<StrixDevices>>>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(devices, "devices")?;
        let (options, log) = read(options)?;
        let known = log.within(|| adapters(&options)).iter().map(Known::of_report).collect();
        out.write(Some(Box::new(StrixDevices(known))));
        Ok(())
    })
}

/// Number of adapters; 0 of NULL.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_devices_count(devices: Option<&StrixDevices>) -> usize {
    devices.map_or(0, |devices| devices.0.len())
}

/// What is known of an adapter, by its index from 0.
///
/// Fills info, whose size is set. Its texts are there until devices is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_devices_get(
    devices: Option<&StrixDevices>,
    index: usize,
    info: *mut StrixDeviceInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let known = &handle(devices, "devices")?.0;
        known.get(index).ok_or_else(|| out_of(index, known.len(), "adapters"))?.fill(info)
    })
}

/// Frees the list. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_devices_free(devices: Option<Box<StrixDevices>>) {
    quietly((), || drop(devices));
}

/// An opened device. Any number of models may be loaded onto it, and it may be freed before them.
///
/// Any number of threads may use it at the same time. Freed with strix_device_free.
pub struct StrixDevice {
    pub(crate) gpu: Gpu,
    known: Known,
}

/// Opens a device. A device that the app made itself, with wgpu or another interface, cannot be given in C: its types are
/// Rust's. In Rust, Model::load_on takes it. options may be NULL.
///
/// STRIX_FAMILY of the environment (see StrixDeviceOptions) fails it with STRIX_STATUS_OUT_OF_RANGE where there is no such
/// family. The caller frees device. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_device_open(
    options: *const StrixDeviceOptions,
    device: Option<&mut MaybeUninit<Option<Box<StrixDevice>>>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(device, "device")?;
        let (options, log) = read(options)?;
        let gpu = log.within(|| Gpu::with(&options))?;
        out.write(Some(Box::new(StrixDevice { known: Known::of_device(&gpu), gpu })));
        Ok(())
    })
}

/// What is known of a device.
///
/// Fills info, whose size is set. Its texts are there until device is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_device_info(
    device: Option<&StrixDevice>,
    info: *mut StrixDeviceInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || handle(device, "device")?.known.fill(info))
}

/// Frees the handle; models on the device keep it. NULL is nothing.
///
/// No thread may use the handle any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_device_free(device: Option<Box<StrixDevice>>) {
    quietly((), || drop(device));
}
