//! `strix bench kernels`: every kernel at the shapes of the 8.2B model, or at shapes that are named.

use std::io::Write;
use std::path::PathBuf;

use bytesize::ByteSize;
use strix_benches::shape::SIGNATURES;
use strix_benches::{Bench, Kind, Settings, Shape, kernels, run_kernels};

use super::options::{Deadline, On, Pace, Progress, begin};
use super::output::Output;
use super::page;
use crate::Usage;
use crate::load::size;
use crate::writable::try_file;

/// Default bytes of operands that are on the device at a time, at most.
const MEMORY: u64 = 2 << 30;

const EXAMPLES: &str = "\
Examples:
  strix bench kernels --quick
  strix bench kernels gemm prefill int8 --budget 5m --save
  strix bench kernels --shape gemm/256x11008x4096/int8 --shape attention/1024x1024x32x128
  strix bench kernels --quick --compare benches/runs/2026-11-26-llvmpipe-kernels

Names are KERNEL/REGIME/SIZES/DTYPE, e.g. gemm/prefill/256x4096x4096/int8. --shape takes the same without a regime, \
and without a dtype every dtype of the kernel:
";

/// Time every kernel at the shapes of the 8.2B model, or at shapes of yours
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct Args {
    /// Parts of names; all of them must occur
    filter: Vec<String>,
    /// A shape of yours, instead of the model's; may be repeated
    #[arg(long, value_name = "SHAPE", value_parser = shapes)]
    shape: Vec<Shapes>,
    /// Print the names of the benches, and run none
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    pace: Pace,
    /// Do not compare results with the CPU references first
    #[arg(long)]
    no_check: bool,
    /// Operands on the device at a time, e.g. 1GiB: as many benches take turns [default: 2GiB, at most a quarter of the
    /// device's memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<ByteSize>,
    /// Write a page that runs kernels in a browser, and measure nothing here: those of --shape, or some small ones
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    page: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    on: On,
}

/// Shapes that one `--shape` names: one, or one for each dtype.
#[derive(Clone)]
struct Shapes(Vec<Shape>);

fn shapes(text: &str) -> Result<Shapes, strix_benches::Error> {
    Shape::parse(text).map(Shapes)
}

fn after_help() -> String {
    let usages: Vec<_> = SIGNATURES.iter().map(|signature| format!("  {}", signature.usage())).collect();
    EXAMPLES.to_owned() + &usages.join("\n")
}

impl Args {
    /// The benches that were asked for.
    fn benches(&self) -> anyhow::Result<Vec<Bench>> {
        let named = self.shape.iter().flat_map(|shapes| &shapes.0);
        let all = match self.shape.is_empty() {
            true => kernels(),
            false => named.map(|shape| Bench::of(shape.clone())).collect::<Result<_, _>>()?,
        };
        let quick = self.pace.quick && self.shape.is_empty();
        let wanted = |bench: &Bench| {
            let name = bench.name();
            self.filter.iter().all(|part| name.contains(part.as_str())) && (bench.quick || !quick)
        };
        let benches: Vec<_> = all.into_iter().filter(wanted).collect();
        if benches.is_empty() {
            let which = self.filter.join(" ");
            return Err(Usage(format!(
                "no bench has {which:?} in its name{}: see strix bench kernels --list",
                if quick { " and is among the quick ones" } else { "" }
            ))
            .into());
        }
        Ok(benches)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let deadline = Deadline::of(&args.pace);
    let benches = args.benches()?;
    if args.list {
        let mut out = crate::terminal::stdout();
        benches.iter().try_for_each(|bench| writeln!(out, "{}", bench.name()))?;
        return Ok(crate::DONE);
    }
    if let Some(path) = &args.page {
        try_file(path)?;
        let named = if args.shape.is_empty() && args.filter.is_empty() { vec![] } else { benches };
        return page::write_kernels(path, named, &args.on.open()?, args.pace.quick);
    }
    let stored = args.output.before()?;
    let mut progress = Progress::begin()?;
    let (clock, mut run) = begin(&args.on, &args.pace, deadline, Kind::Kernels, &mut progress)?;
    let quarter = clock.gpu().memory_bytes().map_or(MEMORY, |bytes| bytes / 4);
    let memory = args.memory.map_or(MEMORY.min(quarter), |size| size.as_u64());
    let mut settings = Settings { check: !args.no_check, ..Settings::new(args.pace.quick, memory) };
    if let Some(left) = deadline.left() {
        settings = settings.until(left, benches.len());
    }
    let mut done = 0;
    run.rows = run_kernels(&clock, &run.roofline, &benches, &settings, &mut |event| {
        progress.on(&event, &mut done, benches.len())
    })?;
    if run.rows.len() < benches.len() {
        run.notes.push(deadline.words(run.rows.len(), benches.len()));
    }
    if args.no_check {
        run.notes.push("Results were not compared with the CPU references.".into());
    }
    let code = progress.end(&run);
    args.output.after(&run, stored.as_ref())?;
    Ok(code)
}
