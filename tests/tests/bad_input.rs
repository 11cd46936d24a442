//! What a user can get wrong with files and devices: each an error that names the thing, the numbers and what
//! to do.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use strix_engine::{Gpu, GpuOptions};
use strix_model::{
    Activations, Dtype, Error, GenerateOptions, KvDtype, LoadOptions, Model, Remedy, Result, SamplingParams,
    Source, Weights, unwatched,
};
use strix_tests::golden::{read_json, root};
use strix_tests::{gpu, nano, prompt_ids};
use tempfile::TempDir;

/// A checkpoint to spoil.
struct Checkpoint {
    dir: TempDir,
    config: Value,
    tensors: Vec<Stored>,
}

struct Stored {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Checkpoint {
    /// The tiny golden model.
    fn tiny() -> Self {
        Self::of(&root().join("tiny/hf/config.json"), &root().join("tiny/model.safetensors"))
    }

    fn of(config: &std::path::Path, weights: &std::path::Path) -> Self {
        let weights = Weights::open(weights).unwrap();
        let stored = |name: &str| {
            let view = weights.get(name).unwrap();
            Stored {
                name: name.to_owned(),
                dtype: view.dtype.to_string(),
                shape: view.shape.to_vec(),
                bytes: view.contiguous().unwrap().to_vec(),
            }
        };
        Self {
            dir: tempfile::tempdir().unwrap(),
            config: read_json(config).unwrap(),
            tensors: weights.names().map(stored).collect(),
        }
    }

    fn tensor(&mut self, name: &str) -> &mut Stored {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn weights(&self) -> PathBuf {
        self.dir.path().join("model.safetensors")
    }

    /// Its tensors as a file.
    fn file(&self) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), vec![]);
        for Stored { name, dtype, shape, bytes } in &self.tensors {
            let start = data.len();
            data.extend(bytes);
            header.insert(
                name.clone(),
                json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }),
            );
        }
        let header = Value::Object(header).to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
    }

    fn write(&self) {
        std::fs::write(self.dir.path().join("config.json"), self.config.to_string()).unwrap();
        std::fs::write(self.weights(), self.file()).unwrap();
    }

    fn load_as(&self, options: &LoadOptions) -> Result<Model> {
        self.write();
        Model::load_on(gpu(), Source::Dir(self.dir.path()), options, &mut unwatched)
    }

    #[track_caller]
    fn refused(&self, words: &[&str]) {
        says(self.load_as(&LoadOptions::default()).err(), words);
    }
}

#[track_caller]
fn says<E: std::fmt::Display>(error: Option<E>, words: &[&str]) {
    let error = error.expect("it is refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

impl Stored {
    /// Sets one element of an f32 tensor.
    fn set(&mut self, element: usize, value: f32) {
        assert_eq!(self.dtype, "F32", "{}", self.name);
        self.bytes[4 * element..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

const Q_PROJ: &str = "model.layers.1.self_attn.q_proj.weight";

#[test]
fn the_checkpoint_loads_before_it_is_spoiled() {
    let model = Checkpoint::tiny().load_as(&LoadOptions::default()).unwrap();
    assert_eq!(model.session().unwrap().inspect().greedy(&prompt_ids([1, 2, 3]), 1).unwrap()[0].len(), 320);
}

#[test]
fn weight_files_that_are_none_are_refused() {
    let checkpoint = Checkpoint::tiny();
    let whole = checkpoint.file();
    let (lies, len) = (
        |bytes: &[u8], words: &[&str]| {
            checkpoint.write();
            std::fs::write(checkpoint.weights(), bytes).unwrap();
            let loaded = Model::load_on(
                gpu(),
                Source::Dir(checkpoint.dir.path()),
                &LoadOptions::default(),
                &mut unwatched,
            );
            let path = checkpoint.weights().display().to_string();
            says(loaded.err(), &[words, &[path.as_str()]].concat());
        },
        whole.len().to_string(),
    );

    lies(&whole[..whole.len() / 2], &[&(whole.len() / 2).to_string(), &len, "download it again"]);
    lies(&whole[..whole.len() - 1], &[&(whole.len() - 1).to_string(), &len, "download it again"]);
    lies(&whole[..100], &["holds 100 bytes", "download it again"]);
    lies(&[&whole[..], &[0; 3]].concat(), &[&(whole.len() + 3).to_string(), &len, "download it again"]);
    lies(b"", &["holds 0 bytes", "is it a .safetensors file?"]);
    lies(b"PK\x03\x04 a zip, as torch.save writes it", &["is it a .safetensors file?", "download it again"]);
    lies(b"<!DOCTYPE html><html>not found</html>", &["is a page of HTML", "download it again"]);
    lies(
        &[&16_u64.to_le_bytes()[..], b"{\"a\": no json!!}"].concat(),
        &["header", "is it a .safetensors file?"],
    );

    // The second tensor of the file, four bytes early.
    let text = |bytes: &[u8]| {
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        (String::from_utf8(bytes[8..end].to_vec()).unwrap(), end)
    };
    let (header, end) = text(&whole);
    let mut entries: serde_json::Map<String, Value> = serde_json::from_str(&header).unwrap();
    let (name, second) = entries
        .iter_mut()
        .min_by_key(|(_, e)| match e["data_offsets"][0].as_u64().unwrap() {
            0 => u64::MAX,
            start => start,
        })
        .unwrap();
    let name = name.clone();
    let [start, stop] = [0, 1].map(|i| second["data_offsets"][i].as_u64().unwrap());
    second["data_offsets"] = json!([start - 4, stop - 4]);
    let header = Value::Object(entries).to_string();
    let overlapping = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[end..]].concat();
    let expected = format!("expected it to start at {start}");
    lies(&overlapping, &[&name, &(start - 4).to_string(), &expected, "download it again"]);
}

#[test]
fn files_that_are_not_there_are_named() {
    let checkpoint = Checkpoint::tiny();
    let load =
        || Model::load_on(gpu(), Source::Dir(checkpoint.dir.path()), &LoadOptions::default(), &mut unwatched);
    says(load().err(), &["config.json"]);
    checkpoint.write();
    std::fs::remove_file(checkpoint.weights()).unwrap();
    says(load().err(), &["holds no .safetensors or .bin file", &checkpoint.dir.path().display().to_string()]);
    std::fs::write(checkpoint.dir.path().join("config.json"), "{ \"vocab_size\": }").unwrap();
    says(load().err(), &["config.json", "line 1"]);
    // Without a tokenizer only prepared ids can be run.
    let model = Checkpoint::tiny().load_as(&LoadOptions::default()).unwrap();
    let mut session = model.session().unwrap();
    says(session.ask("Hello!", &GenerateOptions::default()).err(), &["tokenizer.model", "copy"]);
}

#[test]
fn a_missing_tensor_is_named() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tensors.retain(|t| t.name != Q_PROJ);
    checkpoint.refused(&[Q_PROJ, "missing", "config.json"]);
}

#[test]
fn a_tensor_with_an_axis_too_many_is_named_with_both_shapes() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tensor(Q_PROJ).shape = vec![1, 64, 64];
    checkpoint.refused(&[Q_PROJ, "[hidden_size, hidden_size] = [64, 64]", "[1, 64, 64]"]);
}

#[test]
fn a_tensor_of_integers_is_named_with_its_dtype() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tensor(Q_PROJ).dtype = "I32".into();
    checkpoint.refused(&[Q_PROJ, "I32", "F32", "BF16"]);
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused_with_both_numbers() {
    for (key, value, words) in [
        ("vocab_size", 321, ["model.embed_tokens.weight", "[321, 64]", "[320, 64]"]),
        ("intermediate_size", 192, ["model.layers.0.mlp.", "192", "176"]),
        ("num_hidden_layers", 4, ["model.layers.3.", "missing", "config.json"]),
        ("num_key_value_heads", 2, ["k_proj.multiway.0.weight", "[32, 64]", "[64, 64]"]),
    ] {
        let mut checkpoint = Checkpoint::tiny();
        checkpoint.config[key] = json!(value);
        checkpoint.refused(&words);
    }
}

#[test]
fn a_config_that_contradicts_itself_is_refused_with_both_numbers() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["num_attention_heads"] = json!(5);
    checkpoint.refused(&["config.json", "64", "5"]);
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["visual_config"]["visual_model"]["patch_size"] = json!(15);
    checkpoint.refused(&["config.json", "56", "15"]);
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["visual_config"]["visual_abstractor"]["grid_size"] = json!(5);
    checkpoint.refused(&["config.json", "5"]);
}

/// Weights that match such a config are not even looked at.
#[test]
fn sizes_that_no_kernel_takes_are_refused_before_anything_is_computed() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["visual_config"]["visual_abstractor"]["num_learnable_queries"] = json!(65_536);
    checkpoint.refused(&["config.json", "num_learnable_queries is 65536", "65535"]);
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["vocab_size"] = json!(1 << 24);
    checkpoint.refused(&["config.json", "vocab_size is 16777216", "8379136"]);
}

#[test]
fn layers_beyond_the_config_and_end_tokens_beyond_the_vocabulary_are_refused() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["num_hidden_layers"] = json!(1);
    checkpoint.refused(&["model.layers.2.* is in the file", "num_hidden_layers is 1"]);
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["eos_token_id"] = json!([2, 320]);
    checkpoint.refused(&["config.json", "eos_token_id 320", "vocab_size 320"]);
    let generation = Checkpoint::tiny();
    std::fs::write(generation.dir.path().join("generation_config.json"), r#"{"eos_token_id": 4000}"#)
        .unwrap();
    generation.refused(&["generation_config.json", "eos_token_id 4000", "vocab_size 320"]);
}

#[test]
fn what_is_passed_over_is_said_in_notes() {
    let mut checkpoint = Checkpoint::tiny();
    assert_eq!(checkpoint.load_as(&LoadOptions::default()).unwrap().notes(), [""; 0]);
    checkpoint.config["my_key"] = json!(1);
    std::fs::write(checkpoint.dir.path().join("generation_config.json"), r#"{"temperature": 0.5}"#).unwrap();
    let trained = checkpoint.config["max_position_embeddings"].as_u64().unwrap() as u32;
    let model =
        checkpoint.load_as(&LoadOptions { ctx: Some(trained + 1), ..LoadOptions::default() }).unwrap();
    let [unknown, sampling, beyond] = model.notes() else { panic!("{:?}", model.notes()) };
    assert!(unknown.starts_with("config.json: ") && unknown.ends_with(": my_key"), "{unknown}");
    assert!(
        sampling.starts_with("generation_config.json: ") && sampling.contains("temperature 0.5"),
        "{sampling}"
    );
    assert!(beyond.contains(&trained.to_string()), "{beyond}");
}

/// Files of transformers 5 say the base of the rotations elsewhere.
#[test]
fn rope_parameters_compute_what_rope_theta_does() {
    let logits = |change: fn(&mut Value)| {
        let mut checkpoint = Checkpoint::tiny();
        change(&mut checkpoint.config);
        let model = checkpoint.load_as(&LoadOptions::default()).unwrap();
        model.session().unwrap().inspect().greedy(&prompt_ids([1, 5, 9, 30, 7]), 1).unwrap().remove(0)
    };
    let old = logits(|config| config["rope_theta"] = json!(1e6));
    let new = logits(|config| {
        config.as_object_mut().unwrap().remove("rope_theta");
        config["rope_parameters"] = json!({ "rope_theta": 1e6, "rope_type": "default" });
    });
    assert_eq!(old, new);
    assert_ne!(old, logits(|_| ()));
}

#[test]
fn nan_weights_are_refused_at_load_with_the_first_tensor_that_shows_one() {
    let embed = "model.embed_tokens.weight";
    let norm = "model.layers.0.input_layernorm.multiway.1.weight";
    let image = "model.vision_model.encoder.layers.0.input_layernorm.bias";
    for dtype in [Dtype::Auto, Dtype::Bf16, Dtype::Int8 { group: None }, Dtype::Int8 { group: Some(32) }] {
        for (name, element, value) in [
            (Q_PROJ, 70, f32::NAN),
            (embed, 64 * 300 + 3, f32::NAN),
            (norm, 5, f32::INFINITY),
            (image, 2, f32::NAN),
        ] {
            let mut checkpoint = Checkpoint::tiny();
            checkpoint.tensor(name).set(element, value);
            let words = [name, &format!("element {element} is {value}"), "download or save it again"];
            says(checkpoint.load_as(&LoadOptions { dtype, ..LoadOptions::default() }).err(), &words);
        }
    }

    // Of several the first that is read, of it the first element.
    let mut checkpoint = Checkpoint::tiny();
    for element in [4000, 2000, 1999, 3000] {
        checkpoint.tensor(Q_PROJ).set(element, f32::NAN);
        checkpoint.tensor("model.layers.2.mlp.down_proj.weight").set(element, f32::NAN);
    }
    for _ in 0..5 {
        checkpoint.refused(&[Q_PROJ, "element 1999 is NaN"]);
    }
    checkpoint.tensor(image).set(0, f32::NAN);
    checkpoint.refused(&[image, "element 0 is NaN"]);
}

/// Weights that are finite each and overflow together.
#[test]
fn a_nan_that_arises_at_run_time_ends_the_answer_with_an_error() {
    let nano = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/nano");
    let mut checkpoint = Checkpoint::of(&nano.join("config.json"), &nano.join("model.safetensors"));
    let norm = checkpoint.tensor("model.norm.weight");
    assert_eq!(norm.dtype, "BF16");
    // The largest of its kind, with changing sign.
    for (i, bf16) in norm.bytes.chunks_exact_mut(2).enumerate() {
        bf16.copy_from_slice(&[0x7f, if i % 2 == 0 { 0x7f } else { 0xff }]);
    }
    std::fs::copy(nano.join("tokenizer.model"), checkpoint.dir.path().join("tokenizer.model")).unwrap();
    let model = checkpoint.load_as(&LoadOptions { ctx: Some(64), ..LoadOptions::default() }).unwrap();
    let mut session = model.session().unwrap();
    let full = SamplingParams { repetition_penalty: 1.5, ..SamplingParams::default() };
    let hot = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    for sampling in [SamplingParams::default(), full, hot] {
        let options = GenerateOptions { sampling, ..GenerateOptions::default() };
        let mut answer = session.ask("Hello!", &options).unwrap();
        says(answer.next().expect("an error").err(), &["logits", "weights may be damaged"]);
        assert!(answer.next().is_none(), "nothing follows the error");
    }
}

#[test]
fn options_out_of_range_are_refused_with_their_range() {
    let checkpoint = Checkpoint::tiny();
    let with = |change: &dyn Fn(&mut LoadOptions), words: &[&str]| {
        let mut options = LoadOptions::default();
        change(&mut options);
        says(checkpoint.load_as(&options).err(), words);
    };
    with(&|o| o.dtype = Dtype::Int8 { group: Some(48) }, &["group is 48", "32, 64 or 128"]);
    with(&|o| o.dtype = Dtype::Int8 { group: Some(0) }, &["group is 0", "32, 64 or 128"]);
    with(&|o| o.ctx = Some(0), &["ctx is 0", "1 to 1048576"]);
    with(&|o| o.ctx = Some(1 << 21), &["ctx is 2097152", "1 to 1048576"]);
    with(&|o| o.chunk = 0, &["chunk is 0", "2 to 4096"]);
    with(&|o| o.chunk = 1, &["chunk is 1", "2 to 4096"]);
    let words = ["activations of int8", "these are bf16", "int8 weights"];
    with(&|o| (o.activations, o.dtype) = (Activations::Int8, Dtype::Bf16), &words);
}

/// A family that the device cannot run is refused with what it lacks and what to take instead.
#[test]
fn a_family_that_the_device_lacks_is_refused_by_name() {
    let with = |family: &str, no_subgroups| {
        let options = GpuOptions { family: Some(family.into()), no_subgroups, ..GpuOptions::from_env() };
        Gpu::with(&options).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let message = with("coop", true);
    assert!(message.contains("cooperative matrices") && message.contains("take tiled or plain"), "{message}");
    let message = with("subgroup", true);
    assert!(message.contains("subgroups of one known size") && message.contains("subgroup"), "{message}");
    assert!(with("tiles", false).contains("\"tiles\""));
}

#[test]
fn a_tensor_above_the_devices_binding_limit_is_named_with_both_sizes() {
    let options = GpuOptions { max_binding_bytes: Some(30_000), ..GpuOptions::from_env() };
    let small = Gpu::with(&options).unwrap();
    let checkpoint = Checkpoint::tiny();
    checkpoint.write();
    let load_kv = |gpu: &Gpu, ctx, kv| {
        let options =
            LoadOptions { ctx: Some(ctx), chunk: 16, dtype: Dtype::F32, kv, ..LoadOptions::default() };
        Model::load_on(gpu, Source::Dir(checkpoint.dir.path()), &options, &mut unwatched)
    };
    let load = |gpu: &Gpu, ctx| load_kv(gpu, ctx, KvDtype::F32);
    says(load(&small, 100).err(), &["pixels", "37632 bytes", "30000 this device allows"]);

    // All weights fit, the keys of a head do not, which are in blocks of 16; those of 608 positions would. Nor would the
    // rotations with keys of f16.
    let options = GpuOptions { max_binding_bytes: Some(39_000), ..GpuOptions::from_env() };
    let small = Gpu::with(&options).unwrap();
    let words = ["620 positions", "in one binding", "39000", "it fits with ctx 608 or another adapter"];
    says(load(&small, 620).err(), &[&words[..], &["decoder.0.k_cache[0]", "39936 bytes"]].concat());
    says(load_kv(&small, 620, KvDtype::F16).err(), &[&words[..], &["rope", "39680 bytes"]].concat());
    for kv in [KvDtype::F32, KvDtype::F16] {
        load_kv(&small, 608, kv).unwrap().session().unwrap();
    }
}

#[test]
fn a_context_that_attention_would_not_finish_is_refused_before_anything_is_read() {
    let load = |ctx| {
        let options = LoadOptions { ctx: Some(ctx), ..LoadOptions::default() };
        Model::load_on(gpu(), Source::Nano, &options, &mut unwatched)
    };
    let error = load(1 << 20).unwrap_err().to_string();
    says(Some(&error), &["1048576 positions", "drop what exceeds 32767", "it fits with ctx "]);
    let most = error.rsplit(' ').next().unwrap().parse().unwrap();
    // What it names is accepted, unless its cache is too large for a binding.
    let next = load(most).err().map(|e| e.to_string());
    assert!(next.as_ref().is_none_or(|e| e.contains("in one binding")), "{next:?}");
}

#[test]
fn a_chunk_that_fits_no_binding_is_refused_with_one_that_does() {
    let options = GpuOptions { max_binding_bytes: Some(300_000), ..GpuOptions::from_env() };
    let small = Gpu::with(&options).unwrap();
    let load = |chunk| {
        let options = LoadOptions { ctx: Some(2000), chunk, kv: KvDtype::F16, ..LoadOptions::default() };
        let checkpoint = Checkpoint::tiny();
        checkpoint.write();
        Model::load_on(&small, Source::Dir(checkpoint.dir.path()), &options, &mut unwatched)
    };
    says(load(2000).err(), &["chunk of 2000 rows", "300000", "take chunks of "]);
    load(64).unwrap();
}

#[test]
fn an_adapter_that_is_not_there_is_refused_with_those_that_are() {
    let options = GpuOptions { adapter: Some("nonsense 9000".into()), ..GpuOptions::default() };
    let ours = gpu().info().name.as_str();
    says(Gpu::with(&options).err(), &["\"nonsense 9000\"", ours, "STRIX_ADAPTER", "GpuOptions::adapter"]);
}

/// Starts this test once more in processes of its own: the environment is what is wrong.
#[test]
fn environments_without_an_adapter_say_what_to_do() {
    if let Ok(words) = std::env::var("STRIX_TEST_CHILD") {
        says(Gpu::new().err(), &words.split('|').collect::<Vec<_>>());
        return;
    }
    // A backend that this system has not.
    let foreign = if cfg!(target_os = "macos") { "dx12" } else { "metal" };
    let ours = gpu().info().name.as_str();
    for (variable, value, words) in [
        ("STRIX_ADAPTER", "nonsense", format!("named \"nonsense\"|{ours}|name one of these")),
        ("WGPU_BACKEND", foreign, "no GPU adapter|this machine shows none|install".to_owned()),
    ] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["environments_without_an_adapter_say_what_to_do", "--exact"])
            .env_remove("STRIX_ADAPTER")
            .env(variable, value)
            .env("STRIX_TEST_CHILD", words)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{variable}={value}: {said}");
    }
}

#[test]
fn pictures_of_no_use_are_refused_by_a_session_that_goes_on() {
    let model = nano::load(gpu(), 128, 32);
    let mut session = model.session().unwrap();
    let sample = nano::sample("caption");
    let (ids, _) = sample.run(&mut session, &GenerateOptions::default());
    // More pictures than the context has positions for.
    for _ in 0..8 {
        sample.add_pictures(&mut session);
    }
    let error = session.ask("Which?", &GenerateOptions::default()).err();
    says(error, &["pictures of 17", "context holds 128", "use fewer pictures"]);
    assert_eq!(sample.run(&mut session, &GenerateOptions::default()).0, ids);
}

/// A program need not take a message apart.
#[test]
fn the_numbers_of_an_error_are_its_fields() {
    let model = nano::load(gpu(), 64, 32);
    let mut session = model.session().unwrap();
    let mut error = |prompt: &str, change: &dyn Fn(&mut GenerateOptions)| {
        let mut options = GenerateOptions::default();
        change(&mut options);
        session.complete(prompt, &options).err().unwrap_or_else(|| panic!("{prompt:?} was not refused"))
    };
    let mismatch = error("<|image|>What? <|image|>", &|_| ());
    assert!(matches!(mismatch, Error::PictureMismatch { places: 2, pictures: 0 }), "{mismatch:?}");
    let token = error("What?", &|o| o.sampling.logit_bias = vec![(1024, 1.0)]);
    assert!(matches!(token, Error::UnknownToken { token: 1024, vocab: 1024 }), "{token:?}");
    let stop = error("What?", &|o| o.stop = vec!["a".into(), String::new()]);
    assert!(matches!(stop, Error::StopText { index: 1, count: 2 }), "{stop:?}");
    match error("What?", &|o| o.sampling.top_p = 2.0) {
        Error::OutOfRange { name: "top_p", value, range } => {
            assert_eq!((&*value, &*range), ("2", "more than 0 and at most 1"));
        }
        other => panic!("{other:?}"),
    }
    let sample = nano::sample("caption");
    sample.add_pictures(&mut session);
    match session.ask("What? ".repeat(40), &GenerateOptions::default()).err() {
        Some(Error::PromptTooLong(length)) => {
            assert_eq!((length.pictures, length.picture_positions, length.limit), (1, 17, 64));
            assert!(length.positions > 64, "{length:?}");
        }
        other => panic!("{:?}", other.map(|e| e.to_string())),
    }
    session.inspect().fill(64).unwrap();
    let full = session.inspect().step(7).unwrap_err();
    assert!(matches!(full, Error::ContextFull { needed: 65, limit: 64 }), "{full:?}");
}

/// A load that nobody wants any more ends at the tensor it is at, and frees what it took.
#[test]
fn progress_that_breaks_ends_a_load() {
    let mut seen = vec![];
    let loaded = Model::load_on(gpu(), Source::Nano, &LoadOptions::default(), &mut |progress| {
        assert!(progress.done_bytes <= progress.total_bytes, "{progress:?}");
        seen.push(progress.what.clone());
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(loaded, Err(Error::Interrupted)), "{loaded:?}");
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// What an error says would do does.
#[test]
fn remedies_of_a_context_that_is_too_long_are_typed() {
    let load = |options: &LoadOptions| Model::load_on(gpu(), Source::Nano, options, &mut unwatched);
    let options = LoadOptions { ctx: Some(1 << 20), ..LoadOptions::default() };
    let error = load(&options).unwrap_err();
    let ctx = error.remedies().into_iter().find_map(|r| if let Remedy::Ctx(n) = r { Some(n) } else { None });
    assert!(matches!(error, Error::ContextTooLong { ctx: 1_048_576, longest, .. } if Some(longest) == ctx));

    let options = LoadOptions { ctx: Some(64), device_memory: Some(1 << 20), ..LoadOptions::default() };
    match load(&options).unwrap_err() {
        error @ Error::DeviceMemory(short) => {
            assert_eq!((short.budget_bytes, short.is_limited), (1 << 20, true));
            assert_eq!(error.remedies(), [Remedy::DeviceMemory(short.needed_bytes)]);
            load(&LoadOptions { device_memory: Some(short.needed_bytes), ..options }).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// Within a page, what is cut off reads as zeros: a model of them would be silently wrong.
#[test]
fn a_file_that_is_cut_while_it_is_loaded_is_an_error() {
    let checkpoint = Checkpoint::tiny();
    checkpoint.write();
    let path = checkpoint.weights();
    let len = std::fs::metadata(&path).unwrap().len();
    assert!(len % 4096 > 4, "{len} bytes");
    let mut cut = false;
    let result =
        Model::load_on(gpu(), Source::Dir(checkpoint.dir.path()), &LoadOptions::default(), &mut |_| {
            if !std::mem::replace(&mut cut, true) {
                std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 4).unwrap();
            }
            ControlFlow::Continue(())
        });
    let error = result.unwrap_err().to_string();
    let words = format!("model.safetensors: went from {len} to {} bytes while it was being read", len - 4);
    assert!(cut && error.contains(&words), "{error}");
}
