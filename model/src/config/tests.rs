//! Configs as files have them, whole, partial and wrong.

use serde_json::{Map, Value};

use super::*;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");

fn json_8b() -> Value {
    serde_json::from_slice(&std::fs::read(format!("{TESTS}/spec/config_8b.json")).unwrap()).unwrap()
}

/// The 8.2B config with the value at a JSON pointer replaced, or the key added.
fn with(pointer: &str, value: Value) -> Result<Config> {
    let mut json = json_8b();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
    Config::from_json(json.to_string().as_bytes())
}

#[test]
fn tensors_of_the_8b_config_are_those_of_the_original_checkpoint() {
    let want: Map<String, Value> =
        serde_json::from_slice(&std::fs::read(format!("{TESTS}/spec/tensors_8b.json")).unwrap()).unwrap();
    let config = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
    let got = config.tensors();

    for spec in &got {
        let entry = &want[&spec.name];
        assert_eq!(serde_json::json!(spec.shape), entry[0], "{}", spec.name);
        assert_eq!(spec.required, entry[2] == "param", "{}", spec.name);
        assert_eq!(spec.axes.split(',').count(), spec.shape.len(), "{}: {}", spec.name, spec.axes);
    }
    let names: std::collections::HashSet<_> = got.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names.len(), got.len(), "a name is listed twice");
    assert!(want.keys().filter(|name| !name.ends_with("inv_freq")).all(|name| names.contains(name.as_str())));
    assert_eq!(got.iter().filter(|spec| spec.required).count(), 850);
    assert_eq!(got.len(), 850 + 12);
}

#[test]
fn parameters_of_the_8b_config_are_those_of_the_specification() {
    let config = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
    assert_eq!(config.num_parameters(), 8_197_859_328);
    let counts = config.parameters_by_part().map(|(_, count)| count);
    let want = [
        4_328_521_728,
        1_073_741_824,
        1_074_003_968,
        1_074_003_968,
        131_072_000,
        131_072_000,
        4096,
        303_966_208,
        81_473_536,
    ];
    assert_eq!(counts, want);
}

#[test]
fn an_empty_config_is_the_8b_model_of_the_original_defaults() {
    let empty = Config::from_json(b"{}").unwrap();
    let mut want = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
    (want.text.rms_norm_eps, want.text.max_position_embeddings) = (1e-6, 2048); // LLaMA-2's in the file
    assert_eq!(empty, want);
    assert_eq!(empty.text.kv_dim(), 4096);
    assert_eq!(empty.vision.num_tokens(), 1025);
    assert_eq!(empty.vision.patch_dim(), 588);
    assert_eq!(empty.num_image_tokens(), 65);
}

#[test]
fn nulls_are_absent_values() {
    assert_eq!(with("/num_key_value_heads", Value::Null).unwrap().text.num_key_value_heads, 32);
    assert_eq!(
        with("/visual_config/visual_abstractor/grid_size", Value::Null).unwrap().abstractor.grid_size,
        32
    );
    assert_eq!(with("/visual_config", Value::Null).unwrap().vision.hidden_size, 1024);
    assert_eq!(with("/rope_theta", Value::Null).unwrap().text.rope_theta, 10000.0);
}

#[test]
fn golden_and_nano_configs_are_read_as_written() {
    for dir in ["tiny", "medium", "gqa", "mamoff", "f16", "release"] {
        Config::load(Path::new(&format!("{TESTS}/golden/{dir}/hf"))).unwrap();
    }
    let gqa = Config::load(Path::new(&format!("{TESTS}/golden/gqa/hf"))).unwrap();
    assert_eq!((gqa.text.head_dim(), gqa.text.kv_dim(), gqa.text.heads_per_kv()), (12, 24, 3));
    assert_eq!((gqa.abstractor.grid_size, gqa.num_image_tokens()), (3, 6));

    let nano = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/nano"));
    let config = Config::load(nano).unwrap();
    let preprocessor = PreprocessorConfig::load(nano, &config.vision).unwrap();
    assert_eq!(preprocessor, PreprocessorConfig::new(112));
    assert_eq!(GenerationConfig::load(nano, &config.text).unwrap().eos_token_id, [2]);
}

#[test]
fn contradictions_are_refused_with_both_numbers() {
    let vision = "/visual_config/visual_model";
    let abstractor = "/visual_config/visual_abstractor";
    for (pointer, value, words) in [
        ("/hidden_size".into(), 4100.into(), ["4100", "32"]),
        ("/hidden_size".into(), (32 * 127).into(), ["4064", "127"]),
        ("/hidden_size".into(), (32 * 258).into(), ["258", "256"]),
        ("/num_key_value_heads".into(), 5.into(), ["32", "5"]),
        ("/vocab_size".into(), 0.into(), ["vocab_size", "0"]),
        ("/vocab_size".into(), 1.into(), ["vocab_size 1", "bos_token_id 1"]),
        ("/vocab_size".into(), 2_000_000_000.into(), ["vocab_size is 2000000000", "8379136"]),
        ("/vocab_size".into(), 2_000_000.into(), ["2^32", "2000000, 4096"]),
        ("/intermediate_size".into(), u64::MAX.into(), ["intermediate_size", "1048576"]),
        ("/num_hidden_layers".into(), 2_000_000_000.into(), ["num_hidden_layers", "256"]),
        ("/hidden_act".into(), "gelu".into(), ["hidden_act", "silu"]),
        ("/rms_norm_eps".into(), (-1.0).into(), ["rms_norm_eps", "-1"]),
        ("/rope_theta".into(), 1e300.into(), ["rope_theta", "inf"]),
        ("/rope_scaling".into(), serde_json::json!({"type": "yarn", "factor": 2}), ["rope_scaling", "yarn"]),
        ("/rope_scaling".into(), serde_json::json!({"type": "linear", "factor": 0.5}), ["factor", "0.5"]),
        ("/model_type".into(), "mplug_owl2_1".into(), ["mplug_owl2_1", "another architecture"]),
        ("/model_type".into(), "llava".into(), ["llava", "mplug_owl2"]),
        ("/hidden_size".into(), "wide".into(), ["hidden_size", "wide"]),
        ("/hidden_size".into(), (-1).into(), ["hidden_size", "-1"]),
        ("/visual_config".into(), 3.into(), ["visual_config", "3"]),
        (format!("{vision}/image_size"), 449.into(), ["449", "14"]),
        (format!("{vision}/image_size"), 462.into(), ["32", "33"]),
        (format!("{vision}/patch_size"), 0.into(), ["patch_size", "0"]),
        (format!("{vision}/num_channels"), 4.into(), ["num_channels", "4"]),
        (format!("{vision}/hidden_size"), 2048.into(), ["1024", "2048"]),
        (format!("{vision}/hidden_act"), "silu".into(), ["visual_model.hidden_act", "quick_gelu"]),
        (format!("{vision}/use_cls_token"), false.into(), ["use_cls_token", "true"]),
        (format!("{abstractor}/encoder_hidden_size"), 1408.into(), ["1408", "1024"]),
        (format!("{abstractor}/add_v2t_pos_emb"), true.into(), ["add_v2t_pos_emb", "false"]),
        (format!("{abstractor}/grid_size"), 31.into(), ["31", "32"]),
    ] {
        let error = with(&pointer, value).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{pointer}: {error}");
    }
}

#[test]
fn biases_and_tied_embeddings_change_the_tensors() {
    let plain = with("/attention_bias", false.into()).unwrap();
    let biased = with("/attention_bias", true.into()).unwrap();
    assert_eq!(biased.tensors().len(), plain.tensors().len() + 32 * 6);
    let tied = with("/tie_word_embeddings", true.into()).unwrap();
    assert_eq!(tied.num_parameters() + 131_072_000, plain.num_parameters());
}

#[test]
fn rope_scaling_is_read() {
    let scaling =
        with("/rope_scaling", serde_json::json!({"type": "dynamic", "factor": 4})).unwrap().text.rope_scaling;
    assert_eq!(scaling, Some(RopeScaling::Dynamic { factor: 4.0 }));
}

#[test]
fn rope_parameters_of_transformers_5_are_read() {
    use serde_json::json;
    let read = |json: Value| Config::from_json(json.to_string().as_bytes()).map(|config| config.text);
    let million = read(json!({ "rope_theta": 1e6 })).unwrap();
    for file in [
        json!({ "rope_parameters": { "rope_theta": 1e6, "rope_type": "default" } }),
        json!({ "rope_parameters": { "rope_theta": 1000000 }, "rope_scaling": null, "rope_theta": 1e6 }),
        json!({ "rope_scaling": { "rope_theta": 1e6, "type": "default", "factor": 1.0 } }),
        json!({ "rope_parameters": {}, "rope_scaling": { "type": "linear", "factor": 1 }, "rope_theta": 1e6 }),
    ] {
        assert_eq!(read(file.clone()).unwrap(), million, "{file}");
    }
    let linear = Some(RopeScaling::Linear { factor: 4.0 });
    for file in [
        json!({ "rope_scaling": { "rope_type": "linear", "factor": 4.0 } }),
        json!({ "rope_scaling": { "type": "linear", "rope_type": "linear", "factor": 4 } }),
        json!({ "rope_parameters": { "rope_type": "linear", "factor": 4, "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0, "original_max_position_embeddings": 2048 } }),
    ] {
        assert_eq!(read(file.clone()).unwrap().rope_scaling, linear, "{file}");
    }
    let twice = |a: Value, b: Value| json!({ "rope_scaling": a, "rope_parameters": b });
    for (file, words) in [
        (json!({ "rope_parameters": { "rope_theta": 1e6 }, "rope_theta": 1e4 }), ["10000", "1000000"]),
        (
            json!({ "rope_parameters": { "rope_type": "yarn", "factor": 2 } }),
            ["rope_parameters.rope_type", "yarn"],
        ),
        (
            json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8 } }),
            ["rope_scaling.rope_type", "llama3"],
        ),
        (
            json!({ "rope_scaling": { "type": "linear", "rope_type": "dynamic", "factor": 8 } }),
            ["linear", "dynamic"],
        ),
        (json!({ "rope_scaling": { "rope_type": "linear" } }), ["rope_scaling.factor", "missing"]),
        (json!({ "rope_scaling": { "factor": 2.0 } }), ["rope_scaling.factor is 2", "no scaling"]),
        (
            json!({ "rope_scaling": { "rope_type": "linear", "factor": 2, "beta_fast": 32 } }),
            ["beta_fast", "32"],
        ),
        (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), ["partial_rotary_factor", "0.5"]),
        (
            json!({ "rope_scaling": { "type": "dynamic", "factor": 2, "original_max_position_embeddings": 1024 } }),
            ["1024", "2048"],
        ),
        (
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 1e6 } } }),
            ["rope_parameters.full_attention", "all layers"],
        ),
        (
            twice(json!({ "type": "linear", "factor": 2 }), json!({ "rope_type": "linear", "factor": 4 })),
            ["2.0", "4.0"],
        ),
    ] {
        let error = read(file.clone()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{file}: {error}");
    }
}

#[test]
fn what_changes_numbers_is_refused_with_its_value() {
    use serde_json::json;
    let vision = "/visual_config/visual_model";
    let abstractor = "/visual_config/visual_abstractor";
    for (pointer, value, words) in [
        ("/head_dim".to_owned(), json!(64), ["head_dim is 64", "128"]),
        ("/mlp_bias".into(), json!(true), ["mlp_bias is true", "false"]),
        ("/eos_token_id".into(), json!(32000), ["eos_token_id 32000", "vocab_size 32000"]),
        ("/eos_token_id".into(), json!([2, 40000]), ["eos_token_id 40000", "vocab_size 32000"]),
        ("/eos_token_id".into(), json!([]), ["eos_token_id", "empty"]),
        ("/partial_rotary_factor".into(), json!(0.25), ["partial_rotary_factor", "0.25"]),
        ("/sliding_window".into(), json!(4096), ["sliding_window", "4096"]),
        ("/layer_types".into(), json!(["full_attention", "sliding_attention"]), ["layer_types", "sliding"]),
        ("/num_beams".into(), json!(4), ["num_beams is 4", "1"]),
        (format!("{vision}/head_dim"), json!(32), ["visual_model.head_dim is 32", "64"]),
        (format!("{vision}/model_type"), json!("clip_vision_model"), ["clip_vision_model", "mplug_owl"]),
        (format!("{abstractor}/hidden_act"), json!("gelu"), ["visual_abstractor.hidden_act", "gelu"]),
    ] {
        let error = with(&pointer, value).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{pointer}: {error}");
    }
    // The same said aloud.
    for (pointer, value) in [
        ("/head_dim", json!(128)),
        ("/pretraining_tp", json!(2)),
        ("/layer_types", json!(["full_attention"])),
        ("/visual_config/visual_model/head_dim", json!(64)),
    ] {
        assert_eq!(with(pointer, value).unwrap(), with("/use_cache", json!(false)).unwrap(), "{pointer}");
    }
    let text = Config::from_json(b"{}").unwrap().text;
    for (json, word) in [
        (r#"{"eos_token_id": [2, 32000]}"#, "32000"),
        (r#"{"no_repeat_ngram_size": 3}"#, "no_repeat_ngram_size is 3"),
        (r#"{"suppress_tokens": [5]}"#, "suppress_tokens is [5]"),
    ] {
        let error = GenerationConfig::from_json(json.as_bytes(), &text).unwrap_err().to_string();
        assert!(error.contains(word), "{json}: {error}");
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let text = Config::from_json(b"{}").unwrap();
    for json in [
        r#"{"rope_theta": 1, "rope_theta": 1}"#,
        r#"{"visual_config": {"visual_model": {"patch_size": 14, "patch_size": 14}}}"#,
    ] {
        let error = Config::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("is there twice"), "{error}");
    }
    let twice = br#"{"size": 448, "size": 448}"#;
    assert!(PreprocessorConfig::from_json(twice, &text.vision).unwrap_err().to_string().contains("\"size\""));
    let twice = br#"{"eos_token_id": 2, "eos_token_id": 2}"#;
    assert!(
        GenerationConfig::from_json(twice, &text.text).unwrap_err().to_string().contains("\"eos_token_id\"")
    );
}

#[test]
fn a_byte_order_mark_is_taken_in_every_file() {
    let config = Config::from_json("\u{feff}{}".as_bytes()).unwrap();
    GenerationConfig::from_json("\u{feff}{}".as_bytes(), &config.text).unwrap();
    PreprocessorConfig::from_json("\u{feff}{}".as_bytes(), &config.vision).unwrap();
    if cfg!(feature = "tokenizer-json") {
        let nano = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/nano/tokenizer.json")).unwrap();
        crate::tokenizer::Tokenizer::from_json(&[b"\xef\xbb\xbf", &nano[..]].concat(), true).unwrap();
    }
    assert!(!legacy_of("\u{feff}{\"legacy\": false}".as_bytes()).unwrap());
}

#[test]
fn several_end_tokens_are_read() {
    let text = Config::from_json(b"{}").unwrap().text;
    let read = |json: &[u8]| GenerationConfig::read(json, &text, &mut Notes::default());
    assert_eq!(read(b"{\"eos_token_id\": [2, 7]}").unwrap().eos_token_id, [2, 7]);
    assert_eq!(read(b"{}").unwrap(), GenerationConfig { bos_token_id: 1, eos_token_id: vec![2] });
    let error = read(b"{\"eos_token_id\": \"</s>\"}").unwrap_err();
    assert!(error.contains("eos_token_id"), "{error}");
}

#[test]
fn preprocessor_sizes_are_read_in_every_spelling() {
    let vision = Config::from_json(b"{}").unwrap().vision;
    let read = |json: &str| PreprocessorConfig::read(json.as_bytes(), &vision, &mut Notes::default());
    for json in [
        "{}",
        r#"{"size": 448, "crop_size": 448}"#,
        r#"{"size": {"shortest_edge": 448}, "crop_size": {"height": 448, "width": 448}, "rescale_factor": 0.00392156862745098}"#,
    ] {
        assert_eq!(read(json).unwrap(), PreprocessorConfig::new(448), "{json}");
    }
    for (json, word) in [
        (r#"{"crop_size": 224}"#, "224"),
        (r#"{"size": 224}"#, "224"),
        (r#"{"crop_size": {"height": 448, "width": 224}}"#, "224"),
        (r#"{"do_center_crop": false}"#, "do_center_crop"),
        (r#"{"resample": 2}"#, "resample"),
        (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
        (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean"),
        (r#"{"do_convert_rgb": false}"#, "do_convert_rgb"),
        (r#"{"do_pad": true}"#, "do_pad"),
        (r#"{"rescale_factor": 1}"#, "rescale_factor"),
        (r#"{"size": {"shortest_edge": 448, "longest_edge": 600}}"#, "longest_edge"),
        (r#"{"image_processor_type": "SiglipImageProcessor"}"#, "SiglipImageProcessor"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(word), "{json}: {error}");
    }
}

#[test]
fn bytes_that_are_no_config_are_errors() {
    let json = json_8b().to_string();
    for end in (0..json.len()).step_by(37) {
        assert!(Config::from_json(&json.as_bytes()[..end]).is_err());
    }
    for json in ["[]", "null", "{\"visual_config\": {\"visual_model\": []}}", "\u{feff}"] {
        assert!(Config::from_json(json.as_bytes()).is_err(), "{json}");
    }
    assert!(Config::from_json("\u{feff}{}".as_bytes()).is_ok());
}
