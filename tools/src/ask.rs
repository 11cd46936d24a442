//! `strix ask`: a question about pictures, the answer streaming.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use strix_engine::StepTime;
use strix_model::prompt::{Conversation, Prompt, Question};
use strix_model::{
    Checkpoint, FinishReason, GenerateOptions, LoadOptions, LogProbs, Source, shown, trace_dir,
};

use crate::answer::{self, Interrupt, Spinner};
use crate::load::{self, Adapter, ModelArg, Storage};
use crate::pictures::Pictures;
use crate::sampling::Sampling;
use crate::terminal::{self, note, say, whisper};
use crate::{DONE, INTERRUPTED, Usage, strays};

const EXAMPLES: &str = "\
Examples:
  strix ask --image photo.jpg \"What is in this picture?\"
  strix ask --model mplug-owl2 --image a.png --image b.png \"What is the difference?\"
  strix ask --video clip.gif --frames 8 \"Which way does the circle move?\"
  strix ask --model mplug-owl2 --dtype int8 --temperature 0.7 --seed 1 - < question.txt
  curl -s https://example.org/owl.jpg | strix ask --image - \"What is in this picture?\"
  strix ask --image photo.jpg --regex \"[0-9]+\" \"How many shapes are there?\"
  strix ask --image photo.jpg --json-schema shapes.json \"Which shapes are there?\"
  strix ask --image photo.jpg --json \"How many shapes are there?\" | jq -r .answer";

/// Longest question read from stdin.
const MAX_QUESTION_BYTES: u64 = 1 << 20;

/// Ask a question about pictures, or about none
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The question, in quotes; - reads it from stdin
    question: String,
    /// Words left over when quotes or --image are forgotten
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    adapter: Adapter,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    sampling: Sampling,
    /// With --json: how likely each token was, and the N likeliest in its place
    #[arg(long, value_name = "N", requires = "json", help_heading = "Sampling", value_parser = load::whole::<u8>)]
    logprobs: Option<u8>,
    // Not a doc comment, which would be read as HTML.
    #[arg(
        long,
        help = "The question is the whole prompt, with <|image|> where each picture goes, and </s> where a reply ends"
    )]
    raw: bool,
    /// Print one JSON object when done
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the device time of each kernel and layer: of encoding a picture, one prefill chunk and one decode step
    #[arg(long)]
    profile: bool,
}

/// A question that was checked before a picture is decoded, a device opened or a model loaded.
struct Asked {
    question: String,
    options: LoadOptions,
    generate: GenerateOptions,
    checkpoint: Checkpoint,
}

impl Asked {
    /// Everything that can be refused by then is refused here.
    fn new(args: &Args) -> anyhow::Result<Self> {
        strays::refuse(args.pictures.images(), &args.question, &args.rest)?;
        let options = load_options(args)?;
        let log_probs = args.logprobs.map(usize::from);
        let generate = GenerateOptions { log_probs, ..args.sampling.options()? };
        args.pictures.check_frames()?;
        args.pictures.check(args.question == "-")?;
        let question = question(args)?;
        let known = args.pictures.number();
        if let Some(number) = known {
            prompt(args, &question, number)?;
        }
        let checkpoint = Checkpoint::open(args.model.source())?;
        let asked = Self { question, options, generate, checkpoint };
        if let Some(number) = known {
            asked.check(args, number)?;
        }
        Ok(asked)
    }

    /// Checks the question with so many pictures against the model.
    fn check(&self, args: &Args, pictures: usize) -> strix_model::Result<()> {
        let prompt = prompt(args, &self.question, pictures)?;
        self.checkpoint.check_prompt(prompt, pictures, &self.options).map(drop)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let interrupt = Interrupt::watch()?;
    let asked = Asked::new(args)?;
    let pictures = args.pictures.open()?;
    // A video tells its frames only now.
    if args.pictures.number().is_none() {
        asked.check(args, pictures.len())?;
    }
    let Asked { question, options, mut generate, checkpoint } = asked;
    let gpu = args.adapter.open()?;
    if args.profile {
        gpu.can_profile()?;
    }
    args.sampling.mention_idle(&generate.sampling);
    args.model.mention(&gpu);
    let started = Instant::now();
    let model = load::load(&gpu, Source::Checkpoint(&checkpoint), &options)?;
    let load = started.elapsed();

    generate.cancel = Some(interrupt.cancels());
    let waiting = Spinner::start(if pictures.is_empty() { "reading" } else { "looking" });
    let mut session = model.session()?;
    let ready = started.elapsed();
    for picture in &pictures {
        session.add_image(picture)?;
    }
    let mut answer = match args.raw {
        true => session.complete(&question, &generate)?,
        false => session.ask(Question::placed(&question), &generate)?,
    };
    let mut out = terminal::stdout();
    let mut is_begun = false;
    let streamed = answer::stream(&mut answer, waiting, |text| {
        if args.json {
            return Ok(());
        }
        is_begun |= !text.is_empty();
        out.write_all(terminal::answer(text).as_bytes())?;
        out.flush()
    });
    if let Err(error) = streamed {
        // The error is on a separate line, unless printing itself failed.
        if is_begun {
            let _ = writeln!(out);
        }
        return Err(error);
    }

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
            "reused_tokens": timing.reused_tokens,
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
        "model": args.model.to_string(),
    });
    if args.logprobs.is_some() {
        let of = |(id, log_prob): &(u32, f32)| json!({"id": id, "logprob": log_prob});
        let tokens = answer.ids().iter().zip(answer.log_probs());
        let token = |(id, of_it): (&u32, &LogProbs)| {
            let top: Vec<_> = of_it.top.iter().map(of).collect();
            json!({"id": id, "logprob": of_it.chosen, "top": top})
        };
        result["logprobs"] = tokens.map(token).collect();
    }
    drop(answer);
    if let Some(dir) = trace_dir() {
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        note(&format!("the tensors that STRIX_TRACE names are in {}", shown(dir.display())));
    }
    let mut profile = vec![];
    if args.profile && !cancelled {
        if !pictures.is_empty() {
            profile.push(("image_encode", model.profile_encode()?));
        }
        profile.push(("prefill_chunk", session.inspect().profile_prefill()?));
        profile.push(("decode_step", session.inspect().profile()?));
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
        let rate = timing.tokens_per_second().map_or(String::new(), |rate| format!("  {rate:.1} tokens/s"));
        whisper(&format!("{}{rate}  {reason}", gpu.name()));
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
    let text = read_question(args)?;
    match text.trim().is_empty() {
        true => Err(Usage("the question is empty".into()).into()),
        false => Ok(text),
    }
}

fn read_question(args: &Args) -> anyhow::Result<String> {
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
    let text = String::from_utf8(text)
        .map_err(|e| Usage(format!("the question on stdin: {e}: save it as UTF-8")))?;
    Ok(as_typed(&text))
}

/// The text of a file as if it were typed: without a byte order mark, without the end of its last line, and with
/// lines that end in LF, whatever wrote it.
fn as_typed(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}

fn load_options(args: &Args) -> anyhow::Result<LoadOptions> {
    Ok(LoadOptions { preprocess: args.pictures.preprocess(), ..args.storage.options()? })
}

/// The prompt of a question with so many pictures, if it has as many places. A question may place its pictures with
/// `<|image|>`; what else looks like a control token is text, unless the question is the whole prompt.
fn prompt(args: &Args, question: &str, pictures: usize) -> strix_model::Result<Prompt> {
    if args.raw {
        let prompt = Prompt::from(question);
        prompt.check_images(pictures)?;
        return Ok(prompt);
    }
    let mut conversation = Conversation::default();
    conversation.ask(Question::placed(question), pictures)?;
    Ok(conversation.prompt())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_of_a_file_is_as_typed() {
        assert_eq!(as_typed("\u{feff}What?\r\nWhere?\r\n"), "What?\nWhere?");
        assert_eq!(as_typed("What?\n"), "What?");
        assert_eq!(as_typed("What?\n\n"), "What?\n");
        // A lone CR is no line end of today's.
        assert_eq!(as_typed("a\rb"), "a\rb");
        assert_eq!(as_typed(""), "");
    }
}
