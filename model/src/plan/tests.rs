//! Plans of the published model, and of configs that nobody should be able to make trouble with.

use serde_json::{Value, json};

use strix_engine::Family;

use super::*;
use crate::{Activations, KvDtype};

fn plan_8b(dtype: Dtype) -> PlanReport {
    plan_8b_on(dtype, &Target::default())
}

fn plan_8b_on(dtype: Dtype, target: &Target) -> PlanReport {
    let json = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spec/config_8b.json")).unwrap();
    let options = LoadOptions { dtype, ctx: Some(2048), ..LoadOptions::default() };
    plan(&Config::from_json(&json).unwrap(), &options, target, None, Room::default()).unwrap()
}

#[test]
fn the_8b_model_is_planned_without_weights_or_device() {
    let report = plan_8b(Dtype::Auto);
    assert_eq!(report.kv_cache_bytes, 32 * 2 * 2048 * 4096 * 4);
    let bytes = |name: &str| report.weights.iter().find(|w| w.dtype == name).unwrap().bytes as f64;
    let parameters = 8_197_859_328.0;
    assert!((bytes("f32") / (4.0 * parameters) - 1.0).abs() < 0.01, "f32 {}", bytes("f32"));
    assert!((bytes("bf16") / (2.0 * parameters) - 1.0).abs() < 0.01, "bf16 {}", bytes("bf16"));
    let (_, prefill) = &report.programs[1];
    assert!(prefill.activation_bytes < prefill.unshared_bytes / 10, "{prefill:?}");
}

#[test]
fn a_decode_step_takes_at_most_6_dispatches_a_layer_and_200_a_token_and_one_more_a_layer_on_gpus() {
    let software = Target { is_cpu: true, subgroup: Some(16), family: Family::Subgroup, ..Target::default() };
    // A GPU attends in splits of the keys, which another dispatch joins.
    for (target, join) in [(software, 0), (Target { family: Family::Tiled, ..Target::default() }, 1)] {
        // gate_up_proj of bf16 is above the least binding that devices allow, 128 MiB, and takes two.
        for (dtype, a_layer) in
            [(Dtype::Int8 { group: None }, 5), (Dtype::Int8 { group: Some(32) }, 5), (Dtype::Bf16, 6)]
        {
            let report = plan_8b_on(dtype, &target);
            let (name, decode) = &report.programs[2];
            let found = (name.as_str(), report.decode_dispatches_per_layer);
            assert_eq!(found, ("decode", a_layer + join), "{dtype}");
            println!("{dtype}: {} dispatches a token", decode.dispatches);
            // Its sampling too: nothing else runs.
            assert!(decode.dispatches <= 200 + 32 * join, "{dtype}: {decode:?}");
        }
    }
}

/// WebGPU's least binding, 128 MiB, holds 8,192 positions of all heads in f32, and 262,144 of one.
#[test]
fn a_cache_takes_as_many_bindings_as_the_limit_asks_for_and_attention_a_dispatch_for_each() {
    let software = Target { is_cpu: true, subgroup: Some(16), family: Family::Subgroup, ..Target::default() };
    let json = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/spec/config_8b.json")).unwrap();
    let config = Config::from_json(&json).unwrap();
    let plan = |kv, positions: u64| {
        let element = if kv == KvDtype::F16 { 2 } else { 4 };
        let kv_memory = Some(32 * 2 * positions * 4096 * element);
        let dtype = Dtype::Int8 { group: None };
        let options = LoadOptions { dtype, kv, kv_memory, ctx: Some(2048), ..LoadOptions::default() };
        plan(&config, &options, &software, None, Room::default())
    };
    for (kv, positions, bindings) in [
        // 16 conversations of 200 positions.
        (KvDtype::F32, 16 * 208, 1),
        (KvDtype::F32, 8192, 1),
        (KvDtype::F32, 8208, 2),
        (KvDtype::F16, 16_384, 1),
        (KvDtype::F16, 16_400, 2),
        (KvDtype::F32, 65_536, 8),
        (KvDtype::F32, 262_144, 32),
    ] {
        let report = plan(kv, positions).unwrap();
        assert_eq!(report.kv_cache_positions, positions);
        assert_eq!(report.kv_cache_bindings, bindings, "{kv}, {positions} positions");
        assert_eq!(report.decode_dispatches_per_layer, 4 + bindings, "{kv}, {positions} positions");
    }
    let error = plan(KvDtype::F32, 262_160).unwrap_err().to_string();
    assert!(error.contains("at most 274877906944 bytes") && error.contains("134217728"), "{error}");
}

/// A small config in which sizes follow from each other where they can.
fn small() -> Value {
    json!({
        "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 1,
        "num_attention_heads": 4, "max_position_embeddings": 512,
        "visual_config": {
            "visual_model": {
                "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 1, "num_attention_heads": 4,
                "image_size": 112, "patch_size": 14,
            },
            "visual_abstractor": {
                "hidden_size": 128, "encoder_hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1,
                "num_attention_heads": 4, "num_learnable_queries": 16,
            },
        },
    })
}

const VISION: &str = "/visual_config/visual_model";
const ABSTRACTOR: &str = "/visual_config/visual_abstractor";

/// The small config with a value at each of some places.
fn with(places: &[(&str, &str)], value: &Value) -> Value {
    let mut json = small();
    for (section, key) in places {
        json.pointer_mut(section).unwrap().as_object_mut().unwrap().insert((*key).into(), value.clone());
    }
    json
}

fn planned(json: &Value) -> Result<PlanReport> {
    let config = Config::from_json(json.to_string().as_bytes())?;
    let ctx = Some((config.text.max_position_embeddings as u32).min(1 << 20));
    let options = LoadOptions { ctx, kv: KvDtype::F16, ..LoadOptions::default() };
    let plain = plan(&config, &options, &Target::default(), None, Room::default());
    // The same for a device that allows more, with other kernels.
    let target =
        Target { max_binding_bytes: 1 << 31, subgroup: Some(32), subgroups: true, ..Target::default() };
    let dtype = Dtype::Int8 { group: Some(32) };
    let int8 = LoadOptions { dtype, activations: Activations::Int8, int8_vision: true, ..options };
    if let Err(error) = plan(&config, &int8, &target, None, Room::default()) {
        assert!(!error.to_string().is_empty());
    }
    plain
}

/// Widths that must be equal, and the heads that leave them narrow ones.
const WIDTHS: [(&str, &str); 3] =
    [(VISION, "hidden_size"), (ABSTRACTOR, "hidden_size"), (ABSTRACTOR, "encoder_hidden_size")];
const HEADS: [(&str, &str); 2] = [(VISION, "num_attention_heads"), (ABSTRACTOR, "num_attention_heads")];

/// Keys that are set together, so that what they are checked against does not hide what is behind.
fn places() -> Vec<Vec<(&'static str, &'static str)>> {
    let mut places: Vec<Vec<_>> = [
        ("", "vocab_size"),
        ("", "hidden_size"),
        ("", "intermediate_size"),
        ("", "num_hidden_layers"),
        ("", "num_attention_heads"),
        ("", "num_key_value_heads"),
        ("", "head_dim"),
        ("", "max_position_embeddings"),
        ("", "rms_norm_eps"),
        ("", "rope_theta"),
        ("", "bos_token_id"),
        ("", "eos_token_id"),
        (VISION, "hidden_size"),
        (VISION, "intermediate_size"),
        (VISION, "num_hidden_layers"),
        (VISION, "num_attention_heads"),
        (VISION, "image_size"),
        (VISION, "patch_size"),
        (VISION, "layer_norm_eps"),
        (ABSTRACTOR, "intermediate_size"),
        (ABSTRACTOR, "num_hidden_layers"),
        (ABSTRACTOR, "num_learnable_queries"),
        (ABSTRACTOR, "grid_size"),
    ]
    .map(|place| vec![place])
    .into();
    places.push(vec![("", "hidden_size"), ("", "num_attention_heads")]);
    places.push(vec![(VISION, "image_size"), (VISION, "patch_size")]);
    places.push(WIDTHS.into());
    places.push([&WIDTHS[..], &HEADS].concat());
    places
}

#[test]
fn any_number_in_any_key_is_planned_or_refused() {
    let mut numbers: Vec<u64> = vec![0, 1, 2, 3, 7, 97, 254, 256, 257, 4093, 8192, 65_521, 65_534, 65_535];
    numbers.extend([65_536, 65_537, 1 << 20, 8_379_136, 8_379_137, 1 << 24, i32::MAX as u64, 1 << 32]);
    numbers.extend([1 << 53, u64::MAX]);
    let mut values: Vec<Value> = numbers.into_iter().map(Value::from).collect();
    // Sides of 255 and 256 patches: below and above the width of a grid.
    values.extend([json!(3570), json!(3584), json!(-1), json!(i64::MIN), json!(0.5), json!(1e300)]);
    values.extend([json!("7"), json!(true), json!([1]), json!({}), Value::Null]);
    let (mut plans, mut refusals) = (0, 0);
    for places in places() {
        for value in &values {
            match planned(&with(&places, value)) {
                Ok(_) => plans += 1,
                Err(error) => {
                    refusals += 1;
                    assert!(error.to_string().len() < 1000, "{places:?} {value}: {error}");
                }
            }
        }
    }
    println!("{plans} plans, {refusals} refusals");
    assert!(plans > 100 && refusals > 300, "{plans} plans, {refusals} refusals");
}

#[test]
fn what_grids_and_kernels_do_not_take_is_refused_with_the_numbers() {
    let queries = (ABSTRACTOR, "num_learnable_queries");
    let image = (VISION, "image_size");
    for (places, value, words) in [
        (vec![queries], 65_536, ["num_learnable_queries is 65536", "65535"]),
        (vec![image], 3584, ["image_size 3584", "65537 rows; at most 65535"]),
        (vec![("", "vocab_size")], 1 << 24, ["vocab_size is 16777216", "8379136"]),
        ([&WIDTHS[..], &HEADS].concat(), 1 << 20, ["num_attention_heads is 1048576", "65535"]),
        (vec![image], 3570, ["pixels: 152938800 bytes", "134217728 this device allows"]),
        (vec![(VISION, "num_hidden_layers")], 257, ["num_hidden_layers is 257", "256"]),
    ] {
        let planned = planned(&with(&places, &value.into()));
        let error = planned.map(|_| ()).expect_err(&format!("{places:?} {value}")).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    // Kernels of GPUs loop less often than those of software devices.
    let json = with(&[("", "intermediate_size")], &(1 << 20).into());
    let config = Config::from_json(json.to_string().as_bytes()).unwrap();
    let software = Target { is_cpu: true, max_binding_bytes: 1 << 31, ..Target::default() };
    let options = LoadOptions { ctx: Some(64), ..LoadOptions::default() };
    let error = plan(&config, &options, &software, None, Room::default()).unwrap_err().to_string();
    assert!(error.contains("down_proj would loop") && error.contains("what exceeds 32767"), "{error}");
    // The largest number is planned.
    for (place, value) in [(queries, 60_000), (image, 1792), (("", "vocab_size"), 200_000)] {
        planned(&with(&[place], &value.into())).unwrap();
    }
}

#[test]
fn a_context_beyond_the_trained_length_is_said() {
    let config = Config::from_json(small().to_string().as_bytes()).unwrap();
    let notes = |ctx| {
        let options = LoadOptions { ctx: Some(ctx), ..LoadOptions::default() };
        plan(&config, &options, &Target::default(), None, Room::default()).unwrap().notes
    };
    assert_eq!(notes(512), [""; 0]);
    let [note] = &notes(513)[..] else { panic!("{:?}", notes(513)) };
    assert!(note.contains("513") && note.contains("512 (max_position_embeddings)"), "{note}");
}

#[test]
fn the_projections_of_a_token_read_the_weights_that_the_plan_counts() {
    let target = Target { family: Family::Tiled, max_binding_bytes: 1 << 30, ..Target::default() };
    let options =
        LoadOptions { dtype: Dtype::Int8 { group: None }, ctx: Some(2048), ..LoadOptions::default() };
    let config = Config::from_json(b"{}").unwrap();
    let all = dispatches(&config, &options, &target).unwrap();
    let projections = all.iter().filter(|d| d.phase == Phase::Decode && d.shader.name.starts_with("gemv"));
    let read: u64 = projections.map(|d| d.resident_bytes).sum();
    // The plan counts the table of angles with the head.
    let counted = plan_8b_on(Dtype::Int8 { group: None }, &target).decode_bytes;
    assert!((read as f64 / counted as f64 - 1.0).abs() < 2e-4, "{read} of {counted}");
    let steps = |phase| all.iter().filter(|d| d.phase == phase && d.step == "decoder.31.qkv_proj").count();
    assert_eq!([Phase::Decode, Phase::Prefill, Phase::Encode].map(steps), [1, 1, 0]);
}
