//! The checks of `cargo xtask golden`: the engine against the original implementation's recorded tensors,
//! preprocessing, tokens and prompts. Each result knows whether it is good, and prints its figures.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use strix_engine::Gpu;
use strix_model::config::PreprocessorConfig;
use strix_model::image::{self, Exif, Preprocess, RgbImage};
use strix_model::prompt::{Conversation, Question, count_images};
use strix_model::sampler::best;
use strix_model::tokenizer::{PromptId, Tokenizer};
use strix_model::{Activations, Dtype, Inspect, KvDtype, LoadOptions, Session, Weights};

use crate::golden::{Run, Set, distance, read_json};

/// Largest error of an intermediate tensor, relative to the tensor's largest value.
pub const POINT_BOUND: f32 = 1e-3;
/// Largest absolute error of a logit.
pub const LOGIT_BOUND: f32 = 1e-3;
/// Factor by which a rounded model may be worse than the yardstick's row.
pub const YARDSTICK_FACTOR: f64 = 1.3;
/// Recorded greedy steps.
pub const STEPS: usize = 16;

/// The sets that the yardstick was measured on.
pub const YARDSTICK_SETS: [&str; 3] = ["tiny", "medium", "gqa"];

/// The worst error of a point over the runs of a set.
#[derive(Clone, Debug, Default)]
pub struct Worst {
    /// The error.
    pub error: f32,
    /// What it may be.
    pub bound: f32,
    /// In which run.
    pub case: String,
}

/// How a set compares to the original.
#[derive(Clone, Debug)]
pub struct SetReport {
    /// The set.
    pub name: String,
    /// Its runs.
    pub runs: usize,
    /// The worst error of each point.
    pub points: BTreeMap<String, Worst>,
    /// Runs whose greedy ids are the original's.
    pub ids_equal: usize,
}

impl SetReport {
    /// Whether all is within bounds.
    pub fn good(&self) -> bool {
        self.runs > 0
            && self.points.contains_key("greedy_logits")
            && self.points.values().all(|w| w.error <= w.bound)
            && self.ids_equal == self.runs
    }

    fn note(&mut self, point: &str, error: f32, bound: f32, case: &str) {
        let entry = self.points.entry(point.to_owned()).or_default();
        if error >= entry.error {
            *entry = Worst { error, bound, case: case.to_owned() };
        }
    }
}

impl fmt::Display for SetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({} runs)", self.name, self.runs)?;
        for (point, Worst { error, bound, case }) in &self.points {
            let verdict = if error <= bound { "" } else { "  TOO FAR" };
            writeln!(f, "  {point:<36} {error:9.2e}  of {bound:.0e}  in {case}{verdict}")?;
        }
        write!(f, "  {:<36} {} of {}", format!("{STEPS} greedy ids identical"), self.ids_equal, self.runs)
    }
}

/// Every point of every run of a checkpoint, and its greedy steps.
///
/// # Errors
///
/// If a file is not what it should be, or the device fails.
pub fn set(gpu: &Gpu, dir: &Path) -> Result<SetReport> {
    let set = Set::load(gpu, dir, &LoadOptions { dtype: Dtype::F32, chunk: 32, ..LoadOptions::default() })?;
    let mut report =
        SetReport { name: set.name.clone(), runs: set.cases.len(), points: BTreeMap::new(), ids_equal: 0 };
    for case in &set.cases {
        let run = Run::of(&set, case)?;
        for (name, recorded) in &set.tensors {
            let Some(point) = name.strip_prefix(&format!("{case}/")) else { continue };
            let Some(ours) = run.point(point)? else { continue };
            let d = distance(&ours, &recorded.values).with_context(|| format!("{}: {name}", set.name))?;
            if point == "logits" {
                report.note(point, d.absolute, LOGIT_BOUND, case);
            } else {
                report.note(point, d.relative, POINT_BOUND, case);
            }
        }
    }
    greedy(&set, &mut report)?;
    Ok(report)
}

/// The greedy steps of every run of a checkpoint; none of its intermediate tensors, so small bindings do.
///
/// # Errors
///
/// If a file is not what it should be, or the device fails.
pub fn greedy_steps(gpu: &Gpu, dir: &Path, options: &LoadOptions) -> Result<SetReport> {
    let set = Set::load(gpu, dir, options)?;
    let mut report =
        SetReport { name: set.name.clone(), runs: set.cases.len(), points: BTreeMap::new(), ids_equal: 0 };
    greedy(&set, &mut report)?;
    Ok(report)
}

fn greedy(set: &Set, report: &mut SetReport) -> Result<()> {
    for case in &set.cases {
        let (mut session, ids) = begun(set, case)?;
        note_greedy(set, case, &session.inspect().greedy(&ids, STEPS)?, report)?;
    }
    Ok(())
}

/// All runs of a checkpoint as conversations at once, up to 16 that are decoded together, in one cache that is full of NaN
/// and whose pages are given out in any order.
///
/// # Errors
///
/// If a file is not what it should be, or the device fails.
pub fn together(gpu: &Gpu, dir: &Path) -> Result<SetReport> {
    let options = LoadOptions { dtype: Dtype::F32, chunk: 32, ..LoadOptions::default() };
    let set = Set::load(gpu, dir, &options)?;
    let mut report =
        SetReport { name: set.name.clone(), runs: set.cases.len(), points: BTreeMap::new(), ids_equal: 0 };
    for (seed, cases) in (0..).zip(set.cases.chunks(16)) {
        set.model.session()?.inspect().spoil_cache(seed)?;
        let begun = cases.iter().map(|case| begun(&set, case)).collect::<Result<Vec<_>>>()?;
        let (mut sessions, ids): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
        let ids: Vec<&[PromptId]> = ids.iter().map(Vec::as_slice).collect();
        let steps = Inspect::greedy_together(&mut sessions, &ids, STEPS)?;
        for (case, steps) in cases.iter().zip(&steps) {
            note_greedy(&set, case, steps, &mut report)?;
        }
    }
    Ok(report)
}

/// A session with the pictures of a run, and its ids.
fn begun(set: &Set, case: &str) -> Result<(Session, Vec<PromptId>)> {
    let mut session = set.model.session()?;
    for pixels in set.pixels(case) {
        session.add_embeds(set.model.encode(pixels)?.into());
    }
    Ok((session, set.ids(case)?))
}

fn note_greedy(set: &Set, case: &str, steps: &[Vec<f32>], report: &mut SetReport) -> Result<()> {
    let want = set.recorded(case, "greedy_logits")?;
    report.note("greedy_logits", distance(&steps.concat(), &want.values)?.absolute, LOGIT_BOUND, case);
    let ids: Vec<f32> = steps.iter().map(|logits| best(logits) as f32).collect();
    report.ids_equal += usize::from(ids == set.recorded(case, "greedy_ids")?.values);
    Ok(())
}

/// What rounding the weights of a set or its keys and values costs: largest logit error, rms, mean KL, percent of differing
/// arg-maxima.
#[derive(Clone, Debug)]
pub struct Rounding {
    /// The set.
    pub name: String,
    /// What it costs us.
    pub error: [f64; 4],
    /// What the same rounding costs the original, where the yardstick has such a row.
    pub asked: Option<[f64; 4]>,
}

impl Rounding {
    /// The worst of our errors over the original's.
    pub fn worst_ratio(&self) -> Option<f64> {
        Some(self.error.iter().zip(self.asked?).map(|(e, w)| e / w).fold(0.0, f64::max))
    }

    /// Whether none is [`YARDSTICK_FACTOR`] times worse; true where there is nothing to compare with.
    pub fn good(&self) -> bool {
        self.worst_ratio().is_none_or(|ratio| ratio <= YARDSTICK_FACTOR)
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |e: [f64; 4]| format!("{:.3} / {:.4} / {:.2e} / {:.1}%", e[0], e[1], e[2], 100.0 - e[3]);
        write!(f, "  {:<8} {}", self.name, cell(self.error))?;
        match (self.asked, self.worst_ratio()) {
            (Some(asked), Some(ratio)) => {
                let verdict = if self.good() { "" } else { "  TOO FAR" };
                write!(f, "   asked {}: worst ratio {ratio:.2}{verdict}", cell(asked))
            }
            _ => write!(f, "   (the yardstick has no such row)"),
        }
    }
}

/// Rounded weights against the error the same rounding costs the original; a cache of f16 beside exact weights
/// against what rounding the weights to f16 costs it.
///
/// # Errors
///
/// If a file is not what it should be, or the device fails.
pub fn yardstick(
    gpu: &Gpu,
    root: &Path,
    dtype: Dtype,
    kv: KvDtype,
    activations: Activations,
) -> Result<Vec<Rounding>> {
    let row = match (dtype, kv) {
        _ if activations == Activations::Int8 => format!("{dtype}, activations int8"),
        (Dtype::Int8 { group: None }, _) => "int8 channel, decoder + lm_head".to_owned(),
        (Dtype::Int8 { group: Some(group) }, _) => format!("int8 group {group}, decoder + lm_head"),
        (Dtype::F32, KvDtype::F16) => "fp16 weights only".to_owned(),
        _ => format!("{dtype} weights only"),
    };
    let text = include_str!("../spec/QUANTISATION.md");
    let line = text.lines().find(|l| l.starts_with(&format!("| {row} |")));
    let cells: Option<Vec<&str>> = line.map(|l| l.split('|').skip(2).map(str::trim).collect());
    let one = |(i, name): (usize, &str)| {
        let options = LoadOptions { dtype, kv, activations, chunk: 32, ..LoadOptions::default() };
        let set = Set::load(gpu, &root.join(name), &options)?;
        let numbers = |cell: &str| -> Result<[f64; 4]> {
            let n: Vec<f64> =
                cell.trim_end_matches('%').split('/').map(str::parse).collect::<Result<_, _>>()?;
            ensure!(n.len() == 4, "the yardstick says {cell}");
            Ok([n[0], n[1], n[2], 100.0 - n[3]])
        };
        let asked = cells.as_ref().map(|cells| numbers(cells[i])).transpose()?;
        Ok(Rounding { name: name.to_owned(), error: rounding_error(&set)?, asked })
    };
    YARDSTICK_SETS.into_iter().enumerate().map(one).collect()
}

/// A number of comparisons with the original, and those that differ.
#[derive(Clone, Debug, Default)]
pub struct Identical {
    /// Number of comparisons.
    pub checked: usize,
    /// Those that differ.
    pub wrong: Vec<String>,
}

impl Identical {
    /// Whether there were any, and none differs.
    pub fn good(&self) -> bool {
        self.checked > 0 && self.wrong.is_empty()
    }
}

impl fmt::Display for Identical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (same, checked) = (self.checked - self.wrong.len(), self.checked);
        write!(f, "{same} of {checked} identical {}", self.wrong.join(", "))
    }
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
///
/// # Errors
///
/// If a file is not what it should be.
pub fn preprocessing(dir: &Path) -> Result<Identical> {
    let manifest = read_json(&dir.join("manifest.json"))?;
    let tensors = Weights::open(&dir.join("preproc.safetensors"))?;
    let mut result = Identical::default();
    for (stem, entry) in manifest["images"].as_object().context("manifest.json: images")? {
        let file = entry["file"].as_str().context("file")?;
        // The original fails on a single pixel, and takes an image of 3 pixels' height for one of 3 channels.
        let sides = entry["size"].as_array().context("size")?.iter().filter_map(serde_json::Value::as_u64);
        if matches!(sides.max(), Some(1 | 3)) {
            continue;
        }
        let picture = image::open(&dir.join("images").join(file), Exif::Ignore)?;
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
            result.checked += 1;
            if !same_picture(dir, &tensors, stem, key, info, &ours, &config)? {
                result.wrong.push(format!("{stem} {key}"));
            }
        }
    }
    Ok(result)
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
///
/// # Errors
///
/// If a file is not what it should be.
pub fn tokenizer(dir: &Path) -> Result<Identical> {
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

    let mut result = Identical::default();
    let mut check = |what: String, same: bool| {
        result.checked += 1;
        if !same {
            result.wrong.push(what);
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
                (Some("USER"), Some(t)) => chat.ask(Question::placed(t), count_images(t))?,
                (_, Some(t)) => chat.reply(t)?,
                _ => {}
            }
        }
        // The original's chat writes the end of a reply twice; ours does not.
        check(format!("rendering of {p:?}"), chat.prompt().to_string() == p.replace("</s></s>", "</s>"));
    }
    Ok(result)
}
