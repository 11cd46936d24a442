//! `strix bench` as its user meets it.

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{output, prints};

/// Its one line of error, once it has ended with code 2.
#[track_caller]
fn refuses(args: &[&str]) -> String {
    let out = output(args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(out.stdout.is_empty(), "{args:?}");
    stderr
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_kernel_is_timed_kept_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (json, html, markdown, out) = (path("a.json"), path("a.html"), path("a.md"), path("kept"));
    let args: &[&str] = &["bench", "kernels", "--quick", "--shape", "gemm/3x64x64/int8"];
    let files = ["--json", &json, "--html", &html, "--markdown", &markdown, "--out", &out];
    let printed = prints(&[args, &files].concat());
    for part in ["roofline", "gemm/3x64x64/int8", "% of roof"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let run: Value = serde_json::from_str(&read(json.as_ref())).unwrap();
    let row = &run["rows"][0];
    assert_eq!(row["name"], "gemm/3x64x64/int8");
    assert_eq!(row["check"]["result"], "right");
    assert_eq!(row["times"]["wall_ns"].as_array().unwrap().len(), 3, "every run is in the file");
    assert!(run["roofline"]["bytes_per_s"].as_f64().unwrap() > 0.0);
    assert!(
        read(html.as_ref()).contains("<svg") && read(markdown.as_ref()).contains("| gemm/3x64x64/int8 |")
    );
    let kept = dir.path().join("kept");
    assert_eq!(read(&kept.join("run.json")), read(json.as_ref()));
    assert!(kept.join("index.html").exists() && kept.join("README.md").exists());

    // Against itself, and with what is only in one of them.
    let again = ["bench", "kernels", "--quick", "--no-check", "--shape", "rms_norm/2x64", "--shape"];
    let again = [&again[..], &["gemm/3x64x64/int8", "--compare", &out]].concat();
    let compared = prints(&again);
    assert!(compared.contains("now/then") && compared.contains("only now: rms_norm/2x64"), "{compared}");
}

#[test]
fn the_list_can_be_filtered_and_holds_the_models_shapes() {
    let all = prints(&["bench", "kernels", "--list"]);
    assert!(all.lines().any(|name| name == "gemm_swiglu/prefill/1025x11008x4096/int8g32"), "{all}");
    let some = prints(&["bench", "kernels", "--list", "gemv/", "int8"]);
    assert!(some.lines().count() > 0 && some.lines().all(|n| n.starts_with("gemv/") && n.contains("int8")));
    let quick = prints(&["bench", "kernels", "--list", "--quick"]);
    assert!(quick.lines().count() < all.lines().count() / 4, "{quick}");
    let shapes = prints(&["bench", "kernels", "--list", "--shape", "decode_attention/1x64x2x32"]);
    assert_eq!(shapes, "decode_attention/1x64x2x32/f32\ndecode_attention/1x64x2x32/f16\n");
}

#[test]
fn what_cannot_be_timed_is_refused_before_anything_is() {
    let dir = tempfile::tempdir().unwrap();
    let no_run = dir.path().join("run.json");
    fs::write(&no_run, "{}").unwrap();
    let no_run = no_run.to_str().unwrap();
    for (args, part) in [
        (&["bench", "kernels", "--shape", "gemm/3x64"] as &[&str], "gemm reads gemm/ROWSxNxK"),
        (&["bench", "kernels", "--shape", "gem/3x64x64"], "there is no kernel \"gem\""),
        (&["bench", "kernels", "nothing"], "no bench has \"nothing\" in its name"),
        (&["bench", "kernels", "--budget", "90"], "no length of time such as 90s or 5m"),
        (&["bench", "kernels", "--json", "/no/such/folder/a.json"], "no file can be written there"),
        (&["bench", "kernels", "--compare", no_run], "it is no run of strix bench"),
        (&["bench", "kernels", "--compare", "/no/run"], "/no/run"),
        (&["bench", "kernels", "--family", "fast"], "fast"),
        (&["bench", "model", "--layers", "4"], "--preset"),
        (&["bench", "model", "/no/such/model"], "/no/such/model"),
        (&["bench", "model", "--context", "513"], "trained for 512"),
    ] {
        let error = refuses(args);
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn nano_is_timed_with_its_shares_and_how_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("nano.json");
    let args =
        ["bench", "model", "--quick", "--scaling", "--context", "16,64", "--prefill", "8,16", "--no-image"];
    let printed = prints(&[&args[..], &["--json", json.to_str().unwrap()]].concat());
    let run: Value = serde_json::from_str(&read(&json)).unwrap();
    let names: Vec<_> =
        run["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["load", "prefill/8", "prefill/16", "decode/16", "decode/64"]);
    let decode = &run["rows"][3];
    assert!(decode["host"]["allocations"].as_f64().is_some_and(|count| count >= 0.0), "{decode}");
    assert!(decode["shares"].as_array().is_none_or(|shares| !shares.is_empty()), "{decode}");
    assert!(printed.contains("Decode over the context") && printed.contains("tokens/s"), "{printed}");
    let series = run["scaling"]["series"].as_array().unwrap();
    assert!(
        series.iter().all(|series| series["fit"]["slope"].is_number()) && series.len() >= 2,
        "{series:?}"
    );
}
