//! Points 1 to 4: `strix` on a model of 8.2B parameters.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use strix_model::image::RgbImage;

use super::disk;
use super::plan::Plan;
use super::process::{Finished, Peak, run};
use super::report::{Figure, Findings};
use crate::full_width::config;

/// Twenty words.
const QUESTION: &str = "What shapes and colours are there in this picture, how many of each, and where do they lie \
                        on it?";
/// Tokens of an answer.
const TOKENS: usize = 16;
/// Seconds to load a model whose pages are cached.
const LOAD_S: f64 = 3.0;
/// Minutes for an answer.
const ANSWER_MIN: f64 = 15.0;
const GIB: f64 = (1_u64 << 30) as f64;
const GB: f64 = 1e9;

pub(super) fn title(point: u8) -> &'static str {
    match point {
        1 => "1: converting a bf16 checkpoint to int8",
        2 => "2: loading",
        3 => "3: a picture, a question, an answer",
        4 => "4: the same on a device of 3 GiB",
        _ => "5: the arithmetic at full width",
    }
}

impl Plan {
    /// The checkpoint as others have it.
    fn source(&self) -> PathBuf {
        self.dir.join("strix-full-size-hf")
    }

    /// The same, converted.
    fn model(&self) -> PathBuf {
        self.dir.join("strix-full-size-int8")
    }

    fn has_model(&self) -> bool {
        self.model().join("strix.json").is_file()
    }

    fn strix(&self) -> Command {
        Command::new(&self.strix)
    }

    /// `strix ask` with the picture; `more` before the question.
    fn ask(&self, tokens: usize, more: &[&str]) -> Result<Finished> {
        let tokens = tokens.to_string();
        let mut ask = self.strix();
        ask.args(["ask", "--json", "--max-tokens", &tokens, "--min-tokens", &tokens, "--model"]);
        let ctx = self.ctx.to_string();
        ask.arg(self.model())
            .arg("--image")
            .arg(self.picture()?)
            .args(["--ctx", &ctx])
            .args(&self.ask)
            .args(more)
            .arg(QUESTION);
        run(&mut ask)
    }

    /// A picture of shapes, 448 pixels a side.
    fn picture(&self) -> Result<PathBuf> {
        let path = self.dir.join("strix-full-size.png");
        let shapes = RgbImage::from_fn(448, 448, |x, y| {
            let (x, y) = (x as i32, y as i32);
            let near = |cx: i32, cy: i32, r: i32| (x - cx).pow(2) + (y - cy).pow(2) < r * r;
            image::Rgb(match () {
                () if near(120, 130, 70) => [214, 40, 40],
                () if near(330, 320, 50) => [255, 200, 0],
                () if (260..400).contains(&x) && (60..180).contains(&y) => [30, 90, 200],
                () if y > 260 && x - 60 < y - 260 && 160 - x < y - 260 && y < 400 => [20, 150, 70],
                () => [235, 235, 230],
            })
        });
        shapes.save(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Makes the model where there is none, and has the system cache its pages.
    fn warm_model(&self) -> Result<u64> {
        if !self.has_model() {
            let mut synth = self.strix();
            synth.args(["synth", "--preset", "8.2b", "--dtype", "int8", "--seed", "1"]).arg(self.model());
            run(&mut synth)?;
        }
        let files = disk::weight_files(&self.model())?;
        disk::read_rate(&files, u64::MAX)?;
        Ok(disk::size(&files))
    }
}

/// Refuses a disk with too little room, before anything is written.
pub(super) fn make_room(plan: &Plan) -> Result<()> {
    fs::create_dir_all(&plan.dir).with_context(|| plan.dir.display().to_string())?;
    let parameters = config(32, 24, 6).num_parameters() as f64;
    // The vision tower, the abstractor and the embedding stay bf16: 0.52e9 parameters.
    let (source, model) = (2.0 * parameters, 1.07 * parameters);
    let converts = plan.points.contains(&1);
    let there = |dir: PathBuf| disk::weight_files(&dir).map_or(0.0, |files| disk::size(&files) as f64);
    let mut need = 0.0;
    if converts {
        need += (source - there(plan.source())).max(0.0);
    }
    if converts || !plan.has_model() {
        need += (model - there(plan.model())).max(0.0);
    }
    if need == 0.0 {
        return Ok(());
    }
    // And what the write rate is measured with.
    let need = need + 3.0 * GIB;
    let free = fs4::available_space(&plan.dir).with_context(|| plan.dir.display().to_string())? as f64;
    println!("{}: needs {:.1} GB, {:.1} GB are free\n", plan.dir.display(), need / GB, free / GB);
    ensure!(
        need <= free,
        "{}: {:.1} GB are free of the {:.1} GB this needs; name another disk's folder with --dir",
        plan.dir.display(),
        free / GB,
        need / GB
    );
    Ok(())
}

/// Point 1.
pub(super) fn convert(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let (source, model) = (plan.source(), plan.model());
    let mut synth = plan.strix();
    synth
        .args(["synth", "--preset", "8.2b", "--dtype", "bf16", "--layout", "hf", "--seed", "1"])
        .arg(&source);
    if disk::weight_files(&source).is_ok_and(|files| disk::size(&files) as f64 > 16.3 * GB) {
        println!("{}: is there", source.display());
    } else {
        let made = run(&mut synth)?;
        let bytes = disk::size(&disk::weight_files(&source)?) as f64;
        findings.note(1, "making the source", format!("{:.0} s, {:.2} GB", made.seconds, bytes / GB));
    }
    let files = disk::weight_files(&source)?;
    let bytes = disk::size(&files) as f64;
    if model.exists() {
        fs::remove_dir_all(&model).with_context(|| model.display().to_string())?;
    }

    let (read, cold) = disk::cold_read_rate(&files)?;
    let write = disk::write_rate(&plan.dir)?;
    let round = disk::rounding_rate();
    disk::forget(&files)?;
    let mut convert = plan.strix();
    convert.arg("convert").arg(&source).arg(&model).args(["--dtype", "int8", "--json"]);
    let converted = run(&mut convert)?;
    let written = disk::size(&disk::weight_files(&model)?) as f64;

    let what = if cold { "disk, reading, nothing cached" } else { "disk, reading, perhaps cached" };
    findings.note(1, what, format!("{:.2} GB/s", read / GB));
    findings.note(1, "disk, writing", format!("{:.2} GB/s", write / GB));
    findings.note(1, "both cores rounding, in memory", format!("{:.2} GB/s of bf16", round / GB));
    let limits = [("reading", bytes / read), ("writing", written / write), ("rounding", bytes / round)];
    let slowest = limits.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(limits[0]);
    let each = limits.map(|(name, seconds)| format!("{name} {seconds:.0} s")).join(", ");
    findings.note(1, "limits of the whole", format!("{each}: {} is the slowest", slowest.0));
    let rate = format!("{:.0} s, {:.2} GB/s read", converted.seconds, bytes / converted.seconds / GB);
    findings.note(1, "converting", format!("{rate}, {:.2} GB written", written / GB));
    findings.note(
        1,
        "of the slowest alone",
        format!("{:.2} times the {:.0} s of {}", converted.seconds / slowest.1, slowest.1, slowest.0),
    );
    let own = |peak: Peak| peak.anonymous as f64 / GIB;
    memory(findings, 1, "peak of the converter's own memory", converted.peak, own, 1.0);
    findings.outputs.insert("convert".into(), converted.json);

    if !plan.keep {
        fs::remove_dir_all(&source).with_context(|| source.display().to_string())?;
    }
    Ok(())
}

/// Point 2.
pub(super) fn load(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let size = plan.warm_model()? as f64;
    findings.note(2, "size of the model", format!("{:.2} GiB", size / GIB));
    let all = |peak: Peak| peak.all as f64 / GIB;
    for (name, more, most) in
        [("import", &[][..], 1.05 * size / GIB + 1.0), ("no import", &["--no-import"], 2.1 * size / GIB)]
    {
        let asked = plan.ask(1, more)?;
        let seconds = number(&asked.json, "load_ms")? / 1e3;
        if name == "import" {
            findings.at_most(2, "load to ready, import", seconds, LOAD_S, "s");
        } else {
            findings.note(2, "load to ready, no import", format!("{seconds:.2} s"));
        }
        memory(findings, 2, &format!("peak resident memory, {name}"), asked.peak, all, most);
        findings.outputs.insert(format!("load, {name}"), asked.json);
    }
    Ok(())
}

/// Point 3.
pub(super) fn answer(plan: &Plan, findings: &mut Findings) -> Result<()> {
    let size = plan.warm_model()? as f64;
    let asked = plan.ask(TOKENS, &["--profile"])?;
    times(findings, 3, &asked)?;
    findings.at_most(3, "the whole, profile included", asked.seconds / 60.0, ANSWER_MIN, "min");
    let all = |peak: Peak| peak.all as f64 / GIB;
    memory(findings, 3, "peak resident memory", asked.peak, all, 1.05 * size / GIB + 1.0);
    for (program, steps) in asked.json["profile"].as_object().context("its JSON has no profile")? {
        let shares = shares(steps.as_array().context("profile")?);
        let few: Vec<_> =
            shares.iter().take(4).map(|(kernel, share)| format!("{kernel} {share:.0}%")).collect();
        findings.note(3, &format!("kernels, {}", program.replace('_', " ")), few.join(", "));
        findings.kernels.push((program.clone(), shares));
    }
    findings.outputs.insert("answer".into(), asked.json);
    Ok(())
}

/// Point 4.
pub(super) fn small_device(plan: &Plan, findings: &mut Findings) -> Result<()> {
    plan.warm_model()?;
    let asked = plan.ask(TOKENS, &["--device-memory", "3GiB"])?;
    times(findings, 4, &asked)?;
    let stream = &asked.json["stream"];
    let bytes = stream["bytes_per_token"].as_f64().context("its JSON has no stream.bytes_per_token")?;
    let waiting = stream["waiting_share"].as_f64().context("its JSON has no stream.waiting_share")?;
    findings.note(4, "streamed a token", format!("{:.2} GB", bytes / GB));
    findings.note(4, "share of the time spent waiting", format!("{:.0}%", 100.0 * waiting));
    if let Some(whole) = findings.outputs.get("answer") {
        let same = asked.json["ids"].is_array() && whole["ids"] == asked.json["ids"];
        findings.add(Figure {
            point: 4,
            what: format!("the same {TOKENS} tokens"),
            value: if same { "yes".into() } else { format!("{} for {}", asked.json["ids"], whole["ids"]) },
            asked: "those of point 3".into(),
            good: Some(same),
        });
    }
    findings.outputs.insert("small device".into(), asked.json);
    Ok(())
}

/// What an answer's times say.
fn times(findings: &mut Findings, point: u8, asked: &Finished) -> Result<()> {
    let s = |name: &str| Ok::<_, anyhow::Error>(number(&asked.json, name)? / 1e3);
    let (picture, prefill) = (s("image_encode_ms")?, s("prefill_ms")?);
    let rows = number(&asked.json, "prefill_tokens")?;
    let tokens = asked.json["ids"].as_array().map_or(0, Vec::len);
    findings.note(point, "time to first token", format!("{:.1} s", s("first_token_ms")?));
    findings.note(point, "of it the picture", format!("{picture:.1} s"));
    findings.note(
        point,
        "of it the prompt",
        format!("{prefill:.1} s, {rows:.0} positions, {:.1}/s", rows / prefill),
    );
    findings.add(Figure {
        point,
        what: "tokens".into(),
        value: tokens.to_string(),
        asked: TOKENS.to_string(),
        good: Some(tokens == TOKENS),
    });
    let each = s("decode_ms")? / number(&asked.json, "decode_tokens")?;
    findings.note(point, "a token after the first", format!("{each:.2} s"));
    Ok(())
}

/// Percent of a program's time by kernel, largest first.
fn shares(steps: &[Value]) -> Vec<(String, f64)> {
    let mut sums = BTreeMap::<String, f64>::new();
    for step in steps {
        // Without what it is specialised by.
        let kernel = step["kernel"].as_str().and_then(|kernel| kernel.split('[').next()).unwrap_or("?");
        *sums.entry(kernel.to_owned()).or_default() += step["ns"].as_f64().unwrap_or(0.0);
    }
    let total: f64 = sums.values().sum();
    let mut shares: Vec<_> = sums.into_iter().map(|(kernel, ns)| (kernel, 100.0 * ns / total)).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// A figure about a peak, in GiB.
fn memory(
    findings: &mut Findings,
    point: u8,
    what: &str,
    peak: Option<Peak>,
    of: impl Fn(Peak) -> f64,
    most: f64,
) {
    match peak {
        Some(peak) => findings.at_most(point, what, of(peak), most, "GiB"),
        None => findings.note(point, what, "this system does not tell".into()),
    }
}

/// A number of an answer's `timing`.
fn number(json: &Value, name: &str) -> Result<f64> {
    json["timing"][name].as_f64().with_context(|| format!("the command's JSON has no timing.{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_question_has_twenty_words() {
        assert_eq!(QUESTION.split_whitespace().count(), 20);
    }

    #[test]
    fn shares_are_of_all_and_by_kernel() {
        let steps = json!([
            {"label": "a", "kernel": "gemm[rows=1]", "ns": 30.0},
            {"label": "b", "kernel": "rope", "ns": 20.0},
            {"label": "c", "kernel": "gemm[rows=8]", "ns": 50.0},
        ]);
        assert_eq!(shares(steps.as_array().unwrap()), [("gemm".into(), 80.0), ("rope".into(), 20.0)]);
    }
}
