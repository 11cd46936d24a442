//! `strix tune` and `strix shader` as their user meets them.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use common::{output, prints, strix};

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano/config.json");

/// Runs with a cache of the test's own.
fn with_cache(dir: &Path, args: &[&str]) -> Output {
    strix(args).env("STRIX_CACHE_DIR", dir).output().unwrap()
}

#[track_caller]
fn json(dir: &Path, args: &[&str]) -> Value {
    let out = with_cache(dir, args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn tuning_file(dir: &Path) -> PathBuf {
    let folder = fs::read_dir(dir).unwrap().next().unwrap().unwrap().path();
    folder.join("tuning.json")
}

#[test]
fn tuning_goes_on_where_it_was_and_is_forgotten_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let timed = |report: &Value| report["timed"].as_array().unwrap().len();
    let tune = ["tune", "--config", NANO, "--budget", "1", "--json"];
    let first = json(dir.path(), &tune);
    assert!(timed(&first) >= 1, "{first}");
    let second = json(dir.path(), &tune);
    assert!(timed(&second) >= timed(&first), "{second}");
    let old = first["timed"].as_array().unwrap();
    assert_eq!(second["timed"].as_array().unwrap()[..old.len()], old[..], "what was measured is kept");
    assert_eq!(json(dir.path(), &["tune", "--show", "--json"]), second);

    let shown = with_cache(dir.path(), &["tune", "--show", "--verbose"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("gemm 1x") && shown.contains(" ms"), "{shown}");

    assert_eq!(with_cache(dir.path(), &["tune", "--clear"]).status.code(), Some(0));
    let out = with_cache(dir.path(), &["tune", "--show"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("is not tuned"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_tuning_is_ignored_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["tune", "--config", NANO, "--budget", "1", "--json"]);
    let path = tuning_file(dir.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let ask = strix(&["ask", "--max-tokens", "2", "Hello!"])
        .env("STRIX_CACHE_DIR", dir.path())
        .env("STRIX_LOG", "warn")
        .output()
        .unwrap();
    assert_eq!(ask.status.code(), Some(0), "{}", stderr(&ask));
    assert!(stderr(&ask).contains("tuning.json") && stderr(&ask).contains("ignored"), "{}", stderr(&ask));
    assert_eq!(fs::read(&path).unwrap().len(), whole.len() / 2, "and left as it was");
    let again = json(dir.path(), &["tune", "--config", NANO, "--budget", "1", "--json", "--force"]);
    assert!(!again["timed"].as_array().unwrap().is_empty());
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_of_tuning_and_none_of_asking() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let tune = with_cache(&file, &["tune", "--config", NANO, "--budget", "1"]);
    assert_eq!(tune.status.code(), Some(2), "{}", stderr(&tune));
    assert!(stderr(&tune).contains("tuning.json"), "{}", stderr(&tune));
    let ask = with_cache(&file, &["ask", "--max-tokens", "2", "Hello!"]);
    assert_eq!(ask.status.code(), Some(0), "{}", stderr(&ask));
}

#[test]
fn a_forced_family_leaves_nothing_to_tune() {
    let forced = |family: &str, args: &[&str]| strix(args).env("STRIX_FAMILY", family).output().unwrap();
    let tune = forced("plain", &["tune", "--budget", "1"]);
    assert_eq!(tune.status.code(), Some(2));
    assert!(stderr(&tune).contains("unset STRIX_FAMILY"), "{}", stderr(&tune));
    let unknown = forced("fast", &["ask", "Hello!"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("subgroup, tiled"), "{}", stderr(&unknown));
    for family in ["plain", "tiled", "subgroup"] {
        let ask = forced(family, &["ask", "--max-tokens", "4", "Hello!"]);
        assert_eq!(ask.status.code(), Some(0), "{family}: {}", stderr(&ask));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = strix(&["tune", "--budget", "600"]);
    let mut child = command
        .env("STRIX_CACHE_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is there from the start, and grows with the first result.
    let len = || {
        let any = fs::read_dir(dir.path()).unwrap().next().is_some();
        any.then(|| fs::metadata(tuning_file(dir.path())).ok()).flatten().map(|file| file.len())
    };
    let mut empty = None;
    while empty.is_none() || len() == empty {
        empty = empty.or_else(len);
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", stderr(&out));
    assert!(stderr(&out).contains("what is measured is kept"), "{}", stderr(&out));
    let kept = json(dir.path(), &["tune", "--show", "--json"]);
    assert!(!kept["timed"].as_array().unwrap().is_empty(), "{kept}");
}

#[test]
fn a_shader_is_printed_for_a_class_or_this_device() {
    let text = prints(&["shader", "gemm_int8", "--device", "plain", "rows=1"]);
    assert!(text.contains("fn gemm(") && !text.contains("subgroupBroadcast("), "{text}");
    assert!(!text.contains("${") && !text.contains("//%"), "all of it is specialised");
    for (device, kernel) in [("cpu", "gemm["), ("gpu", "gemm_tiled[")] {
        let out = output(&["shader", "gemm", "--weights", "int8", "--device", device]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let label = stderr(&out).lines().last().unwrap().to_owned();
        assert!(label.starts_with(kernel) && label.contains("weights=int8"), "{label}");
        assert_eq!(String::from_utf8_lossy(&out.stdout).contains("subgroupBroadcast("), device == "cpu");
    }
    let wide = prints(&["shader", "rms_norm", "--device", "cpu", "--subgroup", "16"]);
    assert_ne!(wide, prints(&["shader", "rms_norm", "--device", "cpu"]));
    assert!(prints(&["shader", "decode_attention_f16"]).contains("fn decode_attention("));
}

#[test]
fn every_kernel_is_listed_and_every_listed_kernel_can_be_printed() {
    let list = prints(&["shader", "--all"]);
    let kernels: Vec<_> = list.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(kernels.contains(&"gemm") && kernels.contains(&"top_k"), "{list}");
    for kernel in kernels {
        let out = output(&["shader", kernel, "--device", "plain"]);
        assert_eq!(out.status.code(), Some(0), "{kernel}: {}", stderr(&out));
        // It may have a file of its own for devices without subgroups.
        let label = stderr(&out).lines().last().unwrap().to_owned();
        let name = label.split('[').next().unwrap();
        assert!(name == kernel || name == format!("{kernel}_plain"), "{kernel}: {label}");
        assert!(String::from_utf8_lossy(&out.stdout).contains(&format!("fn {name}(")), "{kernel}");
    }
}

#[test]
fn a_kernel_that_is_not_there_is_refused_with_those_that_are() {
    for (args, words) in [
        (&["gem"] as &[&str], ["did you mean gemm?", "rms_norm"]),
        (&["gemm_int7"], ["\"int7\"", "int8_group"]),
        (&["gemm", "rows=7"], ["no rows = 7", "rows = 1"]),
        (&["gemm_plain", "lanes=8"], ["together", "lanes ="]),
    ] {
        let out = output(&[&["shader"], args].concat());
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(words.iter().all(|word| stderr(&out).contains(word)), "{args:?}: {}", stderr(&out));
        assert!(out.stdout.is_empty());
    }
    assert_eq!(output(&["shader"]).status.code(), Some(2));
    assert_eq!(output(&["shader", "gemm", "--device", "no such adapter"]).status.code(), Some(2));
}
