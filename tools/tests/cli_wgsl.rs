//! `strix bench wgsl` as its user meets it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{output, prints};

/// A folder with a roofline, so that none is measured, and what the tests write.
struct Folder {
    dir: tempfile::TempDir,
}

const SAXPY: &str = include_str!("../../benches/wgsl/saxpy.wgsl");

impl Folder {
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        let roof = r#"{"schema": 1, "kind": "wgsl", "date": "2026-11-29T00:00:00Z", "device": {},
            "versions": {"strix": "0", "wgpu": "0", "naga": "0", "build": "debug"},
            "roofline": {"bytes_per_s": 1e10, "flops_per_s": 1e11}, "rows": []}"#;
        folder.put("roof.json", roof.as_bytes());
        folder.put("saxpy.wgsl", SAXPY.as_bytes());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Arguments in which what is a file's name becomes its path.
    fn args(&self, words: &[&str]) -> Vec<String> {
        let file = |word: &str| {
            let ends = [".wgsl", ".json", ".csv", ".html", ".npy"].iter().any(|end| word.ends_with(end));
            match word.split_once('=') {
                _ if !ends => word.to_owned(),
                Some((name, file)) => format!("{name}={}", self.path(file).display()),
                None => self.path(word).display().to_string(),
            }
        };
        let begin = ["bench", "wgsl", "--quick", "--warm-up", "1ms", "--roofline"].map(str::to_owned);
        let roof = self.path("roof.json").display().to_string();
        begin.into_iter().chain([roof]).chain(words.iter().map(|word| file(word))).collect()
    }

    #[track_caller]
    fn prints(&self, words: &[&str]) -> String {
        let args = self.args(words);
        prints(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Exit code, stdout and stderr.
    fn output(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let args = self.args(words);
        let out = output(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

const OPERANDS: [&str; 4] = ["x=f32[n]:normal", "y=f32[n]:normal,out", "params.a=2", "--check=2*x[i] + y[i]"];

#[test]
fn a_kernel_is_swept_checked_and_kept_in_one_line() {
    let folder = Folder::new();
    let more = [
        "saxpy.wgsl",
        "--set",
        "n=4096",
        "--override",
        "WG=32,64",
        "--flops",
        "2*n",
        "--json",
        "a.json",
        "--csv",
        "a.csv",
        "--html",
        "a.html",
    ];
    let printed = folder.prints(&[&OPERANDS[..], &more].concat());
    for part in ["saxpy[WG=32]", "saxpy[WG=64]", "quickest", "% of roof"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    let run: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    assert_eq!(run["kind"], "wgsl");
    for row in run["rows"].as_array().unwrap() {
        assert_eq!((&row["check"]["result"], &row["work"]["flops"]), (&"right".into(), &8192.into()));
    }
    let csv = folder.read("a.csv");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.lines().next().unwrap().ends_with("bound,WG,n"), "{csv}");
    assert!(folder.read("a.html").contains("<svg"));
    // Against itself.
    let compared = folder.prints(
        &[&OPERANDS[..], &["saxpy.wgsl", "--set", "n=4096", "--override", "WG=32,64", "--compare", "a.json"]]
            .concat(),
    );
    assert!(compared.contains("now/then") && !compared.contains("OTHER DEVICE"), "{compared}");
}

#[test]
fn a_wrong_kernel_has_no_speed_and_one_that_writes_outside_is_told() {
    let folder = Folder::new();
    folder.put("wrong.wgsl", SAXPY.replace("params.a *", "").as_bytes());
    let (code, out, _) =
        folder.output(&[&OPERANDS[..], &["saxpy.wgsl", "wrong.wgsl", "--set", "n=4096"]].concat());
    assert_eq!(code, Some(1), "{out}");
    let line = out.lines().find(|line| line.starts_with("wrong ")).unwrap();
    assert!(line.contains("WRONG") && out.contains("is expected"), "{out}");
    folder.put("outside.wgsl", SAXPY.replace("i < params.n", "true").as_bytes());
    let (code, out, _) = folder.output(&[&OPERANDS[..], &["outside.wgsl", "--set", "n=4000"]].concat());
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("it writes outside of y: 32 words, the first of them at element 4000 of 4000"),
        "{out}"
    );
}

#[test]
fn a_kernel_that_hangs_is_stopped() {
    let folder = Folder::new();
    let text = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @compute @workgroup_size(64)
        fn hang(@builtin(global_invocation_id) id: vec3<u32>) {
            var x = id.x;
            for (var i = 0u; i < 60000u; i++) {
                for (var j = 0u; j < 60000u; j++) {
                    for (var k = 0u; k < 60000u; k++) { x = x * 1664525u + y[x % 64u]; }
                }
            }
            y[id.x] = x;
        }";
    folder.put("hang.wgsl", text.as_bytes());
    let start = Instant::now();
    let (code, _, error) = folder.output(&["hang.wgsl", "y=u32[262144]:out", "--limit", "300ms"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("hang: it has not ended after 300ms") && error.contains("--limit"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60), "the process waited for it");
}

#[test]
fn arrays_of_numpy_are_taken_and_compared() {
    let folder = Folder::new();
    let npy = |values: &[f32]| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}\n", values.len());
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
    };
    folder.put("x.npy", &npy(&[1.0, 2.0, 3.0]));
    folder.put("want.npy", &npy(&[3.0, 5.0, 7.0]));
    let args = ["saxpy.wgsl", "x=x.npy", "y=f32[x.len]:1,out", "params.n=x.len", "params.a=2", "--check"];
    folder.prints(&[&args[..], &["y=want.npy"]].concat());
    folder.put("want.npy", &npy(&[3.0, 5.0, 8.0]));
    assert_eq!(folder.output(&[&args[..], &["want.npy"]].concat()).0, Some(1));
    folder.put("want.npy", &npy(&[3.0]));
    let (code, _, error) = folder.output(&[&args[..], &["want.npy"]].concat());
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("it has 1 elements, and y has 3"), "{error}");
}

#[test]
fn without_timestamps_the_hosts_clock_is_taken() {
    let folder = Folder::new();
    let more = ["saxpy.wgsl", "--set", "n=4096", "--no-timestamps", "--json", "a.json"];
    let printed = folder.prints(&[&OPERANDS[..], &more].concat());
    assert!(printed.contains("Without timestamp queries"), "{printed}");
    let run: Value = serde_json::from_str(&folder.read("a.json")).unwrap();
    assert!(run["rows"][0]["times"]["device_ns"].as_array().unwrap().is_empty());
    assert_ne!(run["rows"][0]["figures"]["source"], "timestamp");
}

#[test]
fn a_page_has_all_it_needs() {
    let folder = Folder::new();
    folder.prints(
        &[&OPERANDS[..], &["saxpy.wgsl", "--set", "n=4096", "--override", "WG=32,64", "--page", "a.html"]]
            .concat(),
    );
    let page = folder.read("a.html");
    for resource in ["src=", "href=", "@import", "url(", "http://", "https://"] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(resource), "{resource}");
    }
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let benches = data["benches"].as_array().unwrap();
    assert_eq!(
        benches.iter().map(|b| b["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["saxpy[WG=32]", "saxpy[WG=64]"]
    );
    assert_eq!(benches[0]["bindings"][2]["expected"]["values"].as_array().unwrap().len(), 4096);
    assert!(!data["probes"].as_array().unwrap().is_empty());

    let page = folder.path("kernels.html");
    prints(&["bench", "kernels", "--shape", "gemm/3x64x64/int8", "--page", page.to_str().unwrap()]);
    assert!(fs::read_to_string(&page).unwrap().contains("gemm/3x64x64/int8"));
}

#[test]
fn what_is_wrong_is_one_line_and_told_before_anything_is_timed() {
    let folder = Folder::new();
    folder.put("typo.wgsl", SAXPY.replace("params.a * x[i]", "params.b * x[i]").as_bytes());
    folder.put("empty.wgsl", b"");
    for (args, part) in [
        (
            &["typo.wgsl", "x=f32[4]", "y=f32[4]"] as &[&str],
            "typo.wgsl:18:23: in `y[i] = params.b * x[i] + y[i];`: ",
        ),
        (&["empty.wgsl"], "it has no @compute function"),
        (&["none.wgsl"], "none.wgsl"),
        (&["x=f32[4]"], "name a file that ends in .wgsl"),
        (
            &["saxpy.wgsl", "x=f32[4]", "params.n=4", "params.a=1"],
            "binding y (@group(0) @binding(2)) is given nothing",
        ),
        (
            &["saxpy.wgsl", "z=f32[4]", "x=f32[4]", "y=f32[4]", "params.n=4", "params.a=1"],
            "it binds no z; it binds params, x, y",
        ),
        (&["saxpy.wgsl", "x=f32[4]", "y=f32[4]", "params.a=1"], "params.n has no value"),
        (
            &["saxpy.wgsl", "x=f32[4]", "y=f32[4]", "params.n=4", "params.a=1", "--override", "TILE=4"],
            "it has no override TILE",
        ),
        (
            &["saxpy.wgsl", "x=f32[4]", "y=f32[4]", "params.n=4", "params.a=1", "--override", "WG"],
            "TILE=8,16,32",
        ),
        (
            &["saxpy.wgsl", "x=f32[4]", "y=f32[4]", "params.n=4", "params.a=1", "--workgroups", "N"],
            "N has no value",
        ),
        (
            &["saxpy.wgsl", "x=f32[4]", "y=f32[4]:out", "params.n=4", "params.a=1", "--check", "z[i]"],
            "there is no operand z",
        ),
        (
            &["saxpy.wgsl", "x=f32[4]", "y=f32[4]", "params.n=4", "params.a=1", "--gpu", "none"],
            "no GPU is named \"none\"",
        ),
    ] {
        let (code, out, error) = folder.output(args);
        assert_eq!(code, Some(2), "{args:?}: {error}");
        assert!(error.contains(part) && out.is_empty(), "{args:?}: {error}");
    }
    assert!(Path::new(&folder.path("roof.json")).exists());
}
