//! Converted folders: they load to the same logits as their source, and export gives the source back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use strix_model::convert::{WriteOptions, convert, export, rounding_errors, verify};
use strix_model::{
    Config, Dtype, LoadOptions, Model, Progress, Result, Rounding, Source, Weights, unwatched,
};
use strix_tests::golden::{Set, root};
use strix_tests::gpu;

const GO_ON: fn(&Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

/// A golden set's checkpoint as one folder.
fn folder(set: &str, to: &Path) -> PathBuf {
    let (from, to) = (root().join(set), to.join(set));
    std::fs::create_dir(&to).unwrap();
    std::fs::copy(from.join("hf/config.json"), to.join("config.json")).unwrap();
    std::fs::copy(from.join("model.safetensors"), to.join("model.safetensors")).unwrap();
    to
}

/// A tensor of a safetensors file: dtype, shape, bytes.
type Stored = (String, Vec<usize>, Vec<u8>);

/// Changes the metadata and the tensors of a safetensors file.
fn edit(file: &Path, change: impl FnOnce(&mut BTreeMap<String, String>, &mut BTreeMap<String, Stored>)) {
    let weights = Weights::open(file).unwrap();
    let mut metadata = weights.metadata().clone();
    let stored = |name: &str| {
        let view = weights.get(name).unwrap();
        (view.dtype.to_string(), view.shape.to_vec(), view.contiguous().unwrap().to_vec())
    };
    let mut tensors = weights.names().map(|name| (name.to_owned(), stored(name))).collect();
    drop(weights);
    change(&mut metadata, &mut tensors);
    let (mut header, mut data) = (Map::new(), vec![]);
    header.insert("__metadata__".into(), json!(metadata));
    for (name, (dtype, shape, bytes)) in tensors {
        let start = data.len();
        data.extend(bytes);
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name, entry);
    }
    let header = Value::Object(header).to_string();
    std::fs::write(file, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}

fn load(dir: &Path) -> Result<Model> {
    Model::load_on(gpu(), Source::Dir(dir), &LoadOptions::default(), &mut unwatched)
}

#[track_caller]
fn says<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("it is refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// Logits of the first run's prompt and of three tokens after it.
fn logits(set: &Set, model: &Model) -> Vec<f32> {
    let case = &set.cases[0];
    let mut session = model.session().unwrap();
    for pixels in set.pixels(case) {
        session.add_embeds(model.encode(pixels).unwrap().into());
    }
    session.inspect().greedy(&set.ids(case).unwrap(), 4).unwrap().concat()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_converted_folder_gives_the_logits_of_its_source_bit_for_bit() {
    let temp = tempfile::tempdir().unwrap();
    let int8 = |group| Dtype::Int8 { group };
    let all = [Dtype::F32, Dtype::Bf16, int8(None), int8(Some(32)), int8(Some(64)), int8(Some(128))];
    for (name, dtypes) in [
        ("tiny", &all[..]),
        ("gqa", &all[1..4]),
        ("mamoff", &all[2..4]),
        ("f16", &all[1..3]),
        ("medium", &all[2..3]),
    ] {
        let source = folder(name, temp.path());
        for &dtype in dtypes {
            for vision in [false, true] {
                if vision && !matches!(dtype, Dtype::Int8 { group: None | Some(32) }) {
                    continue;
                }
                let out = temp.path().join(format!("{name} {dtype} {vision}"));
                convert(&source, &out, Rounding { dtype, vision }, &WriteOptions::default(), &mut { GO_ON })
                    .unwrap();
                let options = LoadOptions { dtype, int8_vision: vision, ..LoadOptions::default() };
                let set = Set::load(gpu(), &root().join(name), &options).unwrap();
                let converted =
                    Model::load_on(gpu(), Source::Dir(&out), &LoadOptions::default(), &mut unwatched)
                        .unwrap();
                let (got, want) = (logits(&set, &converted), logits(&set, &set.model));
                let off = got.iter().zip(&want).position(|(got, want)| got.to_bits() != want.to_bits());
                assert_eq!((got.len(), off), (want.len(), None), "{name} {dtype} {vision}");
            }
        }
    }
}

#[test]
fn exporting_a_float_folder_gives_the_source_back() {
    let temp = tempfile::tempdir().unwrap();
    let release = root().join("release/hf");
    let tiny = folder("tiny", temp.path());
    let mamoff = folder("mamoff", temp.path());
    let gqa = folder("gqa", temp.path());
    let f16 = folder("f16", temp.path());
    for source in [&tiny, &mamoff, &gqa, &f16, &release] {
        let (packed, plain) = (temp.path().join("packed"), temp.path().join("plain"));
        let options = WriteOptions { shard_bytes: 300_000, ..WriteOptions::default() };
        let rounding = Rounding { dtype: Dtype::F32, vision: false };
        convert(source, &packed, rounding, &options, &mut { GO_ON }).unwrap();
        export(&packed, &plain, None, &options, &mut { GO_ON }).unwrap();
        let (before, after) = (Weights::open(source).unwrap(), Weights::open(&plain).unwrap());
        let mut compared = 0;
        for name in before.names().filter(|name| !name.ends_with("inv_freq")) {
            let (before, after) = (before.get(name).unwrap(), after.get(name).unwrap());
            assert_eq!(before.shape, after.shape, "{name}");
            assert!(bits(&before.to_f32().unwrap()) == bits(&after.to_f32().unwrap()), "{name}");
            compared += 1;
        }
        assert!(compared > 50, "{}: {compared}", source.display());
        assert!(verify(&plain, &mut { GO_ON }).unwrap().problems.is_empty());
        std::fs::remove_dir_all(&packed).unwrap();
        std::fs::remove_dir_all(&plain).unwrap();
    }
}

#[test]
fn exported_int8_loads_to_what_its_kernels_multiply() {
    let temp = tempfile::tempdir().unwrap();
    let source = folder("tiny", temp.path());
    let [packed, plain, again, twice] =
        ["packed", "plain", "again", "twice"].map(|name| temp.path().join(name));
    let options = WriteOptions::default();
    let rounding = Rounding { dtype: Dtype::Int8 { group: Some(32) }, vision: true };
    convert(&source, &packed, rounding, &options, &mut { GO_ON }).unwrap();
    export(&packed, &plain, None, &options, &mut { GO_ON }).unwrap();
    // What was rounded once is not changed by rounding again, but for the last bit of a scale.
    convert(&plain, &again, rounding, &options, &mut { GO_ON }).unwrap();
    export(&again, &twice, None, &options, &mut { GO_ON }).unwrap();
    let [once, twice] = [&plain, &twice].map(|dir| Weights::open(dir).unwrap());
    for name in once.names() {
        let [a, b] = [&once, &twice].map(|weights| weights.get(name).unwrap().to_f32().unwrap());
        let off = a.iter().zip(&b).find(|(a, b)| (*a - *b).abs() > a.abs() * 3e-7);
        assert_eq!(off, None, "{name}");
    }
}

#[test]
fn a_progress_callback_that_breaks_interrupts_and_the_next_run_continues() {
    let temp = tempfile::tempdir().unwrap();
    let source = folder("tiny", temp.path());
    let out = temp.path().join("out");
    let rounding = Rounding { dtype: Dtype::Int8 { group: None }, vision: false };
    let mut left = 20;
    let error = convert(&source, &out, rounding, &WriteOptions::default(), &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(error, Err(strix_model::Error::Interrupted)), "{error:?}");
    assert!(!out.join("model.safetensors").exists() && !out.join("strix.json").exists());
    let report = convert(&source, &out, rounding, &WriteOptions::default(), &mut { GO_ON }).unwrap();
    assert!(report.kept_bytes > 0 && report.read_bytes > 0, "{report:?}");
    assert!(verify(&out, &mut { GO_ON }).unwrap().problems.is_empty());
}

#[test]
fn a_nan_in_the_source_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let source = folder("tiny", temp.path());
    let file = source.join("model.safetensors");
    let weights = Weights::open(&file).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let at = {
        let view = weights.get(name).unwrap();
        let bytes = view.contiguous().unwrap();
        let all = std::fs::read(&file).unwrap();
        all.windows(bytes.len()).position(|window| window == bytes).unwrap()
    };
    drop(weights);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[at + 40..at + 44].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let rounding = Rounding { dtype: Dtype::Int8 { group: None }, vision: false };
    let error =
        convert(&source, &temp.path().join("out"), rounding, &WriteOptions::default(), &mut { GO_ON });
    let error = error.unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("element 10 is NaN"), "{error}");
}

/// Without modality-adaptive weights but with biases of their own, image rows take their own.
#[test]
fn biases_of_two_modalities_are_kept_where_their_weights_are_equal() {
    let temp = tempfile::tempdir().unwrap();
    let source = folder("mamoff", temp.path());
    let file = source.join("config.json");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("\"attention_bias\": false", "\"attention_bias\": true")).unwrap();
    let config = Config::load(&source).unwrap();
    edit(&source.join("model.safetensors"), |_, tensors| {
        for spec in config.tensors() {
            let of_images = spec.name.contains(".multiway.1.bias");
            let value = if of_images { 0.5_f32 } else { 0.0 };
            let bytes = value.to_le_bytes().repeat(spec.shape.iter().product());
            tensors.entry(spec.name).or_insert(("F32".into(), spec.shape, bytes));
        }
    });
    let set = Set::load(gpu(), &root().join("mamoff"), &LoadOptions::default()).unwrap();
    let found = logits(&set, &load(&source).unwrap());
    let packed = temp.path().join("packed");
    let rounding = Rounding { dtype: Dtype::F32, vision: false };
    convert(&source, &packed, rounding, &WriteOptions::default(), &mut { GO_ON }).unwrap();
    assert!(bits(&logits(&set, &load(&packed).unwrap())) == bits(&found));

    // Weights that differ by a last bit are held twice, whatever their biases.
    edit(&source.join("model.safetensors"), |_, tensors| {
        for (name, (.., bytes)) in tensors {
            if name.ends_with("_proj.multiway.1.weight") {
                bytes[0] ^= 1;
            }
        }
    });
    let want = logits(&set, &load(&source).unwrap());
    let worst = found.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3, "off by {worst}");

    // A folder of one set cannot hold such biases.
    edit(&packed.join("model.safetensors"), |_, tensors| {
        let (_, shape, bytes) = tensors.get_mut("decoder.1.qkv_proj.packed").unwrap();
        let (blocks, rows) = (shape[0], config.text.hidden_size + 2 * config.text.kv_dim());
        shape[0] = rows.div_ceil(16);
        bytes.truncate(bytes.len() / blocks * shape[0]);
    });
    says(load(&packed), &["decoder.1.qkv_proj.packed", "one weight set", "biases", "convert"]);
}

#[test]
fn a_layout_that_this_program_does_not_know_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (folder("tiny", temp.path()), temp.path().join("out"));
    convert(&source, &out, Rounding::default(), &WriteOptions::default(), &mut { GO_ON }).unwrap();
    let file = out.join("model.safetensors");
    load(&out).unwrap();
    let dtype = |metadata: &mut BTreeMap<String, String>| metadata.insert("strix.dtype".into(), "f32".into());
    edit(&file, |metadata, _| drop(dtype(metadata)));
    let found = verify(&out, &mut { GO_ON }).unwrap();
    let words = "its metadata says strix.dtype = \"f32\", strix.json \"auto\"";
    assert!(
        found.problems.iter().any(|p| p.to_string() == format!("model.safetensors: {words}")),
        "{found:?}"
    );
    edit(&file, |metadata, _| drop(metadata.insert("strix.layout".into(), "4".into())));
    let name = file.display().to_string();
    says(load(&out), &[&name, "version 4", "knows 3", "newer strix"]);
    // It can no longer be opened to be edited.
    convert(
        &source,
        &out,
        Rounding::default(),
        &WriteOptions { force: true, ..WriteOptions::default() },
        &mut { GO_ON },
    )
    .unwrap();
    edit(&file, |metadata, _| drop(metadata.remove("strix.layout")));
    says(load(&out), &[&name, "no version"]);
}

#[test]
fn a_group_that_is_no_number_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (folder("tiny", temp.path()), temp.path().join("out"));
    let rounding = Rounding { dtype: Dtype::Int8 { group: Some(32) }, vision: false };
    convert(&source, &out, rounding, &WriteOptions::default(), &mut { GO_ON }).unwrap();
    edit(&out.join("model.safetensors"), |metadata, _| {
        drop(metadata.insert("strix.group".into(), "3\u{1b}2".into()));
    });
    says(
        load(&out),
        &["decoder.0.qkv_proj.scale", r#"strix.group = "3\u{1b}2""#, "convert the checkpoint again"],
    );
}

#[test]
fn a_scale_that_is_no_magnitude_is_refused_by_name_and_element() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (folder("tiny", temp.path()), temp.path().join("out"));
    let rounding = Rounding { dtype: Dtype::Int8 { group: None }, vision: false };
    convert(&source, &out, rounding, &WriteOptions::default(), &mut { GO_ON }).unwrap();
    let name = "decoder.1.qkv_proj.scale";
    for (value, word) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf"), (-0.25, "-0.25")] {
        edit(&out.join("model.safetensors"), |_, tensors| {
            tensors.get_mut(name).unwrap().2[12..16].copy_from_slice(&value.to_le_bytes());
        });
        says(load(&out), &[name, &format!("element 3 is {word}"), "convert the checkpoint again"]);
    }
}

#[test]
fn a_position_table_of_another_shape_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (folder("tiny", temp.path()), temp.path().join("out"));
    let rounding = Rounding { dtype: Dtype::Int8 { group: None }, vision: false };
    convert(&source, &out, rounding, &WriteOptions::default(), &mut { GO_ON }).unwrap();
    let name = "model.visual_abstractor.encoder.layers.0.crossattention.attention.q_pos_embed";
    edit(&out.join("model.safetensors"), |_, tensors| {
        tensors.insert(name.into(), ("F32".into(), vec![7], vec![0; 28]));
    });
    let spoiled = Weights::open(&out).unwrap();
    says(rounding_errors(&out, &source, &mut { GO_ON }), &[name, "[7]"]);
    let config = Config::load(&source).unwrap();
    let (target, room) = (gpu().target(), strix_model::Room::default());
    let planned = strix_model::plan(&config, &LoadOptions::default(), &target, Some(&spoiled), room);
    says(planned, &[name, "[7]"]);
}

#[test]
fn a_manifest_that_lies_is_told_of() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out) = (folder("tiny", temp.path()), temp.path().join("out"));
    convert(&source, &out, Rounding::default(), &WriteOptions::default(), &mut { GO_ON }).unwrap();
    let path = out.join("strix.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let spoil = |pointer: &str, value: Value| {
        let mut manifest = whole.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&path, manifest.to_string()).unwrap();
    };
    spoil("/tensors/vision.0.dense.packed/bytes", u64::MAX.into());
    says(verify(&out, &mut { GO_ON }), &["strix.json", "18446744073709551615"]);
    spoil("/layout_version", 0.into());
    says(verify(&out, &mut { GO_ON }), &["strix.json", "version 0", "convert"]);
    spoil("/files/config.json/bytes", 3.into());
    let found = verify(&out, &mut { GO_ON }).unwrap();
    assert!(found.problems.iter().any(|p| p.file == "config.json" && p.reason.contains("expected 3")));
}

/// A run that is killed while its finished files move up may be continued by another version of the program, whose
/// headers differ: what moved up is not written over where it lies.
#[test]
fn files_that_moved_up_are_made_again_out_of_sight() {
    let temp = tempfile::tempdir().unwrap();
    let (source, out, straight) =
        (folder("tiny", temp.path()), temp.path().join("out"), temp.path().join("straight"));
    let options = WriteOptions { shard_bytes: 300_000, ..WriteOptions::default() };
    convert(&source, &straight, Rounding::default(), &options, &mut { GO_ON }).unwrap();
    let stop_after = |jobs: usize| {
        let mut left = jobs;
        let stopped = convert(&source, &out, Rounding::default(), &options, &mut |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(strix_model::Error::Interrupted)), "{stopped:?}");
    };
    stop_after(100);
    let mut names = std::fs::read_dir(&straight).unwrap().map(|entry| entry.unwrap().file_name());
    let first = names.find(|name| name.to_string_lossy().starts_with("model-00001")).unwrap();
    let moved = out.join(&first);
    std::fs::rename(out.join(".partial").join(&first), &moved).unwrap();
    // As another version would have written it, of the same length.
    let mut bytes = std::fs::read(&moved).unwrap();
    let at = bytes.windows(13).position(|window| window == b"strix.version").unwrap();
    bytes[at + 16] = b'9';
    std::fs::write(&moved, &bytes).unwrap();
    stop_after(1);
    assert!(std::fs::read(&moved).unwrap() == bytes, "it was written over");
    convert(&source, &out, Rounding::default(), &options, &mut { GO_ON }).unwrap();
    assert!(std::fs::read(&moved).unwrap() == std::fs::read(straight.join(&first)).unwrap());
    assert!(verify(&out, &mut { GO_ON }).unwrap().problems.is_empty());
}
