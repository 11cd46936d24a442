//! `strix bench answers`: a lone answer beside bare steps, a prompt that arrives while others are answered, cancels.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::Context;
use strix_benches::Clock;
use strix_benches::answers::{Arrival, Cancels, Lone, Options, Report, run_answers};

use super::options::{On, Which};
use crate::answer::cancelled_by_ctrl_c;
use crate::load::Storage;
use crate::terminal::{self, whisper};
use crate::{DONE, INTERRUPTED};

const EXAMPLES: &str = "\
Examples:
  strix bench answers
  strix bench answers --preset 8.2b --layers 4 --dtype int8 --arriving 1500
  strix bench answers --preset 8.2b --dtype int8 --cancels 20 --json answers.json
  strix bench answers --soak 10000 --loads 50";

/// Time answers beside others: a lone one, those that run while a prompt arrives, those that are cancelled
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Tokens of a lone answer
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(2..=4096))]
    tokens: u32,
    /// Lone answers, in turns with as many rounds of bare steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Answers that run while a prompt arrives
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=15))]
    running: u16,
    /// Positions of the prompt that arrives
    #[arg(long, value_name = "POSITIONS", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(2..=4096))]
    arriving: u32,
    /// Times that a load, an encode, a prefill and a decode are cancelled
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    cancels: u16,
    /// Answers that are given eight at a time while the memory of the process is watched
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    soak: u32,
    /// Loads and drops of the model while the memory of the process is watched
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    loads: u16,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    on: On,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let gpu = args.on.open()?;
    let options = Options {
        of: args.which.of(),
        load: args.storage.options()?,
        tokens: args.tokens,
        rounds: args.rounds.into(),
        running: args.running.into(),
        arriving: args.arriving,
        cancels: args.cancels.into(),
        soak: args.soak as usize,
        loads: args.loads.into(),
    };
    let stop = cancelled_by_ctrl_c()?;
    let clock = Clock::new(&gpu);
    let report = run_answers(&clock, &options, &mut |what| {
        whisper(&format!("{what} ..."));
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    print(&report, args)?;
    Ok(if stop.load(Ordering::Relaxed) { INTERRUPTED } else { DONE })
}

fn print(report: &Report, args: &Args) -> anyhow::Result<()> {
    let mut out = terminal::stdout();
    if let Some(Lone { token_ms, step_ms }) = report.lone {
        writeln!(
            out,
            "a lone answer: {token_ms:.2} ms a token; a bare step {step_ms:.2} ms ({:.3} x)",
            token_ms / step_ms
        )?;
    }
    let arrivals = [
        ("run between steps", report.between),
        ("in whole chunks", report.in_chunks),
        ("as a whole", report.whole),
    ];
    if report.between.is_some() {
        writeln!(
            out,
            "a prompt of {} positions arrives while {} answers run:",
            report.arriving, args.running
        )?;
    }
    for (name, arrival) in arrivals {
        let Some(Arrival { before_ms, longest_ms, median_ms, first_token_ms }) = arrival else { continue };
        writeln!(
            out,
            "  {name:<18} longest gap {longest_ms:>8.0} ms, median {median_ms:>7.0} ms (before {before_ms:.0}); its first \
             token after {:.1} s",
            first_token_ms / 1e3
        )?;
    }
    for (what, held) in [("answers", &report.soak), ("loads", &report.loads)] {
        for (number, mib) in held {
            writeln!(out, "after {number:>6} {what}: {mib:.1} MiB")?;
        }
    }
    for Cancels { what, told_ms, free_ms, times } in &report.cancels {
        writeln!(
            out,
            "cancel in {what:<8} worst of {times}: told after {told_ms:.0} ms, free after {free_ms:.0} ms"
        )?;
    }
    Ok(())
}
