//! `cargo xtask nano [--dtype D]... [--limit N]`: the embedded model against its recorded samples and on the
//! whole easy-VQA test split. Fails where a figure falls short of its model card.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use strix_engine::Gpu;
use strix_model::image::{self, Exif};
use strix_model::{GenerateOptions, LoadOptions, Model, Source, Weights, unwatched};
use strix_tests::command::{Kind, exit_code};
use strix_tests::golden::read_json;

/// Points below the model card's accuracy that are still within it.
const MARGIN: f64 = 0.3;

#[derive(Parser)]
#[command(about = "nano against its samples and on the easy-VQA test split")]
struct Args {
    /// Weights to test; all three by default.
    #[arg(long, value_enum)]
    dtype: Vec<Kind>,
    /// Pictures of the test split at most.
    #[arg(long)]
    limit: Option<usize>,
    /// Folder with `samples`, `easy_vqa_test` (its pictures in a folder or packed) and the model card's `accuracy*.json`.
    #[arg(long)]
    root: Option<PathBuf>,
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn main() -> ExitCode {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<bool> {
    let root = args.root.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("nano"));
    let gpu = Gpu::new()?;
    println!("adapter: {}", gpu.name());
    let kinds =
        if args.dtype.is_empty() { vec![Kind::F32, Kind::Bf16, Kind::Int8] } else { args.dtype.clone() };
    let mut good = true;
    for kind in kinds {
        let dtype = kind.dtype(None);
        let name = dtype.to_string();
        let card = if kind == Kind::Int8 { "accuracy_int8.json" } else { "accuracy.json" };
        let options = LoadOptions { dtype, ..LoadOptions::default() };
        let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched)?;
        if kind == Kind::F32 {
            good &= check_samples(&model, &root.join("samples"))?;
        }
        let card = read_json(&root.join(card))?;
        let asked =
            card["easy-vqa / all"]["accuracy"].as_f64().context("easy-vqa / all in the model card")?;
        good &= check_easy_vqa(&model, &name, asked, &root.join("easy_vqa_test"), args.limit)?;
    }
    println!("{}", if good { "all within bounds" } else { "FELL SHORT" });
    Ok(good)
}

/// Greedy ids of every recorded sample.
fn check_samples(model: &Model, dir: &Path) -> Result<bool> {
    let samples = read_json(&dir.join("samples.json"))?;
    let samples = samples.as_array().context("samples.json: a list")?;
    let mut equal = 0;
    for sample in samples {
        let mut session = model.session()?;
        for file in sample["images"].as_array().context("images")? {
            let path = dir.join(file.as_str().context("a file name")?);
            session.add_image(&image::open(&path, Exif::Ignore)?)?;
        }
        let want: Vec<u32> = sample["output_ids"]
            .as_array()
            .context("output_ids")?
            .iter()
            .filter_map(|v| Some(v.as_u64()? as u32))
            .collect();
        let mut answer =
            session.complete(sample["prompt"].as_str().context("prompt")?, &GenerateOptions::default())?;
        answer.by_ref().collect::<Result<Vec<_>, _>>()?;
        if answer.ids() == want {
            equal += 1;
        } else {
            println!("  {}: {:?}, recorded {:?}", sample["name"], answer.ids(), want);
        }
    }
    println!("samples: greedy ids of {equal} of {} identical", samples.len());
    Ok(equal == samples.len())
}

/// Exact answers over the test split, through the whole path from file to text.
fn check_easy_vqa(model: &Model, name: &str, asked: f64, dir: &Path, limit: Option<usize>) -> Result<bool> {
    let text =
        std::fs::read_to_string(dir.join("questions.jsonl")).with_context(|| dir.display().to_string())?;
    let questions: Vec<serde_json::Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut pictures: Vec<&str> = questions.iter().filter_map(|q| q["image"].as_str()).collect();
    pictures.dedup();
    pictures.truncate(limit.unwrap_or(usize::MAX));
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} pictures, {eta} left")?;
    let bar = ProgressBar::new(pictures.len() as u64).with_style(style).with_message(name.to_owned());

    // The pictures are files, or packed into one: a thousand small files take ten times their room.
    let packed = dir.join("images.safetensors");
    let packed = packed.exists().then(|| Weights::open(&packed)).transpose()?;
    let open = |picture: &str| -> Result<_> {
        let Some(packed) = &packed else { return Ok(image::open(&dir.join(picture), Exif::Ignore)?) };
        let file = packed.get(picture);
        let file =
            file.as_ref().and_then(|view| view.contiguous()).with_context(|| format!("no {picture}"))?;
        Ok(image::decode(picture, file, Exif::Ignore)?)
    };
    let mut session = model.session()?;
    let options = GenerateOptions { max_tokens: 16, ..GenerateOptions::default() };
    let (mut right, mut total) = (0, 0);
    let start = Instant::now();
    for picture in pictures {
        session.reset();
        session.add_image(&open(picture)?)?;
        for q in questions.iter().filter(|q| q["image"] == picture) {
            let question = q["question"].as_str().context("question")?;
            let mut answer = session.complete(&format!("USER: <|image|>{question} ASSISTANT:"), &options)?;
            answer.by_ref().collect::<Result<Vec<_>, _>>()?;
            right += usize::from(answer.text() == q["answer"]);
            total += 1;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let accuracy = 100.0 * right as f64 / total.max(1) as f64;
    let ok = limit.is_some() || (accuracy - asked).abs() <= MARGIN;
    println!(
        "easy-VQA {name}: {right} of {total} right, {accuracy:.2}% (model card {asked:.2}%), {:.1} questions/s{}",
        f64::from(total) / start.elapsed().as_secs_f64(),
        if ok { "" } else { "  TOO FAR" }
    );
    Ok(ok)
}
