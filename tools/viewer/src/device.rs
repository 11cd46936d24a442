//! The device: one for the model and for the window.

use std::sync::Arc;

use eframe::egui_wgpu::{WgpuSetup, WgpuSetupCreateNew, WgpuSetupExisting};
use strix_engine::{Frames, Gpu, Sharing, request_device, wanted_features, wanted_limits};
use wgpu::{Adapter, Backend, DeviceDescriptor, DeviceType, Instance, InstanceDescriptor, Limits};

/// What is asked for of the device by its user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Part of its name or backend.
    pub(crate) name: Option<String>,
    /// Adapters that were tried and cannot draw the window: the next best is taken.
    pub(crate) passed_over: usize,
}

/// A device on which the window is drawn and models run, with all that makes Strix faster.
///
/// # Errors
///
/// If there is none, or none of that name: what there is.
pub(crate) fn setup(wanted: &Wanted) -> Result<WgpuSetup, String> {
    let instance = Instance::new(descriptor());
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut adapters: Vec<&Adapter> =
        all.iter().filter(|adapter| is_named(adapter, wanted.name.as_deref())).collect();
    adapters.sort_by_key(|adapter| rank(adapter));
    let Some(&adapter) = adapters.get(wanted.passed_over) else {
        return Err(none(&all, wanted));
    };
    if adapter.get_info().backend == Backend::Gl {
        // A window of GL's belongs to an instance that knows the display: the window's own.
        return Ok(of_window(wanted.name.clone()));
    }
    let own = DeviceDescriptor { label: Some("strix-viewer"), ..DeviceDescriptor::default() };
    let (device, queue) =
        pollster::block_on(request_device(adapter, &own)).map_err(|error| error.to_string())?;
    let adapter = adapter.clone();
    Ok(WgpuSetup::Existing(WgpuSetupExisting { instance, adapter, device, queue }))
}

/// What the window's device is for Strix: it computes between the frames that it is told of.
///
/// # Errors
///
/// If the device is too small.
pub(crate) fn share(
    state: &eframe::egui_wgpu::RenderState,
    frames: Option<Frames>,
) -> strix_engine::Result<Gpu> {
    let sharing = Sharing { adapter: Some(state.adapter.clone()), frames, ..Sharing::default() };
    Gpu::share(state.device.clone(), state.queue.clone(), sharing)
}

/// A device that the window makes for itself.
fn of_window(name: Option<String>) -> WgpuSetup {
    let selector = move |adapters: &[Adapter], surface: Option<&wgpu::Surface<'_>>| {
        let draws = |adapter: &&Adapter| surface.is_none_or(|surface| adapter.is_surface_supported(surface));
        let mut fitting: Vec<_> =
            adapters.iter().filter(draws).filter(|adapter| is_named(adapter, name.as_deref())).collect();
        fitting.sort_by_key(|adapter| rank(adapter));
        fitting.first().copied().cloned().ok_or_else(|| "no adapter that draws windows".to_owned())
    };
    let describe = |adapter: &Adapter| DeviceDescriptor {
        label: Some("strix-viewer"),
        required_features: wanted_features(adapter),
        required_limits: wanted_limits(adapter),
        ..DeviceDescriptor::default()
    };
    WgpuSetup::CreateNew(WgpuSetupCreateNew {
        instance_descriptor: descriptor(),
        native_adapter_selector: Some(Arc::new(selector)),
        device_descriptor: Arc::new(describe),
        ..WgpuSetupCreateNew::without_display_handle()
    })
}

/// Strix needs the new one of Direct3D's compilers.
fn descriptor() -> InstanceDescriptor {
    let mut descriptor = InstanceDescriptor::new_without_display_handle_from_env();
    let compiler = &mut descriptor.backend_options.dx12.shader_compiler;
    if matches!(compiler, wgpu::Dx12Compiler::Auto) {
        *compiler = wgpu::Dx12Compiler::default_dynamic_dxc();
    }
    descriptor
}

/// `llvmpipe (LLVM 15.0.6, 256 bits) (Vulkan)`.
fn name(adapter: &Adapter) -> String {
    let info = adapter.get_info();
    format!("{} ({:?})", info.name, info.backend)
}

fn is_named(adapter: &Adapter, wanted: Option<&str>) -> bool {
    let name = name(adapter).to_lowercase();
    wanted.is_none_or(|wanted| wanted.to_lowercase().split_whitespace().all(|word| name.contains(word)))
}

/// Best first: what computes, discrete before integrated before software, native APIs before GL.
fn rank(adapter: &Adapter) -> (bool, u8, bool) {
    let info = adapter.get_info();
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    };
    let is_small = adapter.limits().max_compute_invocations_per_workgroup
        < Limits::default().max_compute_invocations_per_workgroup;
    (is_small, kind, info.backend == Backend::Gl)
}

fn none(all: &[Adapter], wanted: &Wanted) -> String {
    let names: Vec<_> = all.iter().map(name).collect();
    match (&wanted.name, &names[..]) {
        (_, []) => "no GPU adapter found: install your GPU's driver, or the software one (apt-get install \
                    mesa-vulkan-drivers)"
            .into(),
        (Some(wanted), found) => {
            format!("no GPU adapter named {wanted:?} draws windows; there is {}", found.join(", "))
        }
        (None, found) => format!("no GPU adapter draws windows; there is {}", found.join(", ")),
    }
}
