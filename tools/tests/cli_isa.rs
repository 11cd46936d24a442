//! `strix isa` as its user meets it, with the driver of this machine: it says what a driver made of a kernel, or that the
//! driver does not say.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use common::{output, prints};

/// Two kernels and an override without a value.
const TWO: &str = "
override N: u32;
var<workgroup> tile: array<f32, 256>;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn first(@builtin(local_invocation_index) i: u32) {
    tile[i] = y[i] * f32(N);
    workgroupBarrier();
    y[i] = tile[63u - i];
}
@compute @workgroup_size(1)
fn second() { y[0] = 1.0; }
";

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("isa-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

#[track_caller]
fn fails(args: &[&str], code: i32) -> String {
    let out = output(args);
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    said
}

#[test]
fn a_kernel_of_ours_is_compiled_by_this_machines_driver() {
    let text = prints(&["isa", "add"]);
    assert!(text.starts_with("here: ") && text.contains("\nadd "), "{text}");
    let run: Value = serde_json::from_str(&prints(&["isa", "add", "--json"])).unwrap();
    let gpu = &run["gpus"][0];
    assert_eq!((&gpu["kernels"][0]["label"], &gpu["kernels"][0]["fate"]), (&"add".into(), &"made".into()));
    // Lavapipe does not offer it, and that is said.
    let offers = gpu["device"]["offers"].as_bool().unwrap();
    assert_eq!(text.contains("has no VK_KHR_pipeline_executable_properties"), !offers, "{text}");
    assert_eq!(gpu["kernels"][0]["statistics"].is_object(), offers);
}

#[test]
fn anyones_wgsl_is_compiled_with_values_for_its_overrides() {
    let path = file("two.wgsl", TWO);
    let path = path.to_str().unwrap();
    let said = fails(&["isa", path], 1);
    assert!(said.contains("REFUSED") && said.contains("second"), "{said}");
    let run: Value = serde_json::from_str(&prints(&["isa", path, "N=4", "--json"])).unwrap();
    let kernels = run["gpus"][0]["kernels"].as_array().unwrap();
    let names: Vec<_> = kernels.iter().map(|kernel| kernel["label"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second"]);
    let memory: Vec<_> = kernels.iter().map(|kernel| kernel["declared_bytes"].as_u64().unwrap()).collect();
    assert_eq!(memory, [1024, 0]);
    assert!(fails(&["isa", path, "N=four"], 2).contains("an override is a number"));
    let broken = file("broken.wgsl", "@compute @workgroup_size(1)\nfn f() { let x = y; }");
    let said = fails(&["isa", broken.to_str().unwrap()], 2);
    assert!(said.contains("broken.wgsl:2:18: "), "{said}");
}

#[test]
fn a_run_is_stored_compared_and_written_as_a_page() {
    let stored = file("run.json", "");
    let page = file("page.html", "");
    let (stored, page) = (stored.to_str().unwrap(), page.to_str().unwrap());
    prints(&["isa", "add", "--save", stored, "--html", page]);
    let text = prints(&["isa", "add", "--compare", stored]);
    assert!(text.contains("0 for the worse"), "{text}");
    let html = fs::read_to_string(page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("fn add("), "{}", &html[..200]);
    assert!(prints(&["isa", "add", "--markdown"]).contains("| add "));
    let nothing = file("nothing.json", "{}");
    assert!(
        fails(&["isa", "add", "--compare", nothing.to_str().unwrap()], 2)
            .contains("no run that --save stored")
    );
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_is_compiled() {
    for option in ["--save", "--html"] {
        let said = fails(&["isa", "add", option, "/no/such/folder/run"], 2);
        assert!(
            said.contains("/no/such/folder/run: no file can be written there") && !said.contains("kernels"),
            "{said}"
        );
    }
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    assert!(fails(&["isa", "gem"], 2).contains("did you mean gemm?"));
    assert!(fails(&["isa", "gemm", "rows=7"], 2).contains("no rows = 7"));
    assert!(fails(&["isa", "add", "--gpu", "navi33"], 2).contains("navi31"));
    let none = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-drivers");
    // Nothing is fetched unasked.
    let said = fails(&["isa", "add", "--gpu", "navi31", "--drivers", none.to_str().unwrap()], 2);
    assert!(said.contains("--yes") || said.contains("mesa-drm-shim"), "{said}");
    assert!(!none.exists());
}
