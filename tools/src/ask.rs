//! `strix ask`: a question about pictures, the answer streaming.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use strix_engine::StepTime;
use strix_model::prompt::{Conversation, check_images};
use strix_model::stop::StopMatcher;
use strix_model::{FinishReason, GenerateOptions, LoadOptions, SamplingParams};

use crate::answer::{self, Spinner};
use crate::load::{self, Adapter, Storage};
use crate::pictures::Pictures;
use crate::terminal::{self, say, whisper};
use crate::{DONE, INTERRUPTED, Usage, cache};

const EXAMPLES: &str = "\
Examples:
  strix ask --image photo.jpg \"What is in this picture?\"
  strix ask --model mplug-owl2 --image a.png --image b.png \"What is the difference?\"
  strix ask --video clip.gif --frames 8 \"Which way does the circle move?\"
  strix ask --model mplug-owl2 --dtype int8 --temperature 0.7 --seed 1 - < question.txt
  strix ask --image photo.jpg --json \"How many shapes are there?\" | jq -r .answer";

/// Longest question read from stdin.
const MAX_QUESTION_BYTES: u64 = 1 << 20;

/// Ask a question about pictures, or about none
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The question; - reads it from stdin
    question: String,
    /// Folder of a model: config.json, tokenizer and weights [default: nano, the built-in one]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    adapter: Adapter,
    #[command(flatten)]
    storage: Storage,
    /// Randomness; 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0, help_heading = "Sampling")]
    temperature: f32,
    /// Draw only from the K likeliest tokens; 0 from all
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,
    /// Draw only from the likeliest tokens that together reach this probability
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,
    /// Draw only from tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,
    /// Make tokens that were there before less likely; 1 does not
    #[arg(long, value_name = "F", help_heading = "Sampling")]
    repetition_penalty: Option<f32>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sampling")]
    seed: u64,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = "Sampling")]
    max_tokens: u32,
    /// Shortest answer, in tokens
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Sampling")]
    min_tokens: usize,
    /// End the answer before this text; again for more
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    stop: Vec<String>,
    /// The question is the whole prompt, with <|image|> where each picture goes
    #[arg(long)]
    raw: bool,
    /// Print one JSON object when done
    #[arg(long)]
    json: bool,
    /// Print the device time of each kernel and layer: of encoding a picture, one prefill chunk and one decode step
    #[arg(long)]
    profile: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let question = question(args)?;
    let options = load_options(args)?;
    let mut generate = generate_options(args)?;
    let pictures = args.pictures.open()?;
    check_prompt(args, &question, pictures.len())?;
    let gpu = args.adapter.open()?;
    if args.model.is_none() {
        whisper("no --model: asking nano, the built-in model, which knows coloured shapes and little else");
    } else {
        cache::mention_tuning(&gpu);
    }
    let started = Instant::now();
    let model = load::load(&gpu, args.model.as_deref(), &options)?;
    let load = started.elapsed();

    // Only now: while a model loads, Ctrl-C ends the process.
    generate.cancel = Some(answer::cancelled_by_ctrl_c()?);
    let waiting = Spinner::start(if pictures.is_empty() { "reading" } else { "looking" });
    let mut session = model.session()?;
    let ready = started.elapsed();
    for picture in &pictures {
        session.add_image(picture)?;
    }
    let mut answer = match args.raw {
        true => session.complete(&question, &generate)?,
        false => session.ask(&question, &generate)?,
    };
    let mut out = io::stdout().lock();
    answer::stream(&mut answer, waiting, |text| {
        if args.json {
            return Ok(());
        }
        out.write_all(terminal::answer(text).as_bytes())?;
        out.flush()
    })?;

    let (timing, reason) = (answer.timing(), answer.finish_reason());
    let cancelled = matches!(reason, Some(FinishReason::Cancelled));
    let reason = reason.map(ToString::to_string).unwrap_or_default();
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    let mut result = json!({
        "answer": answer.text(),
        "ids": answer.ids(),
        "finish_reason": reason,
        "timing": {
            "load_ms": ms(load),
            "ready_ms": ms(ready),
            "image_encode_ms": ms(timing.image_encode),
            "prefill_ms": ms(timing.prefill),
            "prefill_tokens": timing.prefill_tokens,
            "first_token_ms": ms(timing.first_token),
            "decode_ms": ms(timing.decode),
            "decode_tokens": timing.decode_tokens,
            "tokens_per_second": timing.tokens_per_second(),
        },
        "memory": {
            "device_bytes": model.memory().device_bytes(),
            "budget_bytes": model.memory().budget_bytes,
            "resident_layers": model.memory().resident_layers[0],
            "layers": model.memory().resident_layers[1],
            "imported_bytes": gpu.created().imported_bytes,
        },
        "stream": {
            "bytes_per_token": timing.streamed_bytes_per_token(),
            "waiting_share": timing.waiting_share(),
        },
        "adapter": gpu.name(),
        "model": args.model.as_ref().map_or("nano".into(), |dir| dir.display().to_string()),
    });
    drop(answer);
    let mut profile = vec![];
    if args.profile && !cancelled {
        if !pictures.is_empty() {
            profile.push(("image_encode", model.profile_encode()?));
        }
        profile.push(("prefill_chunk", session.profile_prefill()?));
        profile.push(("decode_step", session.profile()?));
    }

    if args.json {
        if args.profile {
            let step = |s: &StepTime| json!({"label": s.label, "kernel": s.kernel, "ns": s.ns});
            let run = |(name, steps): &(&str, Vec<StepTime>)| {
                ((*name).to_owned(), steps.iter().map(step).collect::<Value>())
            };
            result["profile"] = profile.iter().map(run).collect();
        }
        writeln!(out, "{}", terminal::json(&result.to_string()))?;
    } else {
        writeln!(out)?;
        let rate = timing.tokens_per_second();
        whisper(&format!("{}  {rate:.1} tokens/s  {reason}", gpu.name()));
        if timing.streamed.bytes > 0 {
            whisper(&format!(
                "{} of {} layers on the device, {:.2} GB streamed a token, {:.0}% of the time spent waiting for it",
                model.memory().resident_layers[0],
                model.memory().resident_layers[1],
                timing.streamed_bytes_per_token() as f64 / 1e9,
                100.0 * timing.waiting_share()
            ));
        }
        if args.profile {
            for (name, steps) in &profile {
                print_profile(name, steps);
            }
        }
    }
    Ok(if cancelled { INTERRUPTED } else { DONE })
}

fn question(args: &Args) -> anyhow::Result<String> {
    if args.question != "-" {
        return Ok(args.question.clone());
    }
    let mut text = vec![];
    io::stdin().take(MAX_QUESTION_BYTES + 1).read_to_end(&mut text).context("the question on stdin")?;
    if text.len() as u64 > MAX_QUESTION_BYTES {
        return Err(
            Usage(format!("the question on stdin is above {MAX_QUESTION_BYTES} bytes: shorten it")).into()
        );
    }
    let text = String::from_utf8(text).map_err(|e| Usage(format!("the question on stdin: {e}")))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

fn load_options(args: &Args) -> anyhow::Result<LoadOptions> {
    Ok(LoadOptions { preprocess: args.pictures.preprocess(), ..args.storage.options()? })
}

fn generate_options(args: &Args) -> anyhow::Result<GenerateOptions> {
    let default = SamplingParams::default();
    let sampling = SamplingParams {
        temperature: args.temperature,
        top_k: args.top_k.unwrap_or(default.top_k),
        top_p: args.top_p.unwrap_or(default.top_p),
        min_p: args.min_p.unwrap_or(default.min_p),
        repetition_penalty: args.repetition_penalty.unwrap_or(default.repetition_penalty),
        seed: args.seed,
        min_new_tokens: args.min_tokens,
    };
    sampling.validate()?;
    StopMatcher::new(args.stop.clone())?;
    Ok(GenerateOptions { sampling, max_tokens: args.max_tokens, stop: args.stop.clone(), cancel: None })
}

/// Holds the places for pictures in the question against the pictures.
fn check_prompt(args: &Args, question: &str, pictures: usize) -> strix_model::Result<()> {
    match args.raw {
        true => check_images(question, pictures),
        false => Conversation::default().ask(question, pictures),
    }
}

/// Time of one run of a program by kernel, then by layer.
fn print_profile(name: &str, steps: &[StepTime]) {
    let total: f64 = steps.iter().map(|s| s.ns).sum();
    let layer = |label: &str| label.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let by_kernel = steps.iter().map(|s| (s.kernel.clone(), s.ns));
    let by_layer = steps.iter().map(|s| (layer(&s.label), s.ns));
    let name = name.replace('_', " ");
    say(&format!("\n{name}: {} dispatches, {:.2} ms on the device", steps.len(), total / 1e6));
    for (title, times) in [("kernel", by_kernel.collect::<Vec<_>>()), ("layer", by_layer.collect())] {
        let mut sums = BTreeMap::<_, (usize, f64)>::new();
        for (name, ns) in times {
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + 1, sum.1 + ns);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        say(&format!("{title:<48} steps        us      %"));
        for (name, (steps, ns)) in sums {
            say(&format!("{name:<48} {steps:>5} {:>9.1} {:>6.1}", ns / 1e3, 100.0 * ns / total));
        }
    }
}
