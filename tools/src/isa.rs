//! `strix isa`: what drivers make of kernels, those of GPUs that are not here included.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressBar;
use strix_isa::compare::Comparison;
use strix_isa::compile::Source;
use strix_isa::fetch::{self, Plan};
use strix_isa::gpus::{self, Fake};
use strix_isa::report;
use strix_isa::run::{self, Fate, Place, Run};
use strix_isa::select::is_of;
use strix_isa::worker::{self, Kernels, Request, Which};
use strix_model::shown;
use strix_shaders::generated::KERNELS;

use crate::terminal::{self, whisper};
use crate::{DONE, FAULT, Usage, cache, shader, writable};

const EXAMPLES: &str = "\
Examples:
  strix isa
  strix isa gemm_int8 --gpu navi31,ampere -v
  strix isa --gpu all --yes --html kernels.html
  strix isa my.wgsl WIDTH=4 --gpu amd --listings my-listings
  strix isa --gpu navi31 --save before.json
  strix isa --gpu navi31 --compare before.json

GPUs: polaris10 renoir navi10 navi21 navi31 gfx1201 (amd), turing ampere ada (nvidia), adreno-660 adreno-740
adreno-830 (adreno), m1, lavapipe-25, lavapipe-26, or all. Their drivers are Mesa's: what NVIDIA's, Qualcomm's and
Apple's own make of a kernel may differ. Nothing runs; only the compilers do.";

/// Show what drivers make of kernels: registers, spills, occupancy, machine code, also for GPUs that are not here
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A kernel, as `strix shader` names it, or a file of WGSL [default: all that the 8.2B model uses on the GPU]
    #[arg(value_name = "KERNEL|FILE.wgsl")]
    subject: Option<String>,
    /// Values of the kernel's variants (rows=128), or of the file's overrides
    #[arg(value_name = "NAME=VALUE", value_parser = shader::pair)]
    values: Vec<(String, String)>,
    /// GPUs to compile for [default: the device that is used here, with its own driver]
    #[arg(long, value_name = "GPU,..", value_delimiter = ',')]
    gpu: Vec<String>,
    /// Kernels: those used by default, those that `strix tune` may choose as well, every one there is, or those that
    /// are compiled before a first answer with int8 weights
    #[arg(long, value_enum, default_value_t = Select::Defaults)]
    select: Select,
    /// Folder of the drivers [default: gpus in the folder of STRIX_CACHE_DIR]
    #[arg(long, value_name = "DIR")]
    drivers: Option<PathBuf>,
    /// Fetch drivers that are missing without asking
    #[arg(long, short)]
    yes: bool,
    /// Show the mix of the hot loop and all that the driver says
    #[arg(long, short)]
    verbose: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown
    #[arg(long)]
    markdown: bool,
    /// Write a page with each listing beside its WGSL
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each listing and WGSL to a folder
    #[arg(long, value_name = "DIR")]
    listings: Option<PathBuf>,
    /// Store the run, for --compare
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show what has changed since a stored run; worse figures are an error
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Answer a request on stdin: the process that a driver runs in
    #[arg(long, hide = true, exclusive = true)]
    worker: bool,
}

/// Which of our kernels.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Select {
    Defaults,
    Choosable,
    Every,
    Start,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    if args.worker {
        worker::run()?;
        return Ok(DONE);
    }
    let before = args.compare.as_deref().map(stored).transpose()?;
    for file in [&args.save, &args.html].into_iter().flatten() {
        writable::try_file(file).map_err(|e| Usage(format!("{e:#}")))?;
    }
    let request = Request { kernels: kernels(args)?, skip: 0, listings: true };
    let places = match args.gpu.is_empty() {
        true => vec![Place::Here],
        false => places(&args.gpu, args.drivers.as_deref(), args.yes)?,
    };
    let bar = ProgressBar::new_spinner();
    let program = std::env::current_exe().context("where this program is")?;
    let found = run::all(&places, &program, &worker::WORDS, &request, &|what| {
        bar.set_message(shown(what).to_string());
        bar.tick();
    });
    bar.finish_and_clear();
    write(args, &found)?;
    // What drivers say is in all of it.
    let mut out = terminal::out();
    if args.json {
        writeln!(terminal::stdout(), "{}", terminal::json(&serde_json::to_string_pretty(&found)?))?;
    } else if args.markdown {
        write!(out, "{}", report::markdown(&found))?;
    } else {
        write!(out, "{}", report::text(&found))?;
        if args.verbose {
            let details = found.gpus.iter().flat_map(|gpu| &gpu.kernels).filter(|k| k.statistics.is_some());
            details.map(report::detail).try_for_each(|detail| writeln!(out, "{detail}"))?;
        }
    }
    let mut good =
        found.gpus.iter().all(|gpu| gpu.failed.is_none() && gpu.kernels.iter().all(|k| k.fate == Fate::Made));
    if let Some(before) = before {
        let comparison = Comparison::of(&before, &found);
        good &= comparison.worse().next().is_none();
        if args.json {
            whisper(&comparison.text());
        } else {
            write!(out, "{}", comparison.text())?;
        }
    }
    Ok(if good { DONE } else { FAULT })
}

fn stored(path: &Path) -> anyhow::Result<Run> {
    let text = fs::read_to_string(path).map_err(|e| Usage(format!("{}: {e}", path.display())))?;
    Ok(serde_json::from_str(&text)
        .map_err(|e| Usage(format!("{}: it is no run that --save stored: {e}", path.display())))?)
}

fn kernels(args: &Args) -> anyhow::Result<Kernels> {
    let which = match args.select {
        Select::Defaults => Which::Defaults,
        Select::Choosable => Which::Choosable,
        Select::Every => Which::Every,
        Select::Start => Which::Start,
    };
    let Some(subject) = &args.subject else {
        return Ok(Kernels::Own { which, kernel: None, values: args.values.clone() });
    };
    if Path::new(subject).extension().is_some_and(|e| e == "wgsl") {
        let wgsl = fs::read_to_string(subject).map_err(|e| Usage(format!("{subject}: {e}")))?;
        Source::parse(&wgsl).map_err(|e| Usage(format!("{subject}:{e}")))?;
        let number = |(name, value): &(String, String)| {
            let value = value
                .parse::<f64>()
                .map_err(|_| Usage(format!("{name}={value}: an override is a number")))?;
            Ok::<_, Usage>((name.clone(), value))
        };
        let constants = args.values.iter().map(number).collect::<Result<BTreeMap<_, _>, _>>()?;
        return Ok(Kernels::Text { name: subject.clone(), wgsl, constants });
    }
    let (kernel, appended) = shader::resolve(subject)?;
    // Its families have values of their own.
    let families = KERNELS.iter().filter(|other| is_of(other.name, kernel.name) && other.name != kernel.name);
    let known = families.into_iter().any(|family| shader::check(family, &args.values).is_ok());
    if !known {
        shader::check(kernel, &args.values)?;
    }
    let mut values = args.values.clone();
    values.extend(appended.into_iter().map(shader::of_any));
    Ok(Kernels::Own { which, kernel: Some(kernel.name.into()), values })
}

/// GPUs of these names, with their drivers in a folder, or in that of the cache.
pub(crate) fn places(names: &[String], drivers: Option<&Path>, yes: bool) -> anyhow::Result<Vec<Place>> {
    let fakes = gpus::find(names).map_err(|e| Usage(e.to_string()))?;
    let drivers = match drivers {
        Some(dir) => dir.to_owned(),
        None => cache::dir()
            .ok_or_else(|| Usage("no home directory: say with --drivers where the drivers are to be".into()))?
            .join("gpus"),
    };
    fetch(&drivers, &fakes, yes)?;
    Ok(fakes.into_iter().map(|fake| Place::Fake(fake, drivers.clone())).collect())
}

/// Fetches what is missing, once it was agreed to.
fn fetch(drivers: &Path, fakes: &[&'static Fake], yes: bool) -> anyhow::Result<()> {
    let plan =
        Plan::new(&fetch::system(), &fetch::sources(), drivers, fakes).map_err(|e| Usage(e.to_string()))?;
    let Some(plan) = plan else { return Ok(()) };
    if !yes && !agreed(&plan.question())? {
        return Err(Usage("nothing is fetched without --yes, or a yes at the terminal".into()).into());
    }
    plan.run(&mut |step| whisper(&format!("fetching {step}")))
}

fn agreed(question: &str) -> io::Result<bool> {
    let mut error = io::stderr();
    if !io::stdin().is_terminal() {
        writeln!(error, "{question}")?;
        return Ok(false);
    }
    write!(error, "{question}\nFetch them? [y/N] ")?;
    error.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// The files that were asked for.
fn write(args: &Args, found: &Run) -> anyhow::Result<()> {
    let put = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|e| Usage(format!("{}: {e}", path.display())))
    };
    if let Some(path) = &args.save {
        put(path, &serde_json::to_string_pretty(found)?)?;
    }
    if let Some(path) = &args.html {
        put(path, &report::html(found))?;
        whisper(&format!("{}: the page is written", path.display()));
    }
    let Some(dir) = &args.listings else { return Ok(()) };
    for gpu in &found.gpus {
        let dir = dir.join(&gpu.gpu);
        fs::create_dir_all(&dir).map_err(|e| Usage(format!("{}: {e}", dir.display())))?;
        for kernel in &gpu.kernels {
            let Some(texts) = &kernel.texts else { continue };
            let name: String = kernel.label.replace(", ", ",").replace(['/', '\\', ' '], "_");
            put(&dir.join(format!("{name}.wgsl")), &texts.wgsl)?;
            if let Some(listing) = &texts.listing {
                put(&dir.join(format!("{name}.txt")), listing)?;
            }
        }
    }
    Ok(())
}
