//! What makes Strix faster on a device, for apps that create the device themselves.

use std::fmt;

use wgpu::{Adapter, Device, DeviceDescriptor, Features, Limits, Queue};

use crate::adapters::name;
use crate::memory::shares_memory;
use crate::{Coop, Error, Gpu, Result, vulkan};

/// Something that a device was not created with and that would make Strix faster. As text it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// What it is.
    pub what: Wanted,
    /// What it would bring.
    pub brings: &'static str,
}

/// A feature or a limit of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// Features of wgpu's.
    Features(Features),
    /// A limit of wgpu's.
    Limit {
        /// Its field in [`wgpu::Limits`].
        name: &'static str,
        /// What the device has.
        device: u64,
        /// What the adapter has; `None` where that is not known.
        adapter: Option<u64>,
    },
    /// An extension of Vulkan's, which [`request_device`] enables.
    Extension(&'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Wanted::Features(features) => {
                let names: Vec<_> = features.iter_names().map(|(name, _)| name).collect();
                write!(f, "{}", names.join(" and "))?;
            }
            Wanted::Limit { name, device, adapter: None } => write!(f, "{name} above {device}")?,
            Wanted::Limit { name, device, adapter: Some(adapter) } => {
                write!(f, "{name} of {adapter} where the device has {device}")?;
            }
            Wanted::Extension(name) => f.write_str(name)?,
        }
        write!(f, ": {}", self.brings)
    }
}

/// A feature, and what it brings.
struct Use {
    features: Features,
    brings: &'static str,
}

const SUBGROUPS: Use = Use {
    features: Features::SUBGROUP,
    brings: "sums and weights are shared among the lanes of a subgroup without a detour through workgroup memory",
};
const TIMES: Use = Use {
    features: Features::TIMESTAMP_QUERY,
    brings: "the device times of steps can be measured, which tuning and profiling need",
};
const F16: Use = Use {
    features: Features::SHADER_F16,
    brings: "products of many rows can be computed in f16, where LoadOptions::activations asks for it",
};
const CACHE: Use = Use {
    features: Features::PIPELINE_CACHE,
    brings: "compiled kernels are kept between two starts of the app, in LoadOptions::cache_dir",
};
const MAPPED: Use = Use {
    features: Features::MAPPABLE_PRIMARY_BUFFERS,
    brings: "layers that take turns are written where the device reads them, without a copy",
};
const MATRICES: Use = Use {
    features: Coop::FEATURES,
    brings: "the device's units for matrices multiply rows of prompts and pictures",
};

const EXTENSION: &str = "VK_EXT_external_memory_host";

/// A limit, how to read it, and what it brings.
type Field = (&'static str, fn(&Limits) -> u64, &'static str);

const FIELDS: &[Field] = &[
    (
        "max_storage_buffer_binding_size",
        |limits| limits.max_storage_buffer_binding_size,
        "large matrices are multiplied in one step instead of strip by strip, and contexts may be longer",
    ),
    ("max_buffer_size", |limits| limits.max_buffer_size, "a tensor may be as large as a binding may be"),
    (
        "max_compute_workgroup_storage_size",
        |limits| u64::from(limits.max_compute_workgroup_storage_size),
        "units for matrices work on larger tiles",
    ),
];

/// Features and their uses that such an adapter, or device, may have.
fn uses(info: &wgpu::AdapterInfo) -> Vec<Use> {
    let mut uses = vec![SUBGROUPS, TIMES, F16, CACHE];
    if shares_memory(info) {
        uses.push(MAPPED);
    }
    if info.device_type != wgpu::DeviceType::Cpu {
        uses.push(MATRICES);
    }
    uses
}

/// Whether kernels for an adapter use matrices.
fn has_matrices(adapter: &Adapter) -> bool {
    adapter.get_info().device_type != wgpu::DeviceType::Cpu && Coop::of(adapter, &adapter.limits()).is_some()
}

/// Features that Strix is faster with, of those that the adapter has. None of them is demanded.
///
/// [`Features::EXPERIMENTAL_COOPERATIVE_MATRIX`] is not among them: wgpu wants its experiments to be asked for, which
/// [`request_device`] does.
///
/// ```
/// use strix_engine::{Gpu, Sharing, wanted_features, wanted_limits, wgpu};
/// # let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
/// # let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
///
/// let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
///     // and what the app itself needs
///     required_features: wanted_features(&adapter),
///     required_limits: wanted_limits(&adapter),
///     ..Default::default()
/// }))?;
/// let gpu = Gpu::share(device, queue, Sharing { adapter: Some(adapter), ..Sharing::default() })?;
/// for missing in gpu.missing() {
///     println!("{missing}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wanted_features(adapter: &Adapter) -> Features {
    let wanted = uses(&adapter.get_info()).into_iter().map(|of| of.features);
    let wanted = wanted.fold(Features::empty(), Features::union) - Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    adapter.features() & wanted
}

/// Limits that Strix is fastest with, as the adapter has them; all others are WebGPU's defaults, or less where the adapter
/// has less. None of them is demanded. An app that needs more of another joins its own with
/// [`Limits::or_better_values_from`].
pub fn wanted_limits(adapter: &Adapter) -> Limits {
    let has = adapter.limits();
    Limits {
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        max_buffer_size: has.max_buffer_size,
        max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
        ..Limits::default().or_worse_values_from(&has)
    }
}

/// The device that an app would ask for with `descriptor`, and with all that makes Strix faster as well: wanted features and
/// limits, cooperative matrices, and on Vulkan the extension by which weights are used where a file is mapped. What the
/// adapter lacks is left out.
///
/// # Errors
///
/// If the driver refuses the device.
pub async fn request_device(adapter: &Adapter, descriptor: &DeviceDescriptor<'_>) -> Result<(Device, Queue)> {
    let info = adapter.get_info();
    let mut descriptor = descriptor.clone();
    descriptor.required_features |= wanted_features(adapter);
    descriptor.required_limits = descriptor.required_limits.or_better_values_from(&wanted_limits(adapter));
    if has_matrices(adapter) {
        descriptor.required_features |= Coop::FEATURES;
        descriptor.experimental_features = Coop::experiment();
    }
    if shares_memory(&info)
        && vulkan::supported(adapter)
        && let Some(opened) = vulkan::open(adapter, &descriptor)
    {
        return Ok(opened);
    }
    let opened = adapter.request_device(&descriptor).await;
    opened.map_err(|source| Error::NoDevice { adapter: name(&info), reason: source.to_string() })
}

/// Matrices that a device of the caller's was created with.
pub(crate) fn coop_given(adapter: &Adapter, device: &Device) -> Option<Coop> {
    let given = device.features().contains(Coop::FEATURES);
    Coop::of(adapter, &device.limits()).filter(|_| given && has_matrices(adapter))
}

impl Gpu {
    /// What would make Strix faster, that the adapter has and the device was not created with. The device works without all
    /// of it.
    ///
    /// What the adapter has is known of devices that Strix opened, and of [`Sharing::adapter`](crate::Sharing::adapter).
    /// Otherwise all that the device lacks is listed, whether or not its adapter has it.
    pub fn missing(&self) -> Vec<Missing> {
        missing(self.device(), self.inner.sharing.adapter.as_ref())
    }
}

fn missing(device: &Device, adapter: Option<&Adapter>) -> Vec<Missing> {
    let (info, features, limits) = (device.adapter_info(), device.features(), device.limits());
    let is_usable = |of: &Use| match adapter {
        Some(adapter) if of.features == Coop::FEATURES => has_matrices(adapter),
        Some(adapter) => adapter.features().contains(of.features),
        None => true,
    };
    let lacking = uses(&info).into_iter().filter(|of| !features.contains(of.features) && is_usable(of));
    let mut missing: Vec<_> = lacking
        .map(|Use { features: all, brings }| Missing { what: Wanted::Features(all - features), brings })
        .collect();
    let has = adapter.map(Adapter::limits);
    for &(name, of, brings) in FIELDS {
        let (device, adapter) = (of(&limits), has.as_ref().map(of));
        if adapter.is_none_or(|adapter| device < adapter) {
            missing.push(Missing { what: Wanted::Limit { name, device, adapter }, brings });
        }
    }
    let can_import = adapter.is_none_or(vulkan::supported) && info.backend == wgpu::Backend::Vulkan;
    if shares_memory(&info) && can_import && !vulkan::enabled(device) {
        let brings = "weights are used where a file is mapped: there is one copy of them, and none to make";
        missing.push(Missing { what: Wanted::Extension(EXTENSION), brings });
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sharing, adapters};

    fn adapter() -> Adapter {
        adapters::ranked(&adapters::instance()).into_iter().next().expect("an adapter")
    }

    fn share(adapter: &Adapter, (device, queue): (Device, Queue)) -> Gpu {
        Gpu::share(device, queue, Sharing { adapter: Some(adapter.clone()), ..Sharing::default() }).unwrap()
    }

    #[test]
    fn what_an_adapter_has_and_a_device_lacks_is_told_and_gone_when_asked_for() {
        let adapter = adapter();
        let plain = pollster::block_on(adapter.request_device(&DeviceDescriptor::default())).unwrap();
        let told: Vec<_> = share(&adapter, plain.clone()).missing().iter().map(Missing::to_string).collect();
        for (feature, word) in
            [(Features::SUBGROUP, "SUBGROUP:"), (Features::TIMESTAMP_QUERY, "TIMESTAMP_QUERY:")]
        {
            let has = adapter.features().contains(feature);
            assert_eq!(told.iter().any(|told| told.starts_with(word)), has, "{told:?}");
        }
        let most = adapter.limits().max_buffer_size;
        let buffers =
            format!("max_buffer_size of {most} where the device has {}", Limits::default().max_buffer_size);
        let is_more = most > Limits::default().max_buffer_size;
        assert_eq!(told.iter().any(|told| told.starts_with(&buffers)), is_more, "{told:?}");

        let all = pollster::block_on(request_device(&adapter, &DeviceDescriptor::default())).unwrap();
        let gpu = share(&adapter, all);
        assert_eq!(gpu.missing(), []);
        assert_eq!(gpu.imports(), shares_memory(gpu.info()) && vulkan::supported(&adapter));

        // Without the adapter nobody knows what it has.
        let told = Gpu::from_wgpu(plain.0, plain.1).unwrap().missing();
        assert!(
            told.iter().any(|missing| missing.to_string().starts_with("max_buffer_size above ")),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_wanted_can_be_asked_for() {
        let adapter = adapter();
        let descriptor = DeviceDescriptor {
            required_features: wanted_features(&adapter),
            required_limits: wanted_limits(&adapter),
            ..Default::default()
        };
        let gpu = share(&adapter, pollster::block_on(adapter.request_device(&descriptor)).unwrap());
        let rest = gpu.missing();
        let is_wgpus = |missing: &&Missing| {
            !matches!(&missing.what, Wanted::Extension(_))
                && missing.what != Wanted::Features(Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        };
        assert_eq!(rest.iter().filter(is_wgpus).count(), 0, "{rest:?}");
    }
}
