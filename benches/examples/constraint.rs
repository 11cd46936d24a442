//! What a JSON schema costs: tokens a second with one and without, in turns, at the shape of the 8.2B model.
//!
//! ```text
//! cargo run --release -p strix-benches --example constraint -- [LAYERS] [TOKENS] [ANSWERS TOGETHER]
//! ```
//!
//! Weights and vocabulary are made up: 32,000 tokens with the kinds and lengths of LLaMA's. What such a model says is
//! noise, and the schema holds it to JSON all the same.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use strix_engine::Gpu;
use strix_model::convert::{Synthesis, preset};
use strix_model::tokenizer::Tokenizer;
use strix_model::weights::FileDtype as Values;
use strix_model::{
    Config, Constraint, Dtype, GenerateOptions, LoadOptions, Model, SamplingParams, Source, Timing, Weights,
    unwatched,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Seconds of a decoded token of the whole model, for which the share of the constraint is told as well.
const STEPS: [(&str, f64); 2] =
    [("10 ms, as a GPU takes", 0.010), ("0.5 s, as a software device takes", 0.5)];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse());
    let mut next = |default| args.next().unwrap_or(Ok(default));
    let (layers, tokens, together) = (next(4)?, next(32)?, next(1)?);

    let start = Instant::now();
    let tokenizer = Arc::new(vocabulary()?);
    let json = preset("8.2b").ok_or("there is no such preset")?;
    let mut synthesis = Synthesis { config: json.into(), dtype: Values::BF16, seed: 0, rounding: None };
    synthesis.set_layers(layers)?;
    let config = Config::from_json(synthesis.config.as_bytes())?;
    let weights = Arc::new(Weights::synthetic(&config, Values::BF16, 0));
    let source = Source::Weights { config: &config, weights: &weights, tokenizer: Some(&tokenizer) };
    let load = LoadOptions {
        dtype: Dtype::Int8 { group: None },
        ctx: Some(512),
        kv_memory: Some(512 * together as u64 * (layers as u64) * 2 * 4096 * 4),
        ..LoadOptions::default()
    };
    let gpu = Gpu::new()?;
    let model = Model::load_on(&gpu, source, &load, &mut unwatched)?;
    println!(
        "{}, 8.2b with {layers} layers, int8: loaded in {:.1} s",
        gpu.name(),
        start.elapsed().as_secs_f64()
    );

    for name in ["the first", "the next"] {
        let start = Instant::now();
        drop(model.session()?.complete("x", &options(Some(schema()), 0, 0))?);
        println!("{name} answer with a constraint: asked in {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let answers = |constraint: Option<Constraint>, seed: u64| -> Result<Vec<Timing>> {
        let begin = |i: usize| {
            let options = options(constraint.clone(), tokens, seed * 100 + i as u64);
            Ok((model.session()?, options))
        };
        let mut begun = vec![];
        for (mut session, options) in (0..together).map(begin).collect::<Result<Vec<_>>>()? {
            begun.push(session.complete("USER: list what is in the picture. ASSISTANT:", &options)?);
        }
        let finish = |answer: strix_model::Generation| Ok(answer.finish()?.timing);
        begun.into_iter().map(finish).collect()
    };
    // One of each warms up.
    let (mut free, mut constrained) = (vec![], vec![]);
    for round in 0..6 {
        let [a, b] = [answers(None, round)?, answers(Some(schema()), round)?];
        if round > 0 {
            free.extend(a);
            constrained.extend(b);
        }
    }
    let [rate, held] =
        [&free, &constrained].map(|of| median(of.iter().filter_map(Timing::tokens_per_second)));
    println!("{together} together, {tokens} tokens each, {} answers of each kind, in turns", free.len());
    println!("  without: {rate:.3} tokens/s, with a schema: {held:.3} tokens/s, {:.3} x", rate / held);
    let tokens = |timing: &Timing| f64::from(timing.decode_tokens + 1);
    let each = |of: fn(&Timing) -> f64| median(constrained.iter().map(|timing| of(timing) / tokens(timing)));
    let mask = each(|timing| timing.constraint.as_secs_f64());
    let wait = each(|timing| timing.constraint_wait.as_secs_f64());
    println!(
        "  a token: {:.0} us for the mask beside the device, {:.0} us that it waits",
        mask * 1e6,
        wait * 1e6
    );
    for (what, step) in STEPS {
        // What does not fit beside the step is waited for.
        let late = (mask - step).max(0.0);
        println!("  of a step of {what}: {:.4} x", (step + wait + late) / step);
    }
    Ok(())
}

fn options(constraint: Option<Constraint>, tokens: usize, seed: u64) -> GenerateOptions {
    let sampling = SamplingParams {
        temperature: 0.7,
        // A free answer goes on for as long as one that has to be JSON.
        min_new_tokens: tokens,
        seed,
        ..SamplingParams::default()
    };
    GenerateOptions { sampling, max_tokens: tokens as u32, constraint, ..GenerateOptions::default() }
}

/// Objects with texts, numbers and choices, as many as there is room for.
fn schema() -> Constraint {
    let item = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 24 },
            "kind": { "enum": ["person", "animal", "vehicle", "building", "plant", "other"] },
            "count": { "type": "integer", "minimum": 0, "maximum": 1000 },
            "confidence": { "type": "number", "minimum": 0, "maximum": 1 },
            "colors": { "type": "array", "items": { "type": "string" }, "maxItems": 4 },
        },
        "required": ["name", "kind", "count", "confidence", "colors"],
        "additionalProperties": false,
    });
    let items = json!({ "type": "array", "items": item, "minItems": 100 });
    let schema = json!({ "type": "object", "properties": { "items": items }, "required": ["items"] });
    Constraint::JsonSchema(schema.to_string())
}

/// A vocabulary like LLaMA's: control tokens, bytes, pieces of words of which about half begin with a space, punctuation
/// in runs, and single characters of other scripts.
fn vocabulary() -> Result<Tokenizer> {
    const LEN: usize = 32_000;
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut known: std::collections::HashSet<String> = pieces.iter().cloned().collect();
    let mut add = |piece: String, pieces: &mut Vec<String>| {
        if pieces.len() < LEN && known.insert(piece.clone()) {
            pieces.push(piece);
        }
    };
    let space = '\u{2581}';
    add(space.into(), &mut pieces);
    for c in ('!'..='~').chain('\u{a1}'..='\u{17f}').chain('α'..='ω').chain('а'..='я').chain('一'..='俿')
    {
        add(c.into(), &mut pieces);
    }
    for c in '!'..='~' {
        add(format!("{space}{c}"), &mut pieces);
    }
    for run in [
        "\":", "\",", "\"}", "{\"", "[\"", "\"]", "()", "();", "},", "],", "//", "==", "...", "\":\"",
        "\",\"",
    ] {
        add(run.into(), &mut pieces);
        add(format!("{space}{run}"), &mut pieces);
    }
    for spaces in 2..=16 {
        add(space.to_string().repeat(spaces), &mut pieces);
    }
    let syllables: Vec<String> =
        ["", "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "st", "t", "tr", "v", "w"]
            .iter()
            .flat_map(|start| {
                ["a", "e", "i", "o", "u", "er", "in", "on", "al", "est"].map(|end| format!("{start}{end}"))
            })
            .collect();
    // A linear congruential generator: the same pieces everywhere.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    while pieces.len() < LEN {
        let word: String = (0..1 + random(4)).map(|_| syllables[random(syllables.len())].as_str()).collect();
        let word = if random(6) == 0 { word[..1].to_uppercase() + &word[1..] } else { word };
        add(if random(2) == 0 { format!("{space}{word}") } else { word }, &mut pieces);
    }
    let vocab: Map<String, Value> = pieces.into_iter().zip((0..).map(Value::from)).collect();
    let prepend = json!({ "type": "Prepend", "prepend": "\u{2581}" });
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
    let file = json!({
        "normalizer": { "type": "Sequence", "normalizers": [prepend, replace] },
        "model": { "type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>", "byte_fallback": true },
    });
    Ok(Tokenizer::from_json(file.to_string().as_bytes(), true)?)
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut of: Vec<f64> = of.collect();
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
