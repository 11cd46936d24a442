//! A run of benches, as it is kept: the device, its limits, and a row for each bench with all its times.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use strix_engine::Gpu;
use strix_engine::wgpu::DeviceType;
use strix_model::read::{MAX_RUN_BYTES, read_file};
use strix_model::tune::clock::{Timer, Times};
use strix_model::tune::processor::cores;

use crate::model::Scaling;
use crate::roofline::{Arithmetic, Roofline};
use crate::shares::{Share, Work};
use crate::stats::Summary;
use crate::{Error, Result};

/// Version of the layout of a stored run. Runs of another one are refused.
pub const SCHEMA: u32 = 1;

/// A run of benches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The command that was run.
    pub kind: Kind,
    /// When it began, in UTC, as RFC 3339 has it.
    pub date: String,
    /// Where.
    pub device: Device,
    /// Its kind.
    pub versions: Versions,
    /// The device's limits.
    pub roofline: Roofline,
    /// The benches.
    pub rows: Vec<Row>,
    /// The growth of times with the context, the prompt and the depth, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Notes for the reader of the figures.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The subject of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Kernels, one by one.
    Kernels,
    /// A model from file to token.
    Model,
    /// Kernels of others.
    Wgsl,
    /// The device itself.
    Device,
}

/// The device of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Name of the adapter.
    pub adapter: String,
    /// E.g. Vulkan.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// E.g. `DiscreteGpu`.
    pub kind: String,
    /// Lanes of a subgroup, where kernels may use subgroups.
    pub subgroup: Option<u32>,
    /// Family of kernels that are used where nothing else was found better: see [`strix_engine::Family`].
    pub family: String,
    /// Whether that family was asked for.
    pub family_forced: bool,
    /// Largest storage binding.
    pub max_binding_bytes: u64,
    /// Whether its memory is the host's.
    pub shares_memory: bool,
    /// Cores of the host that this process may use.
    pub cores: usize,
    /// Operating system and architecture of the host.
    pub host: String,
}

/// Device that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of Strix.
    pub strix: String,
    /// Version of wgpu.
    pub wgpu: String,
    /// Version of naga, which translates the kernels.
    pub naga: String,
    /// `release` or `debug`.
    pub build: String,
}

/// One bench.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// `kernel[/regime]/shape[/dtype]`, or of a model `what[/length]`.
    pub name: String,
    /// The specialisation of its first step's kernel.
    pub kernel: String,
    /// Dispatches of one pass.
    pub dispatches: usize,
    /// Bytes and operations; zeros if they were not counted.
    pub work: Work,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// Whether the result is right.
    pub check: Check,
    /// Passes in a run; times are of one.
    pub repeats: usize,
    /// Every run. Empty where the result is wrong.
    pub times: Times,
    /// Figures derived from the times.
    pub figures: Option<Figures>,
    /// Recording, allocating and creating pipelines, in nanoseconds.
    pub compile_ns: f64,
    /// What the first run took above the second, in nanoseconds: what the driver does lazily.
    pub first_ns: f64,
    /// Pipelines that were created for it.
    pub pipelines: u64,
    /// Values of overrides and variables that were asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, f64>,
    /// Where it writes beyond its operands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// Remarks on its result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What drivers made of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub machine: Vec<Machine>,
    /// For a model: tokens or positions of a pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// For a model: time of each kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// For decoding: the host's time between two tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
}

/// What a driver made of a kernel: what it does not say is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The GPU, or `here`.
    pub gpu: String,
    /// Why there is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Figures under their names, in the order of the columns.
    pub figures: Vec<(String, String)>,
}

/// The result of a comparison with the CPU reference, which sums in f64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Check {
    /// It was not asked for.
    #[default]
    Unchecked,
    /// Within the tolerance.
    Right {
        /// Largest error, in parts of the largest expected value.
        max: f64,
        /// Root of the mean square of the errors, in parts of that of the expected values.
        rms: f64,
    },
    /// Beyond it: it has no speed.
    Wrong {
        /// The same as in [`Check::Right`]; `None` if it is no number.
        max: Option<f64>,
        /// The same as in [`Check::Right`]; `None` if it is no number.
        rms: Option<f64>,
    },
}

/// Figures derived from the times of a bench.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The clock of the rates.
    pub source: Timer,
    /// Their summary, in nanoseconds.
    pub rate: Summary,
    /// By timestamp query.
    pub device: Option<Summary>,
    /// By the host's clock.
    pub wall: Option<Summary>,
    /// Processor time over the cores that could be used.
    pub idle: Option<Summary>,
    /// GB a second; 0 where bytes were not counted.
    pub gb_per_s: f64,
    /// GFLOP a second; 0 where FLOPs were not counted.
    pub gflop_per_s: f64,
    /// Percent of the roofline at this arithmetic intensity.
    pub roof_percent: Option<f64>,
    /// The limit that bounds it.
    pub bound: Option<Bound>,
}

/// A limit that bounds a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Bytes.
    Memory,
    /// Operations.
    Arithmetic,
}

/// The host's work between two tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Processor time of the thread that drives, in nanoseconds a token. A driver's own threads, on which a software
    /// device computes, are not in it.
    pub cpu_ns: f64,
    /// Share of the token's time, 0 to 1.
    pub share: f64,
    /// Allocations of that thread a token, where they are counted.
    pub allocations: Option<f64>,
}

impl Run {
    /// A run that begins now.
    pub fn begin(kind: Kind, gpu: &Gpu, roofline: Roofline) -> Self {
        let info = gpu.info();
        let mut notes = vec![];
        if info.device_type == DeviceType::Cpu {
            notes.push(
                "The device is this machine's processor: rates are of the processor time over the cores that could be \
                 used (idle), which other programs hardly disturb, where that is less than the time measured."
                    .into(),
            );
        }
        if cfg!(debug_assertions) {
            notes.push("A debug build: times of the host are not those of a release.".into());
        }
        Self {
            schema: SCHEMA,
            kind,
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            device: Device {
                // Kernels of others are of no family.
                family: if kind == Kind::Wgsl { String::new() } else { gpu.target().family.to_string() },
                ..Device::of(gpu)
            },
            versions: Versions::current(),
            roofline,
            rows: vec![],
            scaling: None,
            notes,
        }
    }

    /// Reads a stored run: a folder with a `run.json`, or that file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no run, or is one of another schema.
    pub fn load(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join("run.json") } else { path.to_owned() };
        let text = read_file(&path, MAX_RUN_BYTES)?;
        let fail = |reason| Error::Run { path: path.clone(), reason };
        #[derive(Deserialize)]
        struct Versioned {
            schema: u32,
        }
        let no_run = |e: serde_json::Error| fail(format!("it is no run of strix bench: {e}"));
        let Versioned { schema } = serde_json::from_slice(&text).map_err(no_run)?;
        if schema != SCHEMA {
            return Err(fail(format!(
                "its schema is {schema}, this program reads {SCHEMA}: take the run again, or read it with the version \
                 of Strix that wrote it"
            )));
        }
        serde_json::from_slice(&text).map_err(no_run)
    }

    /// The run as JSON, which [`Run::load`] reads.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        json.expect("a run is of numbers, words and lists") + "\n"
    }

    /// The row of that name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Number of rows that write beyond their operands.
    pub fn num_outside(&self) -> usize {
        self.rows.iter().filter(|row| !row.outside.is_empty()).count()
    }

    /// Number of wrong rows.
    pub fn num_wrong(&self) -> usize {
        self.rows.iter().filter(|row| row.check.is_wrong()).count()
    }
}

impl Device {
    fn of(gpu: &Gpu) -> Self {
        let (info, target) = (gpu.info(), gpu.target());
        Self {
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: strix_engine::driver(info),
            kind: format!("{:?}", info.device_type),
            subgroup: target.subgroup,
            family: target.family.to_string(),
            family_forced: target.forced,
            max_binding_bytes: target.max_binding_bytes,
            shares_memory: gpu.shares_memory(),
            cores: cores(),
            host: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }

    /// Differences that forbid comparing the figures of the two.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("adapter", &self.adapter, &other.adapter),
            ("backend", &self.backend, &other.backend),
            ("driver", &self.driver, &other.driver),
            ("host", &self.host, &other.host),
            ("family of kernels", &self.family, &other.family),
        ];
        let mut all: Vec<_> = pairs
            .into_iter()
            .filter(|(_, a, b)| a != b)
            .map(|(what, a, b)| format!("{what}: {a} then, {b} now"))
            .collect();
        let lanes = |subgroup: Option<u32>| subgroup.map_or("none".to_owned(), |lanes| lanes.to_string());
        if self.subgroup != other.subgroup {
            all.push(format!("subgroups: {} then, {} now", lanes(self.subgroup), lanes(other.subgroup)));
        }
        if self.cores != other.cores {
            all.push(format!("cores: {} then, {} now", self.cores, other.cores));
        }
        all
    }
}

impl Versions {
    /// Those of this program.
    pub fn current() -> Self {
        Self {
            strix: env!("CARGO_PKG_VERSION").into(),
            wgpu: env!("STRIX_WGPU_VERSION").into(),
            naga: strix_engine::NAGA_VERSION.into(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        }
    }
}

impl Check {
    /// Whether the result is beyond the tolerance.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. })
    }
}

impl Row {
    /// Computes what follows from its times; none for a result that is wrong.
    pub fn fill(&mut self, roof: &Roofline) {
        if self.check.is_wrong() {
            self.times = Times::default();
        }
        self.figures = self.times.best_source().map(|(source, rate)| {
            let counted = self.work.bytes > 0;
            let rate_of = |amount: u64| amount as f64 / rate.median;
            let memory = roof.is_memory_bound(self.work, self.arithmetic);
            let least = roof.least_ns(self.work, self.arithmetic);
            Figures {
                source,
                rate,
                device: Summary::of(&self.times.device_ns),
                wall: Summary::of(&self.times.wall_ns),
                idle: Summary::of(&self.times.idle_ns),
                gb_per_s: rate_of(self.work.bytes),
                gflop_per_s: rate_of(self.work.flops),
                roof_percent: counted.then(|| 100.0 * least / rate.median),
                bound: counted.then_some(if memory { Bound::Memory } else { Bound::Arithmetic }),
            }
        });
    }

    /// FLOPs a byte; `None` where nobody counted.
    pub fn intensity(&self) -> Option<f64> {
        (self.work.bytes > 0).then(|| self.work.flops as f64 / self.work.bytes as f64)
    }

    /// For a model: tokens a second.
    pub fn tokens_per_s(&self) -> Option<f64> {
        Some(f64::from(self.tokens?) * 1e9 / self.figures?.rate.median)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ROOF: Roofline = Roofline {
        bytes_per_s: 10e9,
        flops_per_s: 100e9,
        f16_flops_per_s: Some(150e9),
        dot4_ops_per_s: Some(80e9),
        dispatch_ns: 15e3,
        pass_ns: 30e3,
        submit_ns: 90e3,
        upload_bytes_per_s: 4e9,
    };

    /// A bench of some times, with as many bytes as FLOPs.
    pub(crate) fn row(name: &str, device_ns: &[f64]) -> Row {
        let mut row = Row {
            name: name.into(),
            kernel: "gemm[weights=int8]".into(),
            dispatches: 1,
            work: Work { bytes: 1_000_000, flops: 1_000_000 },
            check: Check::Right { max: 1e-6, rms: 1e-7 },
            repeats: 1,
            times: Times { device_ns: device_ns.to_vec(), ..Times::default() },
            ..Row::default()
        };
        row.fill(&ROOF);
        row
    }

    pub(crate) fn run(rows: Vec<Row>) -> Run {
        Run {
            schema: SCHEMA,
            kind: Kind::Kernels,
            date: "2026-11-26T10:00:00Z".into(),
            device: Device { adapter: "llvmpipe <test> & co".into(), cores: 2, ..Device::default() },
            versions: Versions::current(),
            roofline: ROOF,
            rows,
            scaling: None,
            notes: vec!["a & b".into()],
        }
    }

    #[test]
    fn figures_are_of_the_median_run_and_the_roof_above_it() {
        let figures = row("a", &[200e3, 100e3, 400e3]).figures.unwrap();
        assert_eq!((figures.source, figures.rate.median), (Timer::Timestamp, 200e3));
        assert_eq!((figures.gb_per_s, figures.gflop_per_s), (5.0, 5.0));
        // A byte a FLOP: at most 10 GFLOP/s.
        assert_eq!((figures.roof_percent, figures.bound), (Some(50.0), Some(Bound::Memory)));
    }

    #[test]
    fn a_wrong_result_has_no_speed() {
        let mut wrong = row("a", &[1e3]);
        wrong.check = Check::Wrong { max: None, rms: None };
        wrong.fill(&ROOF);
        assert_eq!((wrong.figures, wrong.times), (None, Times::default()));
    }

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut wrong = row("b", &[1.0]);
        wrong.check = Check::Wrong { max: Some(0.5), rms: None };
        wrong.fill(&ROOF);
        let run = run(vec![row("a", &[1.5, 2.25, 1e6]), wrong]);
        let path = dir.path().join("run.json");
        std::fs::write(&path, run.to_json()).unwrap();
        assert_eq!(Run::load(&path).unwrap(), run);
        assert_eq!(Run::load(dir.path()).unwrap(), run);
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        let said = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Run::load(&path).unwrap_err().to_string()
        };
        assert!(said("{}").contains("x.json: it is no run of strix bench: missing field `schema`"));
        assert!(said("[").contains("it is no run"));
        let newer = run(vec![]).to_json().replacen("\"schema\": 1", "\"schema\": 99", 1);
        assert!(said(&newer).contains("its schema is 99, this program reads 1"), "{}", said(&newer));
        assert!(matches!(
            Run::load(&dir.path().join("none.json")),
            Err(Error::Model(strix_model::Error::Io { .. }))
        ));
    }
}
