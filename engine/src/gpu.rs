//! Adapters and the device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use wgpu::{Backend, DeviceType, Features, Limits};

use crate::resident::Place;
use crate::upload::Ring;
use crate::{
    Access, Choices, Coop, Error, Family, Maker, NoAdapter, Result, Shader, TEXEL_ROW, Target, import,
};

/// Storage buffers a kernel may bind.
const STORAGE_BUFFERS: u32 = 8;
/// Tensors that a kernel reads as texels, at most.
const MOST_TEXTURES: u32 = 3;
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

/// Numbers of objects created on the device so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// Buffers.
    pub buffers: u64,
    /// Bytes of those buffers that kernels bind as storage.
    pub storage_bytes: u64,
    /// Bytes of the host's memory that kernels read where they are, in no buffer of ours.
    pub imported_bytes: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Compute pipelines.
    pub pipelines: u64,
}

/// A device, its queue and the pipelines compiled on it. Clones share them.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    target: RwLock<Target>,
    /// Each behind its own lock, so that several are compiled at once.
    pipelines: Mutex<HashMap<String, Arc<Mutex<Option<Pipeline>>>>>,
    pub(crate) pipeline_cache: RwLock<Option<wgpu::PipelineCache>>,
    pub(crate) buffers: AtomicU64,
    pub(crate) storage_bytes: AtomicU64,
    pub(crate) imported_bytes: AtomicU64,
    bind_groups: AtomicU64,
    pipelines_created: AtomicU64,
    pub(crate) submits: AtomicU64,
    /// Set once the device is found to be lost.
    pub(crate) lost: AtomicBool,
    /// Whether host memory may be imported; unset when the driver refuses.
    pub(crate) imports: AtomicBool,
    pub(crate) ring: Mutex<Ring>,
    shares: bool,
    memory_bytes: Option<u64>,
}

/// A compiled kernel.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
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
        features: a.features() & wanted_features(),
        memory_bytes: crate::memory::all_bytes(&a.get_info()),
        shares_memory: shares_memory(&a.get_info()),
        imports: !options.no_import && import::supported(a),
        coop: Coop::of(a, &a.limits()),
        uses_coop: coop_used(a, options.family.as_deref().and_then(|f| f.parse().ok()), options).is_some(),
        missing: missing(a),
        chosen: chosen == Some(i),
    };
    adapters.iter().enumerate().map(report).collect()
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

fn wanted_features() -> Features {
    Features::TIMESTAMP_QUERY | Features::SUBGROUP | Features::SHADER_F16 | Features::PIPELINE_CACHE
}

/// Whether the device's memory is the host's.
pub(crate) fn shares_memory(info: &wgpu::AdapterInfo) -> bool {
    matches!(info.device_type, DeviceType::Cpu | DeviceType::IntegratedGpu)
}

/// Adapters, best first: discrete, integrated, virtual, software; native APIs before GL.
fn ranked(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
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
fn limits(adapter: &wgpu::Adapter, options: &GpuOptions) -> Limits {
    if options.webgpu_limits { Limits::default() } else { adapter.limits() }
}

/// Matrices to multiply by: a GPU does so unless another family is asked for, a processor only where they are.
fn coop_used(adapter: &wgpu::Adapter, family: Option<Family>, options: &GpuOptions) -> Option<Coop> {
    let wanted = match family {
        Some(family) => family == Family::Coop,
        None => adapter.get_info().device_type != DeviceType::Cpu,
    };
    Coop::of(adapter, &limits(adapter, options)).filter(|_| wanted && !options.no_subgroups)
}

fn usable(adapter: &wgpu::Adapter, options: &GpuOptions) -> bool {
    let name = name(&adapter.get_info()).to_lowercase();
    match &options.adapter {
        Some(wanted) => wanted.to_lowercase().split_whitespace().all(|word| name.contains(word)),
        None => missing(adapter).is_none(),
    }
}

fn name(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({:?})", info.name, info.backend)
}

/// Limits and features that every kernel needs and the adapter lacks.
fn missing(adapter: &wgpu::Adapter) -> Option<String> {
    let mut missing = vec![];
    if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
        missing.push("it has no compute shaders".to_owned());
    }
    missing.extend(too_small(&adapter.limits()));
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// Each limit that is below what the kernels need, with both numbers.
fn too_small(limits: &Limits) -> Vec<String> {
    let needs = [
        ("storage buffers a stage", limits.max_storage_buffers_per_shader_stage, STORAGE_BUFFERS),
        ("invocations a workgroup", limits.max_compute_invocations_per_workgroup, INVOCATIONS),
        ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, WORKGROUP_STORAGE),
        ("workgroups a side", limits.max_compute_workgroups_per_dimension, 65_535),
    ];
    let short = needs.iter().filter(|(_, has, need)| has < need);
    short.map(|(what, has, need)| format!("{has} {what}, {need} are needed")).collect()
}

impl Gpu {
    /// The best adapter, or the one `STRIX_ADAPTER` names.
    ///
    /// # Errors
    ///
    /// If there is none, or it lacks what the kernels need.
    pub fn new() -> Result<Self> {
        Self::with(&GpuOptions::from_env())
    }

    /// The best adapter that fits `options`.
    ///
    /// # Errors
    ///
    /// If there is none, it lacks what the kernels need, or the family asked for is none.
    pub fn with(options: &GpuOptions) -> Result<Self> {
        let family = options.family.as_deref().map(str::parse::<Family>).transpose()?;
        let adapters = ranked(&instance());
        let Some(adapter) = adapters.iter().find(|a| usable(a, options)) else {
            return Err(no_adapter(&adapters, options));
        };
        let info = adapter.get_info();
        if let Some(missing) = missing(adapter) {
            return Err(Error::TooSmall { adapter: name(&info), missing });
        }
        let mut features = adapter.features() & wanted_features();
        if options.no_subgroups || family == Some(Family::Plain) {
            features.remove(Features::SUBGROUP);
        }
        let coop = coop_used(adapter, family, options);
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if coop.is_some() {
            features |= Coop::FEATURES;
            #[expect(unsafe_code, reason = "cooperative matrices are an experiment of wgpu's")]
            // SAFETY: wgpu asks us to know that its checks of them may have holes, and to report those we find.
            // They are used by one kernel alone, whose every address is within the tiles that it declares.
            unsafe {
                experimental_features = wgpu::ExperimentalFeatures::enabled();
            }
        }
        let mut limits = limits(adapter, options);
        let shares = shares_memory(&info) && !options.separate_memory;
        if shares {
            features |= adapter.features() & Features::MAPPABLE_PRIMARY_BUFFERS;
        }
        if let Some(bytes) = options.max_binding_bytes {
            limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(bytes);
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("strix"),
            required_features: features,
            required_limits: limits,
            experimental_features,
            ..Default::default()
        };
        let importing = match shares && !options.no_import && import::supported(adapter) {
            true => import::open(adapter, &descriptor),
            false => None,
        };
        let (device, queue) = match importing {
            Some(opened) => opened,
            None => pollster::block_on(adapter.request_device(&descriptor))
                .map_err(|source| Error::NoDevice { adapter: name(&info), source })?,
        };
        Self::from_parts(device, queue, shares, family, coop)
    }

    /// A device and queue that the caller owns and may go on using.
    ///
    /// # Errors
    ///
    /// If the device was created with limits below what the kernels need; WebGPU's defaults suffice.
    /// `Features::SUBGROUP` and `Features::TIMESTAMP_QUERY` are used when the device was created with them, and
    /// so are, where it shares the host's memory, `Features::MAPPABLE_PRIMARY_BUFFERS` and Vulkan's
    /// `VK_EXT_external_memory_host`: weights are then used where they are mapped, without a copy.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let shares = shares_memory(&device.adapter_info());
        Self::from_parts(device, queue, shares, None, None)
    }

    fn from_parts(
        device: wgpu::Device,
        queue: wgpu::Queue,
        shares: bool,
        family: Option<Family>,
        coop: Option<Coop>,
    ) -> Result<Self> {
        let info = device.adapter_info();
        let limits = device.limits();
        let missing = too_small(&limits);
        if !missing.is_empty() {
            return Err(Error::TooSmall { adapter: name(&info), missing: missing.join("; ") });
        }
        let fixed = info.subgroup_min_size == info.subgroup_max_size;
        let known = [4, 8, 16, 32, 64].contains(&info.subgroup_min_size);
        let subgroups = device.features().contains(Features::SUBGROUP);
        let mut target = Target {
            subgroup: (subgroups && fixed && known).then_some(info.subgroup_min_size),
            subgroups,
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            is_cpu: info.device_type == DeviceType::Cpu,
            maker: Maker::of(&info),
            forced: family.is_some(),
            coop: coop.filter(|_| subgroups),
            ..Target::default()
        };
        target.family = family.unwrap_or(target.class());
        let lacks = match target.family {
            Family::Subgroup if target.subgroup.is_none() => "subgroups of one known size",
            Family::Coop if target.coop.is_none() => "cooperative matrices with sums of f32",
            _ => "",
        };
        if !lacks.is_empty() {
            return Err(Error::Unsupported(format!(
                "{} has no {lacks}, which the family {} is made of: leave the family out, or take tiled or plain",
                name(&info),
                target.family,
            )));
        }
        let imports = shares && import::enabled(&device);
        let inner = Inner {
            imports: AtomicBool::new(imports),
            ring: Mutex::default(),
            shares,
            memory_bytes: crate::memory::free_bytes(shares, &device),
            device,
            queue,
            info,
            target: RwLock::new(target),
            pipelines: Mutex::default(),
            pipeline_cache: RwLock::default(),
            buffers: AtomicU64::new(0),
            storage_bytes: AtomicU64::new(0),
            imported_bytes: AtomicU64::new(0),
            bind_groups: AtomicU64::new(0),
            pipelines_created: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        };
        let gpu = Self { inner: Arc::new(inner) };
        let enough = limits.max_texture_dimension_2d >= TEXEL_ROW
            && limits.max_storage_textures_per_shader_stage >= MOST_TEXTURES;
        if gpu.target().is_cpu && enough && gpu.tries_texels() {
            gpu.inner.target.write().unwrap_or_else(PoisonError::into_inner).texels = true;
        }
        gpu.set_pipeline_cache(None);
        tracing::info!(adapter = gpu.name(), target = ?gpu.target(), imports = gpu.imports(), "device ready");
        Ok(gpu)
    }

    /// The wgpu device, to share with other code.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue, to share with other code.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Name, backend and driver of the adapter.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Name and backend, as printed: `llvmpipe (LLVM 15.0.6, 256 bits) (Vulkan)`.
    pub fn name(&self) -> String {
        name(&self.inner.info)
    }

    /// Whether its memory is the host's: a software driver or an integrated GPU.
    pub fn shares_memory(&self) -> bool {
        self.inner.shares
    }

    /// Whether tensors use the host's bytes where they are, without a copy.
    pub fn imports(&self) -> bool {
        self.inner.imports.load(Ordering::Relaxed)
    }

    /// Whether the device can tell the time of each step.
    ///
    /// # Errors
    ///
    /// If it cannot: it has no timestamp queries.
    pub fn can_profile(&self) -> Result<()> {
        match self.inner.device.features().contains(Features::TIMESTAMP_QUERY) {
            true => Ok(()),
            false => Err(Error::Unsupported(format!(
                "{} has no timestamp queries, which profiling needs",
                self.name()
            ))),
        }
    }

    /// Whether the host may map the buffers that kernels read.
    pub fn maps_storage(&self) -> bool {
        self.inner.device.features().contains(Features::MAPPABLE_PRIMARY_BUFFERS) && self.inner.shares
    }

    /// Bytes of memory that the device had free when it was opened; all of its own where the driver does not say what
    /// is used. `None` where nothing tells.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.inner.memory_bytes
    }

    /// The target that graphs for this device are recorded for.
    pub fn target(&self) -> Target {
        self.inner.target.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what was found to be best on this device. Graphs recorded before are not changed by it.
    pub fn set_choices(&self, choices: Choices) {
        let mut target = self.inner.target.write().unwrap_or_else(PoisonError::into_inner);
        target.choices = choices.into();
    }

    /// Numbers of objects created so far. They do not change while tokens flow.
    pub fn created(&self) -> Created {
        Created {
            buffers: self.inner.buffers.load(Ordering::Relaxed),
            storage_bytes: self.inner.storage_bytes.load(Ordering::Relaxed),
            imported_bytes: self.inner.imported_bytes.load(Ordering::Relaxed),
            bind_groups: self.inner.bind_groups.load(Ordering::Relaxed),
            pipelines: self.inner.pipelines_created.load(Ordering::Relaxed),
        }
    }

    /// Number of submits of command buffers so far.
    pub fn submits(&self) -> u64 {
        self.inner.submits.load(Ordering::Relaxed)
    }

    pub(crate) fn buffer(
        &self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped: bool,
    ) -> Result<wgpu::Buffer> {
        self.check_alive()?;
        self.fits(label, bytes, usage)?;
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: mapped,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(Error::OutOfMemory { label: label.into(), bytes, reason: error.to_string() });
        }
        self.inner.buffers.fetch_add(1, Ordering::Relaxed);
        if usage.contains(wgpu::BufferUsages::STORAGE) {
            self.inner.storage_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(buffer)
    }

    /// An error if no buffer of that use may be so large.
    pub(crate) fn fits(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<()> {
        let limits = self.inner.device.limits();
        let mut limit = limits.max_buffer_size;
        if usage.contains(wgpu::BufferUsages::STORAGE) {
            limit = limit.min(limits.max_storage_buffer_binding_size);
        }
        if bytes > limit {
            return Err(Error::BufferTooLarge { label: label.into(), bytes, limit });
        }
        Ok(())
    }

    /// A zeroed buffer that kernels may bind and the host may copy to and from.
    pub(crate) fn storage_buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        use wgpu::BufferUsages as U;
        self.buffer(label, bytes, U::STORAGE | U::COPY_DST | U::COPY_SRC, false)
    }

    pub(crate) fn bind_group(&self, descriptor: &wgpu::BindGroupDescriptor<'_>) -> wgpu::BindGroup {
        self.inner.bind_groups.fetch_add(1, Ordering::Relaxed);
        self.inner.device.create_bind_group(descriptor)
    }

    /// Copies part of a buffer back.
    pub(crate) fn download(&self, place: &Place) -> Result<Vec<u8>> {
        use wgpu::BufferUsages as U;
        let staging = self.buffer("download", place.bytes, U::MAP_READ | U::COPY_DST, false)?;
        let mut encoder =
            self.inner.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&place.buffer, place.offset, &staging, 0, place.bytes);
        self.submit(encoder)?;
        self.guarded(|| staging.map_async(wgpu::MapMode::Read, .., |_| ()))?;
        self.wait()?;
        let view = staging.get_mapped_range(..).map_err(|e| self.lose(e))?;
        Ok(view.to_vec())
    }

    /// The compiled kernel, compiled on first use. `audit` compiles the one that counts its loops.
    pub(crate) fn pipeline(
        &self,
        shader: &Shader,
        audit: Option<&wgpu::BindGroupLayout>,
    ) -> Result<Pipeline> {
        let key = if audit.is_some() { format!("{} audited", shader.label) } else { shader.label.clone() };
        let mut pipelines = self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let place = pipelines.entry(key).or_default().clone();
        drop(pipelines);
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = &*place {
            return Ok(pipeline.clone());
        }
        let pipeline = self.compile(shader, audit)?;
        self.inner.pipelines_created.fetch_add(1, Ordering::Relaxed);
        Ok(place.insert(pipeline).clone())
    }

    fn compile(&self, shader: &Shader, audit: Option<&wgpu::BindGroupLayout>) -> Result<Pipeline> {
        let device = &self.inner.device;
        let label = Some(shader.label.as_str());
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let text = match audit {
            Some(_) => crate::profile::audited(&shader.wgsl),
            None => shader.wgsl.to_string(),
        };
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let entry = |binding: &crate::Binding| wgpu::BindGroupLayoutEntry {
            binding: binding.number,
            visibility: wgpu::ShaderStages::COMPUTE,
            count: None,
            ty: match binding.access {
                Access::Texels => wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: wgpu::TextureFormat::Rgba32Uint,
                    view_dimension: wgpu::TextureViewDimension::D2,
                },
                access => wgpu::BindingType::Buffer {
                    ty: match access {
                        Access::Uniform => wgpu::BufferBindingType::Uniform,
                        _ => wgpu::BufferBindingType::Storage { read_only: access == Access::Read },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
            },
        };
        let entries: Vec<_> = shader.bindings.iter().map(entry).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let mut layouts = vec![Some(&layout)];
        layouts.extend(audit.map(Some));
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &layouts,
            immediate_size: 0,
        });
        let cache = self.inner.pipeline_cache.read().unwrap_or_else(PoisonError::into_inner).clone();
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(shader.name),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: cache.as_ref(),
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => Err(Error::Pipeline { label: shader.label.clone(), reason: error.to_string() }),
            None => Ok(Pipeline { pipeline, layout }),
        }
    }
}

fn no_adapter(adapters: &[wgpu::Adapter], options: &GpuOptions) -> Error {
    let found = adapters.iter().map(|a| name(&a.get_info())).collect();
    Error::NoAdapter(NoAdapter { wanted: options.adapter.clone(), found })
}
