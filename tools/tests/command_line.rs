//! What newcomers meet: what is said of a slip, where errors go, and what is refused before any work.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use common::{output, prints, strix};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples");
const DRAWING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples/drawing_640x480.png");
const RED: &str = "A red circle to the left of a blue triangle.\n";

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// What it says on stderr, once it has ended with code 2 and an empty stdout.
#[track_caller]
fn refuses(args: &[&str]) -> String {
    let out = output(args);
    assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
    assert!(out.stdout.is_empty(), "{args:?}");
    stderr(&out)
}

/// Its output when something comes through stdin.
fn given(args: &[&str], input: &[u8]) -> Output {
    let mut command = strix(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses does not read to the end.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// One line of a shell, with the program as `$STRIX`.
#[cfg(unix)]
fn shell(line: &str) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("STRIX", env!("CARGO_BIN_EXE_strix")).env_remove("STRIX_LOG");
    shell.env("STRIX_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    shell.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_slip_is_answered_with_what_to_type() {
    for (args, words) in [
        (&["ask", DRAWING, "What?"] as &[&str], "drawing_640x480.png \"What?\""),
        (&["ask", DRAWING], "strix ask --image"),
        (&["ask", "What", "is", "this?"], "in quotes: strix ask \"What is this?\""),
        (&["ask", "a.png", "b.JPG", "What?"], "--image a.png --image b.JPG \"What?\""),
        (&["aks", "What?"], "a similar subcommand exists: 'ask'"),
        (&["dmeo"], "a similar subcommand exists: 'demo'"),
        (&["owl.jpg"], "strix ask --image owl.jpg"),
        (&["What is this?"], "strix ask \"What is this?\""),
        (&["plan", "nano"], "strix plan --model nano"),
        (&["tune", "owl"], "strix tune --model owl"),
        (&["inspect", "--model", "nano"], "strix inspect nano"),
        (&["convert", "-m", "nano", "out"], "strix convert nano OUT"),
        (&["export", "--model=owl", "out"], "strix export owl OUT"),
        (&["verify", "-m", "owl"], "strix verify owl"),
    ] {
        let error = refuses(args);
        assert!(error.contains(words), "{args:?}: {error}");
    }
}

#[test]
fn short_options_and_the_name_of_the_built_in_model_are_understood() {
    assert_eq!(prints(&["ask", "-m", "nano", "-i", DRAWING, "Describe the image."]), RED);
    let folder = refuses(&["ask", "-m", "./nano", "hi"]);
    assert!(folder.contains("./nano"), "{folder}");
    let shown: Value = serde_json::from_str(&prints(&["ask", "-m", "nano", "--json", "Hello!"])).unwrap();
    assert_eq!(shown["model"], "nano");
}

#[test]
fn options_that_do_nothing_are_named() {
    let ask = |options: &[&str]| stderr(&output(&[&["ask"], options, &["What is 3 + 4?"]].concat()));
    let said = ask(&["--top-k", "3", "--seed", "7"]);
    assert!(said.contains("--top-k, --seed without effect") && said.contains("--temperature 0.7"), "{said}");
    for options in [&[] as &[&str], &["--top-p", "0.9", "--temperature", "0.1"]] {
        assert!(!ask(options).contains("without effect"), "{options:?}");
    }
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    for (args, words) in [
        (&["ask", "--json", "--temperature", "-1", "hi"] as &[&str], "temperature is -1"),
        (&["ask", "--json", "--dtype", "f8", "hi"], "invalid value 'f8'"),
        (&["ask", "--json", "--model", "/no/such", "hi"], "/no/such"),
        (&["devices", "--json", "--adapter", "nonsense"], "nonsense"),
        (&["plan", "--json", "--config", "/no/config.json"], "/no/config.json"),
    ] {
        let out = output(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        let told: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        let (message, code) = (told["error"]["message"].as_str().unwrap(), &told["error"]["exit_code"]);
        assert!(message.contains(words) && !message.starts_with("error"), "{message}");
        assert_eq!((code.as_u64(), told["error"]["kind"].as_str()), (Some(2), Some("input")));
        assert!(stderr(&out).starts_with("error: "), "{}", stderr(&out));
    }
    // There --json is a file.
    refuses(&["bench", "kernels", "--json", "/no/such/folder/a.json"]);
}

#[test]
fn one_token_has_no_speed() {
    let out = output(&["ask", "--max-tokens", "1", "Hello!"]);
    assert!(stderr(&out).contains("max_tokens") && !stderr(&out).contains("tokens/s"), "{}", stderr(&out));
    let json = prints(&["ask", "--json", "--max-tokens", "1", "Hello!"]);
    let answer: Value = serde_json::from_str(&json).unwrap();
    assert!(answer["timing"]["tokens_per_second"].is_null(), "{answer}");
}

#[test]
fn what_stdin_holds_is_taken_as_typed() {
    for question in ["What is 3 + 4?", "What is 3 + 4?\n", "What is 3 + 4?\r\n", "\u{feff}What is 3 + 4?\r\n"]
    {
        assert_eq!(given(&["ask", "-"], question.as_bytes()).stdout, b"7\n", "{question:?}");
    }
    let picture = fs::read(DRAWING).unwrap();
    assert_eq!(given(&["ask", "--image", "-", "Describe the image."], &picture).stdout, RED.as_bytes());
    let video = fs::read(format!("{SAMPLES}/video.gif")).unwrap();
    let said = given(&["ask", "--video", "-", "Which way does the circle move?"], &video);
    assert_eq!(said.stdout, b"to the right\n", "{}", stderr(&said));
    for args in [&["ask", "--image", "-", "-"] as &[&str], &["ask", "--image", "-", "--image", "-", "hi"]] {
        let out = given(args, &picture);
        assert!(out.status.code() == Some(2) && stderr(&out).contains("come from stdin"), "{}", stderr(&out));
    }
}

#[cfg(unix)]
#[test]
fn a_picture_comes_through_a_pipe() {
    let ask = "\"$STRIX\" ask --image";
    for line in [
        format!("{ask} /dev/stdin 'Describe the image.' < {DRAWING}"),
        format!("cat {DRAWING} | {ask} /dev/stdin 'Describe the image.'"),
        format!("cat {DRAWING} | {ask} /dev/fd/3 'Describe the image.' 3<&0"),
    ] {
        let out = shell(&line);
        assert_eq!(String::from_utf8_lossy(&out.stdout), RED, "{line}: {}", stderr(&out));
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
#[test]
fn a_closed_stdout_is_an_error_before_the_work() {
    let out = shell("\"$STRIX\" ask --model /no/such hi >&-");
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("stdout is closed"), "{}", stderr(&out));
    // This is a choice.
    assert_eq!(shell("\"$STRIX\" ask 'What is 3 + 4?' > /dev/null").status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_a_limit_on_files_are_errors() {
    let out = shell("\"$STRIX\" ask 'What is 3 + 4?' > /dev/full");
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("No space left"), "{}", stderr(&out));
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano"), dir.path().join("out"));
    let line = format!("ulimit -f 100; \"$STRIX\" convert {from} {} --dtype int8", to.display());
    let out = shell(&line);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains("File too large"), "{}", stderr(&out));
}

#[cfg(target_os = "linux")]
#[test]
fn limits_of_memory_are_named() {
    let out = shell("ulimit -v 100000; \"$STRIX\" ask hi");
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    let words = "(ulimit -v), where a driver may need 2.0 GiB, and none starts below 1.0 GiB: raise it";
    assert!(stderr(&out).contains(words), "{}", stderr(&out));
    // Where it would have ended the process, in Mesa.
    let out = shell("ulimit -d 60000; \"$STRIX\" plan --model nano");
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains("of memory (ulimit -d)"), "{}", stderr(&out));
    // No thread for it.
    let dir = tempfile::tempdir().unwrap();
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano");
    let convert = format!("\"$STRIX\" convert {from} {} --dtype int8", dir.path().join("out").display());
    let out = shell(&format!("ulimit -v 40000; {convert}"));
    assert!(!stderr(&out).contains("bug in Strix"), "{}", stderr(&out));
}

#[cfg(target_os = "linux")]
#[test]
fn where_memory_ends_there_is_an_error_and_no_bug() {
    let dir = tempfile::tempdir().unwrap();
    let convert =
        format!("\"$STRIX\" convert nano {} --dtype int8 --force", dir.path().join("out").display());
    let plan = "\"$STRIX\" plan --model nano";
    for limit in
        ["-v 500000", "-v 1100000", "-d 3000", "-d 12000", "-d 20000", "-d 60000", "-d 140000", "-d 200000"]
    {
        for command in [&convert, plan, "\"$STRIX\" ask --max-tokens 1 hi"] {
            let out = shell(&format!("ulimit {limit}; {command}"));
            let (code, said) = (out.status.code(), stderr(&out));
            let good = code == Some(0)
                || code == Some(2) && said.contains("error: ") && !said.contains("bug in Strix");
            assert!(good, "{limit} {command}: {code:?} {said}");
        }
    }
}

#[test]
fn what_can_be_refused_is_refused_before_anything_is_encoded_or_loaded() {
    let pictures: Vec<_> = (0..150).flat_map(|_| ["--image", DRAWING]).collect();
    let error = refuses(&[&["ask", "--ctx", "16"], &*pictures, &["Describe the image."]].concat());
    assert!(error.contains("150 pictures of 17), the context holds 16"), "{error}");
    // Neither is the adapter looked for.
    let error = refuses(&["ask", "--ctx", "8", "--adapter", "nonsense", "What are the seven colors?"]);
    assert!(error.contains("the context holds 8"), "{error}");
    // A folder without a tokenizer, and with weights that are none.
    let dir = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tiny");
    fs::copy(format!("{golden}/hf/config.json"), dir.path().join("config.json")).unwrap();
    fs::copy(format!("{golden}/model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let error = refuses(&["ask", "--model", dir.path().to_str().unwrap(), "--adapter", "nonsense", "hi"]);
    assert!(error.contains("tokenizer.model"), "{error}");
}

#[test]
fn a_trace_of_nothing_is_refused_with_the_names_there_are() {
    let out = strix(&["ask", "hi"]).env("STRIX_TRACE", "decodr.3").output().unwrap();
    let said = stderr(&out);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("STRIX_TRACE=decodr.3") && said.contains("decoder.0 to decoder.4"), "{said}");
}

#[test]
fn a_trace_holds_the_vision_tower_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut ask = strix(&["ask", "--image", DRAWING, "--max-tokens", "1", "Describe the image."]);
    let out = ask.env("STRIX_TRACE", "vision.1").env("STRIX_TRACE_DIR", dir.path()).output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    let mut names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.any(|name| name.to_string_lossy().starts_with("picture0-")), "{:?}", dir.path());
}

#[test]
fn a_cache_that_cannot_be_written_is_named_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = strix(&["ask", "What is 3 + 4?"]).env("STRIX_CACHE_DIR", file.path()).output().unwrap();
    assert_eq!(out.stdout, b"7\n");
    let named = stderr(&out).lines().filter(|line| line.contains("STRIX_CACHE_DIR")).count();
    assert_eq!(named, 1, "{}", stderr(&out));
    assert!(stderr(&out).contains(file.path().to_str().unwrap()), "{}", stderr(&out));
}

#[cfg(unix)]
#[test]
fn relative_cache_folders_count_for_none() {
    let here = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = strix(&["devices"]);
    command.env_remove("STRIX_CACHE_DIR").env_remove("MESA_SHADER_CACHE_DIR");
    let out =
        command.env("XDG_CACHE_HOME", "relative").env("HOME", home.path()).current_dir(here.path()).output();
    assert!(out.unwrap().status.success());
    assert!(!here.path().join("relative/strix-llvmpipe-512").exists());
}

#[test]
fn the_help_fits_its_columns() {
    for columns in [60, 80, 100] {
        let out = strix(&["--help"]).env("COLUMNS", columns.to_string()).output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        let (_, environment) = help.split_once("Environment:\n").unwrap();
        for line in environment.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
            let indent = line.len() - line.trim_start().len();
            assert!(indent == 2 || indent == 22, "{columns}: {line:?}");
        }
        let out = strix(&["ask", "--help"]).env("COLUMNS", columns.to_string()).output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        for line in examples.lines() {
            assert!(
                line.starts_with("  strix") || line.starts_with("  curl") || line.starts_with("      "),
                "{line}"
            );
        }
    }
}

#[test]
fn a_budget_is_of_everything() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let path = json.path().to_str().unwrap();
    let printed = prints(&["bench", "kernels", "--quick", "--budget", "1s", "--json", path]);
    assert!(printed.contains("The budget of 1s was spent after 1 of"), "{printed}");
    let run: Value = serde_json::from_slice(&fs::read(json.path()).unwrap()).unwrap();
    assert_eq!(run["rows"].as_array().unwrap().len(), 1);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_while_pictures_are_encoded() {
    // Each another: what was encoded once is not encoded again.
    let dir = tempfile::tempdir().unwrap();
    let pictures: Vec<_> = (0..120_u8)
        .flat_map(|i| {
            let path = dir.path().join(format!("{i}.bmp"));
            std::fs::write(&path, bmp([i, 255 - i, 7])).unwrap();
            ["--image".to_owned(), path.to_str().unwrap().to_owned()]
        })
        .collect();
    let pictures: Vec<_> = pictures.iter().map(String::as_str).collect();
    let args = [&["ask", "--ctx", "4000", "--json"], &*pictures, &["Describe the image."]].concat();
    let mut command = strix(&args);
    command.env("STRIX_LOG", "strix_model=debug").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("encoded")), "it ended before a picture was encoded");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let encoded = 1 + said.filter(|line| line.contains("encoded")).count();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((answer["finish_reason"].as_str(), answer["answer"].as_str()), (Some("cancelled"), Some("")));
    assert!(encoded < 120, "{encoded} pictures were encoded");
}

/// A picture of 2 x 2 pixels of one colour: blue, green, red.
fn bmp(pixel: [u8; 3]) -> Vec<u8> {
    let row = [&pixel[..], &pixel, &[0; 2]].concat();
    let header: [u32; 13] = [70, 0, 54, 40, 2, 2, 1 | 24 << 16, 0, 16, 0, 0, 0, 0];
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    [b"BM", &header[..], &row, &row].concat()
}

#[test]
fn an_empty_question_an_address_and_an_empty_stdin_are_refused_by_name() {
    for (args, said) in [
        (&["ask", ""] as &[&str], "the question is empty"),
        (&["ask", " \n"], "the question is empty"),
        (&["ask", "-"], "the question is empty"),
        (
            &["ask", "-i", "https://example.org/a.png", "What?"],
            "is an address (https:), and nothing is fetched",
        ),
        (&["ask", "-i", "-", "What?"], "nothing came on stdin"),
    ] {
        let out = strix(args).stdin(std::process::Stdio::null()).output().unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}
