//! Checkpoints whole and broken.

use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::check::MAX_PROBLEMS;
use super::safetensors::{self, Header};
use super::*;
use crate::{Config, Error, Result};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

fn golden(set: &str) -> (Weights, Config) {
    let dir = PathBuf::from(format!("{GOLDEN}/{set}"));
    (Weights::open(&dir).unwrap(), Config::load(&dir.join("hf")).unwrap())
}

/// A new folder that holds these files.
fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("strix-weights-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    dir
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file of one F32 tensor of that name.
fn one(name: &str, values: &[f32]) -> Vec<u8> {
    let (len, bytes) = (values.len(), bytemuck::cast_slice(values));
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[{len}],"data_offsets":[0,{}]}}}}"#, 4 * len);
    safetensors(&header, bytes)
}

fn from_bytes(bytes: Vec<u8>) -> Result<Weights> {
    Weights::from_bytes(bytes)
}

#[test]
fn golden_checkpoints_fit_their_configs() {
    for set in ["tiny", "medium", "gqa", "mamoff", "f16", "release"] {
        let (weights, config) = golden(set);
        weights.check(&config).unwrap();
        assert_eq!(weights.num_unknown(&config), 0, "{set}");
    }
    let nano = include_bytes!("../../nano/model.safetensors");
    let config = Config::from_json(include_bytes!("../../nano/config.json")).unwrap();
    Weights::from_bytes(nano).unwrap().check(&config).unwrap();
}

#[test]
fn every_float_dtype_is_read_exactly() {
    let values = [1.0f32, -0.15625, 65504.0, 6e-8];
    let as_f32: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let as_f16: Vec<u8> = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let as_bf16: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    for (dtype, data, want) in [
        ("F32", as_f32, values),
        ("F16", as_f16, values.map(|v| f16::from_f32(v).to_f32())),
        ("BF16", as_bf16, values.map(|v| bf16::from_f32(v).to_f32())),
    ] {
        let header =
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,{}]}}}}"#, data.len());
        let weights = from_bytes(safetensors(&header, &data)).unwrap();
        assert_eq!(weights.get("x").unwrap().to_f32().unwrap(), want, "{dtype}");
    }
}

#[test]
fn rows_are_parts_of_the_whole() {
    let (weights, _) = golden("f16");
    let view = weights.get("model.embed_tokens.weight").unwrap();
    let (whole, mut rows) = (view.to_f32().unwrap(), vec![9.0; 3]);
    view.rows_f32(7..9, &mut rows).unwrap();
    assert_eq!(view.num_rows(), 320);
    assert_eq!(rows, whole[7 * 64..9 * 64]);
}

#[test]
fn a_checkpoint_against_another_config_names_the_first_tensors() {
    let (weights, _) = golden("medium");
    let (_, config) = golden("tiny");
    let error = weights.check(&config).unwrap_err().to_string();
    let line = "model.layers.0.self_attn.q_proj.weight: config.json says [hidden_size, hidden_size] = [64, 64], \
                    the file holds [80, 80]";
    assert!(error.contains(line), "{error}");
    assert!(error.contains("and 1"), "{error}");
    assert_eq!(error.lines().count(), 1 + MAX_PROBLEMS + 1);
}

#[test]
fn layers_beyond_those_of_the_config_are_refused() {
    let (weights, whole) = golden("tiny");
    let counts: [fn(&mut Config) -> &mut usize; 3] = [
        |config| &mut config.text.num_hidden_layers,
        |config| &mut config.vision.num_hidden_layers,
        |config| &mut config.abstractor.num_hidden_layers,
    ];
    for (count, at) in
        counts.into_iter().zip(["model.layers", "vision_model.encoder", "visual_abstractor.encoder"])
    {
        let mut config = whole.clone();
        let layers = *count(&mut config);
        *count(&mut config) = layers - 1;
        let error = weights.check(&config).unwrap_err().to_string();
        let says = error.contains(&format!("num_hidden_layers is {}", layers - 1)) && error.contains(at);
        assert!(says && error.contains(&format!("layers.{}.* is in the file", layers - 1)), "{error}");
    }
}

#[test]
fn an_index_may_begin_with_a_byte_order_mark() {
    let index = "\u{feff}{\"weight_map\": {\"x\": \"model-00001-of-00001.safetensors\"}}";
    let files = [
        ("model.safetensors.index.json", index.as_bytes()),
        ("model-00001-of-00001.safetensors", &one("x", &[1.0])),
    ];
    let dir = folder("mark", &files);
    assert!(Weights::open(&dir).unwrap().get("x").is_some());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_a_checkpoint_lacks_is_named() {
    let config = Config::from_json(b"{}").unwrap();
    let weights = from_bytes(one("extra", &[1.0])).unwrap();
    let error = weights.check(&config).unwrap_err().to_string();
    assert!(error.contains("model.embed_tokens.weight: missing") && error.contains(": 850"), "{error}");
    assert_eq!(weights.num_unknown(&config), 1);
}

#[test]
fn tensors_of_no_elements_and_of_no_axes_are_read() {
    let entries = r#""x":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"y":{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
    let weights = from_bytes(safetensors(&format!("{{{entries}}}"), &1.5f32.to_le_bytes())).unwrap();
    assert_eq!(weights.get("x").unwrap().to_f32().unwrap().len(), 0);
    assert_eq!(weights.get("y").unwrap().to_f32().unwrap(), [1.5]);
    assert_eq!(weights.get("y").unwrap().num_rows(), 1);
}

#[test]
fn other_dtypes_are_opaque() {
    let bytes = safetensors(r#"{"x":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#, &[1, 2]);
    let weights = from_bytes(bytes).unwrap();
    let view = weights.get("x").unwrap();
    assert_eq!(view.contiguous(), Some(&[1, 2][..]));
    let error = view.to_f32().unwrap_err().to_string();
    assert!(error.contains("x: is I8"), "{error}");
}

#[test]
fn a_dtype_that_is_not_known_does_no_harm_until_it_is_needed() {
    let header = r#"{"x":{"dtype":"F99\u001b[2J","shape":[3],"data_offsets":[0,8]},"y":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}"#;
    let weights = from_bytes(safetensors(header, &[0; 12])).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["y"]);
    let (name, reason) = weights.unread().next().unwrap();
    assert_eq!((name, reason), ("x", r"is of dtype F99\x1b[2J, which is not known"));
}

#[test]
fn names_are_read_without_what_wrappers_put_before_them() {
    use super::names::Renaming;
    let renamed = |names: &[&str]| {
        let renaming = Renaming::of(names.iter().copied())?;
        Some((names.iter().map(|name| renaming.apply(name)).collect::<Vec<_>>().join(" "), renaming.note))
    };
    let plain = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"];
    assert_eq!(renamed(&plain), None);
    for (prefix, who) in [
        ("module.", "DistributedDataParallel"),
        ("_orig_mod.module.", "torch.compile"),
        ("module._orig_mod.", "torch.compile"),
        ("base_model.model.", "PEFT"),
        ("model.", "Lightning"),
        ("a.b.", "begin with a.b."),
    ] {
        let wrapped = plain.map(|name| format!("{prefix}{name}"));
        let (names, note) = renamed(&wrapped.each_ref().map(String::as_str)).unwrap();
        assert_eq!(names, plain.join(" "), "{prefix}");
        assert!(note.contains(who), "{prefix}: {note}");
    }
    let inner =
        ["model.embed_tokens.weight", "model.layers.0._orig_mod.mlp.up_proj.weight", "lm_head.weight"];
    assert_eq!(renamed(&inner).unwrap().0, plain.join(" "));
    let lacking = ["embed_tokens.weight", "layers.0.mlp.up_proj.weight", "lm_head.weight"];
    assert_eq!(renamed(&lacking).unwrap().0, plain.join(" "));
    // What begins with it and is of no module keeps its name; prefixes that differ are none.
    assert_eq!(
        renamed(&["module.model.norm.weight", "module.step"]).unwrap().0,
        "model.norm.weight module.step"
    );
    assert_eq!(renamed(&["a.model.norm.weight", "b.model.norm.weight"]), None);
    assert_eq!(renamed(&["base_model.model.model.layers.0.q_proj.lora_A.weight"]), None);
    // Two that would become one stay two.
    let two = r#"{"_orig_mod.lm_head.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"lm_head._orig_mod.weight":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"_orig_mod.model.norm.weight":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#;
    assert_eq!(from_bytes(safetensors(two, &[1, 2, 3])).unwrap().names().len(), 3);
}

#[test]
fn the_first_nan_is_found() {
    let mut values = vec![1.0; 100_000];
    values[70_000] = f32::NAN;
    values[70_001] = f32::INFINITY;
    let weights = from_bytes(one("x", &values)).unwrap();
    assert_eq!(weights.first_non_finite("x").unwrap(), Some(70_000));
    assert_eq!(from_bytes(one("x", &values[..70_000])).unwrap().first_non_finite("x").unwrap(), None);
    assert_eq!(weights.first_non_finite("y").unwrap(), None);
}

#[test]
fn shards_are_read_as_one() {
    let index = br#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    let (a, b) = (one("a", &[1.0]), one("b", &[2.0, 3.0]));
    let files: [(&str, &[u8]); 3] =
        [("model.safetensors.index.json", index), ("1.safetensors", &a), ("2.safetensors", &b)];
    let dir = folder("shards", &files);
    let weights = Weights::open(&dir).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(weights.get("b").unwrap().to_f32().unwrap(), [2.0, 3.0]);
    assert_eq!(Weights::open(&dir.join("1.safetensors")).unwrap().names().len(), 1);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn folders_without_a_whole_checkpoint_say_what_to_do() {
    let (a, b) = (one("a", &[1.0]), one("b", &[2.0]));
    let index = "model.safetensors.index.json";
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files, &str); 14] = [
        (&[(index, br#"{"weight_map":{"a":"1.safetensors"}}"#)], "1.safetensors: is missing"),
        (&[(index, br#"{"weight_map":{"a":"../1.safetensors"}}"#)], "not a file of this folder"),
        (&[(index, br#"{"weight_map":{"a":"/etc/passwd"}}"#)], "not a file of this folder"),
        (
            &[(index, br#"{"weight_map":{"a":"b"}}"#), ("b", &b)],
            "a: the index places it in b, which does not",
        ),
        (
            &[(index, br#"{"weight_map":{"a":"a","b":"c"}}"#), ("a", &a), ("c", &a)],
            "a is in an earlier shard",
        ),
        (&[(index, br#"{"weight_map":[]}"#)], "not an index"),
        (&[(index, br#"{"weight_map":{"a":"b","a":"c"}}"#)], "\"a\" is there twice"),
        (
            &[("x-1-of-18446744073709551615.safetensors", &a)],
            "x-2-of-18446744073709551615.safetensors: is missing",
        ),
        (
            &[("x-0-of-1.safetensors", &a), ("x-1-of-1.safetensors", &b)],
            "x-0-of-1.safetensors: is shard 0 of 1",
        ),
        (&[("x-1-of-0.safetensors", &a)], "is shard 1 of 0"),
        (&[("x.safetensors", &a), ("y.safetensors", &b)], "holds 2 .safetensors files"),
        (
            &[("pytorch_model-1-of-33.bin", b"PK")],
            "pytorch_model-2-of-33.bin: is missing: 1 of 33 shards are there",
        ),
        (&[("model.safetensors", b"")], "holds 0 bytes"),
        (&[("readme.txt", b"")], "holds no .safetensors or .bin file"),
    ];
    for (i, (files, words)) in cases.into_iter().enumerate() {
        let dir = folder(&format!("broken-{i}"), files);
        let error = Weights::open(&dir).unwrap_err().to_string();
        assert!(error.contains(words), "{i}: {error}");
        std::fs::remove_dir_all(dir).unwrap();
    }
    assert!(matches!(Weights::open(Path::new("/no/such/folder")), Err(Error::Io { .. })));
    assert_eq!(Weights::open(&folder("only", &[("x.safetensors", &a)])).unwrap().names().len(), 1);
}

fn read_header(file: &[u8]) -> Result<Header, String> {
    safetensors::read_header(file, file.len() as u64)
}

#[test]
fn a_file_cut_short_says_how_much_is_missing() {
    let whole = std::fs::read(format!("{GOLDEN}/tiny/model.safetensors")).unwrap();
    let error = read_header(&whole[..812_345]).unwrap_err();
    assert_eq!(error, "holds 812345 bytes, its header describes 1119992: download it again");
    assert!(read_header(&[&whole[..], &[0]].concat()).is_err());
}

#[test]
fn headers_that_lie_are_errors() {
    let x = |dtype, shape, from: u64, to: u64| {
        format!(r#""x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let y = r#""y":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}"#;
    let huge = u64::MAX;
    for (entries, words) in [
        (format!("{},{}", x("F32", "[1]", 0, 4), x("F32", "[1]", 4, 8)), "x is listed twice"),
        (format!("{},{y}", x("U8", "[6]", 0, 6)), "expected it to start at 6"),
        (format!("{},{y}", x("U8", "[3]", 0, 3)), "expected it to start at 3"),
        (x("F32", "[3]", 0, 8), "has 8 bytes"),
        (x("F99", "[2]", 0, 9), "its header describes"),
        (x("U8", "[-1]", 0, 8), "invalid value"),
        (x("F32", &format!("[{huge}]"), 0, 8), "has 8 bytes"),
        (x("F32", &format!("[0,{huge},{huge}]"), 0, 0), "has 0 bytes"),
        (x("U8", &format!("[{huge}]"), 0, huge), "has 18446744073709551615 bytes"),
        (x("U8", "[1152921504606846976]", 0, 1 << 60), "its header describes"),
        (x("U8", "[8]", 8, 0), "expected it to start"),
    ] {
        let error = read_header(&safetensors(&format!("{{{entries}}}"), &[0; 8])).unwrap_err();
        assert!(error.contains(words), "{entries}: {error}");
    }
    assert!(read_header(&safetensors("{}", &[])).unwrap().tensors.is_empty());
    assert!(read_header(&huge.to_le_bytes()).unwrap_err().contains("18446744073709551615 bytes long, above"));
}

#[test]
fn a_mutated_file_is_an_error_or_reads_within_itself() {
    let header = r#"{"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#;
    let whole = safetensors(header, &[60; 16]);
    let try_all = |bytes: Vec<u8>| {
        let Ok(weights) = from_bytes(bytes) else { return };
        for name in weights.names() {
            let view = weights.get(name).unwrap();
            let _ = (
                view.to_f32(),
                weights.first_non_finite(name),
                view.rows_f32(0..view.num_rows(), &mut vec![]),
            );
        }
    };
    for end in 0..whole.len() {
        assert!(from_bytes(whole[..end].to_vec()).is_err(), "{end} bytes");
    }
    for at in 0..whole.len() {
        for byte in [0, b'0', b'9', b'"', b'}', whole[at] ^ 1, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            try_all(bytes);
        }
    }
}

/// A file of metadata alone.
fn noted(metadata: &str) -> Vec<u8> {
    safetensors(&format!(r#"{{"__metadata__":{metadata}}}"#), &[])
}

#[test]
fn metadata_of_all_shards_is_joined() {
    let files: [(&str, &[u8]); 2] = [
        ("x-1-of-2.safetensors", &noted(r#"{"format":"pt","a":"1"}"#)),
        ("x-2-of-2.safetensors", &noted(r#"{"format":"pt","b":"2"}"#)),
    ];
    let dir = folder("metadata", &files);
    let paths = files.map(|(name, _)| dir.join(name));
    let weights = Weights::from_files(&dir, &paths).unwrap();
    let got: Vec<_> = weights.metadata().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(got, [("a", "1"), ("b", "2"), ("format", "pt")]);

    // What nobody reads may differ, what is read may not.
    std::fs::write(&paths[1], noted(r#"{"format":"pt","a":"2"}"#)).unwrap();
    assert_eq!(Weights::from_files(&dir, &paths).unwrap().metadata()["a"], "1");
    std::fs::write(&paths[0], noted(r#"{"strix.x":"1"}"#)).unwrap();
    std::fs::write(&paths[1], noted(r#"{"strix.x":"2"}"#)).unwrap();
    assert!(Weights::from_files(&dir, &paths).unwrap_err().to_string().contains("strix.x"));
    std::fs::write(&paths[0], noted(r#"{"format":"pt","a":"1"}"#)).unwrap();
    std::fs::write(&paths[1], noted(r#"{"format":"np"}"#)).unwrap();
    let error = Weights::from_files(&dir, &paths).unwrap_err().to_string();
    assert!(
        error.contains(r#"2-of-2.safetensors: its metadata says format = "np", an earlier shard "pt""#),
        "{error}"
    );
    for (metadata, words) in
        [(r#"{"a":1}"#, "__metadata__: invalid type"), ("[]", "__metadata__: invalid type")]
    {
        let error = from_bytes(noted(metadata)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(from_bytes(noted("null")).unwrap().metadata().is_empty());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn shared_bytes_outlive_the_checkpoint() {
    let (weights, _) = golden("tiny");
    let name = "model.embed_tokens.weight";
    let want = weights.get(name).unwrap().contiguous().unwrap().to_vec();
    let (bytes, range) = weights.shared(name).unwrap();
    drop(weights);
    assert!((*bytes).as_ref()[range] == want);
}

#[test]
fn a_file_that_changes_while_it_is_open_is_told_of() {
    let bytes = one("a", &[1.0, 2.0]);
    let dir = folder("changing", &[("model.safetensors", &bytes)]);
    let path = dir.join("model.safetensors");
    let weights = Weights::open(&dir).unwrap();
    weights.check_unchanged().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Within a page, what is cut off reads as zeros: only the length tells.
    file.set_len(bytes.len() as u64 - 4).unwrap();
    let error = weights.check_unchanged().unwrap_err().to_string();
    let words = format!("model.safetensors: went from {} to {} bytes while", bytes.len(), bytes.len() - 4);
    assert!(error.contains(&words), "{error}");
    file.set_len(bytes.len() as u64).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(weights.check_unchanged().unwrap_err().to_string().contains("was written to while"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_way_to_name_the_files_of_a_folder_is_found() {
    let (a, b) = (one("a", &[1.0]), one("b", &[2.0]));
    let index = |a: &str, b: &str| format!(r#"{{"metadata":{{}},"weight_map":{{"a":"{a}","b":"{b}"}}}}"#);
    let plain = index("1.safetensors", "x");
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files, &str); 8] = [
        (&[("model.safetensors", &a), ("other.safetensors", &b)], "a"),
        (&[("any.safetensors", &a), ("optimizer.bin", b"")], "a"),
        (&[("model.safetensors.index.json", plain.as_bytes()), ("1.safetensors", &a), ("x", &b)], "ab"),
        (&[("s-1-of-2.safetensors", &a), ("s-2-of-2.safetensors", &b)], "ab"),
        (&[("s-00002-of-00002.safetensors", &b), ("s-00001-of-00002.safetensors", &a)], "ab"),
        (&[("s-00001-of-00001.safetensors", &a)], "a"),
        (&[("-1-of-1.safetensors", &a), ("readme.md", b"")], "a"),
        (&[("model.safetensors", &a), ("pytorch_model.bin", b"")], "a"),
    ];
    for (i, (files, want)) in cases.into_iter().enumerate() {
        let dir = folder(&format!("found-{i}"), files);
        let weights = Weights::open(&dir).unwrap();
        assert_eq!(weights.names().collect::<String>(), want, "{i}");
        std::fs::remove_dir_all(dir).unwrap();
    }
    let dir = format!("{GOLDEN}/tiny/hf");
    let named = Weights::open(format!("{dir}/pytorch_model.bin.index.json").as_ref()).unwrap();
    assert_eq!(named.names().len(), Weights::open(dir.as_ref()).unwrap().names().len());
}

/// The shards of a `.bin` without their index, padded or not, and what is wrong with some of them.
#[test]
fn shards_of_torch_without_an_index_are_whole_or_an_error() {
    for (set, count) in [("tiny", 2), ("release", 4)] {
        let from = PathBuf::from(format!("{GOLDEN}/{set}/hf"));
        let whole = Weights::open(&from).unwrap();
        let dir = folder(&format!("bin-{set}"), &[("training_args.bin", b"")]);
        let name = |i: usize| match set {
            "tiny" => format!("pytorch_model-{i:05}-of-{count:05}.bin"),
            _ => format!("pytorch_model-{i}-of-{count}.bin"),
        };
        for i in 1..=count {
            std::fs::copy(from.join(name(i)), dir.join(name(i))).unwrap();
        }
        let got = Weights::open(&dir).unwrap();
        assert!(got.names().eq(whole.names()), "{set}");

        let fails = |words: &str| {
            let error = Weights::open(&dir).unwrap_err().to_string();
            assert!(error.contains(words), "{set}: {words}: {error}");
        };
        std::fs::copy(from.join(name(2)), dir.join("pytorch_model-002-of-2.bin")).unwrap();
        fails(if set == "tiny" {
            "are both shard 2 of 2"
        } else {
            "holds 5 .bin files and no pytorch_model.bin.index"
        });
        std::fs::remove_file(dir.join("pytorch_model-002-of-2.bin")).unwrap();

        let index = "pytorch_model.bin.index.json";
        std::fs::copy(from.join(index), dir.join(index)).unwrap();
        std::fs::rename(dir.join(name(1)), dir.join("kept")).unwrap();
        fails(&format!("{}: is missing, and ", name(1)));
        // One in the place of the other: the first tensor of the index that is elsewhere is named.
        std::fs::rename(dir.join(name(2)), dir.join(name(1))).unwrap();
        std::fs::rename(dir.join("kept"), dir.join(name(2))).unwrap();
        fails(": the index places it in");
        std::fs::remove_file(dir.join(index)).unwrap();
        std::fs::remove_file(dir.join(name(1))).unwrap();
        fails(&format!("{}: is missing: {} of {count} shards are there", name(1), count - 1));
        std::fs::copy(from.join(name(2)), dir.join(name(1))).unwrap();
        std::fs::copy(from.join(name(2)), dir.join(name(2))).unwrap();
        fails("is in an earlier shard too");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn what_is_named_as_a_model_is_found_or_said_to_be_elsewhere() {
    let config: &[u8] = br#"{"model_type":"mplug_owl2","architectures":["MPLUGOwl2LlamaForCausalLM"]}"#;
    let dir = folder("located", &[("config.json", config), ("a.safetensors", b""), ("b.index.json", b"{}")]);
    for (name, weights) in
        [("", ""), ("a.safetensors", "a.safetensors"), ("b.index.json", "b.index.json"), ("config.json", "")]
    {
        let located = Located::find(&dir.join(name)).unwrap();
        assert_eq!((located.config, located.weights), (dir.join(""), dir.join(weights)), "{name}");
    }
    let refused = |path: &str| Located::find(path.as_ref()).unwrap_err().to_string();
    assert!(refused("MAGAer13/mplug-owl2-llama2-7b").contains("hf download"));
    assert!(refused("/no/such/file").contains("No such file"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[cfg(unix)]
#[test]
fn links_to_nothing_and_addresses_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let find = |path: &Path| super::Located::find(path).unwrap_err().to_string();
    for address in ["https://huggingface.co/MAGAer13/mplug-owl2-llama2-7b", "hf://MAGAer13/mplug-owl2"] {
        assert!(find(Path::new(address)).contains("is an address"), "{}", find(Path::new(address)));
    }
    std::os::unix::fs::symlink("../blobs/0", dir.path().join("config.json")).unwrap();
    assert!(find(dir.path()).contains("config.json that is a link to nothing"), "{}", find(dir.path()));
    std::os::unix::fs::symlink("../blobs/1", dir.path().join("model.safetensors")).unwrap();
    let error = Weights::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors: is a link to nothing, ../blobs/1: "), "{error}");
}
