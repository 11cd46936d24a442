//! Whole folders with one thing changed in them, loaded and asked: an error, the same answer, or, where weights or what
//! the model is were changed, another finite one. Never a panic, a wait or memory without bound.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use strix_engine::Gpu;
use strix_model::convert::{WriteOptions, convert};
use strix_model::tokenizer::PromptId;
use strix_model::{Dtype, GenerateOptions, LoadOptions, Model, Rounding, Source, unwatched};

use crate::golden;

/// Names of the folders that are changed.
pub const BASES: [&str; 5] = ["nano", "packed int8", "packed int8 group 32", "packed bf16", "torch shards"];

/// Ids that are run: a picture is no part of it, its tower's weights are loaded all the same.
const IDS: [u32; 4] = [1, 300, 45, 7];

/// What one changed folder gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Refused with an error.
    Refused,
    /// The logits of the folder as it was, bit for bit.
    Same,
    /// Other logits, all finite, after a change of weights, config or tokenizer.
    Other,
    /// NaN or infinite logits, and an error when asked.
    NotFinite,
    /// A fault: other logits although what was changed only says where things are.
    Silent,
    /// A fault: NaN or infinite logits, and an answer all the same.
    Answered,
}

impl Outcome {
    /// Whether it is one that must not be.
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Silent | Self::Answered)
    }
}

/// The folders, and what each answers.
#[derive(Debug)]
pub struct Folders {
    gpu: Gpu,
    bases: Vec<Base>,
    work: PathBuf,
}

#[derive(Debug)]
struct Base {
    dir: PathBuf,
    files: Vec<String>,
    logits: Vec<f32>,
}

/// What was done to a folder.
#[derive(Clone, Debug)]
pub struct Change {
    /// Index in [`BASES`].
    pub base: usize,
    /// In words, with the file's name.
    pub what: String,
    /// Whether another answer is right: weights, sizes or words were changed, not where they are.
    may_differ: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", BASES[self.base], self.what)
    }
}

/// Numbers that are the same for the same seed on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

impl Folders {
    /// Makes the folders below `at`, and asks each.
    ///
    /// # Errors
    ///
    /// If one cannot be made or does not load as it is.
    pub fn make(at: &Path) -> Result<Self> {
        let gpu = Gpu::new()?;
        let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/nano");
        let packed = [Dtype::Int8 { group: None }, Dtype::Int8 { group: Some(32) }, Dtype::Bf16];
        let mut dirs = vec![at.join("nano")];
        copy(&nano, &dirs[0])?;
        for (i, dtype) in packed.into_iter().enumerate() {
            let dir = at.join(format!("packed-{i}"));
            let rounding = Rounding { dtype, vision: false };
            convert(&nano, &dir, rounding, &WriteOptions::default(), &mut |_| ControlFlow::Continue(()))?;
            dirs.push(dir);
        }
        dirs.push(at.join("torch"));
        copy(&golden::root().join("release/hf"), &dirs[4])?;
        let mut bases = vec![];
        for dir in dirs {
            let mut files: Vec<String> = fs::read_dir(&dir)?
                .flatten()
                .filter(|entry| entry.path().is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| !name.ends_with(".md"))
                .collect();
            files.sort_unstable();
            let logits = logits(&gpu, &dir)?.with_context(|| format!("{} is not finite", dir.display()))?;
            bases.push(Base { dir, files, logits });
        }
        Ok(Self { gpu, bases, work: at.join("work") })
    }

    /// Changes a folder as the seed says.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn change(&self, seed: u64) -> Result<Change> {
        let mut random = Random(seed);
        let at = random.below(self.bases.len());
        let base = &self.bases[at];
        if self.work.exists() {
            fs::remove_dir_all(&self.work)?;
        }
        fs::create_dir_all(&self.work)?;
        for file in &base.files {
            let (from, to) = (base.dir.join(file), self.work.join(file));
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
        }
        let name = random.of(&base.files).clone();
        let path = self.work.join(&name);
        let original = fs::read(&path)?;
        fs::remove_file(&path)?;
        let weights = name.ends_with(".safetensors") || name.ends_with(".bin");
        let header = if name.ends_with(".safetensors") {
            original.first_chunk().map_or(0, |len| 8 + u64::from_le_bytes(*len) as usize).min(original.len())
        } else {
            original.len()
        };
        let (what, bytes, first) = mutate(&original, header, &mut random, weights);
        let Some(bytes) = bytes else {
            // In place of another, or gone.
            let other = random.of(&base.files).clone();
            let what = match random.below(2) {
                0 => "gone".to_owned(),
                _ => {
                    fs::copy(base.dir.join(&other), &path)?;
                    format!("{other} in its place")
                }
            };
            return Ok(Change { base: at, what: format!("{name}: {what}"), may_differ: !weights });
        };
        fs::write(&path, bytes)?;
        // The header of weights, an index and a manifest say where things are. A pickle says what they are as well: its
        // strides may be changed into others that fit.
        let only_places = name.ends_with(".safetensors") && first < header
            || name.ends_with(".index.json")
            || name == strix_model::convert::MANIFEST;
        Ok(Change { base: at, what: format!("{name}: {what}"), may_differ: !only_places })
    }

    /// Loads the changed folder and asks it.
    ///
    /// # Errors
    ///
    /// Never: what is refused is an outcome.
    pub fn run(&self, change: &Change) -> Result<Outcome> {
        Ok(match logits(&self.gpu, &self.work) {
            Err(_) => Outcome::Refused,
            Ok(None) => match answers(&self.gpu, &self.work) {
                true => Outcome::Answered,
                false => Outcome::NotFinite,
            },
            Ok(Some(logits)) if same(&logits, &self.bases[change.base].logits) => Outcome::Same,
            Ok(Some(_)) if change.may_differ => Outcome::Other,
            Ok(Some(_)) => Outcome::Silent,
        })
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn load(gpu: &Gpu, dir: &Path) -> strix_model::Result<Model> {
    let options = LoadOptions { ctx: Some(64), ..LoadOptions::default() };
    Model::load_on(gpu, Source::Dir(dir), &options, &mut unwatched)
}

/// Logits after [`IDS`]; `None` if they are not finite.
fn logits(gpu: &Gpu, dir: &Path) -> Result<Option<Vec<f32>>> {
    let logits = load(gpu, dir)?.session()?.inspect().greedy(&IDS.map(PromptId::Token), 1)?.concat();
    if logits.is_empty() {
        bail!("no logits");
    }
    Ok(logits.iter().all(|logit| logit.is_finite()).then_some(logits))
}

/// Whether a question gets an answer.
fn answers(gpu: &Gpu, dir: &Path) -> bool {
    let Ok(mut session) = load(gpu, dir).and_then(|model| model.session()) else { return false };
    let options = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
    match session.ask("Hi", &options) {
        Ok(mut answer) => answer.all(|token| token.is_ok()),
        Err(_) => false,
    }
}

/// What was done, the file as it is then (`None`: it is to be taken away or replaced), and the first byte changed.
fn mutate(
    original: &[u8],
    header: usize,
    random: &mut Random,
    weights: bool,
) -> (String, Option<Vec<u8>>, usize) {
    let mut bytes = original.to_vec();
    // Of weights mostly the header, which is the smaller part.
    let within = if weights && random.below(4) > 0 { header } else { bytes.len() };
    let at = random.below(within);
    if bytes.is_empty() {
        return ("empty".into(), None, 0);
    }
    match random.below(12) {
        0..3 => {
            bytes[at] ^= 1 << random.below(8);
            (format!("a bit of byte {at}"), Some(bytes), at)
        }
        3..5 => {
            bytes[at] = *random.of(&[0, b'0', b'9', b'"', b'}', b'{', b',', b'-', 0x7f, 0x80, 0xff]);
            (format!("byte {at}"), Some(bytes), at)
        }
        5 => {
            bytes.truncate(at);
            (format!("cut at {at}"), Some(bytes), at)
        }
        6 => {
            let more = 1 + random.below(64);
            bytes.extend(std::iter::repeat_n(0, more));
            (format!("{more} bytes more"), Some(bytes), 0)
        }
        7 => {
            let len = 1 + random.below(16).min(bytes.len() - at - 1);
            bytes.drain(at..at + len);
            (format!("without {len} bytes at {at}"), Some(bytes), at)
        }
        8 => {
            let len = (1 + random.below(16)).min(bytes.len() - at);
            let copied = bytes[at..at + len].to_vec();
            bytes.splice(at..at, copied);
            (format!("{len} bytes twice at {at}"), Some(bytes), at)
        }
        // A number of a JSON text, or a digit of anything.
        9 | 10 => match (0..within).map(|i| (at + i) % within).find(|&i| bytes[i].is_ascii_digit()) {
            Some(first) => {
                let end = (first..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
                let numbers = [
                    "0",
                    "1",
                    "-1",
                    "65536",
                    "16777216",
                    "2147483648",
                    "18446744073709551615",
                    "1e308",
                    "null",
                ];
                let number = *random.of(&numbers);
                bytes.splice(first..end, number.bytes());
                (format!("{number} at {first}"), Some(bytes), first)
            }
            None => ("gone".into(), None, 0),
        },
        _ => ("replaced".into(), None, 0),
    }
}

/// Outcomes and how often each was.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<Outcome, u64>);

impl Counts {
    /// Counts one.
    pub fn add(&mut self, outcome: Outcome) {
        *self.0.entry(outcome).or_default() += 1;
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those that must not be.
    pub fn faults(&self) -> u64 {
        self.0.iter().filter(|(outcome, _)| outcome.is_fault()).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} folders", self.total())?;
        self.0.iter().try_for_each(|(outcome, count)| write!(f, ", {count} {outcome:?}"))
    }
}
