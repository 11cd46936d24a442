//! Has kernels compiled for one GPU or several, and gathers what their drivers say.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::gpus::{Architecture, Fake};
use crate::listing::{Listing, Mix};
use crate::machine::Bound;
use crate::statistics::Statistics;
use crate::work::Work;
use crate::worker::{self, Answer, DeviceReport, Outcome, Request, Sent};

/// Kernels on GPUs, as they are stored and compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Version of Strix.
    pub strix: String,
    /// Each GPU.
    pub gpus: Vec<GpuRun>,
}

/// Kernels on one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuRun {
    /// Its key, or `here` for the device of this machine.
    pub gpu: String,
    /// What it is.
    pub title: String,
    /// How it executes.
    pub architecture: Architecture,
    /// What the driver shows.
    pub device: DeviceReport,
    /// Each kernel.
    pub kernels: Vec<Report>,
    /// What the programs of a cold start do, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub works: Vec<Work>,
    /// Why there are none, or no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<String>,
}

/// What became of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It was compiled.
    Made,
    /// The driver or naga refused it.
    Refused(String),
    /// The driver died of it.
    Died(String),
}

/// What a driver made of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Kernel and variants.
    pub label: String,
    /// Whether the GPU's class uses it by default.
    pub default: bool,
    /// What became of it.
    pub fate: Fate,
    /// Milliseconds of processor time that the driver took.
    #[serde(default)]
    pub ms: f64,
    /// The same of naga, from WGSL to SPIR-V.
    #[serde(default)]
    pub naga_ms: f64,
    /// Bytes of SPIR-V.
    #[serde(default)]
    pub spirv_bytes: usize,
    /// Bytes of workgroup memory that the text declares.
    #[serde(default)]
    pub declared_bytes: u32,
    /// Invocations of a workgroup.
    #[serde(default)]
    pub invocations: u32,
    /// What the driver says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub statistics: Option<Statistics>,
    /// Its hot loop, where its machine code can be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hot: Option<HotLoop>,
    /// Texts; they are shown but not stored.
    #[serde(skip)]
    pub texts: Option<Texts>,
}

/// The hot loop of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotLoop {
    /// Lines of the listing that a turn is in, from 1: the first and the last of each piece.
    pub lines: Vec<[usize; 2]>,
    /// Lines of the innermost loop in there.
    pub inner_lines: Vec<[usize; 2]>,
    /// How often that runs a turn, where it is a constant.
    pub trips: Option<u32>,
    /// What a turn is made of.
    pub mix: Mix,
    /// What the innermost loop is made of, of one turn of its own.
    pub inner_mix: Mix,
    /// What a turn reaches at best.
    pub bound: Option<Bound>,
    /// What the innermost loop alone would.
    pub inner_bound: Option<Bound>,
    /// FLOPs of f32 of a turn against those of the data sheet, two at a time where that is what it counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_share: Option<f64>,
}

/// Texts of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// WGSL.
    pub wgsl: String,
    /// Machine code.
    pub listing: Option<String>,
}

/// Where kernels are compiled.
#[derive(Clone, Debug)]
pub enum Place {
    /// With the driver of this machine.
    Here,
    /// With that of a GPU that is not there, from a folder of drivers.
    Fake(&'static Fake, PathBuf),
}

impl Place {
    fn command(&self, program: &Path) -> Result<(Command, Option<tempfile::TempDir>)> {
        match self {
            Self::Here => Ok((Command::new(program), None)),
            Self::Fake(fake, drivers) => {
                environment::command(drivers, fake, program).map(|(command, own)| (command, Some(own)))
            }
        }
    }
}

/// Compiles on each place, as many at once as there are processors. `program` with `args` answers a [`Request`]; `say` is
/// told what is compiled.
pub fn all(
    places: &[Place],
    program: &Path,
    args: &[&str],
    request: &Request,
    say: &(dyn Fn(&str) + Sync),
) -> Run {
    let gpus = places.par_iter().with_max_len(1).map(|place| one(place, program, args, request, say));
    Run { strix: env!("CARGO_PKG_VERSION").into(), gpus: gpus.collect() }
}

/// Compiles on one place. A process that dies is followed by one that goes on after the kernel it died of.
fn one(
    place: &Place,
    program: &Path,
    args: &[&str],
    request: &Request,
    say: &(dyn Fn(&str) + Sync),
) -> GpuRun {
    let (gpu, title, architecture) = match place {
        Place::Here => ("here", String::new(), Architecture::Unknown),
        Place::Fake(fake, _) => (fake.key, fake.title.to_owned(), fake.architecture),
    };
    let mut run = GpuRun {
        gpu: gpu.into(),
        title,
        architecture,
        device: DeviceReport::default(),
        kernels: vec![],
        works: vec![],
        failed: None,
    };
    let mut request = request.clone();
    loop {
        match attempt(place, program, args, &request, &mut run, say) {
            Ok(None) => break,
            Ok(Some(skip)) => request.skip = skip,
            Err(error) => {
                run.failed = Some(format!("{error:#}"));
                break;
            }
        }
    }
    if run.title.is_empty() {
        run.title.clone_from(&run.device.name);
    }
    run
}

/// One process. `Some` if it died: the number of kernels that are behind it.
fn attempt(
    place: &Place,
    program: &Path,
    args: &[&str],
    request: &Request,
    run: &mut GpuRun,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<usize>> {
    let (mut command, _own) = place.command(program)?;
    let mut said: File = tempfile::tempfile()?;
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said.try_clone()?);
    let mut child = command.spawn().with_context(|| command.get_program().to_string_lossy().into_owned())?;
    let mut input = child.stdin.take().context("stdin")?;
    // One that has died already reads nothing.
    let _ = input.write_all(serde_json::to_string(request)?.as_bytes());
    drop(input);
    let mut begun: Option<(String, usize, bool)> = None;
    let mut ended = false;
    for line in worker::lines(child.stdout.take().context("stdout")?) {
        match worker::read(&line).transpose()? {
            None => {}
            Some(Answer::Device(device)) => {
                if run.architecture == Architecture::Unknown {
                    run.architecture = Architecture::of_device(&device.name, &device.driver);
                }
                run.device = device;
            }
            Some(Answer::Works(works)) => run.works = works,
            Some(Answer::Begin { label, index, total, default }) => {
                say(&format!("{}: {} of {total}: {label}", run.gpu, index + 1));
                begun = Some((label, index, default));
            }
            Some(Answer::Done(outcome)) => {
                let Some((label, _, default)) = begun.take() else { bail!("an answer to no question") };
                run.kernels.push(report(&run.gpu, run.architecture, label, default, *outcome));
            }
            Some(Answer::End) => ended = true,
            Some(Answer::Failed(why)) => bail!(why),
        }
    }
    let status = child.wait()?;
    if ended {
        return Ok(None);
    }
    let mut text = vec![];
    said.rewind()?;
    said.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let last: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let why = format!("{status}: {}", last[last.len().saturating_sub(2)..].join("; "));
    let Some((label, index, default)) = begun else {
        bail!("the process ended before it compiled anything ({why})");
    };
    run.kernels.push(failed(label, default, Fate::Died(why)));
    Ok(Some(index + 1))
}

fn failed(label: String, default: bool, fate: Fate) -> Report {
    Report {
        label,
        default,
        fate,
        ms: 0.0,
        naga_ms: 0.0,
        spirv_bytes: 0,
        declared_bytes: 0,
        invocations: 0,
        statistics: None,
        hot: None,
        texts: None,
    }
}

fn report(gpu: &str, architecture: Architecture, label: String, default: bool, outcome: Outcome) -> Report {
    let sent = match outcome {
        Outcome::Made(sent) => sent,
        Outcome::Refused(why) => return failed(label, default, Fate::Refused(why)),
    };
    let Sent { ms, naga_ms, spirv_bytes, declared_bytes, invocations, subgroup, raw, listing, wgsl } = sent;
    let listing_of = listing.as_ref().and_then(|(name, text)| Listing::parse(name, text));
    let hot = listing_of.and_then(|listing| hot(gpu, architecture, subgroup, &listing));
    Report {
        label,
        default,
        fate: Fate::Made,
        ms,
        naga_ms,
        spirv_bytes,
        declared_bytes,
        invocations,
        statistics: raw.map(|raw| Statistics::of(subgroup, raw)),
        hot,
        texts: wgsl.map(|wgsl| Texts { wgsl, listing: listing.map(|(_, text)| text) }),
    }
}

fn hot(gpu: &str, architecture: Architecture, lanes: u32, listing: &Listing) -> Option<HotLoop> {
    let hot = listing.hot()?;
    let bound = Bound::of(architecture, lanes, &hot.mix);
    let reached = bound.and_then(|bound| bound.dual_flop_per_clock.or(bound.flop_per_clock));
    // With matrix units it is their share that counts.
    let has_matrices = hot.mix.matrix > 0.0;
    let peak = crate::peaks::of(gpu).and_then(|peak| peak.flop_per_clock).filter(|_| !has_matrices);
    Some(HotLoop {
        lines: listing.lines(&hot.turn),
        inner_lines: listing.lines(&hot.inner),
        trips: hot.inner.trips.filter(|_| hot.turn != hot.inner),
        bound,
        peak_share: reached.zip(peak).map(|(reached, peak)| reached / peak),
        inner_bound: Bound::of(architecture, lanes, &hot.inner_mix),
        mix: hot.mix,
        inner_mix: hot.inner_mix,
    })
}
