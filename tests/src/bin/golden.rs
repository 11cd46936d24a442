//! `cargo xtask golden [ROOT] [--dtype D] [--group N]`: the engine against the original implementation's
//! recorded tensors, preprocessing, tokens and prompts. Fails where a figure falls short.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use sha2::{Digest as _, Sha256};
use strix_engine::Gpu;
use strix_model::config::PreprocessorConfig;
use strix_model::image::{self, Exif, Preprocess, RgbImage};
use strix_model::prompt::{Conversation, count_images};
use strix_model::tokenizer::Tokenizer;
use strix_model::{Dtype, LoadOptions, Weights};
use strix_tests::golden::{self, Run, SETS, Set, distance, read_json};

/// Largest error of an intermediate tensor, relative to the tensor's largest value.
const POINT_BOUND: f32 = 1e-3;
/// Largest absolute error of a logit.
const LOGIT_BOUND: f32 = 1e-3;
/// How much worse than the yardstick's row a rounded model may be.
const YARDSTICK_FACTOR: f64 = 1.3;
/// Recorded greedy steps.
const STEPS: usize = 16;

#[derive(Parser)]
#[command(about = "The engine against the original implementation's recorded tensors")]
struct Args {
    /// Folder laid out like tests/golden.
    root: Option<PathBuf>,
    /// Rounds the weights and measures the error against the yardstick instead.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Kind,
    /// Columns that share an int8 scale: 32, 64 or 128.
    #[arg(long)]
    group: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    F32,
    Bf16,
    Int8,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let root = args.root.clone().unwrap_or_else(golden::root);
    let gpu = Gpu::new()?;
    println!("adapter: {}", gpu.name());
    match args.dtype {
        Kind::F32 => {
            let sets = all(SETS.map(|set| check_set(&gpu, &root.join(set))))?;
            let rest =
                all([check_preprocessing(&root.join("preproc")), check_tokenizer(&root.join("tokenizer"))])?;
            println!("{}", if sets && rest { "all within bounds" } else { "FELL SHORT" });
            Ok(sets && rest)
        }
        Kind::Bf16 => yardstick(&gpu, &root, Dtype::Bf16, "bf16 weights only"),
        Kind::Int8 => {
            let dtype = Dtype::Int8 { group: args.group };
            let row = match args.group {
                None => "int8 channel, decoder + lm_head".to_owned(),
                Some(group) => format!("int8 group {group}, decoder + lm_head"),
            };
            yardstick(&gpu, &root, dtype, &row)
        }
    }
}

fn all<const N: usize>(checks: [Result<bool>; N]) -> Result<bool> {
    checks.into_iter().try_fold(true, |all, check| Ok(all & check?))
}

/// Every point of every run of a checkpoint; prints the worst error of each point over the runs.
fn check_set(gpu: &Gpu, dir: &Path) -> Result<bool> {
    let set = Set::load(gpu, dir, &LoadOptions { dtype: Dtype::F32, chunk: 32, ..LoadOptions::default() })?;
    let mut worst: BTreeMap<String, (f32, f32, String)> = BTreeMap::new();
    let mut note = |point: &str, error: f32, bound: f32, case: &str| {
        let entry = worst.entry(point.to_owned()).or_insert((0.0, bound, case.to_owned()));
        if error >= entry.0 {
            *entry = (error, bound, case.to_owned());
        }
    };
    let mut ids_equal = 0;
    for case in &set.cases {
        let run = Run::of(&set, case)?;
        for (name, recorded) in &set.tensors {
            let Some(point) = name.strip_prefix(&format!("{case}/")) else { continue };
            let Some(ours) = run.point(point)? else { continue };
            let d = distance(&ours, &recorded.values).with_context(|| format!("{}: {name}", set.name))?;
            if point == "logits" {
                note(point, d.absolute, LOGIT_BOUND, case);
            } else {
                note(point, d.relative, POINT_BOUND, case);
            }
        }
        let mut session = set.model.session()?;
        for pixels in set.pixels(case) {
            session.add_embeds(set.model.encode(pixels)?.into());
        }
        let steps = session.greedy(&set.ids(case)?, STEPS)?;
        let want = set.recorded(case, "greedy_logits")?;
        note("greedy_logits", distance(&steps.concat(), &want.values)?.absolute, LOGIT_BOUND, case);
        let ids: Vec<f32> = steps.iter().map(|logits| best(logits) as f32).collect();
        ids_equal += usize::from(ids == set.recorded(case, "greedy_ids")?.values);
    }
    println!("\n{} ({} runs)", set.name, set.cases.len());
    let mut good = true;
    for (point, (error, bound, case)) in &worst {
        let ok = error <= bound;
        good &= ok;
        println!(
            "  {point:<36} {error:9.2e}  of {bound:.0e}  in {case}{}",
            if ok { "" } else { "  TOO FAR" }
        );
    }
    println!("  {:<36} {ids_equal} of {}", format!("{STEPS} greedy ids identical"), set.cases.len());
    Ok(good && ids_equal == set.cases.len())
}

/// The first of the largest.
fn best(logits: &[f32]) -> usize {
    logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i)
}

/// Rounded weights against the error the same rounding costs the original.
fn yardstick(gpu: &Gpu, root: &Path, dtype: Dtype, row: &str) -> Result<bool> {
    let text = include_str!("../../spec/QUANTISATION.md");
    let line = text.lines().find(|l| l.starts_with(&format!("| {row} |")));
    let cells: Option<Vec<&str>> = line.map(|l| l.split('|').skip(2).map(str::trim).collect());
    println!(
        "{dtype} against \"{row}\": max logit error / rms / mean KL / top-1 agreement; at most {YARDSTICK_FACTOR} times"
    );
    let mut good = true;
    for (i, name) in ["tiny", "medium", "gqa"].into_iter().enumerate() {
        let options = LoadOptions { dtype, chunk: 32, ..LoadOptions::default() };
        let set = Set::load(gpu, &root.join(name), &options)?;
        let error = rounding_error(&set)?;
        print!("  {name:<8} {:.3} / {:.4} / {:.2e} / {:.1}%", error[0], error[1], error[2], 100.0 - error[3]);
        match &cells {
            Some(cells) => {
                let cell = cells[i];
                let numbers: Vec<f64> =
                    cell.trim_end_matches('%').split('/').map(str::parse).collect::<Result<_, _>>()?;
                let want = [numbers[0], numbers[1], numbers[2], 100.0 - numbers[3]];
                let ratio = error.iter().zip(want).map(|(e, w)| e / w).fold(0.0, f64::max);
                let ok = ratio <= YARDSTICK_FACTOR;
                good &= ok;
                println!("   asked {cell}: worst ratio {ratio:.2}{}", if ok { "" } else { "  TOO FAR" });
            }
            None => println!("   (the yardstick has no such row)"),
        }
    }
    Ok(good)
}

/// Largest logit error, rms, mean KL and percent of differing arg-maxima over all positions of all runs.
fn rounding_error(set: &Set) -> Result<[f64; 4]> {
    let vocab = set.model.config().text.vocab_size;
    let (mut max, mut squares, mut kl, mut differ, mut rows) = (0.0_f64, 0.0, 0.0, 0, 0);
    for case in &set.cases {
        let ours = Run::of(set, case)?.point("logits")?.context("logits")?;
        let want = &set.recorded(case, "logits")?.values;
        ensure!(ours.len() == want.len(), "{case}: logits");
        for (ours, want) in ours.chunks_exact(vocab).zip(want.chunks_exact(vocab)) {
            for (a, b) in ours.iter().zip(want) {
                let d = f64::from(a - b);
                max = max.max(d.abs());
                squares += d * d;
            }
            let (p, q) = (log_softmax(want), log_softmax(ours));
            kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            differ += usize::from(best(ours) != best(want));
            rows += 1;
        }
    }
    Ok([max, (squares / (rows * vocab) as f64).sqrt(), kl / rows as f64, 100.0 * differ as f64 / rows as f64])
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    let sum: f64 = logits.iter().map(|&v| (f64::from(v) - max).exp()).sum();
    logits.iter().map(|&v| f64::from(v) - max - sum.ln()).collect()
}

/// Every picture in every way it was recorded, bit for bit.
fn check_preprocessing(dir: &Path) -> Result<bool> {
    let manifest = read_json(&dir.join("manifest.json"))?;
    let tensors = Weights::open(&dir.join("preproc.safetensors"))?;
    let (mut checked, mut wrong) = (0, vec![]);
    for (stem, entry) in manifest["images"].as_object().context("manifest.json: images")? {
        let file = entry["file"].as_str().context("file")?;
        // JPEG decoders differ by a level or two; what Pillow decoded is recorded beside it.
        let decoded = dir.join(format!("images/{stem}.decoded.png"));
        let path = if decoded.exists() { decoded } else { dir.join("images").join(file) };
        let picture = image::open(&path, Exif::Ignore)?;
        // The original takes an image of 3 pixels' height for one of 3 channels; we do not.
        if picture.width().max(picture.height()) == 3 {
            continue;
        }
        for (key, info) in entry.as_object().context("an entry")? {
            let Some(at) = key.find(|c: char| c.is_ascii_digit()) else { continue };
            let (mode, Ok(size)) = (&key[..at], key[at..].parse::<usize>()) else { continue };
            let mode = match mode {
                "resize" => Preprocess::Resize,
                "pad" => Preprocess::Pad,
                "crop" => Preprocess::Crop,
                _ => continue,
            };
            if info.get("reference_error").is_some() {
                continue;
            }
            let config = PreprocessorConfig::new(size);
            let ours = image::resize(&picture, mode, &config)?;
            checked += 1;
            if !same_picture(dir, &tensors, stem, key, info, &ours, &config)? {
                wrong.push(format!("{stem} {key}"));
            }
        }
    }
    println!("\npreprocessing: {} of {checked} bit-exact {}", checked - wrong.len(), wrong.join(", "));
    Ok(wrong.is_empty() && checked > 0)
}

fn same_picture(
    dir: &Path,
    tensors: &Weights,
    stem: &str,
    key: &str,
    info: &serde_json::Value,
    ours: &RgbImage,
    config: &PreprocessorConfig,
) -> Result<bool> {
    let pixels = image::normalize(ours, config);
    let mut same = true;
    if let Some(png) = info["u8_png"].as_str() {
        same &= image::open(&dir.join(png), Exif::Ignore)? == *ours;
    }
    if let Some(view) = tensors.get(&format!("{stem}/{key}")) {
        same &= view.to_f32()? == pixels;
    }
    if let Some(hash) = info["f32_le_sha256"].as_str() {
        let bytes: Vec<u8> = pixels.iter().flat_map(|v| v.to_le_bytes()).collect();
        same &= hash == Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    }
    Ok(same)
}

/// Ids of texts, prompts and conversations, and the way back.
fn check_tokenizer(dir: &Path) -> Result<bool> {
    let golden = read_json(&dir.join("tokenizer_golden.json"))?;
    let file = std::fs::read(dir.join("tokenizer.model"))?;
    let [legacy, modern] = [true, false].map(|legacy| Tokenizer::from_sentencepiece(&file, legacy));
    let (legacy, modern) = (legacy?, modern?);
    let list = |name: &str| golden[name].as_array().cloned().unwrap_or_default();
    let ids = |v: &serde_json::Value| -> Vec<i64> {
        v.as_array().map(|a| a.iter().filter_map(serde_json::Value::as_i64).collect()).unwrap_or_default()
    };
    let wide = |ids: Vec<u32>| -> Vec<i64> { ids.into_iter().map(i64::from).collect() };
    let prompt = |t: &Tokenizer, text: &str| -> Vec<i64> {
        t.encode_prompt(text).into_iter().map(i64::from).collect()
    };
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();

    let (mut checked, mut wrong) = (0, vec![]);
    let mut check = |what: String, same: bool| {
        checked += 1;
        if !same {
            wrong.push(what);
        }
    };
    for e in list("encode") {
        let t = text(&e["text"]);
        check(format!("ids of {t:?}"), wide(legacy.encode(&t, true)) == ids(&e["ids"]));
        check(
            format!("ids without bos of {t:?}"),
            wide(legacy.encode(&t, false)) == ids(&e["ids_no_special"]),
        );
        check(
            format!("legacy=false ids of {t:?}"),
            wide(modern.encode(&t, true)) == ids(&e["ids_legacy_false"]),
        );
    }
    for e in list("encode").iter().chain(&list("decode")) {
        let all: Vec<u32> = ids(&e["ids"]).into_iter().map(|id| id as u32).collect();
        check(format!("text of {all:?}"), legacy.decode(&all, false) == text(&e["decoded"]));
        check(
            format!("plain text of {all:?}"),
            legacy.decode(&all, true) == text(&e["decoded_skip_special"]),
        );
    }
    for e in list("image_prompts") {
        let p = text(&e["prompt"]);
        check(format!("prompt {p:?}"), prompt(&legacy, &p) == ids(&e["ids"]));
    }
    for e in list("dialogs") {
        let p = text(&e["prompt"]);
        check(format!("dialog {p:?}"), prompt(&legacy, &p) == ids(&e["ids"]));
        check(format!("legacy=false dialog {p:?}"), prompt(&modern, &p) == ids(&e["ids_legacy_false"]));
        let mut chat = Conversation::default();
        for turn in e["turns"].as_array().context("turns")? {
            match (turn[0].as_str(), turn[1].as_str()) {
                (Some("USER"), Some(t)) => chat.ask(t, count_images(t))?,
                (_, Some(t)) => chat.reply(t)?,
                _ => {}
            }
        }
        // The original's chat writes the end of a reply twice; ours does not.
        check(format!("rendering of {p:?}"), chat.prompt() == p.replace("</s></s>", "</s>"));
    }
    println!("tokenizer and prompts: {} of {checked} identical {}", checked - wrong.len(), wrong.join(", "));
    Ok(wrong.is_empty() && checked > 0)
}
