//! Quantised weights in a config. They are not read.

use serde_json::{Map, Value};

use crate::shown;

/// What is asked for where a quantised checkpoint is found. No other advice is right: the integers are meaningless
/// without scales that only the program knows that wrote them.
pub(crate) const UNQUANTISED: &str = "take the checkpoint it was made from, in f32, f16 or bf16, or have the program \
                                      that quantised it dequantise it and save that; Strix rounds to int8 itself where \
                                      it is asked to";

/// Ways to quantise, by `quantization_config.quant_method`.
const METHODS: [(&str, &str); 28] = [
    ("bitsandbytes_8bit", "bitsandbytes int8"),
    ("bitsandbytes_4bit", "bitsandbytes 4-bit (nf4 or fp4)"),
    ("bitsandbytes", "bitsandbytes"),
    ("gptq", "GPTQ"),
    ("awq", "AWQ"),
    ("awq_marlin", "AWQ (Marlin)"),
    ("gptq_marlin", "GPTQ (Marlin)"),
    ("marlin", "GPTQ (Marlin)"),
    ("fp8", "FP8"),
    ("fbgemm_fp8", "FP8 of FBGEMM"),
    ("compressed-tensors", "compressed-tensors"),
    ("compressed_tensors", "compressed-tensors"),
    ("hqq", "HQQ"),
    ("aqlm", "AQLM"),
    ("eetq", "EETQ int8"),
    ("torchao", "torchao"),
    ("mxfp4", "MXFP4"),
    ("quanto", "quanto"),
    ("quark", "Quark"),
    ("higgs", "HIGGS"),
    ("vptq", "VPTQ"),
    ("spqr", "SpQR"),
    ("bitnet", "BitNet"),
    ("auto-round", "AutoRound"),
    ("modelopt", "ModelOpt"),
    ("exl2", "EXL2"),
    ("exl3", "EXL3"),
    ("mlx", "MLX (or another program that names no method)"),
];

/// Keys under which a config says so, in any of its parts.
const KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

/// Parts of a config, by their paths.
const PARTS: [&[&str]; 6] = [
    &[],
    &["text_config"],
    &["vision_config"],
    &["visual_config"],
    &["visual_config", "visual_model"],
    &["visual_config", "visual_abstractor"],
];

/// The key of a config that tells of quantised weights, and the common name of the method.
pub(crate) fn quantised(config: &Map<String, Value>) -> Option<String> {
    PARTS.iter().find_map(|path| {
        let part = path.iter().try_fold(config, |part, key| part.get(*key)?.as_object())?;
        KEYS.iter().find_map(|key| {
            let method = method(part.get(*key)?, key)?;
            let key = path.iter().chain([key]).copied().collect::<Vec<_>>().join(".");
            Some(format!(
                "its {key} says that the weights are quantised with {method}, which is not read: {UNQUANTISED}. If they \
                 are not, take {key} out of the file"
            ))
        })
    })
}

/// The way to quantise that a section names; `None` if it names none.
fn method(section: &Value, key: &str) -> Option<String> {
    let Value::Object(map) = section else {
        return (!section.is_null()).then(|| "a way it does not name".into());
    };
    if map.is_empty() {
        return None;
    }
    let said = |key: &str| map.get(key).filter(|value| !value.is_null() && **value != Value::Bool(false));
    let named = said("quant_method").or(said("quant_algo")).and_then(Value::as_str);
    let marlin = ["version", "checkpoint_format"].iter().any(|&key| said(key).is_some_and(|v| v == "marlin"))
        || said("is_marlin_format").is_some();
    let name = match named {
        Some("bitsandbytes") | None if said("load_in_8bit").is_some() => "bitsandbytes_8bit",
        Some("bitsandbytes") | None if said("load_in_4bit").is_some() => "bitsandbytes_4bit",
        // transformers writes the section of a model that was loaded with both switched off.
        Some("bitsandbytes") | None
            if map.contains_key("load_in_8bit") && map.contains_key("load_in_4bit") =>
        {
            return None;
        }
        Some("awq") if marlin => "awq_marlin",
        Some("gptq") if marlin => "gptq_marlin",
        Some(name) => name,
        None if map.contains_key("group_size") && map.contains_key("bits") => "mlx",
        None if key == "quantization"
            && map.values().all(|value| value.is_null() || *value == Value::Bool(false)) =>
        {
            return None;
        }
        None => "a way it does not name",
    };
    let called = METHODS.iter().find(|(method, _)| *method == name).map_or(name, |(_, called)| called);
    Some(shown(called).to_string())
}
