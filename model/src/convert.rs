//! From a checkpoint to files that a device streams as they lie, and back.
//!
//! [`convert`] packs a checkpoint, [`export`] unpacks one, [`synthesize`] makes one up, [`verify`] reads one
//! again, [`inspect`] lists what is in one. `model/FORMAT.md` describes the files.

mod export;
mod folder;
mod inspect;
mod jobs;
mod manifest;
mod memory;
mod output;
mod own;
mod run;
mod shards;
mod synth;
mod verify;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use strix_engine::Target;
use strix_shaders::Activations;

pub use crate::packed::LAYOUT_VERSION;
pub use crate::written::MANIFEST;
pub use export::export;
pub use inspect::{Inspection, RoundingError, TensorInfo, inspect, rounding_errors};
pub use manifest::{Arrangement, FileEntry, Manifest, TensorEntry};
pub use run::OnProgress;
pub use synth::{PRESETS, Synthesis, free_bytes, preset, synthesize};
pub use verify::{Problem, Verified, verify};

use jobs::{Copy, Job, Pack};
use manifest::WRITTEN;
use run::Work;

use crate::abstractor::Abstractor;
use crate::decoder::Decoder;
use crate::packed::{Dtype, Rounding};
use crate::parts::{Declaring, Item};
use crate::read::{MAX_CONFIG_BYTES, MAX_SENTENCEPIECE_BYTES, MAX_TOKENIZER_JSON_BYTES, read_if_there};
use crate::stored::Stored;
use crate::vision::Vision;
use crate::weights::{FileDtype, Located, Weights};
use crate::{Config, Error, Result};

/// Largest file unless told otherwise: 4 GiB, which every file system takes.
pub const SHARD_BYTES: u64 = (4 << 30) - 1;

/// Files that go along with a checkpoint's tensors, where it has them, and the most bytes of each.
const COPIED: [(&str, u64); 7] = [
    ("config.json", MAX_CONFIG_BYTES),
    ("generation_config.json", MAX_CONFIG_BYTES),
    ("preprocessor_config.json", MAX_CONFIG_BYTES),
    ("special_tokens_map.json", MAX_CONFIG_BYTES),
    ("tokenizer.json", MAX_TOKENIZER_JSON_BYTES),
    ("tokenizer.model", MAX_SENTENCEPIECE_BYTES),
    ("tokenizer_config.json", MAX_CONFIG_BYTES),
];

/// Whether a file of that name is copied.
fn is_copied(name: &str) -> bool {
    COPIED.iter().any(|(copied, _)| *copied == name)
}

/// Prefix of the keys of [`Manifest`] that name source files.
const SOURCE_FILE: &str = "source file ";
const SEED: &str = "seed";

/// Options of writing a folder.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Largest file of tensors, in bytes.
    pub shard_bytes: u64,
    /// Whether to begin anew in a folder that something else was written to. Without it that is an error.
    pub force: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { shard_bytes: SHARD_BYTES, force: false }
    }
}

/// Time, bytes and memory that writing a folder took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether an earlier run had done it all; then nothing was done, and only the sizes of the folder are not 0.
    pub already_complete: bool,
    /// Files in the folder, but for its manifest.
    pub num_files: usize,
    /// Tensors in them.
    pub num_tensors: usize,
    /// Bytes of the source that were read.
    pub read_bytes: u64,
    /// Bytes of the source that an earlier run had worked on.
    pub kept_bytes: u64,
    /// Bytes of tensors that were written.
    pub written_bytes: u64,
    /// Bytes of all files of tensors.
    pub total_bytes: u64,
    /// Time from beginning to end.
    pub seconds: f64,
    /// The same without the check of files that an earlier run left.
    pub work_seconds: f64,
    /// Part of that in which the rounding waited for the source.
    pub waited_for_reads_seconds: f64,
    /// Part of that in which it waited for the disk to take what was written.
    pub waited_for_writes_seconds: f64,
    /// Largest resident set of the process, mapped files included; `None` where the system does not tell.
    pub peak_resident_bytes: Option<u64>,
    /// The same without mapped files: what the process had allocated.
    pub peak_anonymous_bytes: Option<u64>,
}

impl Report {
    /// The slowest stage: `reading`, `rounding` or `writing`.
    pub fn limit(&self) -> &'static str {
        let rounding = self.work_seconds - self.waited_for_reads_seconds - self.waited_for_writes_seconds;
        let largest = rounding.max(self.waited_for_reads_seconds).max(self.waited_for_writes_seconds);
        match () {
            () if rounding == largest => "rounding",
            () if self.waited_for_reads_seconds == largest => "reading",
            () => "writing",
        }
    }
}

/// A checkpoint with the files beside it.
struct Checkpoint {
    pub config: Config,
    pub weights: Weights,
    /// The files of [`COPIED`] that are there.
    pub files: Vec<(String, Vec<u8>)>,
    /// Names and checksums of the files it was read from, for a [`Manifest`].
    pub made_from: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a folder, or a file whose folder holds the config.
    fn open(path: &Path) -> Result<Self> {
        let located = Located::find(path)?;
        let dir = &*located.config;
        let config = Config::load(dir)?;
        let weights = Weights::open(&located.weights)?;
        let mut files = vec![];
        for (name, max_bytes) in COPIED {
            if let Some(contents) = read_if_there(&dir.join(name), max_bytes)? {
                files.push((name.to_owned(), contents));
            }
        }
        let mut made_from = describe_files(&files);
        for (path, bytes, modified) in weights.files() {
            let since = modified.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            let since = since.map_or("at an unknown time".into(), |since| {
                format!("{}.{:09} s", since.as_secs(), since.subsec_nanos())
            });
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            made_from.insert(format!("{SOURCE_FILE}{name}"), format!("{bytes} bytes{WRITTEN}{since}"));
        }
        Ok(Self { config, weights, files, made_from })
    }
}

/// Differences of a checkpoint from the one that a folder was made from, in words; `None` if there are none, or if
/// nothing is known of that: a folder without a [`Manifest`].
///
/// # Errors
///
/// If the manifest or the checkpoint cannot be read.
pub fn source_difference(path: &Path, source: &Path) -> Result<Option<String>> {
    let Some(manifest) = Manifest::load(folder_of(path))? else { return Ok(None) };
    let mut then = manifest.made_from;
    // The options are no part of the source.
    then.retain(|key, _| key.starts_with(SOURCE_FILE) || key == SEED || is_copied(key));
    Ok(manifest::difference(&then, &Checkpoint::open(source)?.made_from))
}

/// The folder itself, or that of a file.
fn folder_of(path: &Path) -> &Path {
    match path.is_file() {
        true => path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        false => path,
    }
}

fn describe_files(files: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    files
        .iter()
        .map(|(name, contents)| (name.clone(), format!("blake3 {}", blake3::hash(contents))))
        .collect()
}

/// Everything that a model of this config is made of, in the order in which it is loaded.
fn items(config: &Config, rounding: Rounding, weights: Option<&Weights>) -> Result<Vec<Item>> {
    // Layouts do not depend on the device; only their split over bindings does.
    let (target, stored) = (Target::default(), Stored::of(weights));
    let mut declaring = Declaring::new(target, rounding, Activations::F32, stored);
    Vision::declare(&mut declaring, &config.vision)?;
    Abstractor::declare(&mut declaring, config)?;
    Decoder::declare(&mut declaring, &config.text, config.text.max_position_embeddings)?;
    Ok(declaring.finish().items())
}

/// Packs a checkpoint into `out`: a folder of safetensors files that hold weights as the kernels stream them, with
/// the config, the tokenizer and a [`Manifest`]. `source` is a folder, or a file whose folder holds its config.
///
/// If it is interrupted, by `progress` or by force, running it again with the same source and options finishes
/// the work without redoing what is done; until then `out` holds no file that looks whole.
///
/// # Errors
///
/// If the source is damaged, does not fit its config or is packed already; if `out` is in it, holds something
/// else, is being written to, or cannot be written; [`Error::Interrupted`] if `progress` breaks.
pub fn convert(
    source: &Path,
    out: &Path,
    rounding: Rounding,
    options: &WriteOptions,
    progress: OnProgress<'_>,
) -> Result<Report> {
    let out = output::outside_of(source, out)?;
    let checkpoint = Checkpoint::open(source)?;
    output::refuse_linked(source, &checkpoint, &out)?;
    if checkpoint.weights.is_packed() {
        let reason = "is converted already; `strix export` makes a plain checkpoint of it".into();
        return Err(Error::File { path: source.into(), reason });
    }
    packing(&checkpoint, rounding, options)?.run(&out, options.force, progress)
}

/// The dtype that a vector of that dtype is stored as.
fn kept(dtype: FileDtype) -> FileDtype {
    if dtype == FileDtype::F16 { FileDtype::F32 } else { dtype }
}

/// The work of packing a checkpoint.
fn packing<'a>(checkpoint: &'a Checkpoint, rounding: Rounding, options: &WriteOptions) -> Result<Work<'a>> {
    let Checkpoint { config, weights, files, made_from } = checkpoint;
    let (dtype, group) = (rounding.dtype.word(), rounding.dtype.group());
    if rounding.vision && !matches!(rounding.dtype, Dtype::Int8 { .. }) {
        return Err(Error::Option("rounding the vision tower too needs int8".into()));
    }
    if group.is_some_and(|group| ![32, 64, 128].contains(&group)) {
        return Err(Error::out_of_range("group", group.unwrap_or(0), "32, 64 or 128"));
    }
    weights.check(config)?;
    let mut jobs: Vec<Box<dyn Job + 'a>> = vec![];
    for item in items(config, rounding, Some(weights))? {
        jobs.push(match item {
            Item::Matrix(matrix) => Box::new(Pack::new(weights, matrix)),
            Item::Table { name, is_bf16 } => {
                let dtype = if is_bf16 { FileDtype::BF16 } else { FileDtype::F32 };
                Box::new(Copy::new(weights.view(&name)?, dtype))
            }
            Item::Vector(name) => {
                let view = weights.view(&name)?;
                Box::new(Copy::new(view, kept(view.dtype)))
            }
        });
    }
    // Biases of weight sets that are equal and stored once.
    let made: HashSet<String> = jobs.iter().map(|job| job.name().to_owned()).collect();
    for spec in
        config.tensors().iter().filter(|spec| spec.name.ends_with(".bias") && !made.contains(&spec.name))
    {
        let view = weights.view(&spec.name)?;
        jobs.push(Box::new(Copy::new(view, kept(view.dtype))));
    }
    let mut made_from = made_from.clone();
    made_from.extend([
        ("layout".to_owned(), format!("strix {LAYOUT_VERSION}")),
        ("dtype".into(), dtype.into()),
        ("group".into(), group.map_or("none".into(), |group| group.to_string())),
        ("vision".into(), rounding.vision.to_string()),
        ("shard size".into(), format!("{} bytes", options.shard_bytes)),
    ]);
    let manifest = Manifest {
        layout: Arrangement::Strix,
        layout_version: LAYOUT_VERSION,
        dtype: dtype.into(),
        group,
        vision: rounding.vision,
        program: concat!("strix ", env!("CARGO_PKG_VERSION")).into(),
        made_from,
        tensors: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let (shard_bytes, files) = (options.shard_bytes, files.clone());
    Ok(Work { source: weights, jobs, shard_bytes, manifest, files })
}
