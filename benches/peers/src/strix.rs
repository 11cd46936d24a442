//! Strix itself, through its own command: `strix bench model`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::engines::{Class, same_device};
use crate::figures::{Figures, Job, Rate, Spent};
use crate::process;

/// What is read of a stored run.
#[derive(Deserialize)]
struct Run {
    device: Device,
    versions: Versions,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Device {
    adapter: String,
    cores: usize,
}

#[derive(Deserialize)]
struct Versions {
    strix: String,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    times: Times,
    tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Times {
    wall_ns: Vec<f64>,
    /// Of the processor, over the cores; where the device is the processor.
    idle_ns: Vec<f64>,
}

/// Strix as it is run.
pub(crate) struct Strix {
    pub binary: PathBuf,
    /// Columns that share a scale of int8 weights.
    pub group: Option<String>,
}

impl Strix {
    /// Runs it once, with the weights of `class`.
    pub(crate) fn measure(
        &self,
        dir: &Path,
        class: Class,
        job: &Job,
        limit: Duration,
    ) -> Result<(Figures, Option<String>)> {
        let json = dir.join("strix.json");
        // That of the run before must not be taken for this one's.
        if json.exists() {
            fs::remove_file(&json).with_context(|| format!("{}: removing", json.display()))?;
        }
        let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let mut command = Command::new(&self.binary);
        command.args([
            "bench",
            "model",
            "--preset",
            "8.2b",
            "--no-image",
            "--quick",
            "--dtype",
            class.dtype(),
        ]);
        command.args(["--layers", &job.layers.to_string()]);
        // Its context counts the token itself.
        command.args(["--context", &(job.context + 1).to_string(), "--prefill", &list(&job.prefill)]);
        command.arg("--json").arg(&json);
        let group = self.group.as_ref().filter(|_| class == Class::Int8);
        command.args(group.iter().flat_map(|group| ["--group", group]));
        let ended = process::run(same_device(&mut command), limit)?;
        if let Some(failure) = ended.failure {
            return Ok((Figures::default(), Some(failure)));
        }
        let text = fs::read_to_string(&json).with_context(|| format!("{}: reading", json.display()))?;
        let mut figures = parse(&text, job).with_context(|| json.display().to_string())?;
        if let Some(group) = group {
            write!(figures.version, ", groups of {group}")?;
        }
        let failure = figures.missing(job).map(|what| format!("it left out {what}"));
        Ok((figures, failure))
    }
}

/// The means of the runs.
fn parse(json: &str, job: &Job) -> Result<Figures> {
    let run: Run = serde_json::from_str(json)?;
    let version = format!("Strix {}", run.versions.strix);
    let mut figures = Figures { version, device: run.device.adapter, ..Figures::default() };
    for row in run.rows {
        let Times { wall_ns, idle_ns } = &row.times;
        let Some(wall_s) = mean(wall_ns) else { continue };
        // On another device the processor is not what works.
        let cpu_s = mean(idle_ns).unwrap_or(wall_s) * run.device.cores as f64;
        let rate = |tokens| Rate { tokens, spent: Spent { wall_s, cpu_s } };
        match row.name.split_once('/') {
            Some(("prefill", rows)) => figures.prefill.push(rate(rows.parse().context("rows of a prefill")?)),
            Some(("decode", context)) => {
                if context.parse() != Ok(job.context + 1) {
                    bail!("decode was timed at {context} positions, not {}", job.context + 1);
                }
                figures.decode = Some(rate(row.tokens.unwrap_or(1)));
            }
            _ if row.name == "load" => {
                figures.load = Some(rate(1).spent);
            }
            _ => {}
        }
    }
    Ok(figures)
}

/// In seconds.
fn mean(ns: &[f64]) -> Option<f64> {
    (!ns.is_empty()).then(|| ns.iter().sum::<f64>() / ns.len() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"{
        "schema": 1,
        "kind": "model",
        "device": {"adapter": "llvmpipe (LLVM 15.0.6, 256 bits)", "backend": "Vulkan", "cores": 2},
        "versions": {"strix": "0.1.0", "wgpu": "30.0.1"},
        "rows": [
            {"name": "load", "times": {"device_ns": [], "wall_ns": [2e9], "idle_ns": []}},
            {"name": "prefill/64", "times": {"wall_ns": [3e9, 5e9], "idle_ns": [2e9, 2e9]}, "tokens": 64},
            {"name": "decode/513", "times": {"wall_ns": [2e8], "idle_ns": [1e8]}, "tokens": 1},
            {"name": "wrong", "times": {"wall_ns": [], "idle_ns": []}}
        ]}"#;

    fn job(context: u32) -> Job {
        Job {
            model: None,
            backend: "",
            dtype: "",
            layers: 4,
            threads: 2,
            prefill: vec![64],
            context,
            tokens: 8,
            scratch: String::new(),
        }
    }

    #[test]
    fn a_run_of_strix_becomes_figures() {
        let figures = parse(RUN, &job(512)).unwrap();
        assert_eq!((figures.version.as_str(), figures.missing(&job(512))), ("Strix 0.1.0", None));
        assert!(figures.device.starts_with("llvmpipe"));
        // Processor time of both cores.
        let rate = |tokens, wall_s, cpu_s| Rate { tokens, spent: Spent { wall_s, cpu_s } };
        assert_eq!(figures.prefill, [rate(64, 4.0, 4.0)]);
        assert_eq!(figures.decode, Some(rate(1, 0.2, 0.2)));
        // Where there is no processor time, the clock's is taken.
        assert_eq!(figures.load, Some(Spent { wall_s: 2.0, cpu_s: 4.0 }));
    }

    #[test]
    fn a_run_of_another_context_or_layout_is_refused() {
        let error = parse(RUN, &job(128)).unwrap_err().to_string();
        assert!(error.contains("513") && error.contains("129"), "{error}");
        parse("{}", &job(512)).unwrap_err();
    }
}
