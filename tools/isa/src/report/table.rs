//! Tables that are stored in the repository: the figures of a GPU, a line a kernel.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::metrics::Metric;
use crate::run::{Fate, GpuRun};

/// A stored table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The driver that its figures are of.
    pub driver: String,
    /// Kernels, each with its figures.
    pub kernels: Vec<(String, BTreeMap<Metric, f64>)>,
}

/// The figures of the kernels that a GPU uses by default.
pub fn tsv(gpu: &GpuRun) -> String {
    // What follows from the data sheet and another column is not stored.
    let columns: Vec<Metric> =
        super::columns(gpu).into_iter().filter(|metric| *metric != Metric::Peak).collect();
    let mut out = format!("# driver: {}\nkernel", gpu.device.driver);
    for metric in &columns {
        let _ = write!(out, "\t{}", metric.key());
    }
    out.push('\n');
    for kernel in gpu.kernels.iter().filter(|kernel| kernel.default && kernel.fate == Fate::Made) {
        out.push_str(&kernel.label);
        for &metric in &columns {
            let _ = write!(out, "\t{}", super::cell(metric, kernel));
        }
        out.push('\n');
    }
    out
}

/// Reads a table of a GPU.
///
/// # Errors
///
/// If it is none: the line.
pub fn read_tsv(gpu: &str, text: &str) -> Result<Table> {
    let mut lines = text.lines();
    let driver = lines.next().and_then(|line| line.strip_prefix("# driver: "));
    let driver =
        driver.with_context(|| format!("{gpu}: the first line does not say which driver"))?.to_owned();
    let head = lines.next().unwrap_or_default();
    let column = |key: &str| {
        let metric = Metric::ALL.into_iter().find(|metric| metric.key() == key);
        metric.with_context(|| format!("{gpu}: no figure is named {key:?}"))
    };
    let columns = head.split('\t').skip(1).map(column).collect::<Result<Vec<_>>>()?;
    let kernels = lines.map(|line| {
        let (label, values) = line.split_once('\t').with_context(|| format!("{gpu}: {line:?}"))?;
        let values: Vec<_> = values.split('\t').collect();
        ensure!(
            values.len() == columns.len(),
            "{gpu}: {label} has {} of {} figures",
            values.len(),
            columns.len()
        );
        let figure = |(&metric, value): (&Metric, &&str)| match *value {
            "-" => None,
            value => {
                Some(value.parse().map(|v| (metric, v)).with_context(|| format!("{gpu}: {label}: {value:?}")))
            }
        };
        let figures = columns.iter().zip(&values).filter_map(figure).collect::<Result<_>>()?;
        Ok((label.to_owned(), figures))
    });
    Ok(Table { driver, kernels: kernels.collect::<Result<_>>()? })
}
