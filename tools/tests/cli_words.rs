//! What the command line says to those who do not know it yet: of outputs, options, names and limits.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{output, prints, strix};

fn stderr(found: &Output) -> String {
    String::from_utf8_lossy(&found.stderr).into_owned()
}

/// Runs a line of a shell in which `$S` is the program.
#[cfg(unix)]
fn shell(line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("S", env!("CARGO_BIN_EXE_strix")).env_remove("STRIX_LOG");
    command.env("STRIX_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    command.output().unwrap()
}

#[track_caller]
fn refused(found: &Output, words: &[&str]) {
    let said = stderr(found);
    assert_eq!(found.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_an_error_that_names_stdout() {
    for line in ["$S help >&-", "$S --help >&-", "$S --version >&-", "$S devices >&-"] {
        refused(&shell(line), &["stdout is closed"]);
    }
    for line in [
        "$S help > /dev/full",
        "$S plan --model nano > /dev/full",
        "$S completions bash > /dev/full",
        "$S ask --max-tokens 1 hello > /dev/full",
        "$S ask --json --max-tokens 1 hello > /dev/full",
    ] {
        refused(&shell(line), &["stdout: ", "No space left"]);
    }
}

#[test]
fn options_that_contradict_each_other_or_are_no_numbers_are_named() {
    refused(
        &output(&["ask", "--min-tokens", "9", "--max-tokens", "3", "hello"]),
        &["--min-tokens 9", "--max-tokens 3"],
    );
    for option in ["--seed", "--top-k", "--min-tokens", "--max-tokens"] {
        refused(&output(&["ask", option, "-1", "hello"]), &["'-1'", option, "no whole number from 0 to "]);
    }
    refused(&output(&["ask", "--max-tokens", "4294967296", "hello"]), &["from 0 to 4294967295"]);
    refused(
        &output(&["synth", "--preset", "8m", "--dtype", "f32", "--seed", "-1", "x"]),
        &["no whole number"],
    );
}

#[test]
fn nano_is_the_built_in_model_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert!(prints(&["inspect", "nano"]).contains("model.layers.0."));
    assert!(prints(&["plan", "--model", "nano", "--json"]).contains("\"kv_cache_bytes\""));
    let made = prints(&["convert", "nano", &at("int8"), "--dtype", "int8"]);
    assert!(made.contains("tensors in"), "{made}");
    // The same again finds it complete: what it is made of has not changed.
    let again = prints(&["convert", "nano", &at("int8"), "--dtype", "int8"]);
    assert!(again.contains("already complete"), "{again}");
    prints(&["verify", &at("int8")]);
    assert!(prints(&["inspect", &at("int8"), "--source", "nano"]).contains("changed by rounding"));
    prints(&["export", "nano", &at("hf")]);
    let exported = std::fs::read(dir.path().join("hf/tokenizer.model")).unwrap();
    let own = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano/tokenizer.model")).unwrap();
    assert!(exported == own);
    refused(&output(&["verify", "nano"]), &["nano is the built-in model", "strix convert nano OUT"]);
    // A folder of that name is said.
    std::fs::create_dir(dir.path().join("nano")).unwrap();
    let found = strix(&["inspect", "nano"]).current_dir(dir.path()).output().unwrap();
    assert!(found.status.success() && stderr(&found).contains("./nano"), "{}", stderr(&found));
}

#[cfg(unix)]
#[test]
fn what_is_no_folder_to_write_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("nothing", dir.path().join("dangling")).unwrap();
    for (out, words) in [
        ("file", "file is a file: name a folder"),
        ("file/below", "file is a file"),
        ("dangling", "dangling is a link to nothing: remove it"),
        ("dangling/below", "dangling is a link to nothing"),
    ] {
        let out = dir.path().join(out);
        refused(&output(&["convert", "nano", out.to_str().unwrap(), "--dtype", "int8"]), &[words]);
        refused(&output(&["export", "nano", out.to_str().unwrap()]), &[words]);
    }
    assert!(!dir.path().join("nothing").exists());
}

#[test]
fn arguments_are_escaped_in_messages() {
    for args in [
        &["ask", "--seed", "a\nerror: b", "x"][..],
        &["ask", "--seed=a\nerror: b", "x"],
        &["ask", "--a\nerror: b"],
        &["a\nerror:_b"],
    ] {
        let said = stderr(&output(args));
        let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(lines.len() == 1 && said.contains("\\nerror:"), "{said}");
    }
}

#[test]
fn where_a_trace_is_written_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut ask = strix(&["ask", "--max-tokens", "1", "hello"]);
    let found = ask.current_dir(dir.path()).env("STRIX_TRACE", "lm_head").output().unwrap();
    let place = dir.path().canonicalize().unwrap().join("strix-trace");
    assert!(
        found.status.success() && stderr(&found).contains(&place.display().to_string()),
        "{}",
        stderr(&found)
    );
    assert!(Path::new(&place).read_dir().unwrap().count() > 0);
}

#[test]
fn the_context_that_a_plan_names_is_one_that_it_takes() {
    for more in [
        &[][..],
        &["--kv", "f16"],
        &["--device-memory", "6GiB"],
        &["--device-memory", "9GiB", "--dtype", "int8"],
    ] {
        let plan = |ctx: &str| output(&[&["plan", "--preset", "8.2b", "--ctx", ctx], more].concat());
        let said = stderr(&plan("1048576"));
        let number = |after: &str| {
            let rest = said.split(after).nth(1)?;
            Some(rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        };
        let most = number("at most ")
            .or(number("lower --ctx to "))
            .or(number("--ctx "))
            .unwrap_or_else(|| panic!("{said}"));
        let found = plan(&most);
        assert!(found.status.success(), "{more:?} {most}: {}", stderr(&found));
    }
}

#[test]
fn names_of_a_file_stay_in_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let header = r#"{"x\nerror: all":{"dtype":"Q\nerror: all","shape":[1],"data_offsets":[0,4]}}"#;
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat())
        .unwrap();
    let listed = prints(&["inspect", path.to_str().unwrap()]);
    assert!(listed.contains("x\\nerror: all: is of dtype Q\\nerror: all"), "{listed}");
}
