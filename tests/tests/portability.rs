//! Every specialisation of every kernel is written in every language that wgpu hands to a driver: SPIR-V,
//! Metal's, Direct3D's and OpenGL's. No driver compiles them here, but what naga cannot say fails here. Cooperative
//! matrices are for the first two alone: neither HLSL nor GLSL has them in naga.

use std::panic::{AssertUnwindSafe, catch_unwind};

use naga::ShaderStage;
use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use strix_shaders::generated::KERNELS;

#[test]
fn every_kernel_is_written_in_every_language() {
    let (mut texts, mut failed) = (0, vec![]);
    for kernel in KERNELS {
        for chosen in kernel.choices() {
            let shader = &kernel.specialisation(&chosen).shader;
            // naga panics where it should say no.
            match catch_unwind(|| write_all(kernel.name, &shader.wgsl)) {
                Ok(written) => {
                    for (language, result) in written {
                        texts += 1;
                        failed.extend(result.err().map(|e| format!("{} in {language}: {e}", shader.label)));
                    }
                }
                Err(_) => failed.push(format!("{}: naga panicked", shader.label)),
            }
        }
    }
    println!("{} kernels, {texts} texts", KERNELS.len());
    assert!(failed.is_empty(), "{} of {texts} texts failed:\n{}", failed.len(), failed.join("\n"));
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
fn write_all(name: &str, wgsl: &str) -> Written {
    let module = match naga::front::wgsl::parse_str(wgsl) {
        Ok(module) => module,
        Err(e) => return vec![("WGSL", Err(e.emit_to_string(wgsl)))],
    };
    let validate = |capabilities| {
        let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
        info.map_err(|e| e.emit_to_string(wgsl))
    };
    // Core WGSL, but a capability of naga's.
    let core = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if wgsl.lines().any(|line| line.trim() == "//~ requires: cooperative_matrix") {
        let matrices = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
        assert!(validate(Capabilities::SUBGROUP | core).is_err(), "{name} asks for more than it needs");
        return match validate(Capabilities::SUBGROUP | core | matrices) {
            Ok(info) => vec![
                ("SPIR-V 1.3", checked(|| spirv(&module, &info))),
                ("MSL 2.4", checked(|| metal(&module, &info, name))),
            ],
            Err(e) => vec![("WGSL", Err(e))],
        };
    }
    let plain = validate(core).is_ok();
    let info = match validate(Capabilities::SUBGROUP | core) {
        Ok(info) => info,
        Err(e) => return vec![("WGSL", Err(e))],
    };
    let m = &module;
    let mut written = vec![
        ("SPIR-V 1.3", checked(|| spirv(m, &info))),
        ("MSL 2.4", checked(|| metal(m, &info, name))),
        ("HLSL 6.0", checked(|| direct3d(m, &info, hlsl::ShaderModel::V6_0))),
        ("GLSL 4.3", checked(|| opengl(m, &info, name, glsl::Version::Desktop(430)))),
    ];
    if plain {
        // What has no subgroups: FXC, OpenGL ES and with it WebGL's successors.
        written.push(("HLSL 5.1", checked(|| direct3d(m, &info, hlsl::ShaderModel::V5_1))));
        written.push(("GLSL ES 3.1", checked(|| opengl(m, &info, name, glsl::Version::new_gles(310)))));
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
