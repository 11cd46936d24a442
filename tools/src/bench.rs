//! `strix bench`: what kernels and models take, and what share that is of what the device can do.

mod answers;
mod kernels;
mod model;

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use strix_benches::model::Of;
use strix_benches::output::{html, markdown, table};
use strix_benches::{Clock, Event, Kind, Roofline, Run, compare, save, write};
use strix_engine::{Gpu, GpuOptions};
use strix_model::convert::PRESETS;
use strix_model::shown;

use crate::Usage;
use crate::answer::cancelled_by_ctrl_c;
use crate::cache;
use crate::load::{Adapter, Storage, named};
use crate::terminal::{self, whisper};

const EXAMPLES: &str = "\
Examples:
  strix bench kernels --quick
  strix bench kernels --shape gemm/256x11008x4096/int8 --html gemm.html
  strix bench model mplug-owl2-int8 --context 512,2048";

/// Folder that keeps dated runs.
const RUNS: &str = "benches/runs";

/// Time kernels or a model, and hold them against what the device can do
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Kernels(kernels::Args),
    Model(model::Args),
    Answers(answers::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.what {
        What::Kernels(args) => kernels::run(args),
        What::Model(args) => model::run(args),
        What::Answers(args) => answers::run(args),
    }
}

/// The model that is timed.
#[derive(clap::Args)]
struct Which {
    /// Folder of a model; nano is the small one that is built in [default: nano]
    checkpoint: Option<PathBuf>,
    /// A built-in shape with made-up weights
    #[arg(long, value_parser = PRESETS, conflicts_with = "checkpoint")]
    preset: Option<String>,
    /// Another number of decoder layers of the preset, for a quick look
    #[arg(long, value_name = "LAYERS", requires = "preset", value_parser = clap::value_parser!(u32).range(1..=256))]
    layers: Option<u32>,
}

impl Which {
    fn of(&self) -> Of<'_> {
        match (&self.checkpoint, &self.preset) {
            (Some(dir), _) if named(Some(dir)).is_some() => Of::Dir(dir),
            (None, Some(name)) => Of::Preset { name, layers: self.layers },
            _ => Of::Nano,
        }
    }

    /// What it is, and how it is stored.
    fn words(&self, storage: &Storage) -> String {
        let layers = self.layers.map_or(String::new(), |layers| format!(" with {layers} decoder layers"));
        let dtype = storage.words();
        match (&self.checkpoint, &self.preset) {
            (Some(dir), _) if named(Some(dir)).is_some() => format!("{}, {dtype}", dir.display()),
            (None, Some(name)) => format!("made-up weights of the {name} shape{layers}, {dtype}"),
            _ => format!("nano, which is built in, {dtype}"),
        }
    }
}

/// Files that a run is written to.
#[derive(clap::Args)]
struct Output {
    /// Write the run with all its times as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    markdown: Option<PathBuf>,
    /// Write a page with the roofline and the tables; it needs no other file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Keep all three in a folder of benches/runs named by date and device
    #[arg(long, help_heading = "Output")]
    save: bool,
    /// Keep all three in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "save", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Hold it against a stored run: a folder with a run.json, or that file
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    compare: Option<PathBuf>,
}

impl Output {
    /// Reads the stored run, and sees to it that what comes at the end can be written.
    fn before(&self) -> anyhow::Result<Option<Run>> {
        for file in [&self.json, &self.markdown, &self.html].into_iter().flatten() {
            let folder = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() || file.is_dir() {
                return Err(Usage(format!("{}: no file can be written there", file.display())).into());
            }
            try_file(file)?;
        }
        let kept = self.out.as_deref().or_else(|| self.save.then_some(Path::new(RUNS)));
        if let Some(dir) = kept {
            if dir.exists() && !dir.is_dir() {
                return Err(Usage(format!("{}: it is a file, --out is a folder", dir.display())).into());
            }
            // The nearest existing folder, if this one does not exist yet.
            let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
            try_folder(there)?;
        }
        Ok(self.compare.as_deref().map(Run::load).transpose()?)
    }

    /// Prints the run, writes it, and holds it against the stored one.
    fn after(&self, run: &Run, stored: Option<&Run>) -> anyhow::Result<()> {
        let comparison = stored.map(|stored| compare(stored, run));
        let comparison = comparison.as_ref();
        write!(terminal::out(), "{}", table::page(run, comparison))?;
        let texts: [(_, &dyn Fn() -> String); 3] = [
            (&self.json, &|| run.to_json()),
            (&self.markdown, &|| markdown::page(run, comparison)),
            (&self.html, &|| html::page(run, comparison)),
        ];
        for (path, text) in texts {
            if let Some(path) = path {
                write(path, &text())?;
            }
        }
        let folder = self.out.as_deref().or_else(|| self.save.then_some(Path::new(RUNS)));
        if let Some(folder) = folder {
            let saved = save(run, comparison, folder, self.save)?;
            whisper(&format!("kept in {}", saved.dir.display()));
        }
        Ok(())
    }
}

/// Sees to it that a file can be written; one that is there is not touched.
pub(crate) fn try_file(path: &Path) -> anyhow::Result<()> {
    let failed = || format!("{}: no file can be written there", path.display());
    match path.exists() {
        true => OpenOptions::new().append(true).open(path).map(drop).with_context(failed),
        false => tempfile::tempfile_in(
            path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(".".as_ref()),
        )
        .map(drop)
        .with_context(failed),
    }
}

/// Sees to it that a folder can be written to.
fn try_folder(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("{}: nothing can be written there", dir.display());
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    tempfile::tempfile_in(dir).map(drop).with_context(failed)
}

/// The adapter and its kernels.
#[derive(clap::Args)]
struct On {
    #[command(flatten)]
    adapter: Adapter,
    /// Family of kernels to use, whatever is best here: subgroup, tiled, plain or coop
    #[arg(long, value_name = "FAMILY", env = "STRIX_FAMILY", hide_env = true)]
    family: Option<String>,
}

impl On {
    /// The device, with what `strix tune` found on it: what is timed is what runs.
    fn open(&self) -> Result<Gpu, strix_engine::Error> {
        let family = self.family.clone().filter(|family| !family.is_empty());
        let gpu = Gpu::with(&GpuOptions { family, ..self.adapter.options() })?;
        cache::choose(&gpu);
        Ok(gpu)
    }
}

/// Time and number of runs.
#[derive(clap::Args)]
struct Pace {
    /// The most telling benches only, and few runs
    #[arg(long)]
    quick: bool,
    /// Time for all of it, compiling and checks too, e.g. 90s or 5m: fewer runs of each, though at least three, and then
    /// fewer benches, though at least one
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Duration>,
}

/// Reads a length of time on the command line.
fn time(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    parsed.filter(|time| !time.is_zero()).ok_or_else(|| "it is no length of time such as 90s or 5m".into())
}

/// When a budget that began with the command ends.
#[derive(Clone, Copy)]
struct Deadline {
    began: Instant,
    budget: Option<Duration>,
}

impl Deadline {
    /// The time of a command that begins now.
    fn of(pace: &Pace) -> Self {
        Self { began: Instant::now(), budget: pace.budget }
    }

    /// When such a part of it is over.
    fn part(self, part: f64) -> Option<Instant> {
        Some(self.began + self.budget?.mul_f64(part))
    }

    /// Time that is left.
    fn left(self) -> Option<Duration> {
        Some(self.budget?.saturating_sub(self.began.elapsed()))
    }

    /// The note on a run of fewer benches than were asked for.
    fn words(self, done: usize, all: usize) -> String {
        match self.budget.filter(|budget| self.began.elapsed() >= *budget / 2) {
            Some(budget) => format!("The budget of {budget:?} was spent after {done} of {all} benches."),
            None => format!("Broken off after {done} of {all} benches."),
        }
    }
}

/// Opens the device and measures its limits.
fn begin(
    on: &On,
    pace: &Pace,
    deadline: Deadline,
    kind: Kind,
    progress: &mut Progress,
) -> anyhow::Result<(Clock, Run)> {
    let clock = Clock::new(&on.open()?);
    // A third of a budget has to do for the limits.
    let until = deadline.part(1.0 / 3.0);
    let roof = Roofline::measure(&clock, pace.quick, until, &mut |what| progress.say("roofline", what))?;
    let run = Run::begin(kind, clock.gpu(), roof);
    Ok((clock, run))
}

/// A line on stderr that says what is done now, while that is a terminal. Ctrl-C ends the run with what it has.
struct Progress {
    bar: ProgressBar,
    cancel: Arc<AtomicBool>,
}

impl Progress {
    fn begin() -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}  {wide_msg}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self { bar, cancel: cancelled_by_ctrl_c()? })
    }

    fn say(&self, what: &str, message: &str) {
        self.bar.set_prefix(shown(what).to_string());
        self.bar.set_message(shown(message).to_string());
    }

    /// Shows what a run does, of `all` benches.
    fn on(&self, event: &Event<'_>, done: &mut usize, all: usize) -> ControlFlow<()> {
        match event {
            Event::Preparing { name } => self.say(&format!("{done} of {all} done, preparing"), name),
            Event::Timing { name, runs } => {
                self.say(&format!("{done} of {all} done, run {}", runs + 1), name);
            }
            Event::Done(row) => {
                *done += 1;
                if row.check.is_wrong() {
                    self.bar.println(format!("{} is WRONG", shown(&row.name)));
                }
            }
        }
        if self.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Its exit code, once it has ended without an error.
    fn end(self, run: &Run) -> u8 {
        self.bar.finish_and_clear();
        match run.num_wrong() {
            _ if self.cancelled() => crate::INTERRUPTED,
            0 => crate::DONE,
            _ => crate::FAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "90", "-5s", "0s", "soon"] {
            assert!(time(wrong).unwrap_err().contains("such as 90s or 5m"), "{wrong}");
        }
    }
}
