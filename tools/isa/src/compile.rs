//! WGSL to the SPIR-V that wgpu's Vulkan backend would hand to the driver, and what it binds.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use naga::back::spv::{self, Capability};
use naga::proc::BoundsCheckPolicy::{Restrict, Unchecked};
use naga::proc::{BoundsCheckPolicies, Layouter};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, ImageClass, Module, ShaderStage, TypeInner};

/// What of a device decides how a kernel is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Version of Vulkan: 1.`minor`.
    pub minor: u32,
    /// `VK_EXT_robustness2`'s `robustBufferAccess2`: buffers need no checks.
    pub robust_buffers: bool,
    /// `robustImageAccess`: images need none.
    pub robust_images: bool,
    /// The driver zeroes workgroup memory.
    pub zeroes_workgroup_memory: bool,
    /// Dot products of packed integers.
    pub dot_products: bool,
    /// 8-bit integers.
    pub int8: bool,
    /// 16-bit floats.
    pub f16: bool,
    /// Operations of subgroups.
    pub subgroups: bool,
    /// Products of matrices.
    pub matrices: bool,
    /// Qualcomm's own driver: names of varyings are left out for it.
    pub qualcomm: bool,
}

/// What is bound to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A uniform buffer.
    Uniform,
    /// A storage buffer.
    Storage,
    /// An image to store to or load from.
    StorageImage,
    /// An image to sample.
    SampledImage,
    /// A sampler.
    Sampler,
}

/// A kernel in SPIR-V.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Name of the entry point.
    pub entry: String,
    /// Words of SPIR-V.
    pub words: Vec<u32>,
    /// What each group and number binds.
    pub bindings: BTreeMap<(u32, u32), Bound>,
    /// Bytes of immediates.
    pub immediate_bytes: u32,
    /// Bytes of workgroup memory that it declares.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub invocations: u32,
}

/// WGSL that has been read.
#[derive(Debug)]
pub struct Source {
    module: Module,
    info: ModuleInfo,
}

impl Source {
    /// Reads and checks a text.
    ///
    /// # Errors
    ///
    /// If it is no WGSL: where, and why.
    pub fn parse(wgsl: &str) -> Result<Self> {
        let module = naga::front::wgsl::parse_str(wgsl)
            .map_err(|e| anyhow!("{}{}", at(e.location(wgsl)), e.message()))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|e| {
                let place = at(e.location(wgsl));
                anyhow!("{place}{:#}", anyhow::Error::from(e.into_inner()))
            })?;
        Ok(Self { module, info })
    }

    /// What naga makes of it, for its writers of other languages.
    pub fn parsed(&self) -> (&Module, &ModuleInfo) {
        (&self.module, &self.info)
    }

    /// Names of its compute kernels.
    pub fn kernels(&self) -> Vec<String> {
        let compute = self.module.entry_points.iter().filter(|entry| entry.stage == ShaderStage::Compute);
        compute.map(|entry| entry.name.clone()).collect()
    }

    /// One of its kernels as wgpu 30 would write it for a device. `constants` are values of its overrides.
    ///
    /// # Errors
    ///
    /// If it has no such kernel, an override has no value, or the device lacks what it uses.
    pub fn compile(
        &self,
        entry: &str,
        constants: &BTreeMap<String, f64>,
        abilities: &Abilities,
    ) -> Result<Compiled> {
        let point =
            self.module.entry_points.iter().find(|e| e.name == entry && e.stage == ShaderStage::Compute);
        if point.is_none() {
            bail!("no compute kernel is named {entry:?}; there are {}", self.kernels().join(", "));
        }
        let constants = constants.iter().map(|(name, value)| (name.clone(), *value)).collect();
        let at = Some((ShaderStage::Compute, entry));
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&self.module, &self.info, at, &constants)?;
        let pipeline =
            spv::PipelineOptions { entry_point: entry.to_owned(), shader_stage: ShaderStage::Compute };
        let words = spv::write_vec(&module, &info, &options(abilities), Some(&pipeline))?;
        let mut layouter = Layouter::default();
        layouter.update(module.to_ctx()).context("sizes of types")?;
        let (index, point) = module
            .entry_points
            .iter()
            .enumerate()
            .find(|(_, e)| e.name == entry)
            .context("the kernel is gone after its overrides")?;
        let mut compiled = Compiled {
            entry: entry.to_owned(),
            words,
            bindings: BTreeMap::new(),
            immediate_bytes: 0,
            workgroup_bytes: 0,
            invocations: point.workgroup_size.iter().product(),
        };
        for (handle, variable) in module.global_variables.iter() {
            if info.get_entry_point(index)[handle].is_empty() {
                continue;
            }
            let bytes = layouter[variable.ty].size;
            match variable.space {
                AddressSpace::WorkGroup => compiled.workgroup_bytes += bytes,
                AddressSpace::Immediate => compiled.immediate_bytes = compiled.immediate_bytes.max(bytes),
                _ => {}
            }
            if let Some(binding) = &variable.binding {
                let name = variable.name.as_deref().unwrap_or_default();
                compiled.bindings.insert(
                    (binding.group, binding.binding),
                    bound(&module, variable).with_context(|| format!("binding {name}"))?,
                );
            }
        }
        Ok(compiled)
    }
}

/// The start of an error: line and column.
fn at(place: Option<naga::SourceLocation>) -> String {
    place.map_or(String::new(), |place| format!("{}:{}: ", place.line_number, place.line_position))
}

fn bound(module: &Module, variable: &naga::GlobalVariable) -> Result<Bound> {
    Ok(match (variable.space, &module.types[variable.ty].inner) {
        (AddressSpace::Uniform, _) => Bound::Uniform,
        (AddressSpace::Storage { .. }, _) => Bound::Storage,
        (_, TypeInner::Image { class: ImageClass::Storage { .. }, .. }) => Bound::StorageImage,
        (_, TypeInner::Image { .. }) => Bound::SampledImage,
        (_, TypeInner::Sampler { .. }) => Bound::Sampler,
        (space, inner) => bail!("{inner:?} in {space:?} is not known here"),
    })
}

/// As `wgpu-hal` 30 has them (`vulkan/adapter.rs`).
fn options(a: &Abilities) -> spv::Options<'static> {
    let mut capabilities = vec![
        Capability::Shader,
        Capability::Matrix,
        Capability::Sampled1D,
        Capability::Image1D,
        Capability::ImageQuery,
        Capability::DerivativeControl,
        Capability::StorageImageExtendedFormats,
    ];
    if a.subgroups {
        capabilities.extend([
            Capability::GroupNonUniform,
            Capability::GroupNonUniformVote,
            Capability::GroupNonUniformArithmetic,
            Capability::GroupNonUniformBallot,
            Capability::GroupNonUniformShuffle,
            Capability::GroupNonUniformShuffleRelative,
            Capability::GroupNonUniformQuad,
        ]);
    }
    if a.f16 {
        capabilities.push(Capability::Float16);
    }
    if a.matrices {
        capabilities.extend([Capability::CooperativeMatrixKHR, Capability::VulkanMemoryModel]);
    }
    if a.dot_products {
        capabilities.extend([
            Capability::DotProductInputAllKHR,
            Capability::DotProductInput4x8BitKHR,
            Capability::DotProductInput4x8BitPackedKHR,
            Capability::DotProductKHR,
        ]);
    }
    if a.int8 {
        capabilities.push(Capability::Int8);
    }
    let unless = |robust: bool| if robust { Unchecked } else { Restrict };
    let mut flags = spv::WriterFlags::FORCE_POINT_SIZE;
    flags.set(spv::WriterFlags::LABEL_VARYINGS, !a.qualcomm);
    spv::Options {
        lang_version: match a.minor {
            0 => (1, 0),
            1 => (1, 3),
            2 => (1, 5),
            _ => (1, 6),
        },
        flags,
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: BoundsCheckPolicies {
            index: Restrict,
            buffer: unless(a.robust_buffers),
            image_load: unless(a.robust_images),
            binding_array: Unchecked,
        },
        zero_initialize_workgroup_memory: match a.zeroes_workgroup_memory {
            true => spv::ZeroInitializeWorkgroupMemoryMode::Native,
            false => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
        },
        force_loop_bounding: true,
        emit_int_div_checks: true,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "
        override SCALE: f32 = 2.0;
        var<workgroup> tile: array<vec4<f32>, 64>;
        var<workgroup> unused: array<f32, 4096>;
        @group(0) @binding(0) var<uniform> params: vec4<u32>;
        @group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
        @group(1) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
        @compute @workgroup_size(8, 8)
        fn scaled(@builtin(local_invocation_index) i: u32) {
            tile[i] = x[i + params.x];
            workgroupBarrier();
            y[i] = tile[63u - i] * SCALE;
        }
        @compute @workgroup_size(1)
        fn nothing() {}
    ";

    #[test]
    fn a_kernel_says_what_it_binds_and_how_much_workgroup_memory_it_uses() {
        let source = Source::parse(KERNEL).unwrap();
        assert_eq!(source.kernels(), ["scaled", "nothing"]);
        let compiled = source
            .compile("scaled", &BTreeMap::new(), &Abilities { minor: 3, ..Abilities::default() })
            .unwrap();
        let bindings: Vec<_> = compiled.bindings.into_iter().collect();
        assert_eq!(bindings, [((0, 0), Bound::Uniform), ((0, 2), Bound::Storage), ((1, 1), Bound::Storage)]);
        assert_eq!((compiled.workgroup_bytes, compiled.invocations), (1024, 64));
        assert_eq!(compiled.words[0], 0x0723_0203);
        // Without an override naga leaves in what the kernel does not use.
        let two = "var<workgroup> a: array<f32, 4>; @compute @workgroup_size(1) fn f() { a[0] = 1.0; }
            @compute @workgroup_size(1) fn g() {}";
        let unused =
            Source::parse(two).unwrap().compile("g", &BTreeMap::new(), &Abilities::default()).unwrap();
        assert_eq!(unused.workgroup_bytes, 0);
        let nothing = source.compile("nothing", &BTreeMap::new(), &Abilities::default()).unwrap();
        assert!(nothing.bindings.is_empty() && nothing.workgroup_bytes == 0);
    }

    #[test]
    fn what_the_device_checks_itself_is_not_written() {
        let source = Source::parse(KERNEL).unwrap();
        let words = |robust| {
            let abilities = Abilities { minor: 3, robust_buffers: robust, ..Abilities::default() };
            source.compile("scaled", &BTreeMap::new(), &abilities).unwrap().words.len()
        };
        assert!(words(true) < words(false), "{} {}", words(true), words(false));
    }

    #[test]
    fn errors_name_the_kernel_the_line_and_what_is_there() {
        let error = Source::parse("fn f() { let x = y; }").unwrap_err().to_string();
        assert!(error.starts_with("1:18: ") && error.contains("`y`") && !error.contains('\n'), "{error}");
        let error =
            Source::parse("@compute @workgroup_size(1)\nfn f() { let x: i32 = array(1)[2]; }").unwrap_err();
        assert!(error.to_string().starts_with("2:"), "{error}");
        let source = Source::parse(KERNEL).unwrap();
        let error = source.compile("scald", &BTreeMap::new(), &Abilities::default()).unwrap_err().to_string();
        assert!(error.contains("\"scald\"") && error.contains("scaled, nothing"), "{error}");
        let source = Source::parse("override N: u32; @compute @workgroup_size(N) fn f() {}").unwrap();
        assert!(source.compile("f", &BTreeMap::new(), &Abilities::default()).is_err());
        assert!(source.compile("f", &[("N".to_owned(), 4.0)].into(), &Abilities::default()).is_ok());
    }
}
