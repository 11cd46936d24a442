//! Files made to harm whoever looks at them: what comes from one reaches a terminal escaped, and what never ends is
//! refused.

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{output, prints, strix};

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano");
/// Sets the window's title, clears the screen, turns what follows around, and begins a line of its own.
const NAME: &str = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\nerror: forged";
const SHOWN: &str = r"a\x1b]0;owned\x07\x1b[2J\u{9b}31m\u{202e}\x7f\nerror: forged";

fn safetensors(name: &str, metadata: &Value) -> Vec<u8> {
    let header = serde_json::json!({
        "__metadata__": metadata,
        name: { "dtype": "F32", "shape": [1], "data_offsets": [0, 4] },
    });
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()
}

/// A folder of this test, with the files of nano.
fn folder(but: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for entry in fs::read_dir(NANO).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name() != but {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    dir
}

/// Stdout and stderr together, which hold no character that a terminal acts on.
#[track_caller]
fn said(args: &[&str]) -> String {
    let out = output(args);
    let text = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    clean(&text);
    text
}

#[track_caller]
fn clean(text: &str) {
    let acted_on = |c: char| c != '\n' && strix_model::is_acted_on(c);
    assert!(!text.contains(acted_on), "{text:?}");
}

#[test]
fn names_and_metadata_are_printed_escaped() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("model.safetensors");
    let metadata = serde_json::json!({ "strix.layout": NAME, "strix.dtype": NAME, "format": NAME });
    fs::write(&file, safetensors(NAME, &metadata)).unwrap();
    let path = file.to_str().unwrap();
    for args in [&["inspect", path] as &[&str], &["inspect", path, "--tensors"]] {
        let said = said(args);
        assert!(!said.lines().any(|line| line.starts_with("error: forged")), "{said}");
    }
    let plain = dir.path().join("plain.safetensors");
    fs::write(&plain, safetensors(NAME, &serde_json::json!({ "format": "pt" }))).unwrap();
    let plain = plain.to_str().unwrap();
    let listed = said(&["inspect", plain]);
    assert!(listed.contains(SHOWN), "{listed}");
    // JSON has the name itself.
    let listed: Value = serde_json::from_str(&said(&["inspect", plain, "--json"])).unwrap();
    assert_eq!(listed["tensors"][0]["name"], NAME);
}

#[test]
fn an_index_a_config_and_a_manifest_are_quoted_escaped() {
    let dir = folder("model.safetensors");
    let at = |name: &str| dir.path().join(name);
    let model = dir.path().to_str().unwrap();
    fs::write(at("b.safetensors"), safetensors(NAME, &serde_json::json!({ "format": "pt" }))).unwrap();
    for map in [
        serde_json::json!({ NAME: "b.safetensors", "x": "b.safetensors" }),
        serde_json::json!({ "x": NAME }),
        serde_json::json!({ NAME: "c.safetensors" }),
        serde_json::json!({ NAME: "b.safetensors" }),
    ] {
        let index = serde_json::json!({ "weight_map": map });
        fs::write(at("model.safetensors.index.json"), index.to_string()).unwrap();
        assert!(said(&["ask", "--model", model, "hi"]).contains("error: "));
    }
    fs::write(at("config.json"), serde_json::json!({ "model_type": NAME, "hidden_act": NAME }).to_string())
        .unwrap();
    assert!(said(&["ask", "--model", model, "hi"]).contains("error: "));
    fs::write(at("strix.json"), serde_json::json!({ "layout": NAME }).to_string()).unwrap();
    assert!(said(&["verify", model]).contains("error: "));
    // A path, and an argument.
    let odd = at("o\u{1b}[2Jdd");
    assert!(said(&["inspect", odd.to_str().unwrap()]).contains(r"o\x1b[2Jdd"));
    said(&["ask", "--no\u{1b}[2J"]);
    said(&["a\u{1b}[2J\u{9b}"]);
}

#[cfg(unix)]
#[test]
fn a_line_of_the_log_is_escaped() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cache = dir.path().join("c\u{1b}[31m\u{202e}\nx");
    let ask = || {
        let mut command = strix(&["ask", "--max-tokens", "1", "hi"]);
        command.env("STRIX_CACHE_DIR", &cache).env("STRIX_LOG", "strix_model=warn").output().unwrap()
    };
    assert!(ask().status.success());
    // Not every device has compiled kernels that can be kept.
    let Some(folder) =
        fs::read_dir(&cache).ok().and_then(|mut folders| Some(folders.next()?.unwrap().path()))
    else {
        return;
    };
    // For its owner alone, or it is ignored.
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    fs::set_permissions(folder.join("pipelines.bin"), fs::Permissions::from_mode(0o666)).unwrap();
    let said = String::from_utf8(ask().stderr).unwrap();
    clean(&said);
    assert!(said.contains(r"c\x1b[31m\u{202e}\nx") && said.contains("others can write to"), "{said}");
}

#[test]
fn a_manifest_with_hostile_names_is_verified_escaped() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    prints(&["convert", NANO, out, "--dtype", "bf16"]);
    let path = Path::new(out).join("strix.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entry = manifest["tensors"].as_object().unwrap().values().next().unwrap().clone();
    manifest["tensors"][NAME] = entry;
    manifest["files"][NAME] = serde_json::json!({ "bytes": 7 });
    fs::write(&path, manifest.to_string()).unwrap();
    let said = said(&["verify", out]);
    assert!(said.contains(SHOWN), "{said}");
}

#[test]
fn an_endless_name_is_listed() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = dir.path().join("long.safetensors");
    let name = "n".repeat(70_000);
    fs::write(&file, safetensors(&name, &serde_json::json!({}))).unwrap();
    let listed = prints(&["inspect", file.to_str().unwrap()]);
    assert!(listed.contains(&name) && listed.lines().count() == 3, "{} lines", listed.lines().count());
}

/// What a command writes to a terminal.
#[cfg(target_os = "linux")]
fn on_a_terminal(args: &[&str]) -> String {
    let quoted = |arg: &&str| format!("'{arg}'");
    let line = args.iter().map(quoted).collect::<Vec<_>>().join(" ");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_strix"));
    // util-linux's; it gives the command a terminal and copies what goes there.
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
    script.env("STRIX_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache")).env("NO_COLOR", "1");
    String::from_utf8(script.output().expect("script, of util-linux").stdout).unwrap().replace("\r\n", "\n")
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_is_escaped_on_a_terminal_and_exact_elsewhere() {
    let dir = folder("tokenizer.json");
    let path = dir.path().join("tokenizer.model");
    let mut tokenizer = fs::read(&path).unwrap();
    let piece = "\u{2581}orange".as_bytes();
    let at = tokenizer.windows(piece.len()).position(|bytes| bytes == piece).unwrap();
    let word = at + "\u{2581}".len();
    tokenizer[word..at + piece.len()].copy_from_slice(b"\x1b[31mX");
    fs::write(&path, tokenizer).unwrap();
    let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples/dark_200x150.png");
    let prompt =
        "USER: <|image|>What shape is in the image? ASSISTANT: star</s>USER: What color is it? ASSISTANT:";
    let args = ["ask", "--model", dir.path().to_str().unwrap(), "--raw", "--image", picture, prompt];
    assert_eq!(prints(&args), "\u{1b}[31mX\n");
    let terminal = on_a_terminal(&args);
    assert!(terminal.contains(r"\x1b[31mX") && !terminal.contains("\u{1b}[31m"), "{terminal:?}");
}

#[cfg(unix)]
#[test]
fn no_file_beside_a_checkpoint_is_waited_for() {
    for name in [
        "config.json",
        "preprocessor_config.json",
        "generation_config.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        for how in ["pipe", "zero", "loop", "folder"] {
            let dir = folder(name);
            let path = dir.path().join(name);
            match how {
                "pipe" => {
                    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
                }
                "zero" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                "loop" => std::os::unix::fs::symlink(&path, &path).unwrap(),
                _ => fs::create_dir(&path).unwrap(),
            }
            let out = strix(&["ask", "--model", dir.path().to_str().unwrap(), "hi"]).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{name} is a {how}: {said}");
            assert!(said.contains(name), "{name} is a {how}: {said}");
        }
    }
}
