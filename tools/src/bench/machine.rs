//! What drivers make of the kernels that are timed, beside their times.

use std::path::PathBuf;

use strix_benches::wgsl::Job;
use strix_benches::{Machine, Run};
use strix_isa::metrics::Metric;
use strix_isa::run::{self, Fate, GpuRun, Place};
use strix_isa::worker::{Kernels, Request};

use crate::isa;

/// The drivers to ask.
#[derive(clap::Args)]
pub(super) struct Isa {
    /// Show the machine code's figures, by the device's own driver
    #[arg(long, help_heading = "Machine code")]
    isa: bool,
    /// Show them for these GPUs, which need not be here: see `strix isa`
    #[arg(long, value_name = "GPU,..", value_delimiter = ',', help_heading = "Machine code")]
    gpu: Vec<String>,
    /// Folder of their drivers [default: gpus in the folder of STRIX_CACHE_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Machine code")]
    drivers: Option<PathBuf>,
    /// Fetch drivers that are missing without asking
    #[arg(long, short, help_heading = "Machine code")]
    yes: bool,
}

impl Isa {
    /// Where the kernels are to be compiled: nowhere, unless it was asked for.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let mut places = if self.isa { vec![Place::Here] } else { vec![] };
        if !self.gpu.is_empty() {
            places.extend(isa::places(&self.gpu, self.drivers.as_deref(), self.yes)?);
        }
        Ok(places)
    }
}

/// Asks the drivers of each job, and keeps what they say with its row.
pub(super) fn attach(places: &[Place], jobs: &[Job], into: &mut Run) -> anyhow::Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    let program = std::env::current_exe()?;
    for (job, row) in jobs.iter().zip(&mut into.rows) {
        let kernels = Kernels::Text {
            name: job.name.clone(),
            wgsl: job.source.text.clone(),
            constants: job.constants.clone(),
        };
        let request = Request { kernels, skip: 0, listings: true };
        let found = run::all(places, &program, &["isa", "--worker"], &request, &|_| ());
        row.machine = found.gpus.iter().map(|gpu| figures(gpu, &job.entry)).collect();
    }
    Ok(())
}

fn figures(gpu: &GpuRun, entry: &str) -> Machine {
    let name = gpu.gpu.clone();
    let Some(kernel) = gpu.kernels.iter().find(|kernel| kernel.label == entry) else {
        let failed = Some(gpu.failed.clone().unwrap_or_else(|| "nothing was compiled".into()));
        return Machine { gpu: name, failed, figures: vec![] };
    };
    let failed = match &kernel.fate {
        Fate::Made => None,
        Fate::Refused(why) | Fate::Died(why) => Some(why.clone()),
    };
    let figure = |metric: Metric| Some((metric.head().to_owned(), metric.shown(metric.of(kernel)?)));
    Machine { gpu: name, failed, figures: Metric::ALL.into_iter().filter_map(figure).collect() }
}
