//! `strix bench device`: what the device can do at most, one ability at a time.

use std::io::Write;

use strix_benches::probes::{self, Counts, Probe};
use strix_benches::{Kind, Run, Settings};

use super::options::{Deadline, On, Pace, Progress, begin};
use super::output::Output;
use crate::{Usage, terminal};

const EXAMPLES: &str = "\
Examples:
  strix bench device --quick
  strix bench device read write copy --json device.json --csv device.csv";

/// Measure what the device can do at most: memory, arithmetic, atomics, and what it costs to ask it for anything
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Parts of names of abilities: those that have one of them [default: all]
    filter: Vec<String>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    on: On,
}

/// Operands on the device at a time.
const MEMORY: u64 = 1 << 30;

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let deadline = Deadline::of(&args.pace);
    let wanted =
        |probe: &&Probe| args.filter.is_empty() || args.filter.iter().any(|part| probe.name.contains(part));
    let chosen: Vec<_> = probes::PROBES.iter().filter(wanted).copied().collect();
    if chosen.is_empty() {
        let names: Vec<_> = probes::PROBES.iter().map(|probe| probe.name).collect();
        return Err(Usage(format!("there is no such ability; there are {}", names.join(", "))).into());
    }
    let stored = args.output.before()?;
    let mut progress = Progress::begin()?;
    let (clock, mut run) = begin(&args.on, &args.pace, deadline, Kind::Device, &mut progress)?;
    let runs = if args.pace.quick { 3 } else { 7 };
    progress.say("device", "read-back");
    let read_back = probes::read_back(clock.gpu(), runs)?;
    run.notes.push(format!("Read-back: {:.2} GB/s.", read_back / 1e9));
    let warm_up = std::time::Duration::from_millis(if args.pace.quick { 50 } else { 200 });
    let clock = clock.warmed(warm_up);
    let mut settings = Settings::new(args.pace.quick, MEMORY);
    settings.each /= 4;
    if let Some(left) = deadline.left() {
        settings = settings.until(left, chosen.len() * 6);
    }
    let mut done = 0;
    let roof = run.roofline;
    let all = chosen.len() * 6;
    run.rows =
        probes::run(&clock, &roof, &chosen, &settings, &mut |event| progress.on(&event, &mut done, all))?;
    let code = progress.end(&run);
    print(&run, &chosen)?;
    args.output.after(&run, stored.as_ref())?;
    Ok(code)
}

/// The best of each probe.
fn print(run: &Run, chosen: &[Probe]) -> anyhow::Result<()> {
    let mut out = terminal::out();
    for best in probes::best(&run.rows) {
        let unit = match best.counts {
            Counts::Bytes => "GB/s",
            Counts::Flops => "GFLOP/s",
            Counts::Operations => "G/s",
        };
        let rate = strix_benches::output::digits(best.rate / 1e9);
        writeln!(out, "{:<28}{rate:>9} {unit:<8} {:<22} {}", best.name, best.at, best.words)?;
    }
    let missing: Vec<_> = chosen
        .iter()
        .filter(|probe| !run.rows.iter().any(|row| row.name.split('[').next() == Some(probe.name)))
        .map(|probe| probe.name)
        .collect();
    if !missing.is_empty() {
        writeln!(out, "not measured, for want of the ability or of time: {}", missing.join(", "))?;
    }
    Ok(writeln!(out)?)
}
