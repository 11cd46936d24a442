//! `strix tune`: finds which kernels are best on this device.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use strix_engine::Gpu;
use strix_model::cache::{Chosen, DeviceCache, Measured, Tuning, in_words};
use strix_model::tune::{Outcome, tune};
use strix_model::{Config, Located, shown};

use crate::answer::cancelled_by_ctrl_c;
use crate::load::Adapter;
use crate::named::named;
use crate::terminal::{self, say, whisper};
use crate::{DONE, INTERRUPTED, cache};

const EXAMPLES: &str = "\
Examples:
  strix tune
  strix tune --model mplug-owl2-int8 --budget 600
  strix tune --show
  strix tune --show --json | jq '.rejected'
  strix tune --clear";

/// Find which kernels are best on this device, and keep that for all later runs
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A config.json whose shapes to tune for [default: the 8.2B model's]
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    config: Option<PathBuf>,
    /// Folder of a model whose shapes to tune for, or nano, which is built in; no weight is read
    #[arg(short, long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Seconds to measure for; what is left is measured by the next run
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    budget: u64,
    /// Forget what was measured before, and begin again
    #[arg(long, conflicts_with_all = ["show", "clear"])]
    force: bool,
    /// Print what was found, and measure nothing
    #[arg(long, conflicts_with = "clear")]
    show: bool,
    /// Forget everything about this device, and measure nothing
    #[arg(long)]
    clear: bool,
    /// Print every measurement, and why each way that was rejected was
    #[arg(long, short)]
    verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    adapter: Adapter,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let config = match (&args.config, &args.model) {
        (Some(file), _) => Config::load_file(file)?,
        (_, Some(path)) => match named(Some(path)) {
            Some(path) => Config::load(&Located::find(path)?.config)?,
            None => Config::nano(),
        },
        // Every key has the 8.2B model's value as its default.
        _ => Config::from_json(b"{}")?,
    };
    let cache = cache::open()?;
    let gpu = args.adapter.open()?;
    if args.clear {
        cache.clear(&gpu)?;
        whisper(&format!("nothing is kept of {} any more", gpu.name()));
        return Ok(DONE);
    }
    if args.show {
        print(args, &gpu, &cache, &cache.tuning(&gpu), &[])?;
        return Ok(DONE);
    }
    // The cache is written even if nothing changes, so that an error comes before the work.
    let known = if args.force { Tuning::default() } else { cache.tuning(&gpu) };
    cache.store_tuning(&gpu, &known)?;
    let outcome = measure(&gpu, &cache, &config, Duration::from_secs(args.budget))?;
    print(args, &gpu, &cache, &outcome.tuning, &outcome.defaults)?;
    let Outcome { measured, left, interrupted, .. } = outcome;
    match (left, interrupted) {
        (_, true) => say("interrupted; what is measured is kept: run the same again to continue"),
        (0, _) => whisper(&format!("{measured} measured now; nothing is left to measure")),
        _ => whisper(&format!("{measured} measured now, {left} left: run the same again to continue")),
    }
    Ok(if interrupted { INTERRUPTED } else { DONE })
}

/// Tunes under a progress bar, until Ctrl-C.
fn measure(gpu: &Gpu, cache: &DeviceCache, config: &Config, budget: Duration) -> anyhow::Result<Outcome> {
    let cancel = cancelled_by_ctrl_c()?;
    let template = "{bar:30} {pos} of {len}, {elapsed}  {wide_msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    let outcome = tune(gpu, cache, config, budget, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(shown(&progress.what).to_string());
        if cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    Ok(outcome?)
}

fn print(
    args: &Args,
    gpu: &Gpu,
    cache: &DeviceCache,
    tuning: &Tuning,
    defaults: &[Chosen],
) -> io::Result<()> {
    let mut out = terminal::out();
    if args.json {
        let rejected: Vec<_> =
            tuning.measured.iter().filter(|m| m.result.is_err()).map(measurement).collect();
        let timed: Vec<_> = tuning.measured.iter().filter(|m| m.result.is_ok()).map(measurement).collect();
        let chosen =
            |c: &Chosen| json!({ "kernel": c.kernel, "situation": c.situation, "way": in_words(&c.way) });
        let chosen: Value = tuning.chosen.iter().map(chosen).collect();
        let report = json!({
            "adapter": gpu.name(),
            "folder": cache.folder(gpu),
            "chosen": chosen,
            "timed": timed,
            "rejected": rejected,
        });
        return writeln!(out, "{}", terminal::json(&format!("{report:#}")));
    }
    if tuning.measured.is_empty() {
        return writeln!(out, "{} is not tuned: `strix tune` does it", gpu.name());
    }
    for Chosen { kernel, situation, way } in &tuning.chosen {
        let mut line = format!("{kernel:<17} {situation:<22} {}", in_words(way));
        let of = |d: &&Chosen| d.kernel == *kernel && d.situation == *situation;
        if let Some(default) = defaults.iter().find(of) {
            let (best, usual) =
                (total(tuning, kernel, situation, way), total(tuning, kernel, situation, &default.way));
            match (best, usual) {
                _ if default.way == *way => line += "  (the default)",
                (Some(best), Some(usual)) => {
                    write!(line, "  ({:.2} times as fast as the default)", usual / best).expect("a String");
                }
                _ => line += "  (the default was rejected)",
            }
        }
        writeln!(out, "{line}")?;
    }
    for m in &tuning.measured {
        let (what, way) = (&m.subject, in_words(&m.way));
        match &m.result {
            Ok(ns) if args.verbose => writeln!(out, "{what:<40} {way:<26} {:>12.3} ms", ns / 1e6)?,
            Err(reason) => writeln!(out, "{what:<40} {way:<26} rejected: {reason}")?,
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Time of a way on all subjects of a situation together.
fn total(tuning: &Tuning, kernel: &str, situation: &str, way: &strix_engine::Specialisation) -> Option<f64> {
    let of = |m: &&Measured| m.kernel == kernel && m.situation == situation && m.way == *way;
    tuning.measured.iter().filter(of).map(|m| m.result.clone().ok()).sum()
}

fn measurement(m: &Measured) -> Value {
    json!({
        "kernel": m.kernel,
        "situation": m.situation,
        "way": in_words(&m.way),
        "subject": m.subject,
        "ns": m.result.as_ref().ok(),
        "reason": m.result.as_ref().err(),
    })
}
