//! Opening of a device, and the target that it is for kernels.

use std::sync::{Arc, PoisonError};

use wgpu::{DeviceType, Features};

use crate::adapters::{
    coop_used, instance, limits, missing, name, no_adapter, ranked, too_small, usable, used_features,
};
use crate::gpu::Inner;
use crate::memory::{free_bytes, shares_memory};
use crate::wanted::coop_given;
use crate::{Coop, Error, Family, Gpu, GpuOptions, Maker, Result, Sharing, TEXEL_ROW, Target, vulkan};

/// Tensors that a kernel reads as texels, at most.
const MOST_TEXTURES: u32 = 3;

impl Gpu {
    /// The best adapter, or the one `STRIX_ADAPTER` names.
    ///
    /// # Errors
    ///
    /// If there is none, or it lacks what the kernels need.
    pub fn new() -> Result<Self> {
        Self::with(&GpuOptions::from_env())
    }

    /// The best adapter that fits `options`. Unless one is named, one that fails a small kernel is passed over for the
    /// next: see [`Gpu::passed_over`].
    ///
    /// # Errors
    ///
    /// If there is none, it lacks what the kernels need, or the family asked for is none. Of several that fail, the error
    /// of the first.
    pub fn with(options: &GpuOptions) -> Result<Self> {
        let family = options.family.as_deref().map(str::parse::<Family>).transpose()?;
        let adapters = ranked(&instance());
        let mut fitting = adapters.iter().filter(|adapter| usable(adapter, options));
        if options.adapter.is_some() {
            let named = fitting.next().ok_or_else(|| no_adapter(&adapters, options))?;
            return Self::open(named, options, family, coop_used(named, family, options));
        }
        let open = |adapter: &&wgpu::Adapter| {
            let coop = coop_used(adapter, family, options);
            with_or_without(coop, family, |coop| {
                let gpu = Self::open(adapter, options, family, coop)?;
                gpu.probe().map(|()| gpu)
            })
        };
        let Opened { opened: gpu, failed } =
            first_that_works(fitting, open)?.ok_or_else(|| no_adapter(&adapters, options))?;
        let passed =
            |(adapter, error): (&wgpu::Adapter, Error)| format!("{}: {error}", name(&adapter.get_info()));
        let passed = gpu.inner.passed_over.get_or_init(|| failed.into_iter().map(passed).collect());
        passed.iter().for_each(|adapter| tracing::warn!("passed over {adapter}"));
        Ok(gpu)
    }

    /// Opens an adapter, with these matrices.
    fn open(
        adapter: &wgpu::Adapter,
        options: &GpuOptions,
        family: Option<Family>,
        coop: Option<Coop>,
    ) -> Result<Self> {
        let info = adapter.get_info();
        if let Some(missing) = missing(adapter) {
            return Err(Error::TooSmall { adapter: name(&info), missing });
        }
        let mut features = adapter.features() & (used_features() | options.more_features);
        if options.no_subgroups || family == Some(Family::Plain) {
            features.remove(Features::SUBGROUP);
        }
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if coop.is_some() {
            features |= Coop::FEATURES;
            experimental_features = Coop::experiment();
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
        let importing = match shares && !options.no_import && vulkan::supported(adapter) {
            true => vulkan::open(adapter, &descriptor),
            false => None,
        };
        let (device, queue) = match importing {
            Some(opened) => opened,
            None => pollster::block_on(adapter.request_device(&descriptor))
                .map_err(|source| Error::NoDevice { adapter: name(&info), reason: source.to_string() })?,
        };
        let sharing = Sharing { adapter: Some(adapter.clone()), ..Sharing::alone() };
        Self::from_parts(device, queue, shares, family, coop, sharing)
    }

    /// A device and queue that the caller owns and may go on using: [`Gpu::share`] with the defaults of [`Sharing`].
    ///
    /// # Errors
    ///
    /// As [`Gpu::share`].
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Self::share(device, queue, Sharing::default())
    }

    /// A device and queue that the caller owns and may go on using, to draw with for instance.
    ///
    /// WebGPU's default limits and no features suffice. What makes Strix faster is used where the device was created with it;
    /// [`Gpu::missing`] tells what was not, and [`wanted_features`](crate::wanted_features) and
    /// [`wanted_limits`](crate::wanted_limits) what to ask for.
    ///
    /// # Errors
    ///
    /// If the device was created with limits below what the kernels need. The message names each with both numbers.
    pub fn share(device: wgpu::Device, queue: wgpu::Queue, sharing: Sharing) -> Result<Self> {
        let shares = shares_memory(&device.adapter_info());
        let coop = sharing.adapter.as_ref().and_then(|adapter| coop_given(adapter, &device));
        Self::from_parts(device, queue, shares, None, coop, sharing)
    }

    fn from_parts(
        device: wgpu::Device,
        queue: wgpu::Queue,
        shares: bool,
        family: Option<Family>,
        coop: Option<Coop>,
        sharing: Sharing,
    ) -> Result<Self> {
        let info = device.adapter_info();
        let limits = device.limits();
        let missing = too_small(&limits);
        if !missing.is_empty() {
            return Err(Error::TooSmall { adapter: name(&info), missing: missing.join("; ") });
        }
        let target = target(&device, family, coop)?;
        let imports = shares && vulkan::enabled(&device);
        let memory_bytes = free_bytes(shares, &device);
        let gpu = Self {
            inner: Arc::new(Inner::new(device, queue, target, shares, imports, memory_bytes, sharing)),
        };
        let enough = limits.max_texture_dimension_2d >= TEXEL_ROW
            && limits.max_storage_textures_per_shader_stage >= MOST_TEXTURES;
        if gpu.target().is_cpu && enough && gpu.tries_texels() {
            gpu.inner.target.write().unwrap_or_else(PoisonError::into_inner).texels = true;
        }
        gpu.set_pipeline_cache(None);
        tracing::info!(adapter = gpu.name(), target = ?gpu.target(), imports = gpu.imports(), "device ready");
        Ok(gpu)
    }
}

/// Opens with matrices, where there are some, and without them if that fails: they are an experiment of wgpu's, and a
/// driver that lists them may not take them. Whoever asks for a family has it or an error.
fn with_or_without<C: Copy, T>(
    coop: Option<C>,
    family: Option<Family>,
    open: impl Fn(Option<C>) -> Result<T>,
) -> Result<T> {
    let opened = open(coop);
    if opened.is_err() && coop.is_some() && family.is_none() { open(None) } else { opened }
}

/// One of several that opened, and those before it with what is wrong with them.
struct Opened<A, T> {
    opened: T,
    failed: Vec<(A, Error)>,
}

/// The first that opens, and those before it with what is wrong with them; `None` if there are none at all.
///
/// # Errors
///
/// The first one's, if all fail. What no other would mend is not tried with them.
fn first_that_works<A, T>(
    all: impl Iterator<Item = A>,
    open: impl Fn(&A) -> Result<T>,
) -> Result<Option<Opened<A, T>>> {
    let mut failed = vec![];
    for one in all {
        match open(&one) {
            Ok(opened) => return Ok(Some(Opened { opened, failed })),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => failed.push((one, error)),
        }
    }
    failed.into_iter().next().map_or(Ok(None), |(_, error)| Err(error))
}

/// Whether no other adapter would do better: the family that was asked for is none of its own, or memory is short.
fn is_final(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) | Error::OutOfMemory { .. } => true,
        Error::NoDevice { reason, .. } => reason.contains("memory"),
        _ => false,
    }
}

/// The target that a device is for kernels. `family` and `coop` are what was asked for.
///
/// # Errors
///
/// If the device lacks what the family is made of.
fn target(device: &wgpu::Device, family: Option<Family>, coop: Option<Coop>) -> Result<Target> {
    let (info, limits) = (device.adapter_info(), device.limits());
    let fixed = info.subgroup_min_size == info.subgroup_max_size;
    let known = [4, 8, 16, 32, 64].contains(&info.subgroup_min_size);
    let subgroups = device.features().contains(Features::SUBGROUP);
    let mut target = Target {
        subgroup: (subgroups && fixed && known).then_some(info.subgroup_min_size),
        subgroups,
        max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        f16: device.features().contains(Features::SHADER_F16),
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
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_lists_matrices_and_does_not_take_them_is_opened_without() {
        let open = |coop: Option<u32>| match coop {
            Some(side) => Err(Error::Lost(format!("matrices of {side}"))),
            None => Ok("without"),
        };
        assert_eq!(with_or_without(Some(16), None, open).unwrap(), "without");
        assert_eq!(with_or_without(None, None, open).unwrap(), "without");
        let error = with_or_without(Some(16), Some(Family::Coop), open).unwrap_err().to_string();
        assert!(error.ends_with("matrices of 16"), "{error}");
        // What fails without them too is tried twice, and has the error of the second.
        let never = |coop: Option<u32>| Err::<(), _>(Error::Lost(format!("{coop:?}")));
        assert!(with_or_without(Some(16), None, never).unwrap_err().to_string().ends_with("None"));
    }

    #[test]
    fn adapters_that_fail_are_passed_over() {
        let open = |&n: &u32| match n {
            0..10 => Err(Error::Lost(format!("{n} is broken"))),
            10 => Err(Error::Unsupported("never".into())),
            _ => Ok(n),
        };
        let of = |all: &[u32]| {
            let opened = first_that_works(all.iter().copied(), open).map_err(|error| error.to_string())?;
            let failed = |failed: Vec<(u32, Error)>| failed.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
            Ok(opened.map(|of| (of.opened, failed(of.failed))))
        };
        assert_eq!(of(&[11, 1]), Ok(Some((11, vec![]))));
        assert_eq!(of(&[1, 2, 11]), Ok(Some((11, vec![1, 2]))));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[3, 4]), Err("the device stopped answering: 3 is broken".to_owned()));
        assert_eq!(of(&[1, 10, 11]), Err("never".to_owned()));
    }
}
