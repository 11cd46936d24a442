//! Checkpoints: tensors by name, memory-mapped from safetensors files.
//!
//! A file is its header's length (u64, little-endian), the header (JSON: name → dtype, shape, place), then the
//! tensors' bytes, without gaps. <https://github.com/huggingface/safetensors#format>

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use crate::{Config, Error, Result};

pub use safetensors::Dtype;

/// Longest header read, in bytes; the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Problems that [`Weights::check`] spells out; the others are counted.
const MAX_PROBLEMS: usize = 5;

/// The tensors of a checkpoint, which stay in their files until they are read.
#[derive(Debug)]
pub struct Weights {
    /// What was opened, for error messages.
    path: PathBuf,
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Place>,
}

/// A tensor, in the bytes of its file.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Name in the checkpoint.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Sizes, outermost first; empty for a single number.
    pub shape: &'a [usize],
    /// Its elements, little-endian, row-major. Not aligned to anything.
    pub bytes: &'a [u8],
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

#[derive(Debug)]
struct Place {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl Weights {
    /// Opens a `.safetensors` file or a folder.
    ///
    /// In a folder: `model.safetensors`, or `model.safetensors.index.json` and its shards, or the only
    /// `*.safetensors` there is.
    ///
    /// # Errors
    ///
    /// If there is none, a file cannot be read, is cut short or is not what its header says, or the index and its
    /// shards disagree.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            return Self::from_files(path, &[path.into()]);
        }
        let single = path.join("model.safetensors");
        if single.is_file() {
            return Self::from_files(path, &[single]);
        }
        let index = path.join("model.safetensors.index.json");
        if index.is_file() {
            return Self::from_index(path, &index);
        }
        let entries = std::fs::read_dir(path).map_err(|source| Error::Io { path: path.into(), source })?;
        let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let with = |extension: &str| {
            files.iter().filter(|file| file.extension().is_some_and(|e| e == extension)).count()
        };
        match files.iter().find(|file| file.extension().is_some_and(|e| e == "safetensors")) {
            Some(only) if with("safetensors") == 1 => Self::from_files(path, std::slice::from_ref(only)),
            Some(_) => Err(file_error(
                path,
                format!(
                    "holds {} .safetensors files and no model.safetensors.index.json that orders them; \
                     name one file, or download the index",
                    with("safetensors")
                ),
            )),
            None if with("bin") > 0 => Err(file_error(
                path,
                "holds only .bin checkpoints, which are not yet read; convert them: in Python, \
                 safetensors.torch.save_file(torch.load(\"pytorch_model.bin\", weights_only=True), \
                 \"model.safetensors\")"
                    .into(),
            )),
            None => Err(file_error(path, "holds no .safetensors file".into())),
        }
    }

    /// Reads a safetensors file that is part of the program.
    ///
    /// # Errors
    ///
    /// If its header does not describe it.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self> {
        let mut weights = Self::empty(Path::new("embedded model"));
        weights.add(Path::new("embedded model"), Bytes::Static(bytes))?;
        Ok(weights)
    }

    fn empty(path: &Path) -> Self {
        Self { path: path.into(), files: Vec::new(), tensors: BTreeMap::new() }
    }

    fn from_files(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut weights = Self::empty(path);
        for file in files {
            weights.add(file, map(file)?)?;
        }
        Ok(weights)
    }

    fn from_index(dir: &Path, index: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let json = std::fs::read(index).map_err(|source| Error::Io { path: index.into(), source })?;
        let Index { weight_map } = serde_json::from_slice(&json)
            .map_err(|e| file_error(index, format!("not an index of shards: {e}; download it again")))?;

        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort_unstable();
        shards.dedup();
        let mut files = Vec::new();
        for shard in shards {
            // An index may not make us read elsewhere: only a plain name is a shard.
            let mut parts = Path::new(shard).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(file_error(
                    index,
                    format!("names the shard {shard:?}, which is not a file of this folder"),
                ));
            }
            let file = dir.join(shard);
            if !file.is_file() {
                return Err(file_error(
                    &file,
                    format!("is missing, and {} names it; download it", index.display()),
                ));
            }
            files.push(file);
        }
        let weights = Self::from_files(dir, &files)?;
        for (name, shard) in &weight_map {
            let found = weights.tensors.get(name).map(|place| &files[place.file]);
            if found != Some(&dir.join(shard)) {
                let reason = match found {
                    None => {
                        format!("the index places it in {shard}, which does not hold it; download both again")
                    }
                    Some(file) => format!("the index places it in {shard}, but {} holds it", file.display()),
                };
                return Err(Error::Tensor { name: name.clone(), reason });
            }
        }
        Ok(weights)
    }

    fn add(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let file = self.files.len();
        for (name, mut place) in read_header(bytes.get()).map_err(|reason| file_error(path, reason))? {
            place.file = file;
            match self.tensors.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(place);
                }
                Entry::Occupied(entry) => {
                    let reason = format!("{} is in an earlier shard too", entry.key());
                    return Err(file_error(path, reason));
                }
            }
        }
        self.files.push(bytes);
        Ok(())
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<View<'_>> {
        let (name, place) = self.tensors.get_key_value(name)?;
        let bytes = &self.files[place.file].get()[place.range.clone()];
        Some(View { name, dtype: place.dtype, shape: &place.shape, bytes })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Holds the checkpoint against the tensors that a config prescribes. Tensors it does not know are allowed.
    ///
    /// # Errors
    ///
    /// If tensors are missing, have another shape, or a dtype that is not F32, F16 or BF16: the first few of them.
    pub fn check(&self, config: &Config) -> Result<()> {
        let mut problems = Vec::new();
        for spec in config.tensors() {
            match self.get(&spec.name) {
                None if spec.required => problems.push(format!("{}: missing", spec.name)),
                None => {}
                Some(view) if view.shape != spec.shape => problems.push(format!(
                    "{}: config.json says {} = {:?}, the file holds {:?}",
                    spec.name, spec.axes, spec.shape, view.shape
                )),
                Some(view) if !view.is_float() => {
                    problems.push(format!("{}: {}", spec.name, view.not_float()))
                }
                Some(_) => {}
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let count = problems.len();
        problems.truncate(MAX_PROBLEMS);
        let mut reason = format!("tensors that do not fit config.json: {count}\n  {}", problems.join("\n  "));
        if count > MAX_PROBLEMS {
            reason += &format!("\n  and {} more", count - MAX_PROBLEMS);
        }
        Err(file_error(&self.path, reason))
    }

    /// Tensors that the config does not prescribe; [`Weights::check`] lets them pass. The rotary `inv_freq` of
    /// older files, which is never read, does not count.
    pub fn num_unknown(&self, config: &Config) -> usize {
        let known: std::collections::HashSet<String> =
            config.tensors().into_iter().map(|spec| spec.name).collect();
        self.names().filter(|&name| !known.contains(name) && !name.ends_with(".rotary_emb.inv_freq")).count()
    }

    /// Index of the first NaN or infinity of a tensor. `None` too if it has none of that name or is not of floats.
    pub fn first_non_finite(&self, name: &str) -> Option<usize> {
        let view = self.get(name)?;
        let finite = |range: Range<usize>| {
            let mut values = Vec::new();
            view.elements_f32(range, &mut values).ok()?;
            values.iter().position(|value| !value.is_finite())
        };
        // In pieces: the whole of a large tensor as f32 need not fit in memory.
        const PIECE: usize = 1 << 16;
        let len = view.num_elements();
        (0..len).step_by(PIECE).find_map(|start| Some(start + finite(start..len.min(start + PIECE))?))
    }
}

fn convert<const N: usize>(bytes: &[u8], values: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    for (value, &bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = number(bytes);
    }
}

impl View<'_> {
    /// Elements in all.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows: the outermost size, 1 for a single number.
    pub fn num_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// All elements as f32, exactly.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        self.elements_f32(0..self.num_elements(), &mut values)?;
        Ok(values)
    }

    /// Some rows as f32, exactly, in place of what `values` held.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16.
    ///
    /// # Panics
    ///
    /// If it has no such rows.
    pub fn rows_f32(&self, rows: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        let len: usize = self.shape.iter().skip(1).product();
        assert!(rows.end <= self.num_rows(), "{}: rows {rows:?} of {:?}", self.name, self.shape);
        self.elements_f32(rows.start * len..rows.end * len, values)
    }

    /// The elements from `start` on as f32, exactly, as many as `values` holds.
    ///
    /// # Errors
    ///
    /// If the tensor is not F32, F16 or BF16.
    ///
    /// # Panics
    ///
    /// If it has no such elements.
    pub fn read_f32(&self, start: usize, values: &mut [f32]) -> Result<()> {
        if !self.is_float() {
            return Err(Error::Tensor { name: self.name.into(), reason: self.not_float() });
        }
        let size = self.dtype.bitsize() / 8;
        let bytes = &self.bytes[start * size..(start + values.len()) * size];
        match self.dtype {
            Dtype::F32 => convert(bytes, values, f32::from_le_bytes),
            Dtype::F16 => convert(bytes, values, |b| f16::from_le_bytes(b).to_f32()),
            _ => convert(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
        }
        Ok(())
    }

    fn elements_f32(&self, range: Range<usize>, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        values.resize(range.len(), 0.0);
        self.read_f32(range.start, values)
    }

    fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    fn not_float(&self) -> String {
        format!("is {}; only F32, F16 and BF16 are read: save it as one of these", self.dtype)
    }
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} bytes", self.get().len())
    }
}

fn map(path: &Path) -> Result<Bytes> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = File::open(path).map_err(io)?;
    #[expect(unsafe_code, reason = "a checkpoint of 16 GB must not be copied into memory")]
    // SAFETY: nothing here writes to the map. It stays valid as long as nobody changes or cuts the file while the
    // model is open, which no program can prevent; the documents ask for it. Should it happen, numbers change or
    // the process gets SIGBUS; every length was checked against the map, so no read leaves it.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    Ok(Bytes::Mapped(map))
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}

/// The tensors of a file, in its order.
///
/// The `safetensors` crate has such a reader, but it lets a name occur twice, can overflow on hostile offsets and
/// does not say which tensor or which numbers are wrong.
fn read_header(file: &[u8]) -> Result<Vec<(String, Place)>, String> {
    let len = file.len() as u64;
    let not_one = "is it a .safetensors file? download it again";
    let Some((header_len, rest)) = file.split_first_chunk() else {
        return Err(format!("holds {len} bytes, fewer than any header; {not_one}"));
    };
    let header_len = u64::from_le_bytes(*header_len);
    if header_len > MAX_HEADER_BYTES {
        return Err(format!(
            "says its header is {header_len} bytes long, above {MAX_HEADER_BYTES}; {not_one}"
        ));
    }
    let Some((header, data)) = rest.split_at_checked(header_len as usize) else {
        return Err(format!("holds {len} bytes, its header alone is {header_len}: download it again"));
    };
    let Header(mut infos) = serde_json::from_slice(header).map_err(|e| format!("header: {e}; {not_one}"))?;
    infos.sort_by_key(|(_, info)| info.data_offsets);

    let mut end = 0;
    for (name, info) in &infos {
        let [from, to] = info.data_offsets;
        if from != end || to < from {
            return Err(format!(
                "{name} is at bytes {from} to {to}, expected it to start at {end}: download it again"
            ));
        }
        // A size of 0 must not hide that the others overflow.
        let bits =
            info.shape.iter().try_fold(info.dtype.bitsize() as u64, |n, &size| n.checked_mul(size.max(1)));
        let bits = if info.shape.contains(&0) { bits.and(Some(0)) } else { bits };
        if bits != (to - from).checked_mul(8) || bits.is_none() {
            return Err(format!(
                "{name} is {:?} of {} and has {} bytes: download it again",
                info.shape,
                info.dtype,
                to - from
            ));
        }
        end = to;
    }
    if end != data.len() as u64 {
        let described = u128::from(end) + 8 + u128::from(header_len);
        return Err(format!("holds {len} bytes, its header describes {described}: download it again"));
    }
    let start = 8 + header_len as usize;
    let place = |(name, info): (String, Info)| {
        // All of these are at most the length of the file, except sizes beside a 0.
        let [from, to] = info.data_offsets.map(|offset| start + offset as usize);
        let shape = info.shape.iter().map(|&size| size as usize).collect();
        (name, Place { file: 0, dtype: info.dtype, shape, range: from..to })
    };
    Ok(infos.into_iter().map(place).collect())
}

/// The header's entries, in its order, each name once.
struct Header(Vec<(String, Info)>);

#[derive(Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut infos = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        continue;
                    }
                    let info = map.next_value().map_err(|e| A::Error::custom(format!("{name}: {e}")))?;
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{name} is listed twice")));
                    }
                    infos.push((name, info));
                }
                Ok(Header(infos))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests;
