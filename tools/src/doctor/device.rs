//! Adapters, the properties of the one that is chosen, and the faults of drivers that are known.

use serde::Serialize;
use strix_engine::wgpu::{self, Backend, DeviceType, Features};
use strix_engine::{Gpu, GpuOptions, driver, unlisted};

use super::finding::{Finding, Level};
use crate::devices::kind;

/// An adapter of this machine.
#[derive(Serialize)]
pub(super) struct Adapter {
    pub(super) name: String,
    pub(super) backend: String,
    pub(super) kind: String,
    pub(super) driver: String,
    pub(super) chosen: bool,
    /// Why it cannot be used, or why another is before it.
    pub(super) why: String,
}

/// What kernels may use of the adapter that was chosen.
#[derive(Serialize)]
pub(super) struct Properties {
    pub(super) name: String,
    pub(super) driver: String,
    /// Family of kernels that is used where nothing else was found better.
    pub(super) family: String,
    /// Lanes of a subgroup, where kernels are made for so many.
    pub(super) subgroup: Option<u32>,
    /// Whether kernels use subgroups of whatever size.
    pub(super) subgroups: bool,
    /// Side of the matrices that are multiplied as units, where kernels use them.
    pub(super) matrices: Option<u32>,
    pub(super) binding_bytes: u64,
    pub(super) buffer_bytes: u64,
    pub(super) workgroup_bytes: u32,
    pub(super) workgroup_invocations: u32,
    pub(super) imports: bool,
    pub(super) used: Vec<&'static str>,
    pub(super) missing: Vec<Missing>,
}

/// A feature that the adapter lacks.
#[derive(Serialize)]
pub(super) struct Missing {
    pub(super) feature: &'static str,
    pub(super) costs: &'static str,
}

/// Features that are used where they are, and what it costs to be without.
const FEATURES: [(Features, &str, &str); 4] = [
    (Features::SUBGROUP, "subgroup", "lanes pass values on through workgroup memory, and tokens take longer"),
    (Features::TIMESTAMP_QUERY, "timestamp_query", "benches take the host's clock"),
    (Features::SHADER_F16, "shader_f16", "matrix units are not used"),
    (
        Features::PIPELINE_CACHE,
        "pipeline_cache",
        "every start compiles the kernels anew, unless the driver keeps them",
    ),
];

/// A driver that is known for something.
struct Known {
    /// Words of the driver's or the adapter's name, all of them.
    words: &'static [&'static str],
    level: Level,
    what: &'static str,
    advice: &'static str,
}

const KNOWN: [Known; 4] = [
    Known {
        words: &["llvmpipe"],
        level: Level::Warning,
        what: "llvmpipe is this machine's processor, not a GPU",
        advice: "if there is a GPU, install its Vulkan driver; see `strix devices`",
    },
    Known {
        words: &["swiftshader"],
        level: Level::Warning,
        what: "SwiftShader is this machine's processor, not a GPU, and slower than Mesa's llvmpipe",
        advice: "install the Vulkan driver of the GPU, or mesa-vulkan-drivers",
    },
    Known {
        words: &["llvmpipe", "opengl"],
        level: Level::Note,
        what: "through OpenGL llvmpipe has no subgroups",
        advice: "install mesa-vulkan-drivers: the same processor is faster through Vulkan",
    },
    Known {
        words: &["dx12", "vkd3d"],
        level: Level::Warning,
        what: "Wine's Direct3D 12 fails in its shader compiler",
        advice: "use --adapter vulkan",
    },
];

/// Every adapter, best first, and what to say of them.
pub(super) fn adapters(options: &GpuOptions) -> (Vec<Adapter>, Vec<Finding>) {
    let reports = strix_engine::adapters(options);
    let mut findings = vec![];
    let chosen = reports.iter().position(|report| report.chosen);
    let adapter = |(i, report): (usize, &strix_engine::AdapterReport)| {
        let why = match (&report.missing, chosen) {
            (Some(missing), _) => missing.clone(),
            (None, Some(chosen)) if i == chosen && options.adapter.is_some() => "it was asked for".into(),
            (None, Some(chosen)) if i == chosen => why_first(&report.info).into(),
            (None, Some(chosen)) if i > chosen => "it comes after the one that is chosen".into(),
            (None, _) => "another was asked for".into(),
        };
        Adapter {
            name: report.info.name.clone(),
            backend: format!("{:?}", report.info.backend),
            kind: kind(report.info.device_type).into(),
            driver: driver(&report.info),
            chosen: report.chosen,
            why,
        }
    };
    let adapters = reports.iter().enumerate().map(adapter).collect();
    let is_real = |report: &strix_engine::AdapterReport| {
        report.info.device_type != DeviceType::Cpu && report.missing.is_none()
    };
    if let Some(chosen) = chosen.filter(|&chosen| !is_real(&reports[chosen]))
        && let Some(real) = reports.iter().find(|report| is_real(report))
    {
        findings.push(Finding::new(
            Level::Warning,
            format!("{} is used, and {} is there", reports[chosen].info.name, real.info.name),
            "leave --adapter and STRIX_ADAPTER out, or name the other",
        ));
    }
    findings.extend(unlisted(&reports).map(|what| Finding::new(Level::Note, what, "or use Vulkan")));
    (adapters, findings)
}

fn why_first(info: &wgpu::AdapterInfo) -> &'static str {
    match info.device_type {
        DeviceType::DiscreteGpu => "a GPU with memory of its own comes first",
        DeviceType::IntegratedGpu => "no GPU has memory of its own",
        DeviceType::VirtualGpu => "no GPU is real",
        DeviceType::Cpu => "there is no GPU",
        DeviceType::Other => "no other is known to be a GPU",
    }
}

/// What kernels may use of a device, and what is known of its driver.
pub(super) fn properties(gpu: &Gpu) -> (Properties, Vec<Finding>) {
    let (info, target, limits) = (gpu.info(), gpu.target(), gpu.device().limits());
    let has = gpu.device().features();
    let (used, missing): (Vec<_>, Vec<_>) =
        FEATURES.into_iter().partition(|(feature, ..)| has.contains(*feature));
    let driver = driver(info);
    let findings = known(&info.name, &driver, info.backend);
    let properties = Properties {
        name: gpu.name().to_owned(),
        driver,
        family: target.family.to_string(),
        subgroup: target.subgroup,
        subgroups: target.subgroups,
        matrices: target.coop.map(|coop| coop.size),
        binding_bytes: target.max_binding_bytes,
        buffer_bytes: limits.max_buffer_size,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        imports: gpu.imports(),
        used: used.into_iter().map(|(_, name, _)| name).collect(),
        missing: missing.into_iter().map(|(_, feature, costs)| Missing { feature, costs }).collect(),
    };
    (properties, findings)
}

/// What is known of a driver.
fn known(adapter: &str, driver: &str, backend: Backend) -> Vec<Finding> {
    let api = match backend {
        Backend::Gl => "opengl",
        Backend::Dx12 => "dx12",
        Backend::Vulkan => "vulkan",
        Backend::Metal => "metal",
        _ => "",
    };
    let text = format!("{adapter} {driver} {api}").to_lowercase();
    let is_meant = |known: &&Known| known.words.iter().all(|word| text.contains(word));
    let finding = |known: &Known| Finding::new(known.level, known.what, known.advice);
    KNOWN.iter().filter(is_meant).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_known_by_their_words() {
        let of = |adapter, driver, backend| {
            known(adapter, driver, backend).into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        let llvmpipe = ("llvmpipe (LLVM 15.0.6, 512 bits)", "llvmpipe Mesa 22.3.6");
        assert_eq!(of(llvmpipe.0, llvmpipe.1, Backend::Vulkan).len(), 1);
        assert_eq!(of(llvmpipe.0, llvmpipe.1, Backend::Gl).len(), 2);
        assert!(of("NVIDIA GeForce RTX 4090", "NVIDIA 550.54", Backend::Vulkan).is_empty());
        assert!(of("AMD Radeon", "vkd3d-proton", Backend::Dx12)[0].contains("Wine"));
    }
}
