//! Judges a key that no table has by the words of its name: whether it changes what is computed.

use serde_json::Value;

use super::key::Section;

/// Words of keys that choose between equations.
const EQUATIONS: [&str; 57] = [
    "cap",
    "multipliers",
    "rescale",
    "clamp",
    "clip",
    "shuffle",
    "downsample",
    "sinusoidal",
    "absolute",
    "relative",
    "parallel",
    "interleave",
    "qkv",
    "norm",
    "norms",
    "layernorm",
    "rmsnorm",
    "prenorm",
    "postnorm",
    "normalization",
    "normalize",
    "ln",
    "qk",
    "eps",
    "epsilon",
    "bias",
    "act",
    "activation",
    "gated",
    "glu",
    "swiglu",
    "geglu",
    "rope",
    "rotary",
    "alibi",
    "scale",
    "scaling",
    "layerscale",
    "multiplier",
    "softcap",
    "softcapping",
    "window",
    "sliding",
    "attn",
    "attention",
    "causal",
    "position",
    "positional",
    "pos",
    "pool",
    "pooling",
    "expert",
    "experts",
    "moe",
    "residual",
    "quant",
    "quantization",
];

/// Words of keys that choose between ways to choose a token.
const CHOICES: [&str; 10] = [
    "penalty",
    "cutoff",
    "bias",
    "suppress",
    "forced",
    "beam",
    "beams",
    "guidance",
    "constraint",
    "constraints",
];

/// Words of keys that choose what becomes of a picture.
const PICTURES: [&str; 14] = [
    "do",
    "resize",
    "crop",
    "mean",
    "std",
    "norm",
    "normalize",
    "rescale",
    "scale",
    "pad",
    "flip",
    "interpolation",
    "antialias",
    "tiles",
];

/// Words of keys that only training reads, or that choose between ways to the same numbers. One of them tells more than all
/// of the above.
const HARMLESS: [&str; 30] = [
    "dropout",
    "pdrop",
    "drop",
    "lr",
    "learning",
    "init",
    "initializer",
    "freeze",
    "frozen",
    "unfreeze",
    "tune",
    "tuning",
    "train",
    "training",
    "trainable",
    "loss",
    "coef",
    "decay",
    "warmup",
    "jitter",
    "checkpointing",
    "flash",
    "sdpa",
    "xformers",
    "impl",
    "implementation",
    "kernel",
    "kernels",
    "dtype",
    "fp32",
];

/// Words of keys that multiply: one changes nothing.
const FACTORS: [&str; 6] = ["scale", "scaling", "multiplier", "rescale", "penalty", "guidance"];

fn has(name: &str, words: &[&str]) -> bool {
    // Keys such as useBias, ln_2 and norm1 are split too.
    let is_end = |c: char| !c.is_ascii_alphabetic();
    let parts = name.split(is_end).flat_map(|part| {
        let upper = part.char_indices().filter(|(at, c)| *at > 0 && c.is_ascii_uppercase()).map(|(at, _)| at);
        let camel = !part.chars().all(|c| c.is_ascii_uppercase());
        let starts: Vec<usize> =
            std::iter::once(0).chain(upper.filter(|_| camel)).chain([part.len()]).collect();
        starts.windows(2).map(|pair| &part[pair[0]..pair[1]]).collect::<Vec<_>>()
    });
    parts.into_iter().any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Whether a key of that name changes numbers, as far as its words tell.
pub(super) fn change_numbers(section: Section, name: &str) -> bool {
    let words: &[&[&str]] = match section {
        Section::Text => &[&EQUATIONS, &CHOICES],
        Section::Visual | Section::VisionModel | Section::Abstractor | Section::Rope => &[&EQUATIONS],
        Section::Generation => &[&CHOICES],
        Section::Preprocessor => &[&PICTURES],
        // Its words are those of texts: tables know the keys.
        Section::Tokenizer => &[],
    };
    words.iter().any(|words| has(name, words)) && !has(name, &HARMLESS)
}

/// Whether a value says that there is no such step.
pub(super) fn is_harmless(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => {
            let number = number.as_f64();
            number == Some(0.0) && !has(name, &FACTORS) && !has(name, &["eps", "epsilon"])
                || number == Some(1.0) && has(name, &FACTORS)
        }
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("none"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_tell_what_changes_numbers() {
        let text = |name| change_numbers(Section::Text, name);
        for name in [
            "use_qk_layernorm",
            "attn_logit_cap",
            "rotary_pct",
            "embedding_multiplier_2",
            "lm_head_bias",
            "useBias",
            "gate_soft_cap",
            "pixel_shuffle_ratio",
            "gate_soft_cap",
            "pixel_shuffle_ratio",
            "norm1",
            "NORM_AFTER",
            "dry_penalty",
        ] {
            assert!(text(name), "{name}");
        }
        for name in [
            "my_key",
            "mm_projector_lr",
            "attn_pdrop",
            "norm_lr",
            "use_flash_attention",
            "freeze_norm",
            "scaled",
            "n_layers",
        ] {
            assert!(!text(name), "{name}");
        }
        assert!(change_numbers(Section::Preprocessor, "do_thumbnail") && !text("do_thumbnail"));
        assert!(!change_numbers(Section::Tokenizer, "use_bias"));
    }

    #[test]
    fn values_that_switch_off_are_harmless() {
        for (name, value) in [
            ("bias", json!(false)),
            ("window", json!(0)),
            ("norm", json!("None")),
            ("scale", json!(1.0)),
            ("rope", json!({})),
        ] {
            assert!(is_harmless(name, &value), "{name} {value}");
        }
        for (name, value) in [
            ("bias", json!(true)),
            ("window", json!(1)),
            ("norm", json!("rms")),
            ("scale", json!(0)),
            ("rope", json!([1])),
        ] {
            assert!(!is_harmless(name, &value), "{name} {value}");
        }
    }
}
