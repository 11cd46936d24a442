//! `strix bench frames`: an app's frames while a model is loaded and answers on the device that the app draws with.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use strix_benches::frames::{Event, Options, Row, Way, run_frames};

use super::options::{On, Which, time};
use crate::answer::cancelled_by_ctrl_c;
use crate::load::Storage;
use crate::terminal::{self, whisper};
use crate::{DONE, INTERRUPTED};

const EXAMPLES: &str = "\
Examples:
  strix bench frames
  strix bench frames --preset 8.2b --layers 4 --dtype int8
  strix bench frames --every 8ms --time-slice 2ms --upload 8 --json frames.json

A frame is late that is not done when the next is due. held is the longest that one call of wgpu's held the app's thread.";

/// Time the frames of an app that draws with the same device, while a model is loaded, encodes, runs a prompt and decodes
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Time from one frame to the next
    #[arg(long, value_name = "TIME", default_value = "16667us", value_parser = time)]
    every: Duration,
    /// Device time of what is submitted at a time
    #[arg(long, value_name = "TIME", default_value = "4ms", value_parser = time)]
    time_slice: Duration,
    /// Weights between two frames, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    upload: u16,
    /// Positions of the prompt
    #[arg(long, value_name = "POSITIONS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=4096))]
    prompt: u32,
    /// Tokens that are decoded
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=4096))]
    tokens: u32,
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
    let adapter = gpu.adapter().context("the adapter is not known")?.clone();
    drop(gpu);
    let options = Options {
        of: args.which.of(),
        load: args.storage.options()?,
        every: args.every,
        slice: args.time_slice,
        upload_bytes: u64::from(args.upload) << 20,
        prompt: args.prompt,
        tokens: args.tokens,
    };
    let stop = cancelled_by_ctrl_c()?;
    let mut has_head = false;
    let rows = run_frames(&adapter, &options, &mut |event| {
        match event {
            Event::Next(what) => whisper(&format!("{what} ...")),
            Event::Row(row) => print(row, !std::mem::replace(&mut has_head, true)),
        }
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&rows)?;
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(if stop.load(Ordering::Relaxed) { INTERRUPTED } else { DONE })
}

/// Prints a row, with the names of its columns above the first.
fn print(row: &Row, is_first: bool) {
    let mut out = terminal::stdout();
    let head = ["took ms", "frames", "p50 ms", "p99 ms", "worst", "held", "late"];
    let Row { way, phase, took_ms, frames, p50_ms, p99_ms, worst_ms, held_ms, late } = row;
    // Who reads no more is noticed at the end.
    if is_first {
        let [took, frames, p50, p99, worst, held, late] = head;
        let _ = writeln!(
            out,
            "{:<15} {:<13} {took:>9} {frames:>7} {p50:>8} {p99:>8} {worst:>8} {held:>8} {late:>5}",
            "work", "phase"
        );
    }
    let way = way.map_or("none", Way::name);
    let _ = writeln!(
        out,
        "{way:<15} {phase:<13} {took_ms:>9.0} {frames:>7} {p50_ms:>8.2} {p99_ms:>8.2} {worst_ms:>8.2} \
         {held_ms:>8.2} {late:>5}"
    );
}
