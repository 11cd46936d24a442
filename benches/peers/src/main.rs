//! `cargo xtask peers`: the engines that Strix is held against, in turns with it.

mod engines;
mod figures;
mod gguf;
mod machine;
mod process;
mod report;
mod shape;
mod strix;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use engines::{Class, Engine, NATIVE, Places, VULKAN};
use figures::{Figures, Job};
use report::{Report, Rounds, Who};
use strix::Strix;

/// Folder that keeps dated runs.
const RUNS: &str = "benches/runs";
/// Native code is so much quicker that it decodes so many times as many tokens.
const MORE_TOKENS: u32 = 4;

/// Time Strix and other engines in turns, on a decoder of the same shape with random weights
#[derive(Parser)]
#[command(name = "cargo xtask peers")]
struct Args {
    /// Engines: parts of a name and weights as --list shows them
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    only: Vec<String>,
    /// Show the engines and end
    #[arg(long)]
    list: bool,
    /// How often each is run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Columns that share a scale of Strix's int8 weights, as the 32 of Q8_0 do [default: all of an output channel]
    #[arg(long, value_name = "COLUMNS", value_parser = ["32", "64", "128"])]
    group: Option<String>,
    /// Layers to run, with the head; rates are projected to all 32
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    layers: u32,
    /// Run all 32 layers, of Strix and llama.cpp with int8 unless --only says more: 7 GB on the disk, 14 GB in memory
    #[arg(long, conflicts_with = "layers")]
    full: bool,
    /// Rows of each prefill
    #[arg(long, value_name = "ROWS", value_delimiter = ',', default_values_t = [64, 256],
          value_parser = clap::value_parser!(u32).range(2..=2048))]
    prefill: Vec<u32>,
    /// Positions before the decoded ones
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..=2048))]
    context: u32,
    /// Tokens to decode; native code decodes four times as many
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    tokens: u32,
    /// Seconds that one run of an engine may take
    #[arg(long, value_name = "SECONDS", default_value_t = 1200)]
    limit: u64,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep README.md and run.json in a folder of benches/runs named by date and device
    #[arg(long)]
    save: bool,
    /// Folder for engines and models: about 5 GB
    #[arg(long, default_value = "target/peers")]
    dir: PathBuf,
    /// The strix binary [default: the one beside this]
    #[arg(long, value_name = "FILE")]
    strix: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let engines = match args.full && args.only.is_empty() {
        true => engines::choose(&[VULKAN, NATIVE].map(|name| format!("{name}/q8_0")))?,
        false => engines::choose(&args.only)?,
    };
    if args.list {
        engines.iter().for_each(|engine| println!("{:<24}on {}", engine.key(), engine.backend));
        return Ok(());
    }
    let beside = || -> Result<PathBuf> {
        let own = std::env::current_exe().context("the place of this binary")?;
        Ok(own.with_file_name(format!("strix{}", std::env::consts::EXE_SUFFIX)))
    };
    let binary = args.strix.clone().map_or_else(beside, Ok)?;
    ensure!(binary.is_file(), "{}: no such file; build it: cargo build --release", binary.display());
    let strix = Strix { binary, group: args.group.clone() };
    fs::create_dir_all(&args.dir).with_context(|| format!("{}: making the folder", args.dir.display()))?;
    ctrlc::set_handler(|| {
        process::end_all();
        std::process::exit(130);
    })?;

    let places = Places {
        sources: Path::new(env!("CARGO_MANIFEST_DIR")).to_owned(),
        dir: fs::canonicalize(&args.dir).with_context(|| args.dir.display().to_string())?,
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let job = Job {
        model: None,
        backend: "",
        dtype: "",
        layers: if args.full { shape::LAYERS } else { args.layers },
        threads: cores,
        prefill: args.prefill.clone(),
        context: args.context,
        tokens: args.tokens,
        scratch: String::new(),
    };
    let limit = Duration::from_secs(args.limit);
    let all = in_turns(args.rounds.into(), &engines, &places, &strix, &job, limit);
    let report = Report::new(machine::describe(cores), cores, args.rounds.into(), &job, all);

    println!("\n{}\n{}", report.explanation(), report.markdown());
    let mut written = vec![];
    if let Some(path) = &args.json {
        written.push((path.clone(), serde_json::to_string_pretty(&report)?));
    }
    if args.save {
        let dir = free(&Path::new(RUNS).join(report.folder()));
        fs::create_dir_all(&dir).with_context(|| format!("{}: making the folder", dir.display()))?;
        let words: Vec<_> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask peers {}", words.join(" "));
        written.push((dir.join("README.md"), report.readme(command.trim())));
        written.push((dir.join("run.json"), serde_json::to_string_pretty(&report)?));
    }
    for (path, text) in written {
        fs::write(&path, text + "\n").with_context(|| format!("{}: writing", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}

/// `path`, or the first of `path-2`, `path-3`, … that is not there yet.
fn free(path: &Path) -> PathBuf {
    let numbered = |n: u32| PathBuf::from(format!("{}-{n}", path.display()));
    let mut candidates = std::iter::once(path.to_owned()).chain((2..).map(numbered));
    candidates.find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}

/// Strix, a peer, Strix, the next peer, and so on; the whole again for each round. What fails is not run again.
fn in_turns(
    rounds: usize,
    engines: &[Engine],
    places: &Places,
    strix: &Strix,
    job: &Job,
    limit: Duration,
) -> Vec<(Who, Rounds)> {
    let mut peers: Vec<(Engine, Rounds)> =
        engines.iter().map(|&engine| (engine, Rounds::default())).collect();
    let mut classes: Vec<Class> = engines.iter().map(|engine| engine.class).collect();
    classes.sort();
    classes.dedup();
    let mut own: Vec<(Class, Rounds)> = classes.into_iter().map(|class| (class, Rounds::default())).collect();

    for (engine, rounds) in &mut peers {
        println!("preparing {}", engine.key());
        if let Err(error) = engine.prepare(places, job.layers) {
            fail(rounds, format!("{error:#}"));
        }
    }
    for round in 1..=rounds {
        for (engine, rounds) in &mut peers {
            if rounds.failure.is_some() {
                continue;
            }
            println!("\nround {round}: {}", engine.key());
            let beside = own.iter_mut().find(|(class, own)| *class == engine.class && own.failure.is_none());
            if let Some((class, own)) = beside {
                add("Strix", own, strix.measure(&places.dir, *class, job, limit));
            }
            let tokens = if engine.backend == "cpu" { MORE_TOKENS * job.tokens } else { job.tokens };
            let job = Job { tokens, ..job.clone() };
            add(engine.name, rounds, engine.measure(places, &job, limit));
        }
    }
    let own = own.into_iter().map(|(class, rounds)| (Who::Strix(class), rounds));
    own.chain(peers.into_iter().map(|(engine, rounds)| (Who::Peer(engine), rounds))).collect()
}

fn add(name: &str, rounds: &mut Rounds, measured: Result<(Figures, Option<String>)>) {
    let (figures, failure) =
        measured.unwrap_or_else(|error| (Figures::default(), Some(format!("{error:#}"))));
    let rate = |rate: &figures::Rate| f64::from(rate.tokens) / rate.spent.wall_s;
    let prefill = figures.prefill.iter().map(|r| format!("prefill/{} {:.2}/s", r.tokens, rate(r)));
    let decode = figures.decode.iter().map(|r| format!("decode {:.2}/s", rate(r)));
    let words: Vec<_> = prefill.chain(decode).collect();
    println!("  {name}: {}", if words.is_empty() { "nothing".into() } else { words.join(", ") });
    rounds.runs.push(figures);
    if let Some(why) = failure {
        fail(rounds, why);
    }
}

fn fail(rounds: &mut Rounds, why: String) {
    println!("  failed: {why}");
    rounds.failure = Some(why);
}
