//! Runs as text for people, and as Markdown.

use std::fmt::Write as _;

use super::{cell, columns, heading, peak, reason, silence};
use crate::metrics::Metric;
use crate::run::{GpuRun, Report, Run};

/// A run as text: a table a GPU.
pub fn text(run: &Run) -> String {
    let mut out = String::new();
    for gpu in &run.gpus {
        let _ = writeln!(out, "{}", heading(gpu));
        if let Some(peak) = peak(gpu) {
            let _ = writeln!(out, "{peak}");
        }
        if let Some(silence) = silence(gpu) {
            let _ = writeln!(out, "{silence}");
        }
        let columns = columns(gpu);
        let cells: Vec<Vec<String>> =
            gpu.kernels.iter().map(|k| columns.iter().map(|&m| cell(m, k)).collect()).collect();
        let width =
            |at: usize, head: &str| cells.iter().map(|row| row[at].len()).max().unwrap_or(0).max(head.len());
        let widths: Vec<usize> = columns.iter().enumerate().map(|(at, m)| width(at, m.head())).collect();
        let label = gpu.kernels.iter().map(|k| k.label.len()).max().unwrap_or(0);
        if !gpu.kernels.is_empty() {
            let heads = columns.iter().zip(&widths).map(|(m, &w)| format!("  {:>w$}", m.head()));
            let _ = writeln!(out, "\n{:label$}{}  {:>7}", "kernel", heads.collect::<String>(), "ms");
        }
        for (kernel, row) in gpu.kernels.iter().zip(&cells) {
            match reason(kernel) {
                Some(reason) => {
                    let _ = writeln!(out, "{:label$}  {reason}", kernel.label);
                }
                None => {
                    let values = row.iter().zip(&widths).map(|(v, &w)| format!("  {v:>w$}"));
                    let _ = writeln!(
                        out,
                        "{:label$}{}  {:>7.1}",
                        kernel.label,
                        values.collect::<String>(),
                        kernel.ms
                    );
                }
            }
        }
        if let Some(failed) = &gpu.failed {
            let _ = writeln!(out, "{}: FAILED: {failed}", gpu.gpu);
        }
        out.push('\n');
    }
    out
}

/// What the columns mean, for those that a run has.
pub(super) fn legend(gpus: &[GpuRun]) -> Vec<(Metric, &'static str)> {
    let has = |metric: &Metric| gpus.iter().any(|gpu| columns(gpu).contains(metric));
    Metric::ALL.into_iter().filter(has).map(|metric| (metric, metric.meaning())).collect()
}

/// The hot loop of a kernel and all that the driver says, in words.
pub fn detail(report: &Report) -> String {
    let mut out = format!("{}\n", report.label);
    if let Some(hot) = &report.hot {
        let _ = write!(out, "  hot loop: lines {} of the listing", pieces(&hot.lines));
        if let Some(trips) = hot.trips {
            let _ = write!(out, "; lines {} run {trips} times a turn", pieces(&hot.inner_lines));
        }
        let _ = write!(out, "\n  a turn issues {:.0}:", hot.mix.total());
        for (what, number) in hot.mix.parts().into_iter().filter(|(_, number)| *number > 0.0) {
            let _ = write!(out, "  {number:.0} {what}");
        }
        out.push('\n');
        if let Some(bound) = &hot.bound {
            let _ = write!(out, "  FMA {:.1}% of it by time", 100.0 * bound.fma_share);
            if let Some(inner) = hot.inner_bound.filter(|_| hot.trips.is_some()) {
                let _ = write!(out, " ({:.1}% of the innermost loop alone)", 100.0 * inner.fma_share);
            }
            if let Some(share) = bound.matrix_share {
                let _ = write!(out, ", matrices {:.1}%", 100.0 * share);
            }
            out.push('\n');
        }
    }
    if let Some(statistics) = &report.statistics {
        if let Some(occupancy) = statistics.occupancy {
            let _ = writeln!(out, "  occupancy: {} {}", occupancy.fit, occupancy.unit.words());
        }
        let raw: Vec<_> = statistics.raw.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(out, "  the driver: {}", raw.join(", "));
    }
    out
}

fn pieces(lines: &[[usize; 2]]) -> String {
    let piece = |[first, last]: &[usize; 2]| format!("{first} to {last}");
    lines.iter().map(piece).collect::<Vec<_>>().join(", ")
}

/// A run as Markdown.
pub fn markdown(run: &Run) -> String {
    let mut out = String::new();
    for gpu in &run.gpus {
        let _ = writeln!(out, "## {}\n", heading(gpu));
        for line in [peak(gpu), silence(gpu), gpu.failed.as_ref().map(|f| format!("Failed: {f}"))]
            .into_iter()
            .flatten()
        {
            let _ = writeln!(out, "{line}.\n");
        }
        let columns = columns(gpu);
        let heads: Vec<_> = columns.iter().map(|m| m.head()).collect();
        let _ = writeln!(out, "| kernel | {} |", heads.join(" | "));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(columns.len()));
        for kernel in &gpu.kernels {
            let values: Vec<_> = columns.iter().map(|&m| cell(m, kernel)).collect();
            let why =
                reason(kernel).map_or(String::new(), |reason| format!(" **{}**", reason.replace('|', "\\|")));
            let _ = writeln!(out, "| {}{why} | {} |", kernel.label, values.join(" | "));
        }
        out.push('\n');
    }
    for (metric, meaning) in legend(&run.gpus) {
        let _ = writeln!(out, "- {}: {meaning}", metric.head());
    }
    out
}
