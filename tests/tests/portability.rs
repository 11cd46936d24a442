//! Every specialisation of every kernel is what its Rust half declares, and is written in every language that wgpu hands to a driver: SPIR-V,
//! Metal's, Direct3D's and OpenGL's. No driver compiles them here, but what naga cannot say fails here. Cooperative
//! matrices are for the first two alone: neither HLSL nor GLSL has them in naga. Nor has GLSL f16.

use std::panic::{AssertUnwindSafe, catch_unwind};

use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Block, Module, Scalar, ShaderStage, Statement, StorageAccess, TypeInner};
use rayon::prelude::*;
use strix_engine::{Access, Binding, Shader};
use strix_shaders::generated::KERNELS;
use strix_shaders::{Kernel, Specialisation, Value};

/// What Rust knows of a kernel comes from its text, which is only looked through: naga's parser says whether it is right.
#[test]
fn every_kernel_is_what_rust_declares_and_is_written_in_every_language() {
    let all: Vec<_> =
        KERNELS.iter().flat_map(|kernel| kernel.choices().into_iter().map(move |c| (*kernel, c))).collect();
    let checked = |(kernel, chosen): &(&'static Kernel, Vec<Value>)| -> Vec<Result<(), String>> {
        let specialisation = kernel.specialisation(chosen);
        let Shader { label, wgsl, .. } = &*specialisation.shader;
        let module = match naga::front::wgsl::parse_str(wgsl) {
            Ok(module) => module,
            Err(e) => return vec![Err(format!("{label}: {}", e.emit_to_string(wgsl)))],
        };
        let declared = declared(kernel, &specialisation, &module);
        // naga panics where it should say no.
        let written = catch_unwind(AssertUnwindSafe(|| write_all(kernel.name, wgsl, &module)));
        let written = written.unwrap_or_else(|_| vec![("all languages", Err("naga panicked".into()))]);
        let written =
            written.into_iter().map(|(language, e)| e.map_err(|e| format!("{label} in {language}: {e}")));
        written.chain([declared.map_err(|e| format!("{label}: {e}"))]).collect()
    };
    let results: Vec<_> = all.par_iter().flat_map_iter(checked).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    println!("{} kernels, {} specialisations, {} checks", KERNELS.len(), all.len(), results.len());
    assert!(failed.is_empty(), "{} of {} checks failed:\n{failed:#?}", failed.len(), results.len());
}

/// Whether a specialisation is as its text declares it.
fn declared(kernel: &Kernel, specialisation: &Specialisation, module: &Module) -> Result<(), String> {
    let bindings = bindings(module);
    if bindings != specialisation.shader.bindings {
        return Err(format!("bindings {:?}, declared {bindings:?}", specialisation.shader.bindings));
    }
    if bindings.first().is_none_or(|b| (b.number, b.access) != (0, Access::Uniform)) {
        return Err("binding 0 is not that of `params`".into());
    }
    if !module.entry_points.iter().any(|entry| entry.name == kernel.name) {
        return Err(format!("no entry point named `{}`", kernel.name));
    }
    let params = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
    let Some((_, TypeInner::Struct { members, .. })) = params.map(|(handle, ty)| (handle, &ty.inner)) else {
        return Err("no struct Params".into());
    };
    let field = |member: &naga::StructMember| {
        let is_u32 = module.types[member.ty].inner == TypeInner::Scalar(Scalar::U32);
        (member.name.clone().unwrap_or_default(), is_u32, member.offset as usize)
    };
    let fields: Vec<_> = members.iter().map(field).collect();
    let known: Vec<_> = kernel
        .fields
        .iter()
        .enumerate()
        .map(|(i, &(name, is_u32))| (name.to_owned(), is_u32, 4 * i))
        .collect();
    if fields != known {
        return Err(format!("Params {known:?}, declared {fields:?}"));
    }
    // Every loop states its bound, so that none can outrun the iterations that a driver runs.
    let functions = module.functions.iter().map(|(_, f)| f);
    let loops: usize =
        functions.chain(module.entry_points.iter().map(|e| &e.function)).map(|f| loops(&f.body)).sum();
    let bounds = specialisation.num_loops();
    if specialisation.trips(bytemuck::cast_slice(&vec![1_u32; known.len()])) == u64::MAX {
        return Err("the bounds of its loops are infinite where all of Params is 1".into());
    }
    match loops == bounds {
        true => Ok(()),
        false => Err(format!("{loops} loops, {bounds} of them bounded: put `//~ trips: …` before each")),
    }
}

/// The bindings that naga finds.
fn bindings(module: &Module) -> Vec<Binding> {
    let binding = |variable: &naga::GlobalVariable| {
        let access = match variable.space {
            AddressSpace::Uniform => Access::Uniform,
            AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::ReadWrite,
            AddressSpace::Handle => Access::Texels,
            _ => Access::Read,
        };
        let name = variable.name.clone()?.leak();
        Some(Binding { number: variable.binding?.binding, name, access })
    };
    let mut bindings: Vec<_> = module.global_variables.iter().filter_map(|(_, v)| binding(v)).collect();
    bindings.sort_by_key(|binding| binding.number);
    bindings
}

fn loops(block: &Block) -> usize {
    let inside = |statement: &Statement| match statement {
        Statement::Block(block) => loops(block),
        Statement::If { accept, reject, .. } => loops(accept) + loops(reject),
        Statement::Switch { cases, .. } => cases.iter().map(|c| loops(&c.body)).sum(),
        Statement::Loop { body, continuing, .. } => 1 + loops(body) + loops(continuing),
        _ => 0,
    };
    block.iter().map(inside).sum()
}

/// A machine that gets no packages of Debian's can still run every other check.
#[test]
#[cfg(target_os = "linux")]
fn drivers_that_are_not_here_are_an_error_unless_they_may_be_skipped() {
    let empty = tempfile::tempdir().unwrap();
    let gpus = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gpus"));
        command.args(["--quick", "--drivers"]).arg(empty.path()).args(more).output().unwrap()
    };
    let refused = gpus(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("Debian"), "{said}");
    let skipped = gpus(&["--or-skip"]);
    let said = String::from_utf8_lossy(&skipped.stdout).into_owned();
    assert!(skipped.status.success() && said.contains("NOT CHECKED"), "{said}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is fetched without --yes");
}

type Written = Vec<(&'static str, Result<(), String>)>;

/// The languages a kernel is for, each with what became of it.
fn write_all(name: &str, wgsl: &str, module: &Module) -> Written {
    let validate = |capabilities| {
        let info = Validator::new(ValidationFlags::all(), capabilities).validate(module);
        info.map_err(|e| e.emit_to_string(wgsl))
    };
    // Core WGSL, but a capability of naga's.
    let core = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if wgsl.lines().any(|line| line.trim() == "//~ requires: cooperative_matrix") {
        let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
        assert!(validate(Capabilities::SUBGROUP | core).is_err(), "{name} asks for more than it needs");
        return match validate(Capabilities::SUBGROUP | core | matrices) {
            Ok(info) => vec![
                ("SPIR-V 1.3", checked(|| spirv(module, &info))),
                ("MSL 2.4", checked(|| metal(module, &info, name))),
            ],
            Err(e) => vec![("WGSL", Err(e))],
        };
    }
    if wgsl.lines().any(|line| line.trim() == "//~ requires: f16") {
        assert!(validate(core).is_err(), "{name} asks for more than it needs");
        return match validate(core | Capabilities::SHADER_FLOAT16) {
            Ok(info) => vec![
                ("SPIR-V 1.3", checked(|| spirv(module, &info))),
                ("MSL 2.4", checked(|| metal(module, &info, name))),
                ("HLSL 6.2", checked(|| direct3d(module, &info, hlsl::ShaderModel::V6_2))),
            ],
            Err(e) => vec![("WGSL", Err(e))],
        };
    }
    let plain = validate(core).is_ok();
    let info = match validate(Capabilities::SUBGROUP | core) {
        Ok(info) => info,
        Err(e) => return vec![("WGSL", Err(e))],
    };
    let mut written = vec![
        ("SPIR-V 1.3", checked(|| spirv(module, &info))),
        ("MSL 2.4", checked(|| metal(module, &info, name))),
        ("HLSL 6.0", checked(|| direct3d(module, &info, hlsl::ShaderModel::V6_0))),
        ("GLSL 4.3", checked(|| opengl(module, &info, name, glsl::Version::Desktop(430)))),
    ];
    if plain {
        // What has no subgroups: FXC, OpenGL ES and with it WebGL's successors.
        written.push(("HLSL 5.1", checked(|| direct3d(module, &info, hlsl::ShaderModel::V5_1))));
        written.push(("GLSL ES 3.1", checked(|| opengl(module, &info, name, glsl::Version::new_gles(310)))));
    }
    written
}

/// A panic of naga's as an error of the language it happened in.
fn checked(write: impl Fn() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| Err("naga panicked".into()))
}

fn spirv(module: &naga::Module, info: &ModuleInfo) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let words = spv::write_vec(module, info, &options, None).map_err(|e| e.to_string())?;
    not_empty(words.len())
}

fn metal(module: &naga::Module, info: &ModuleInfo, name: &str) -> Result<(), String> {
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, name.into())), ..Default::default() };
    let (text, names) = msl::write_string(module, info, &options, &pipeline).map_err(|e| e.to_string())?;
    names.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))?;
    not_empty(text.len())
}

fn direct3d(module: &naga::Module, info: &ModuleInfo, model: hlsl::ShaderModel) -> Result<(), String> {
    let options = hlsl::Options { shader_model: model, ..Default::default() };
    let pipeline = hlsl::PipelineOptions::default();
    let mut text = String::new();
    let names = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    let names = names.map_err(|e| e.to_string())?;
    names.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))?;
    not_empty(text.len())
}

fn opengl(
    module: &naga::Module,
    info: &ModuleInfo,
    name: &str,
    version: glsl::Version,
) -> Result<(), String> {
    let options = glsl::Options { version, ..Default::default() };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: name.into(),
        multiview: None,
    };
    let mut text = String::new();
    let policies = BoundsCheckPolicies::default();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .map_err(|e| e.to_string())?;
    not_empty(text.len())
}

fn not_empty(len: usize) -> Result<(), String> {
    if len > 0 { Ok(()) } else { Err("the text is empty".into()) }
}
