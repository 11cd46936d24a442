//! Adapters of this machine, and the choice of one.

use wgpu::{Backend, DeviceType, Features, Limits};

use crate::error::NO_DXC;
use crate::memory::{self, shares_memory};
use crate::{Coop, Error, Family, NoAdapter, vulkan};

/// Storage buffers a kernel may bind.
const STORAGE_BUFFERS: u32 = 8;
/// Invocations in the largest workgroup of any kernel.
const INVOCATIONS: u32 = 256;
/// Bytes of workgroup memory of the hungriest kernel.
const WORKGROUP_STORAGE: u32 = 16_384;

/// Choice of an adapter and of its features.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name or backend, case ignored: `nvidia`, `llvmpipe`, `gl`, `vulkan llvmpipe`
    /// (every word must match). Without it: discrete before integrated before software.
    pub adapter: Option<String>,
    /// Use the kernels that need no subgroups, even where the device has them.
    pub no_subgroups: bool,
    /// The family of kernels to use, even if another is faster here: `subgroup`, `tiled`, `plain` or `coop` (see
    /// [`Family`]). A kernel that has none takes its nearest.
    pub family: Option<String>,
    /// Copy weights to the device even where it could use the mapped file itself.
    pub no_import: bool,
    /// Treat the device as one whose memory is not the host's; for tests of such devices on those that share it.
    pub separate_memory: bool,
    /// Ask for at most this many bytes a storage binding; for tests of small devices.
    pub max_binding_bytes: Option<u64>,
    /// Features to enable beyond those that the engine uses, where the adapter has them: for kernels of others.
    pub more_features: Features,
    /// Ask for WebGPU's default limits and no more; for tests of small devices.
    pub webgpu_limits: bool,
}

impl GpuOptions {
    /// `STRIX_ADAPTER`, `STRIX_FAMILY`, `STRIX_NO_SUBGROUPS=1` and `STRIX_NO_IMPORT=1` from the environment.
    pub fn from_env() -> Self {
        let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
        let on = |name| set(name).is_some_and(|v| v != "0");
        Self {
            adapter: set("STRIX_ADAPTER"),
            family: set("STRIX_FAMILY"),
            no_subgroups: on("STRIX_NO_SUBGROUPS"),
            no_import: on("STRIX_NO_IMPORT"),
            ..Self::default()
        }
    }
}

/// One adapter, for `strix devices`.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Name, backend, driver, type.
    pub info: wgpu::AdapterInfo,
    /// Its limits.
    pub limits: Limits,
    /// The features Strix uses that it has.
    pub features: Features,
    /// Bytes of its memory, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Whether its memory is the host's.
    pub shares_memory: bool,
    /// Whether it can use a mapped file where it is, without a copy.
    pub imports: bool,
    /// Matrices that it multiplies as units, where it has some that kernels know.
    pub coop: Option<Coop>,
    /// Whether products of many rows are computed by them: on GPUs, unless another family of kernels is asked for.
    pub uses_coop: bool,
    /// Why it cannot be used, if it cannot.
    pub missing: Option<String>,
    /// Whether it is the one that would be chosen.
    pub chosen: bool,
}

/// Every adapter of this machine, best first, the chosen one marked.
pub fn adapters(options: &GpuOptions) -> Vec<AdapterReport> {
    let adapters = ranked(&instance());
    let chosen = adapters.iter().position(|a| usable(a, options));
    let report = |(i, a): (usize, &wgpu::Adapter)| AdapterReport {
        info: a.get_info(),
        limits: a.limits(),
        features: a.features() & used_features(),
        memory_bytes: memory::all_bytes(&a.get_info()),
        shares_memory: shares_memory(&a.get_info()),
        imports: !options.no_import && shares_memory(&a.get_info()) && vulkan::supported(a),
        coop: Coop::of(a, &a.limits()),
        uses_coop: coop_used(a, options.family.as_deref().and_then(|f| f.parse().ok()), options).is_some(),
        missing: missing(a),
        chosen: chosen == Some(i),
    };
    adapters.iter().enumerate().map(report).collect()
}

pub(crate) fn instance() -> wgpu::Instance {
    wgpu::Instance::new(descriptor())
}

/// Of Direct3D's compilers the old one, FXC, refuses kernels and takes minutes for others. Without the new one, DXC,
/// Direct3D therefore shows no adapters, unless `WGPU_DX12_COMPILER` asks for one by its name.
fn descriptor() -> wgpu::InstanceDescriptor {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let compiler = &mut descriptor.backend_options.dx12.shader_compiler;
    if matches!(compiler, wgpu::Dx12Compiler::Auto) {
        *compiler = wgpu::Dx12Compiler::default_dynamic_dxc();
    }
    descriptor
}

/// What may keep adapters of this system from being listed, with what to do about it: on Windows, Direct3D 12 without its
/// compiler.
pub fn unlisted(adapters: &[AdapterReport]) -> Option<&'static str> {
    let lists = |backend| adapters.iter().any(|report| report.info.backend == backend);
    (cfg!(windows) && !lists(Backend::Dx12)).then_some(NO_DXC)
}

/// Driver and version, as an adapter names them.
pub fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_owned()
}

pub(crate) fn used_features() -> Features {
    Features::TIMESTAMP_QUERY | Features::SUBGROUP | Features::SHADER_F16 | Features::PIPELINE_CACHE
}

/// Adapters, best first: discrete, integrated, virtual, software; native APIs before GL.
pub(crate) fn ranked(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|a| {
        let info = a.get_info();
        let kind = match info.device_type {
            DeviceType::DiscreteGpu => 0,
            DeviceType::IntegratedGpu => 1,
            DeviceType::VirtualGpu => 2,
            DeviceType::Other => 3,
            DeviceType::Cpu => 4,
        };
        (missing(a).is_some(), kind, info.backend == Backend::Gl)
    });
    adapters
}

/// Limits to ask for.
pub(crate) fn limits(adapter: &wgpu::Adapter, options: &GpuOptions) -> Limits {
    if options.webgpu_limits { Limits::default() } else { adapter.limits() }
}

/// Matrices to multiply by: a GPU does so unless another family is asked for, a processor only where they are.
pub(crate) fn coop_used(
    adapter: &wgpu::Adapter,
    family: Option<Family>,
    options: &GpuOptions,
) -> Option<Coop> {
    let wanted = match family {
        Some(family) => family == Family::Coop,
        None => adapter.get_info().device_type != DeviceType::Cpu,
    };
    Coop::of(adapter, &limits(adapter, options)).filter(|_| wanted && !options.no_subgroups)
}

pub(crate) fn usable(adapter: &wgpu::Adapter, options: &GpuOptions) -> bool {
    let name = name(&adapter.get_info()).to_lowercase();
    match &options.adapter {
        Some(wanted) => wanted.to_lowercase().split_whitespace().all(|word| name.contains(word)),
        None => missing(adapter).is_none(),
    }
}

pub(crate) fn name(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?})", info.name, info.backend)
}

/// Limits and features that every kernel needs and the adapter lacks.
pub(crate) fn missing(adapter: &wgpu::Adapter) -> Option<String> {
    let mut missing = vec![];
    if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        missing.push("it has no compute shaders".to_owned());
    }
    missing.extend(too_small(&adapter.limits()));
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// Each limit that is below what the kernels need, with both numbers.
pub(crate) fn too_small(limits: &Limits) -> Vec<String> {
    let needs = [
        ("storage buffers a stage", limits.max_storage_buffers_per_shader_stage, STORAGE_BUFFERS),
        ("invocations a workgroup", limits.max_compute_invocations_per_workgroup, INVOCATIONS),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, WORKGROUP_STORAGE),
        ("workgroups a side", limits.max_compute_workgroups_per_dimension, 65_535),
    ];
    let short = needs.iter().filter(|(_, has, need)| has < need);
    short.map(|(what, has, need)| format!("{has} {what}, {need} are needed")).collect()
}

pub(crate) fn no_adapter(adapters: &[wgpu::Adapter], options: &GpuOptions) -> Error {
    let found = adapters.iter().map(|a| name(&a.get_info())).collect();
    Error::NoAdapter(NoAdapter { wanted: options.adapter.clone(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct3d_is_never_used_with_its_old_compiler() {
        let compiler = descriptor().backend_options.dx12.shader_compiler;
        let asked = std::env::var_os("WGPU_DX12_COMPILER").is_some();
        assert!(asked || matches!(compiler, wgpu::Dx12Compiler::DynamicDxc { .. }), "{compiler:?}");
        assert_eq!(unlisted(&[]).is_some(), cfg!(windows));
    }
}
