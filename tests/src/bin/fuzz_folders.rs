//! `cargo xtask fuzz-folders [--minutes N] [--seed S]`: whole folders of models with one thing changed, loaded and asked
//! in a process of their own. Fails where one panics, ends the process, takes too long or too much memory, or answers
//! otherwise without a reason.

use std::io::{BufRead as _, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use strix_tests::command::exit_code;
use strix_tests::fuzz_folders::{Counts, Folders, Outcome};

/// Resident memory above which a folder is a fault. Nano and its kernels take a fraction of it.
const MAX_RESIDENT_BYTES: u64 = 2 << 30;
/// Time for the folders to be made and asked as they are.
const START: Duration = Duration::from_secs(300);

#[derive(Parser)]
#[command(about = "Whole folders of models with one thing changed, loaded and asked")]
struct Args {
    /// How long it runs.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The first seed; each folder has the next.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folders at most.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    folders: u64,
    /// Seconds that a folder may take.
    #[arg(long, default_value_t = 10)]
    limit: u64,
    /// Runs folders from the seed on and prints a line of each: what the process that watches starts.
    #[arg(long, hide = true)]
    worker: bool,
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn main() -> ExitCode {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
    let args = Args::parse();
    exit_code(if args.worker { work(args.seed) } else { watch(&args) })
}

/// Folder after folder, until the watching process ends this one.
fn work(first: u64) -> Result<bool> {
    std::panic::set_hook(Box::new(|_| ()));
    let at = tempfile::tempdir()?;
    let folders = Folders::make(at.path())?;
    let mut out = std::io::stdout().lock();
    for seed in first.. {
        let change = folders.change(seed)?;
        writeln!(out, "begin\t{seed}\t{change}")?;
        out.flush()?;
        let outcome = match catch_unwind(AssertUnwindSafe(|| folders.run(&change))) {
            Ok(outcome) => format!("{:?}", outcome?),
            Err(_) => "Panicked".into(),
        };
        writeln!(out, "end\t{outcome}\t{}", peak_resident_bytes())?;
        out.flush()?;
    }
    Ok(true)
}

/// Largest resident set since the last call; 0 where the system does not tell.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    peak.map_or(0, |kilobytes: u64| kilobytes << 10)
}

struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(seed: u64) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--worker", "--seed", &seed.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(child.stdout.take().context("it is piped")?);
        let (to, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Ok(Self { child, lines })
    }

    fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(args: &Args) -> Result<bool> {
    let (mut counts, mut faults) = (Counts::default(), 0);
    let (mut seed, mut peak) = (args.seed, 0);
    let limit = Duration::from_secs(args.limit);
    let mut worker = Worker::start(seed)?;
    let mut change = String::new();
    let mut wait = START;
    let mut until = None;
    let fault = |seed: u64, change: &str, what: &str| println!("FAULT  seed {seed}  {change}: {what}");
    while counts.total() + faults < args.folders && until.is_none_or(|until| Instant::now() < until) {
        let broken = match worker.lines.recv_timeout(wait) {
            Ok(line) => {
                let fields: Vec<&str> = line.split('\t').collect();
                wait = limit;
                match fields[..] {
                    ["begin", number, what] => {
                        // The time to make the folders does not count.
                        until.get_or_insert_with(|| {
                            Instant::now() + Duration::from_secs_f64(60.0 * args.minutes)
                        });
                        (seed, change) = (number.parse()?, what.to_owned());
                    }
                    ["end", outcome, resident] => {
                        let resident: u64 = resident.parse()?;
                        peak = peak.max(resident);
                        match outcome_of(outcome) {
                            Some(outcome) => {
                                counts.add(outcome);
                                if outcome.is_fault() {
                                    fault(seed, &change, &format!("{outcome:?}"));
                                }
                            }
                            None => {
                                faults += 1;
                                fault(seed, &change, outcome);
                            }
                        }
                        if resident > MAX_RESIDENT_BYTES {
                            faults += 1;
                            fault(seed, &change, &format!("{resident} bytes were resident"));
                        }
                    }
                    _ => println!("{line}"),
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => format!("took more than {} s", wait.as_secs()),
            Err(RecvTimeoutError::Disconnected) => "ended the process".into(),
        };
        anyhow::ensure!(until.is_some(), "the folders could not be made: it {broken}");
        faults += 1;
        fault(seed, &change, &broken);
        std::mem::replace(&mut worker, Worker::start(seed + 1)?).end();
        wait = START;
    }
    worker.end();
    faults += counts.faults();
    println!("{counts}; seeds {} to {seed}; at most {} MiB resident; {faults} faults", args.seed, peak >> 20);
    Ok(faults == 0)
}

fn outcome_of(word: &str) -> Option<Outcome> {
    use Outcome::{Answered, NotFinite, Other, Refused, Same, Silent};
    [Refused, Same, Other, NotFinite, Silent, Answered]
        .into_iter()
        .find(|outcome| format!("{outcome:?}") == word)
}
