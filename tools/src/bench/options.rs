//! What the benches have in common: what is timed, on which device, for how long, and how that is shown.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use strix_benches::model::Of;
use strix_benches::{Clock, Event, Kind, Roofline, Run};
use strix_engine::{Gpu, GpuOptions};
use strix_model::convert::PRESETS;
use strix_model::shown;

use crate::answer::cancelled_by_ctrl_c;
use crate::cache;
use crate::load::{Adapter, Storage};
use crate::named::named;

/// The model that is timed.
#[derive(clap::Args)]
pub(super) struct Which {
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
    pub(super) fn of(&self) -> Of<'_> {
        match (&self.checkpoint, &self.preset) {
            (Some(dir), _) if named(Some(dir)).is_some() => Of::Dir(dir),
            (None, Some(name)) => Of::Preset { name, layers: self.layers },
            _ => Of::Nano,
        }
    }

    /// What it is, and how it is stored.
    pub(super) fn words(&self, storage: &Storage) -> String {
        let dtype = storage.words();
        match self.of() {
            Of::Dir(dir) => format!("{}, {dtype}", dir.display()),
            Of::Preset { name, layers } => {
                let layers = layers.map_or(String::new(), |layers| format!(" with {layers} decoder layers"));
                format!("made-up weights of the {name} shape{layers}, {dtype}")
            }
            Of::Nano => format!("nano, which is built in, {dtype}"),
        }
    }
}

/// The adapter and its kernels.
#[derive(clap::Args)]
pub(super) struct On {
    #[command(flatten)]
    pub(super) adapter: Adapter,
    /// Family of kernels to use, whatever is best here: subgroup, tiled, plain or coop
    #[arg(long, value_name = "FAMILY", env = "STRIX_FAMILY", hide_env = true)]
    pub(super) family: Option<String>,
}

impl On {
    pub(super) fn options(&self) -> GpuOptions {
        let family = self.family.clone().filter(|family| !family.is_empty());
        GpuOptions { family, ..self.adapter.options() }
    }

    /// The device, with what `strix tune` found on it: what is timed is what runs.
    pub(super) fn open(&self) -> Result<Gpu, strix_engine::Error> {
        let gpu = Gpu::with(&self.options())?;
        cache::choose(&gpu);
        Ok(gpu)
    }
}

/// Time and number of runs.
#[derive(clap::Args)]
pub(super) struct Pace {
    /// The most telling benches only, and few runs
    #[arg(long)]
    pub(super) quick: bool,
    /// Time for all of it, compiling and checks too, e.g. 90s or 5m: fewer runs of each, though at least three, and then
    /// fewer benches, though at least one
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) budget: Option<Duration>,
}

/// Reads a length of time on the command line.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    parsed.filter(|time| !time.is_zero()).ok_or_else(|| "it is no length of time such as 90s or 5m".into())
}

/// When a budget that began with the command ends.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    began: Instant,
    budget: Option<Duration>,
}

impl Deadline {
    /// The time of a command that begins now.
    pub(super) fn of(pace: &Pace) -> Self {
        Self { began: Instant::now(), budget: pace.budget }
    }

    /// When such a part of it is over.
    pub(super) fn part(self, part: f64) -> Option<Instant> {
        Some(self.began + self.budget?.mul_f64(part))
    }

    /// Time that is left.
    pub(super) fn left(self) -> Option<Duration> {
        Some(self.budget?.saturating_sub(self.began.elapsed()))
    }

    /// The note on a run of fewer benches than were asked for.
    pub(super) fn words(self, done: usize, all: usize) -> String {
        match self.budget.filter(|budget| self.began.elapsed() >= *budget / 2) {
            Some(budget) => format!("The budget of {budget:?} was spent after {done} of {all} benches."),
            None => format!("Broken off after {done} of {all} benches."),
        }
    }
}

/// Opens the device and measures its limits.
pub(super) fn begin(
    on: &On,
    pace: &Pace,
    deadline: Deadline,
    kind: Kind,
    progress: &mut Progress,
) -> anyhow::Result<(Clock, Run)> {
    let clock = Clock::new(&on.open()?);
    let roof = limits(&clock, pace, deadline, progress)?;
    let run = Run::begin(kind, clock.gpu(), roof);
    Ok((clock, run))
}

/// Measures the device's limits.
pub(super) fn limits(
    clock: &Clock,
    pace: &Pace,
    deadline: Deadline,
    progress: &mut Progress,
) -> anyhow::Result<Roofline> {
    // A third of a budget has to do for the limits.
    let until = deadline.part(1.0 / 3.0);
    Ok(Roofline::measure(clock, pace.quick, until, &mut |what| progress.say("roofline", what))?)
}

/// A line on stderr that says what is done now, while that is a terminal. Ctrl-C ends the run with what it has.
pub(super) struct Progress {
    pub(super) bar: ProgressBar,
    pub(super) cancel: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn begin() -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}  {wide_msg}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self { bar, cancel: cancelled_by_ctrl_c()? })
    }

    pub(super) fn say(&self, what: &str, message: &str) {
        self.bar.set_prefix(shown(what).to_string());
        self.bar.set_message(shown(message).to_string());
    }

    /// Shows what a run does, of `all` benches.
    pub(super) fn on(&self, event: &Event<'_>, done: &mut usize, all: usize) -> ControlFlow<()> {
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

    pub(super) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Its exit code, once it has ended without an error.
    pub(super) fn end(self, run: &Run) -> u8 {
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
