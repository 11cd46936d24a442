//! Reads a written folder again and holds it against its manifest and its config.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use rayon::prelude::*;
use strix_shaders::{Format, Layout};

use super::manifest::{Arrangement, FileEntry, Manifest, TensorEntry};
use super::packing::items;
use super::run::hash_range;
use crate::packed::{self, Rounding};
use crate::parts::Item;
use crate::progress::{OnProgress, Progress};
use crate::weights::{FileDtype, Weights, is_file_name};
use crate::written::{MANIFEST, refuse_unfinished};
use crate::{Config, Error, Result, shown};

/// Tensors that are read between two calls of the progress callback.
const AT_ONCE: usize = 8;
/// Where the list of expected tensors comes from.
const CONFIG: &str = "config.json";
/// Bytes after which the pages of what was read are let go.
const PIECE_BYTES: usize = 16 << 20;

/// The result of [`verify`].
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Tensors of the manifest.
    pub num_tensors: usize,
    /// Files that the manifest lists.
    pub num_files: usize,
    /// Bytes of its files of tensors.
    pub total_bytes: u64,
    /// Bytes that were read and had the right checksum.
    pub good_bytes: u64,
    /// Faults; empty if there are none.
    pub problems: Vec<Problem>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: String,
    /// The tensor; `None` if it is the file itself.
    pub tensor: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// One line, as [`shown`] writes it.
impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tensor {
            Some(tensor) => {
                write!(f, "{}: {}: {}", shown(&self.file), shown(tensor), shown(&self.reason))
            }
            None => write!(f, "{}: {}", shown(&self.file), shown(&self.reason)),
        }
    }
}

/// Reads all of a folder that this library wrote: every checksum, every dtype and shape, against its manifest and
/// its config.
///
/// # Errors
///
/// If there is no manifest, it cannot be read, or `progress` breaks; what is wrong with a file or tensor is in the
/// result.
pub fn verify(dir: &Path, progress: OnProgress<'_>) -> Result<Verified> {
    refuse_unfinished(dir)?;
    let manifest = Manifest::load(dir)?.ok_or_else(|| Error::File {
        path: dir.join(MANIFEST),
        reason: "is not there: strix did not write this folder".into(),
    })?;
    let mut check = Check {
        dir,
        manifest: &manifest,
        progress,
        state: Progress {
            what: String::new(),
            done_bytes: 0,
            total_bytes: manifest.tensors.values().map(|entry| entry.bytes).sum(),
        },
        found: Verified {
            num_tensors: manifest.tensors.len(),
            num_files: manifest.files.len(),
            total_bytes: manifest.shard_bytes(),
            ..Verified::default()
        },
    };
    for (name, entry) in &manifest.files {
        check.file(name, entry)?;
    }
    for (tensor, entry) in &manifest.tensors {
        if !manifest.files.contains_key(&entry.file) {
            check.problem(&entry.file, Some(tensor), format!("{MANIFEST} does not list the file"));
        }
    }
    check.others();
    check.shapes();
    check.found.problems.sort_by(|a, b| (&a.file, &a.tensor).cmp(&(&b.file, &b.tensor)));
    Ok(check.found)
}

struct Check<'a> {
    dir: &'a Path,
    manifest: &'a Manifest,
    progress: OnProgress<'a>,
    state: Progress,
    found: Verified,
}

impl<'a> Check<'a> {
    fn problem(&mut self, file: &str, tensor: Option<&str>, reason: String) {
        let problem = Problem { file: file.into(), tensor: tensor.map(Into::into), reason };
        self.found.problems.push(problem);
    }

    fn file(&mut self, name: &str, entry: &FileEntry) -> Result<()> {
        if !is_file_name(name) {
            self.problem(name, None, "is not a file of this folder".into());
            return Ok(());
        }
        let path = self.dir.join(name);
        let found = match std::fs::metadata(&path) {
            Err(e) => Some(e.to_string()),
            Ok(metadata) if !metadata.is_file() => Some("is not a file".into()),
            Ok(metadata) if metadata.len() != entry.bytes => {
                Some(format!("has {} bytes, expected {}", metadata.len(), entry.bytes))
            }
            Ok(_) => None,
        };
        let whole = found.is_none();
        if let Some(reason) = found {
            self.problem(name, None, reason);
        }
        let Some(blake3) = &entry.blake3 else { return self.tensors(name, whole) };
        // A file of another length differs. It need not be read.
        if !whole {
            return Ok(());
        }
        match hash_range(&path, 0, entry.bytes) {
            Err(error) => self.problem(name, None, reason(error)),
            Ok(found) if found != *blake3 => self.problem(name, None, changed()),
            Ok(_) => self.found.good_bytes += entry.bytes,
        }
        Ok(())
    }

    /// The tensors of a file; one that is not `whole` was named already, and is not again if it cannot be read.
    fn tensors(&mut self, file: &str, whole: bool) -> Result<()> {
        let manifest = self.manifest;
        let entries: Vec<(&String, &TensorEntry)> =
            manifest.tensors.iter().filter(|(_, entry)| entry.file == file).collect();
        let weights = match Weights::open(&self.dir.join(file)) {
            Ok(weights) => weights,
            Err(_) if !whole => return Ok(()),
            Err(error) => {
                self.problem(file, None, reason(error));
                return Ok(());
            }
        };
        let (said, expected) = (weights.metadata(), manifest.metadata());
        let keys: BTreeSet<&String> = said.keys().chain(expected.keys()).collect();
        for key in keys.into_iter().filter(|&key| said.get(key) != expected.get(key)) {
            let words = |value: Option<&String>| value.map_or("nothing".into(), |value| format!("{value:?}"));
            let (said, expected) = (words(said.get(key)), words(expected.get(key)));
            self.problem(file, None, format!("its metadata says {key} = {said}, {MANIFEST} {expected}"));
        }
        for name in weights.names() {
            if manifest.tensors.get(name).is_none_or(|entry| entry.file != file) {
                self.problem(file, Some(name), format!("is not in {MANIFEST}"));
            }
        }
        for some in entries.chunks(AT_ONCE) {
            let problems: Vec<Option<String>> =
                some.par_iter().map(|(name, entry)| examine(&weights, name, entry)).collect();
            for ((name, entry), problem) in some.iter().zip(problems) {
                match problem {
                    Some(reason) => self.problem(file, Some(name), reason),
                    None => self.found.good_bytes += entry.bytes,
                }
                self.state.what = (*name).clone();
                self.state.done_bytes += entry.bytes;
            }
            if (self.progress)(&self.state) == ControlFlow::Break(()) {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// Files of tensors that the manifest does not know.
    fn others(&mut self) {
        let names = std::fs::read_dir(self.dir).into_iter().flatten().flatten();
        let names: BTreeSet<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        for name in names {
            if name.ends_with(".safetensors") && !self.manifest.files.contains_key(&name) {
                self.problem(&name, None, format!("is not in {MANIFEST}"));
            }
        }
    }

    /// Holds the manifest's tensors against those that the config asks for.
    fn shapes(&mut self) {
        let expected = Config::load(self.dir).and_then(|config| expected(&config, self.manifest));
        let expected = match expected {
            Ok(expected) => expected,
            // A fault of its bytes was reported already.
            Err(_) if self.found.problems.iter().any(|problem| problem.file == CONFIG) => return,
            Err(error) => return self.problem(CONFIG, None, reason(error)),
        };
        for (name, (required, shape)) in &expected {
            match self.manifest.tensors.get(name) {
                Some(entry) if entry.shape != *shape => {
                    let reason = format!("config.json asks for {shape:?}, it is {:?}", entry.shape);
                    self.problem(&entry.file, Some(name), reason);
                }
                None if *required => {
                    self.problem(MANIFEST, Some(name), "config.json asks for it, and it is missing".into());
                }
                _ => {}
            }
        }
        for (name, entry) in &self.manifest.tensors {
            if !expected.contains_key(name) {
                self.problem(&entry.file, Some(name), "config.json does not ask for it".into());
            }
        }
    }
}

/// What is wrong, without the name of the file.
fn reason(error: Error) -> String {
    match error {
        Error::File { reason, .. } | Error::Config(reason) => reason,
        Error::Io { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

fn changed() -> String {
    "its bytes are not those that were written; write the folder again".into()
}

/// The fault of a tensor, if it has one.
fn examine(weights: &Weights, name: &str, entry: &TensorEntry) -> Option<String> {
    let Some(view) = weights.get(name) else { return Some("is missing".into()) };
    let found = (view.dtype.to_string(), view.shape, view.byte_len() as u64);
    if found != (entry.dtype.clone(), &entry.shape[..], entry.bytes) {
        let (dtype, shape, bytes) = found;
        return Some(format!(
            "is {dtype} {shape:?} of {bytes} bytes, {MANIFEST} says {} {:?} of {}",
            entry.dtype, entry.shape, entry.bytes
        ));
    }
    let Some(bytes) = view.contiguous() else { return Some("does not lie in one piece in its file".into()) };
    let mut hasher = blake3::Hasher::new();
    let element = view.dtype.bitsize().div_ceil(8).max(1);
    let mut bad = None;
    for (i, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        hasher.update(piece);
        let first = i * PIECE_BYTES / element;
        bad = bad.or_else(|| first_bad(view.dtype, packed::is_scale(name), piece).map(|at| first + at));
        weights.release(name, first..first + piece.len() / element);
    }
    if hasher.finalize().to_hex().as_str() != entry.blake3 {
        return Some(changed());
    }
    let bad = bad?;
    let mut value = [0.0];
    match view.read_f32(bad, &mut value) {
        Ok(()) => Some(format!("element {bad} is {}; convert the checkpoint again", value[0])),
        Err(error) => Some(error.to_string()),
    }
}

/// The first element that is NaN or infinite or, of `scales`, negative. `None` if they are no floats.
fn first_bad(dtype: FileDtype, scales: bool, bytes: &[u8]) -> Option<usize> {
    // As integers, finite numbers are below infinity without their sign. With it, negative ones are above.
    let (infinity, minus_0) = (f32::INFINITY.to_bits(), 1 << 31);
    let mask = if scales { u32::MAX } else { !minus_0 };
    let bad = |infinity: u32, bits: u32| bits & mask >= infinity && bits != minus_0;
    match dtype {
        FileDtype::F32 => first(bytes, |b| bad(infinity, u32::from_le_bytes(b))),
        FileDtype::BF16 => first(bytes, |[a, b]| bad(infinity, u32::from_le_bytes([0, 0, a, b]))),
        FileDtype::F16 => first(bytes, |[a, b]| {
            bad(u32::from(half::f16::INFINITY.to_bits()) << 16, u32::from_le_bytes([0, 0, a, b]))
        }),
        _ => None,
    }
}

/// The first element that is `bad`.
fn first<const N: usize>(bytes: &[u8], bad: impl Fn([u8; N]) -> bool) -> Option<usize> {
    let elements = bytes.as_chunks().0;
    // All elements are tested first, since a search that may stop early is not vectorised.
    elements.iter().fold(false, |any, &element| any | bad(element)).then_some(())?;
    elements.iter().position(|&element| bad(element))
}

/// Tensors that a folder must hold, or may, and their shapes.
fn expected(config: &Config, manifest: &Manifest) -> Result<BTreeMap<String, (bool, Vec<usize>)>> {
    let plain = config.tensors().into_iter().map(|spec| (spec.name, (spec.required, spec.shape)));
    let mut plain: BTreeMap<_, _> = plain.collect();
    if manifest.layout == Arrangement::Hf {
        return Ok(plain);
    }
    let mut expected = BTreeMap::new();
    for item in items(config, Rounding::default(), None)? {
        match item {
            Item::Table { name, .. } | Item::Vector(name) => {
                if let Some(spec) = plain.remove(&name) {
                    expected.insert(name, spec);
                }
            }
            Item::Matrix(matrix) => {
                let packed = manifest.tensors.get(&packed::weight_name(&matrix.label));
                // Weight sets that were equal are stored once.
                let blocks = Layout { sets: 1, ..matrix.layout }.num_blocks() as usize;
                let once = packed.is_some_and(|entry| entry.shape.first() == Some(&blocks));
                let format = match packed.map(|entry| entry.dtype.as_str()) {
                    Some("I8") => Format::Int8 { group: manifest.group },
                    Some("F32") => Format::F32,
                    _ => Format::Bf16,
                };
                let sets = if once { 1 } else { matrix.layout.sets };
                let layout = Layout { format, sets, ..matrix.layout };
                expected.insert(packed::weight_name(&matrix.label), (true, layout.weight_shape().to_vec()));
                if layout.groups() > 0 {
                    expected.insert(packed::scale_name(&matrix.label), (true, layout.scale_shape()));
                }
            }
        }
    }
    // Position tables, which some checkpoints hold.
    expected.extend(plain.into_iter().filter(|(_, (required, _))| !required));
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(weights: &Weights, name: &str) -> TensorEntry {
        let view = weights.get(name).unwrap();
        let mut bytes = vec![0; view.byte_len()];
        view.read_bytes(0, &mut bytes).unwrap();
        TensorEntry {
            file: "x".into(),
            dtype: view.dtype.to_string(),
            shape: view.shape.into(),
            bytes: view.byte_len() as u64,
            blake3: blake3::hash(&bytes).to_hex().to_string(),
        }
    }

    #[test]
    fn a_number_that_is_none_is_found_though_it_was_written_so() {
        let found = |name: &str, dtype: FileDtype, bytes: &[u8]| {
            let len = bytes.len() * 8 / dtype.bitsize();
            let header = format!(
                r#"{{"{name}":{{"dtype":"{dtype}","shape":[{len}],"data_offsets":[0,{}]}}}}"#,
                bytes.len()
            );
            let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat();
            let weights = Weights::from_bytes(file).unwrap();
            examine(&weights, name, &entry(&weights, name))
        };
        let mut values = vec![0.5_f32; (PIECE_BYTES >> 2) + 9];
        let last = values.len() - 2;
        let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        for (value, in_tensor, in_scales) in [
            (-0.0, None, None),
            (f32::MAX, None, None),
            (-2.5, None, Some("-2.5")),
            (f32::INFINITY, Some("inf"), Some("inf")),
            (f32::NEG_INFINITY, Some("-inf"), Some("-inf")),
            (f32::NAN, Some("NaN"), Some("NaN")),
        ] {
            values[last] = value;
            for (name, want) in [("a.weight", in_tensor), ("a.scale", in_scales)] {
                let want = want.map(|word| format!("element {last} is {word}; convert the checkpoint again"));
                assert_eq!(found(name, FileDtype::F32, &f32s(&values)), want, "{name} {value}");
            }
        }
        // 1, the largest number, infinity, NaN, as their 16 bits.
        for (dtype, one, largest, infinity) in
            [(FileDtype::F16, 0x3c00_u16, 0xfbff, 0x7c00), (FileDtype::BF16, 0x3f80, 0xff7f, 0x7f80)]
        {
            for (bits, word) in [(largest, None), (infinity, Some("inf")), (infinity + 1, Some("NaN"))] {
                let bytes = [one, one, bits].map(u16::to_le_bytes);
                let want = word.map(|word| format!("element 2 is {word}; convert the checkpoint again"));
                assert_eq!(found("a", dtype, bytes.as_flattened()), want, "{dtype} {bits:x}");
            }
        }
        assert_eq!(found("a.packed", FileDtype::I8, &[0x80, 0xff, 0x7f, 0x7f]), None);
    }

    #[test]
    fn a_tensor_that_lies_by_strides_is_not_passed_over() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/release/hf");
        let weights = Weights::open(golden.as_ref()).unwrap();
        let name = "model.layers.0.self_attn.o_proj.weight";
        let found = examine(&weights, name, &entry(&weights, name));
        assert_eq!(found.as_deref(), Some("does not lie in one piece in its file"));
    }
}
