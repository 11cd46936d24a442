//! Shared by the commands that write a folder: options, the progress bar, Ctrl-C, the report.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::ValueEnum;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use strix_model::OnProgress;
use strix_model::convert::{Report, WriteOptions};
use strix_model::{Dtype, Rounding, shown};

use crate::Usage;
use crate::answer::cancelled_by_ctrl_c;
use crate::load::size;
use crate::terminal;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packed {
    Int8,
    Bf16,
    F32,
}

#[derive(clap::Args)]
pub(crate) struct Int8 {
    /// With int8: weights that share a scale [default: all of an output channel]
    #[arg(long, value_parser = ["32", "64", "128"], value_name = "WEIGHTS")]
    group: Option<String>,
    /// With int8: the vision tower and the abstractor too
    #[arg(long)]
    vision: bool,
}

impl Int8 {
    pub(crate) fn rounding(&self, dtype: Packed) -> anyhow::Result<Rounding> {
        let group = self.group.as_deref().map(str::parse).transpose()?;
        if dtype != Packed::Int8 {
            self.refuse()?;
        }
        let dtype = match dtype {
            Packed::Int8 => Dtype::Int8 { group },
            Packed::Bf16 => Dtype::Bf16,
            Packed::F32 => Dtype::F32,
        };
        Ok(Rounding { dtype, vision: self.vision })
    }

    /// Refuses options that only int8 has.
    pub(crate) fn refuse(&self) -> Result<(), Usage> {
        match (&self.group, self.vision) {
            (Some(_), _) => Err(Usage("--group needs --dtype int8".into())),
            (None, true) => Err(Usage("--vision needs --dtype int8".into())),
            (None, false) => Ok(()),
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Writing {
    /// Largest file, e.g. 2GiB [default: just under 4GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shard_size: Option<ByteSize>,
    /// Begin again where strix wrote something else before
    #[arg(long)]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl Writing {
    pub(crate) fn options(&self) -> WriteOptions {
        let defaults = WriteOptions::default();
        WriteOptions {
            shard_bytes: self.shard_size.map_or(defaults.shard_bytes, |size| size.as_u64()),
            force: self.force,
        }
    }

    /// Runs `work` under a progress bar and reports what it took; of values that are made up, nothing of reading.
    pub(crate) fn run(
        &self,
        out: &Path,
        made_up: bool,
        work: impl FnOnce(OnProgress<'_>) -> strix_model::Result<Report>,
    ) -> anyhow::Result<u8> {
        let report = with_bar(work).map_err(kept)?;
        self.report(out, made_up, &report)?;
        Ok(crate::DONE)
    }

    fn report(&self, out: &Path, made_up: bool, report: &Report) -> io::Result<()> {
        let mut stdout = terminal::out();
        let rate = |bytes: u64, seconds: f64| if seconds > 0.0 { bytes as f64 / seconds / 1e9 } else { 0.0 };
        let read_rate = rate(report.read_bytes, report.work_seconds);
        let read = |value: Value| if made_up { Value::Null } else { value };
        if self.json {
            let report = json!({
                "out": out,
                "already_complete": report.already_complete,
                "files": report.num_files,
                "tensors": report.num_tensors,
                "bytes_read": read(report.read_bytes.into()),
                "bytes_kept": report.kept_bytes,
                "bytes_written": report.written_bytes,
                "bytes_in_all": report.total_bytes,
                "seconds": report.seconds,
                "work_seconds": report.work_seconds,
                "gb_read_per_second": read(read_rate.into()),
                "seconds_waited_for_reads": read(report.waited_for_reads_seconds.into()),
                "seconds_waited_for_writes": report.waited_for_writes_seconds,
                "limited_by": read(report.limit().into()),
                "peak_rss_bytes": report.peak_resident_bytes,
                "peak_anonymous_bytes": report.peak_anonymous_bytes,
            });
            return writeln!(stdout, "{}", terminal::json(&format!("{report:#}")));
        }
        if report.already_complete {
            return writeln!(stdout, "{} is already complete", shown(out.display()));
        }
        let human = |bytes| HumanBytes(bytes).to_string();
        write!(
            stdout,
            "{}: {} tensors in {} files, {} of tensors. ",
            shown(out.display()),
            report.num_tensors,
            report.num_files,
            human(report.total_bytes),
        )?;
        let (bytes, seconds) = (report.read_bytes, report.work_seconds);
        match made_up {
            true => {
                let rate = rate(report.written_bytes, seconds);
                write!(stdout, "Written {} in {seconds:.1} s, {rate:.2} GB/s", human(report.written_bytes))?;
            }
            false => write!(
                stdout,
                "Read {} in {seconds:.1} s, {read_rate:.2} GB/s, limited by {}",
                human(bytes),
                report.limit()
            )?,
        }
        if report.kept_bytes > 0 {
            write!(stdout, "; {} were done before", human(report.kept_bytes))?;
        }
        if let Some(bytes) = report.peak_anonymous_bytes {
            write!(stdout, "; at most {} of memory", human(bytes))?;
        }
        writeln!(stdout)
    }
}

/// Says of work that was broken off how it goes on.
pub(crate) fn kept(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(strix_model::Error::Interrupted) => {
            error.context("interrupted; what is finished is kept: run the same again to continue")
        }
        _ => error,
    }
}

/// Runs `work` under a progress bar that appears when it takes longer than a second. Ctrl-C breaks it off.
pub(crate) fn with_bar<T>(work: impl FnOnce(OnProgress<'_>) -> strix_model::Result<T>) -> anyhow::Result<T> {
    let cancel = cancelled_by_ctrl_c()?;
    let started = Instant::now();
    let mut bar: Option<ProgressBar> = None;
    let result = work(&mut |progress| {
        if started.elapsed() > Duration::from_secs(1) {
            let bar = bar.get_or_insert_with(|| {
                ProgressBar::new(progress.total_bytes).with_style(style()).with_position(progress.done_bytes)
            });
            bar.set_message(shown(&progress.what).to_string());
            bar.set_position(progress.done_bytes);
        }
        if cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(result?)
}

fn style() -> ProgressStyle {
    let template =
        "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {wide_msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
