//! `strix convert`, `verify`, `inspect`, `export` and `synth` as their user meets them: what a killed run leaves,
//! a full disk, damage, wrong arguments.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{output, prints, strix};

const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/nano");

#[track_caller]
fn prints_json(args: &[&str]) -> Value {
    serde_json::from_str(&prints(args)).unwrap()
}

/// Its stderr, once it has ended with code 2 and one error.
#[track_caller]
fn refuses(args: &[&str]) -> String {
    let out = output(args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{args:?}: {stderr}");
    stderr
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn same_files(a: &str, b: &str) {
    let names = |dir: &str| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(a), names(b));
    for name in names(a) {
        let [a, b] = [a, b].map(|dir| fs::read(Path::new(dir).join(&name)).unwrap());
        assert!(a == b, "{name:?} differs");
    }
}

fn journal(out: &str) -> PathBuf {
    Path::new(out).join(".partial/journal.jsonl")
}

/// Lines of the journal: one, and one more for each job that is finished.
fn lines(out: &str) -> usize {
    fs::read_to_string(journal(out)).map_or(0, |text| text.lines().count())
}

/// Waits until more jobs are finished than that.
fn wait_for_work(out: &str, child: &mut Child, more_than: usize) {
    let since = Instant::now();
    while lines(out) <= more_than {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it could be disturbed");
        assert!(since.elapsed() < Duration::from_secs(60), "it does not begin");
        sleep(Duration::from_millis(1));
    }
}

fn spawn(args: &[&str]) -> Child {
    strix(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[cfg(unix)]
#[test]
fn a_disturbed_run_is_finished_by_the_next_without_redoing_what_is_done() {
    let dir = Dir::new();
    let [source, undisturbed, out] = ["source", "undisturbed", "out"].map(|name| dir.path(name));
    let synth = ["synth", "--preset", "130m", "--layers", "2", "--layout", "hf", "--dtype", "bf16"];
    prints(&[&synth[..], &["--shard-size", "40MB", &source]].concat());
    let convert = |out| ["convert", &source, out, "--dtype", "int8", "--shard-size", "16MB", "--json"];
    prints(&convert(&*undisturbed));

    // kill -9
    let mut child = spawn(&convert(&*out));
    wait_for_work(&out, &mut child, 11);
    // Meanwhile nobody else may write there.
    assert!(refuses(&convert(&*out)).contains("another process"));
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".partial"], "something looks whole");
    for args in [
        &["verify", &out] as &[&str],
        &["inspect", &out],
        &["plan", "--model", &out],
        &["ask", "--model", &out, "hi"],
        &["export", &out, &dir.path("plain")],
    ] {
        assert!(refuses(args).contains("is unfinished: run"), "{args:?}");
    }
    let other = refuses(&["convert", &source, &out, "--dtype", "bf16", "--shard-size", "16MB"]);
    assert!(other.contains("dtype was int8, now it is bf16") && other.contains("--force"), "{other}");

    // Ctrl-C
    let before = lines(&out);
    let mut child = spawn(&convert(&*out));
    wait_for_work(&out, &mut child, before);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("run the same again to continue"), "{stderr}");

    // A finished tensor that was damaged meanwhile is made again; the others are not.
    let text = fs::read_to_string(journal(&out)).unwrap();
    let finished = text.lines().count() as u64 - 1;
    let files = fs::read_dir(Path::new(&out).join(".partial")).unwrap().map(|entry| entry.unwrap().path());
    let shard = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).min().unwrap();
    let mut bytes = fs::read(&shard).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
    bytes[header] ^= 1;
    fs::write(&shard, bytes).unwrap();
    // The journal may end in the middle of a line.
    fs::write(journal(&out), format!("{text}{{\"job\":\"deco")).unwrap();

    let report = prints_json(&convert(&*out));
    let [read, kept] = ["bytes_read", "bytes_kept"].map(|name| report[name].as_u64().unwrap());
    let whole = prints_json(&["inspect", &source, "--json"])["bytes"].as_u64().unwrap();
    assert!(finished >= 11 && kept > 0 && read > 0, "{finished} were finished: {report}");
    assert_eq!(read + kept, whole, "{report}");
    same_files(&out, &undisturbed);
    assert_eq!(prints_json(&convert(&*out))["already_complete"], true);
}

#[test]
fn one_flipped_byte_is_found_and_its_tensor_and_file_named() {
    let dir = Dir::new();
    let out = dir.path("out");
    prints(&["convert", NANO, &out, "--dtype", "int8", "--group", "32", "--shard-size", "1MB"]);
    let good = prints(&["verify", &out]);
    assert!(good.contains("all as they were written"), "{good}");

    let manifest: Value = serde_json::from_slice(&fs::read(format!("{out}/strix.json")).unwrap()).unwrap();
    let tensor = "decoder.1.qkv_proj.packed";
    let file = manifest["tensors"][tensor]["file"].as_str().unwrap();
    let path = format!("{out}/{file}");
    let whole = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    let places: Value = serde_json::from_slice(&whole[8..header]).unwrap();
    let at = header + places[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut bytes = whole.clone();
    bytes[at + 5] ^= 0x40;
    fs::write(&path, &bytes).unwrap();
    let bad = refuses(&["verify", &out]);
    assert!(bad.contains(file) && bad.contains(tensor) && bad.lines().count() == 2, "{bad}");
    let json = output(&["verify", &out, "--json"]);
    assert_eq!(json.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["problems"][0]["tensor"], tensor);

    // Cut short, missing, something more, another config: every one by its name.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let bad = refuses(&["verify", &out]);
    assert!(bad.contains(file) && bad.contains("expected") && bad.lines().count() == 2, "{bad}");
    assert!(bad.ends_with(": 1 problem\n"), "{bad}");
    fs::remove_file(&path).unwrap();
    fs::write(format!("{out}/more.safetensors"), b"").unwrap();
    fs::write(format!("{out}/tokenizer.model"), b"").unwrap();
    let bad = refuses(&["verify", &out]);
    for name in [file, "more.safetensors", "tokenizer.model"] {
        assert!(bad.contains(name), "{name} in {bad}");
    }
    assert!(bad.lines().count() == 4 && bad.ends_with(": 3 problems\n"), "{bad}");
    let json = output(&["verify", &out, "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["problems"].as_array().unwrap().len(), 3, "{json}");
    fs::remove_file(format!("{out}/config.json")).unwrap();
    let bad = refuses(&["verify", &out]);
    assert_eq!(bad.matches("config.json").count(), 1, "{bad}");
    fs::copy(format!("{NANO}/config.json"), format!("{out}/config.json")).unwrap();

    // Many tensors: ten of them, and how many more.
    fs::remove_file(format!("{out}/more.safetensors")).unwrap();
    prints(&["convert", NANO, &out, "--dtype", "int8", "--group", "32", "--shard-size", "1MB", "--force"]);
    let mut bytes = whole.clone();
    bytes[header..].fill(1);
    fs::write(&path, &bytes).unwrap();
    let json = output(&["verify", &out, "--json"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let bad = refuses(&["verify", &out]);
    let more = json["problems"].as_array().unwrap().len() - 10;
    assert!(more > 10 && bad.lines().count() == 12 && bad.contains(&format!("and {more} more")), "{bad}");
    fs::write(&path, &whole).unwrap();
    let config = fs::read_to_string(format!("{out}/config.json")).unwrap();
    fs::write(
        format!("{out}/config.json"),
        config.replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6"),
    )
    .unwrap();
    let bad = refuses(&["verify", &out]);
    assert!(bad.contains("decoder.5.qkv_proj.packed") && bad.contains("missing"), "{bad}");
}

#[test]
fn files_stay_within_the_shard_size_and_load() {
    let dir = Dir::new();
    let out = dir.path("out");
    let report = prints_json(&["convert", NANO, &out, "--dtype", "bf16", "--shard-size", "1MiB", "--json"]);
    let shards = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap());
    let sizes: Vec<u64> = shards
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "safetensors"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() > 3 && sizes.iter().all(|&size| size <= 1 << 20), "{sizes:?}");
    assert_eq!(report["bytes_in_all"].as_u64(), Some(sizes.iter().sum()));
    let again = prints_json(&["convert", NANO, &out, "--dtype", "bf16", "--shard-size", "1MiB", "--json"]);
    let verified = prints_json(&["verify", &out, "--json"]);
    for name in ["files", "tensors", "bytes_in_all"] {
        assert_eq!((&again[name], &verified[name]), (&report[name], &report[name]), "{name}");
    }
    if cfg!(target_os = "linux") {
        assert!(report["peak_anonymous_bytes"].as_u64() > Some(0), "{report}");
    }
    assert_eq!(prints(&["ask", "--model", &out, "What is 3 + 4?"]), "7\n");
}

#[test]
fn inspect_lists_tensors_parts_and_what_rounding_changed() {
    let dir = Dir::new();
    let out = dir.path("out");
    prints(&["convert", NANO, &out, "--dtype", "int8"]);
    let file = format!("{NANO}/model.safetensors");
    for path in [NANO, &file] {
        let found = prints_json(&["inspect", path, "--json"]);
        assert_eq!(found["packed"], false);
        assert_eq!(found["parameters_by_part"]["lm_head"], 1024 * 128, "{path}");
        let tensors = found["tensors"].as_array().unwrap();
        let bytes: u64 = tensors.iter().map(|tensor| tensor["bytes"].as_u64().unwrap()).sum();
        assert_eq!(found["bytes"].as_u64(), Some(bytes));
        assert!(
            tensors
                .iter()
                .any(|t| t["name"] == "lm_head.weight" && t["shape"] == serde_json::json!([1024, 128]))
        );
        assert!(tensors.iter().all(|tensor| tensor["file"] == "model.safetensors"));
    }
    let found = prints_json(&["inspect", &out, "--source", NANO, "--json"]);
    assert_eq!(found["packed"], true);
    let rounding = found["rounding"].as_array().unwrap();
    let of = |name: &str| rounding.iter().find(|entry| entry["name"] == name).unwrap();
    let error = of("decoder.0.q_proj")["rms_relative"].as_f64().unwrap();
    assert!((0.001..0.02).contains(&error), "{error}");
    let snr = of("decoder.0.q_proj")["snr_db"].as_f64().unwrap();
    assert!((snr + 20.0 * error.log10()).abs() < 1e-6, "{snr}");
    for kept in ["model.norm.weight", "model.embed_tokens.weight", "vision.0.dense"] {
        assert_eq!(of(kept)["max_abs"], 0.0, "{kept}");
    }
    let text = prints(&["inspect", &out, "--source", NANO]);
    assert!(text.contains("image keys, values and norms") && text.contains(" dB"), "{text}");
    assert!(prints(&["inspect", &out, "--tensors"]).contains("vision.3.fc2.packed"));
    // Of other bytes, of another date, and of no checkpoint that is known.
    let warns = |out: &str, source: &str| {
        let said = output(&["inspect", out, "--source", source]);
        assert_eq!(said.status.code(), Some(0));
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(
            said.is_empty() || said.starts_with("warning: ") && said.contains("was not made from"),
            "{said}"
        );
        said
    };
    assert_eq!(warns(&out, NANO), "");
    let other = dir.path("other");
    prints(&["export", NANO, &other, "--dtype", "bf16"]);
    assert!(warns(&out, &other).contains("model.safetensors"));
    fs::copy(&file, format!("{other}/model.safetensors")).unwrap();
    let again = dir.path("again");
    prints(&["convert", &other, &again, "--dtype", "int8"]);
    assert_eq!(warns(&again, &other), "");
    fs::write(format!("{other}/generation_config.json"), "{}").unwrap();
    assert!(warns(&again, &other).contains("generation_config.json"));
    refuses(&["inspect", NANO, "--source", NANO]);
    refuses(&["inspect", &out, "--source", &out]);
    assert!(refuses(&["inspect", "/no/such"]).contains("/no/such"));
}

#[test]
fn export_gives_a_checkpoint_that_answers_alike() {
    let dir = Dir::new();
    let [packed, plain, rounded] = ["packed", "plain", "rounded"].map(|name| dir.path(name));
    prints(&["convert", NANO, &packed, "--dtype", "int8"]);
    prints(&["export", &packed, &plain]);
    prints(&["export", &packed, &rounded, "--dtype", "bf16", "--shard-size", "2MB"]);
    for out in [&plain, &rounded] {
        assert!(prints(&["verify", out]).contains("all as they were written"));
        assert_eq!(prints(&["ask", "--model", out, "What is 3 + 4?"]), "7\n");
    }
    let found = prints_json(&["inspect", &rounded, "--json"]);
    assert_eq!(found["by_dtype"].as_object().unwrap().keys().collect::<Vec<_>>(), ["BF16"]);
    assert!(Path::new(&rounded).join("model.safetensors.index.json").exists());
}

#[test]
fn synth_is_the_same_for_the_same_seed_and_says_what_it_needs() {
    let dir = Dir::new();
    let [a, b, c, hf] = ["a", "b", "c", "hf"].map(|name| dir.path(name));
    let synth =
        |seed, out| ["synth", "--preset", "8m", "--layers", "1", "--dtype", "int8", "--seed", seed, out];
    let said = output(&synth("1", &*a));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("to be written") && said.contains("free"), "{said}");
    prints(&synth("1", &*b));
    prints(&synth("2", &*c));
    same_files(&a, &b);
    let file = |dir: &str| fs::read(format!("{dir}/model.safetensors")).unwrap();
    assert_ne!(file(&a), file(&c));
    assert!(prints(&["verify", &a]).contains("all as they were written"));
    assert!(!prints(&["ask", "--model", &a, "--max-tokens", "2", "Hello?"]).is_empty());

    // The same values, packed now or by convert.
    let args =
        ["synth", "--preset", "8m", "--layers", "1", "--layout", "hf", "--dtype", "bf16", "--seed", "1"];
    prints(&[&args[..], &[&hf]].concat());
    prints(&["convert", &hf, &dir.path("packed"), "--dtype", "int8"]);
    assert_eq!(file(&a), file(&dir.path("packed")));

    let config = dir.path("config.json");
    fs::write(&config, r#"{"num_hidden_layers": 256, "intermediate_size": 44032}"#).unwrap();
    let too_much = refuses(&["synth", "--config", &config, "--dtype", "f32", &dir.path("no")]);
    assert!(too_much.contains("are to be written") && too_much.contains("are free"), "{too_much}");
    assert!(!Path::new(&dir.path("no")).exists());
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = Dir::new();
    let [out, full] = ["out", "full"].map(|name| dir.path(name));
    fs::create_dir(&full).unwrap();
    fs::write(format!("{full}/letter.txt"), "Dear").unwrap();
    let inside = format!("{NANO}/int8");
    for args in [
        &["convert"] as &[&str],
        &["convert", NANO, &out],
        &["convert", NANO, &out, "--dtype", "int4"],
        &["convert", NANO, &out, "--dtype", "bf16", "--group", "32"],
        &["convert", NANO, &out, "--dtype", "int8", "--group", "48"],
        &["convert", NANO, &out, "--dtype", "bf16", "--vision"],
        &["convert", NANO, &out, "--dtype", "int8", "--shard-size", "much"],
        &["convert", NANO, &out, "--dtype", "int8", "--shard-size", "1KB"],
        &["convert", NANO, &out, "--dtype", "int8", "--shard-size", "100KB"],
        &["convert", NANO, NANO, "--dtype", "int8"],
        &["convert", NANO, &inside, "--dtype", "int8"],
        &["convert", NANO, &full, "--dtype", "int8"],
        &["convert", NANO, &full, "--dtype", "int8", "--force"],
        &["convert", &full, &out, "--dtype", "int8"],
        &["convert", "/no/such", &out, "--dtype", "int8"],
        &["verify", &full],
        &["verify", NANO],
        &["export", NANO, &out, "--dtype", "int8"],
        &["synth", "--dtype", "int8", &out],
        &["synth", "--preset", "9b", "--dtype", "int8", &out],
        &["synth", "--preset", "8m", "--dtype", "f16", &out],
        &["synth", "--preset", "8m", "--dtype", "int8", "--layout", "hf", &out],
        &["synth", "--preset", "8m", "--dtype", "f32", "--layout", "hf", "--group", "32", &out],
        &["synth", "--preset", "8m", "--layers", "0", "--dtype", "f32", &out],
        &["synth", "--config", "/no/config.json", "--dtype", "f32", &out],
        &["synth", "--config", "/dev/zero", "--dtype", "f32", &out],
    ] {
        refuses(args);
    }
    // A file that is no config of a model is not taken for the largest one.
    for (name, text) in [
        ("empty.json", "{}"),
        ("strix.json", r#"{"layout": "hf"}"#),
        ("a.md", "# A"),
        ("l.json", r#"{"model_type": "llama"}"#),
    ] {
        let file = dir.path(name);
        fs::write(&file, text).unwrap();
        for args in
            [&["synth", "--config", &file, "--dtype", "f32", &out] as &[&str], &["plan", "--config", &file]]
        {
            let said = refuses(args);
            assert!(said.contains(&file) && !said.contains("config.json:"), "{said}");
        }
    }
    assert!(!Path::new(&out).exists());
    assert_eq!(fs::read(format!("{full}/letter.txt")).unwrap(), b"Dear");
    for out in [NANO, &inside] {
        assert!(refuses(&["convert", NANO, out, "--dtype", "int8"]).contains("which is read"), "{out}");
    }
    // Packed already.
    prints(&["convert", NANO, &out, "--dtype", "int8"]);
    assert!(refuses(&["convert", &out, &dir.path("again"), "--dtype", "int8"]).contains("strix export"));
    // Another kind of work in the same place, and then by force.
    let other = refuses(&["convert", NANO, &out, "--dtype", "bf16"]);
    assert!(other.contains("dtype was int8, now it is bf16"), "{other}");
    prints(&["convert", NANO, &out, "--dtype", "bf16", "--shard-size", "1MB", "--force"]);
    assert!(prints(&["verify", &out]).contains("all as they were written"));
    assert!(!Path::new(&out).join("model.safetensors").exists());
}

/// Names and contents of all files below a folder.
fn contents(dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => {
                found.push((path.clone(), vec![]));
                found.extend(contents(path.to_str().unwrap()));
            }
            // A link may lead nowhere, and a pipe is not to be waited for.
            false if path.is_file() => found.push((path.clone(), fs::read(path).unwrap_or_default())),
            false => found.push((path, vec![])),
        }
    }
    found.sort();
    found
}

#[cfg(unix)]
#[test]
fn no_way_to_write_leads_into_the_source_or_to_other_files() {
    use std::os::unix::fs::symlink;

    let dir = Dir::new();
    let [source, packed, full] = ["source", "packed", "full"].map(|name| dir.path(name));
    prints(&["export", NANO, &source]);
    prints(&["convert", NANO, &packed, "--dtype", "int8"]);
    fs::create_dir(&full).unwrap();
    fs::write(format!("{full}/config.json"), "mine").unwrap();
    for name in ["source", "packed", "full"] {
        symlink(dir.path(name), dir.path(&format!("to-{name}"))).unwrap();
    }
    symlink(dir.path("nothing"), dir.path("to-nothing")).unwrap();
    fs::create_dir(dir.path("linked")).unwrap();
    for name in ["model.safetensors", "config.json", "tokenizer.model"] {
        symlink(format!("{packed}/{name}"), dir.path(&format!("linked/{name}"))).unwrap();
    }
    let before = contents(&dir.path(""));
    let convert = |out: &str| refuses(&["convert", &source, &dir.path(out), "--dtype", "int8", "--force"]);
    let export = |out: &str| refuses(&["export", &packed, &dir.path(out), "--force"]);
    let synth =
        |out: &str| refuses(&["synth", "--preset", "8m", "--dtype", "int8", &dir.path(out), "--force"]);
    for out in [
        "source",
        "no/../source",
        "no/er/../../source",
        "to-source",
        "to-source/../source",
        "no/../to-source/in",
    ] {
        convert(out);
    }
    for out in ["packed", "no/../packed", "to-packed", "packed/no/..", "to-packed/in", "no/../to-packed"] {
        export(out);
    }
    for out in [
        "full",
        "no/../full",
        "no/er/../../full",
        "to-full",
        "no/../to-full",
        "to-nothing",
        "to-nothing/../full",
    ] {
        convert(out);
        export(out);
        synth(out);
    }
    // A folder of links to the files that would be written over.
    let said = refuses(&["export", &dir.path("linked"), &packed, "--force"]);
    assert!(said.contains("links to"), "{said}");
    assert!(contents(&dir.path("")) == before, "a refused run changed something");
    // Both are found where they are.
    assert!(convert("source").contains("is the source itself"));
    assert!(convert("no/../source").contains("write it without .."));
    prints(&["convert", &source, &dir.path("to-source/../new/./er"), "--dtype", "int8"]);
    assert!(Path::new(&dir.path("new/er/strix.json")).exists());
}

#[test]
fn a_damaged_folder_is_written_again_by_force_and_says_so() {
    let dir = Dir::new();
    let out = dir.path("out");
    let convert = ["convert", NANO, &out, "--dtype", "bf16", "--shard-size", "2MB"];
    prints(&convert);
    let index = format!("{out}/model.safetensors.index.json");
    let shard = format!("{out}/model-00002-of-00003.safetensors");
    let whole = contents(&out);
    for (gone, names) in [
        (&[&shard] as &[&String], &["model-00002-of-00003.safetensors is missing"] as &[&str]),
        (&[&shard, &index], &["model-00002-of-00003.safetensors is missing", "index.json is missing"]),
        (&[&format!("{out}/tokenizer.model")], &["tokenizer.model is missing"]),
    ] {
        gone.iter().for_each(|&file| fs::remove_file(file).unwrap());
        let before = contents(&out);
        let said = refuses(&convert);
        for part in names.iter().chain(&["--force"]) {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(contents(&out) == before, "a refused run changed something");
        prints(&[&convert[..], &["--force"]].concat());
        assert!(contents(&out) == whole);
    }
    fs::write(format!("{out}/strix.json"), "{").unwrap();
    let said = refuses(&convert);
    assert!(said.contains("strix.json") && said.contains("--force"), "{said}");
    prints(&[&convert[..], &["--force"]].concat());
    // Nobody can download it.
    fs::write(&shard, "cut").unwrap();
    for args in [&["ask", "--model", &out, "hi"] as &[&str], &["inspect", &out]] {
        let said = refuses(args);
        assert!(said.contains("convert the checkpoint again") && !said.contains("download"), "{said}");
    }
    fs::remove_file(&shard).unwrap();
    let said = refuses(&["inspect", &out]);
    assert!(said.contains("convert the checkpoint again") && !said.contains("download"), "{said}");
}

#[test]
fn output_that_cannot_be_written_is_refused_by_name() {
    let dir = Dir::new();
    let file = dir.path("file");
    fs::write(&file, "").unwrap();
    let below = format!("{file}/out");
    assert!(refuses(&["convert", NANO, &below, "--dtype", "int8"]).contains(&below));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_may_not_grow_is_an_error_with_the_numbers() {
    let dir = Dir::new();
    let out = dir.path("out");
    // A limit that ends a file in the middle; with room the same command goes on.
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let args = ["convert", NANO, &out, "--dtype", "int8"];
    let limited =
        Command::new("sh").args(["-c", limited, env!("CARGO_BIN_EXE_strix")]).args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(2), "{stderr}");
    for part in [
        "model.safetensors",
        "bytes are still to be written",
        "ulimit -f",
        "What is finished is kept",
        "run the same",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    assert!(refuses(&["verify", &out]).contains("unfinished"));
    prints(&args);
    assert!(prints(&["verify", &out]).contains("all as they were written"));
}

/// A folder that a run has begun: its journal says of what.
fn begun(out: &str) {
    let limited = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let args = ["convert", NANO, out, "--dtype", "int8"];
    let ended = Command::new("sh").args(["-c", limited, env!("CARGO_BIN_EXE_strix")]).args(args).output();
    assert_eq!(ended.unwrap().status.code(), Some(2));
    assert!(journal(out).is_file());
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_or_over_what_strix_did_not_write() {
    use std::os::unix::fs::symlink;

    let dir = Dir::new();
    let [out, precious] = ["out", "precious"].map(|name| dir.path(name));
    fs::create_dir(&precious).unwrap();
    fs::write(format!("{precious}/file"), "mine").unwrap();
    let partial = format!("{out}/.partial");
    let make = |name: &str, how: &str| {
        let at = format!("{partial}/{name}");
        let _ = fs::remove_file(&at);
        match how {
            "link" => symlink(format!("{precious}/file"), at).unwrap(),
            "link to nothing" => symlink(format!("{precious}/new"), at).unwrap(),
            "hard link" => fs::hard_link(format!("{precious}/file"), at).unwrap(),
            "folder" => {
                fs::create_dir(&at).unwrap();
                fs::write(format!("{at}/file"), "mine").unwrap();
            }
            "pipe" => assert!(Command::new("mkfifo").arg(at).status().unwrap().success()),
            _ => fs::write(at, "mine").unwrap(),
        }
    };
    for (name, how, what) in [
        ("model.safetensors", "link", "symbolic link"),
        ("model.safetensors", "link to nothing", "symbolic link"),
        ("model.safetensors", "hard link", "hard link"),
        ("model.safetensors", "pipe", "pipe"),
        ("journal.jsonl", "link", "symbolic link"),
        ("journal.jsonl", "folder", "folder"),
        ("journal.new", "link", "symbolic link"),
        ("journal.new", "link to nothing", "symbolic link"),
        ("lock", "link to nothing", "symbolic link"),
        ("lock", "pipe", "pipe"),
        ("config.json", "link", "symbolic link"),
        ("strix.json", "hard link", "hard link"),
        ("letter.txt", "file", "not written by strix"),
        ("journal.old", "file", "not written by strix"),
    ] {
        for started in [false, true] {
            if started {
                begun(&out);
            } else {
                fs::create_dir_all(&partial).unwrap();
            }
            make(name, how);
            let before = contents(&dir.path(""));
            for args in [
                &["convert", NANO, &out, "--dtype", "int8"] as &[&str],
                &["convert", NANO, &out, "--dtype", "int8", "--force"],
                &["export", NANO, &out, "--force"],
                &["synth", "--preset", "8m", "--dtype", "int8", &out, "--force"],
            ] {
                let said = refuses(args);
                assert!(said.contains(what) && said.contains(name), "{name}, {how}: {said}");
                assert!(said.contains("remove it"), "{name}, {how}: {said}");
            }
            assert!(contents(&dir.path("")) == before, "{name}, {how}: a refused run changed something");
            fs::remove_dir_all(&out).unwrap();
        }
    }
    // `.partial` itself.
    fs::create_dir(&out).unwrap();
    symlink(&precious, &partial).unwrap();
    let said = refuses(&["convert", NANO, &out, "--dtype", "int8", "--force"]);
    assert!(said.contains(".partial: is a symbolic link"), "{said}");
    fs::remove_file(&partial).unwrap();
    // An empty `.partial` makes no foreign folder ours.
    fs::create_dir(&partial).unwrap();
    fs::write(format!("{out}/config.json"), "mine").unwrap();
    let said = refuses(&["convert", NANO, &out, "--dtype", "int8", "--force"]);
    assert!(said.contains("holds config.json and was not written by strix"), "{said}");
    // Nor does a journal that is none.
    fs::write(journal(&out), "mine").unwrap();
    let said = refuses(&["convert", NANO, &out, "--dtype", "int8", "--force"]);
    assert!(said.contains("holds config.json and was not written by strix"), "{said}");
    fs::remove_dir_all(&out).unwrap();
    // In a finished folder, what it did not write stays.
    prints(&["convert", NANO, &out, "--dtype", "int8"]);
    for name in ["model-mine.safetensors", "model.safetensors.index.json"] {
        fs::write(format!("{out}/{name}"), "mine").unwrap();
        let said = refuses(&["convert", NANO, &out, "--dtype", "bf16", "--force"]);
        assert!(said.contains(&format!("holds {name}, which strix did not write")), "{said}");
        fs::remove_file(format!("{out}/{name}")).unwrap();
    }
    fs::rename(format!("{out}/model.safetensors"), format!("{precious}/moved")).unwrap();
    symlink(format!("{precious}/moved"), format!("{out}/model.safetensors")).unwrap();
    assert!(prints(&["convert", NANO, &out, "--dtype", "int8"]).contains("already complete"));
    let said = refuses(&["convert", NANO, &out, "--dtype", "bf16", "--force"]);
    assert!(said.contains("model.safetensors: is a symbolic link"), "{said}");
    fs::remove_file(format!("{out}/model.safetensors")).unwrap();
    prints(&["convert", NANO, &out, "--dtype", "bf16", "--force"]);
    assert!(prints(&["verify", &out]).contains("all as they were written"));
}

#[test]
fn a_journal_that_is_none_says_how_to_begin_anew() {
    let dir = Dir::new();
    let out = dir.path("out");
    let convert = ["convert", NANO, &out, "--dtype", "int8"];
    for how in ["folder", "bytes", "words"] {
        fs::create_dir_all(format!("{out}/.partial")).unwrap();
        match how {
            "folder" => fs::create_dir(journal(&out)).unwrap(),
            "bytes" => fs::write(journal(&out), [0xff, 0xfe, 0, 1]).unwrap(),
            _ => fs::write(journal(&out), "not a journal\n").unwrap(),
        }
        let before = contents(&out);
        let said = refuses(&convert);
        assert!(said.contains("journal.jsonl") && said.contains("give --force to begin anew"), "{said}");
        // All but the lock file.
        let after: Vec<_> = contents(&out).into_iter().filter(|(path, _)| !path.ends_with("lock")).collect();
        assert!(after == before, "{how}: a refused run changed something");
        prints(&[&convert[..], &["--force"]].concat());
        assert!(prints(&["verify", &out]).contains("all as they were written"));
        fs::remove_dir_all(&out).unwrap();
    }
}
