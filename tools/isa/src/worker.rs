//! The process that a driver runs in: it may die of a kernel, and the next process goes on after it.
//!
//! A request comes on stdin. Each answer is a line of stdout that begins with [`MARK`], since drivers print too.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use strix_engine::wgpu::{Backend, Features};
use strix_engine::{Gpu, GpuOptions};

use crate::compile::Source;
use crate::listing::Syntax;
use crate::statistics::Raw;
use crate::vulkan::{Device, Executable, Wanted};
use crate::work::{self, Work};
use crate::{clock, select};

/// What a line of an answer begins with.
pub const MARK: &str = "@isa ";

/// Words that `strix` is such a process by.
pub const WORDS: [&str; 2] = ["isa", "--worker"];

/// Which kernels are wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// Strix's own.
    Own {
        /// How many of them.
        which: Which,
        /// Only those of this kernel or its families.
        kernel: Option<String>,
        /// Only those with these values of their variants.
        values: Vec<(String, String)>,
    },
    /// Those of a text.
    Text {
        /// Name of its file.
        name: String,
        /// The text.
        wgsl: String,
        /// Values of overrides.
        constants: BTreeMap<String, f64>,
    },
}

/// How many of Strix's own kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// Those that the 8.2B model uses on the device.
    #[default]
    Defaults,
    /// With those that `strix tune` may take in their place.
    Choosable,
    /// All there are.
    Every,
    /// Those that are compiled before its first answer, with int8 weights; and what they are for is told.
    Start,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Which kernels.
    pub kernels: Kernels,
    /// How many of them are left out: those before the one that the driver died of, and that.
    pub skip: usize,
    /// Whether the machine code is wanted too.
    pub listings: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The device that was opened.
    Device(DeviceReport),
    /// What the programs that the kernels are of do.
    Works(Vec<Work>),
    /// A kernel that is given to the driver now.
    Begin {
        /// Its label.
        label: String,
        /// Its number.
        index: usize,
        /// Number of kernels.
        total: usize,
        /// Whether the device uses it by default.
        default: bool,
    },
    /// What became of it.
    Done(Box<Outcome>),
    /// Nothing follows.
    End,
    /// Nothing follows, for a reason.
    Failed(String),
}

/// The device that a driver shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceReport {
    /// Its name.
    pub name: String,
    /// Driver and version.
    pub driver: String,
    /// Whether the driver says anything of the machine code.
    pub offers: bool,
    /// Lanes of a subgroup, where they are always as many.
    pub lanes: Option<u32>,
    /// Whether kernels use subgroups.
    pub subgroups: bool,
    /// The family of kernels that is used.
    pub family: String,
}

/// What became of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The driver compiled it.
    Made(Sent),
    /// It, or naga, refused.
    Refused(String),
}

/// What is sent of a kernel that was compiled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sent {
    /// Milliseconds of processor time that the driver took.
    pub ms: f64,
    /// The same of naga.
    pub naga_ms: f64,
    /// Bytes of SPIR-V.
    pub spirv_bytes: usize,
    /// Bytes of workgroup memory that the text declares.
    pub declared_bytes: u32,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Lanes of a subgroup, if the driver says so.
    pub subgroup: u32,
    /// Statistics, under the driver's names.
    pub raw: Option<Raw>,
    /// Name and text of the machine code.
    pub listing: Option<(String, String)>,
    /// The WGSL.
    pub wgsl: Option<String>,
}

/// A kernel to compile.
struct Kernel {
    label: String,
    entry: String,
    wgsl: String,
    constants: BTreeMap<String, f64>,
    default: bool,
}

/// Answers the request on stdin.
///
/// # Errors
///
/// If the request is none, or nobody reads the answers. What goes wrong on the device is an answer.
pub fn run() -> Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let request: Request = serde_json::from_str(&text).context("the request")?;
    let mut say = |answer: &Answer| -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{MARK}{}", serde_json::to_string(answer)?)?;
        Ok(out.flush()?)
    };
    let end = match compile(&request, &mut say) {
        Ok(()) => Answer::End,
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    say(&end)
}

/// The answer in a line of stdout, if it is one.
pub fn read(line: &str) -> Option<Result<Answer>> {
    Some(serde_json::from_str(line.strip_prefix(MARK)?).map_err(Into::into))
}

/// Lines of an output, whatever bytes they hold.
pub(crate) fn lines(output: impl Read) -> impl Iterator<Item = String> {
    let lines = io::BufReader::new(output).split(b'\n').map_while(io::Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

fn compile(request: &Request, say: &mut dyn FnMut(&Answer) -> Result<()>) -> Result<()> {
    let gpu = Gpu::with(&GpuOptions::from_env())?;
    let (info, target) = (gpu.info(), gpu.target());
    anyhow::ensure!(
        info.backend == Backend::Vulkan,
        "{} is reached through {:?}: only Vulkan drivers say what they made of a kernel",
        info.name,
        info.backend
    );
    let has = |feature| gpu.device().features().contains(feature);
    let device = Device::open(&Wanted {
        name: info.name.clone(),
        vendor: info.vendor,
        device: info.device,
        subgroups: has(Features::SUBGROUP),
        f16: has(Features::SHADER_F16),
        matrices: has(Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
    })?;
    say(&Answer::Device(DeviceReport {
        name: info.name.clone(),
        driver: strix_engine::driver(info),
        offers: device.offers(),
        lanes: target.subgroup,
        subgroups: target.subgroups,
        family: target.family.name().into(),
    }))?;
    if matches!(request.kernels, Kernels::Own { which: Which::Start, .. }) {
        say(&Answer::Works(work::works(&target)?))?;
    }
    let kernels = kernels(&request.kernels, &target)?;
    for (index, kernel) in kernels.iter().enumerate().skip(request.skip) {
        let (label, default) = (kernel.label.clone(), kernel.default);
        say(&Answer::Begin { label, index, total: kernels.len(), default })?;
        let outcome = match made(&device, kernel, request.listings) {
            Ok(sent) => Outcome::Made(sent),
            Err(error) => Outcome::Refused(format!("{error:#}")),
        };
        say(&Answer::Done(Box::new(outcome)))?;
    }
    Ok(())
}

fn kernels(wanted: &Kernels, target: &strix_engine::Target) -> Result<Vec<Kernel>> {
    match wanted {
        Kernels::Own { which, kernel, values } => {
            let defaults = select::defaults(target)?;
            let mut shaders = match which {
                Which::Defaults => defaults.clone(),
                Which::Choosable => select::choosable(target, &defaults)?,
                Which::Every => select::every(),
                Which::Start => select::start(target)?,
            };
            select::keep(&mut shaders, kernel.as_deref(), values)?;
            let of = |shader: &std::sync::Arc<strix_engine::Shader>| Kernel {
                label: shader.label.clone(),
                entry: shader.name.into(),
                wgsl: shader.wgsl.to_string(),
                constants: BTreeMap::new(),
                default: defaults.iter().any(|d| d.label == shader.label),
            };
            Ok(shaders.iter().map(of).collect())
        }
        Kernels::Text { name, wgsl, constants } => {
            let entries = Source::parse(wgsl).with_context(|| name.clone())?.kernels();
            anyhow::ensure!(!entries.is_empty(), "{name}: it has no @compute function");
            let of = |entry: String| Kernel {
                label: entry.clone(),
                entry,
                wgsl: wgsl.clone(),
                constants: constants.clone(),
                default: true,
            };
            Ok(entries.into_iter().map(of).collect())
        }
    }
}

fn made(device: &Device, kernel: &Kernel, listings: bool) -> Result<Sent> {
    let began = clock::processor_ms();
    let source = Source::parse(&kernel.wgsl)?;
    let compiled = source.compile(&kernel.entry, &kernel.constants, device.abilities())?;
    let naga_ms = clock::processor_ms() - began;
    let made = device.make(&compiled, listings)?;
    let mut sent = Sent {
        ms: made.ms,
        naga_ms,
        spirv_bytes: compiled.words.len() * 4,
        declared_bytes: compiled.workgroup_bytes,
        invocations: compiled.invocations,
        wgsl: listings.then(|| kernel.wgsl.clone()),
        ..Sent::default()
    };
    if let Some(Executable { subgroup, raw, representations }) = made.executable {
        sent.subgroup = subgroup;
        sent.raw = Some(raw);
        sent.listing = representations.into_iter().find(|(name, text)| Syntax::of(name, text).is_some());
    }
    Ok(sent)
}
