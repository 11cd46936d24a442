//! Checkpoints: tensors by name, memory-mapped from their files.
//!
//! A file must stay as it is for as long as its checkpoint is open. All lengths are checked when it is opened, so that
//! nothing is ever read outside of it; but a file that is cut meanwhile ends the process (SIGBUS), and one that is
//! written to gives other numbers. [`Weights::check_unchanged`] tells of both, and loading a model ends with it.

mod cursor;
mod files;
mod index;
mod pickle;
mod safetensors;
mod synthetic;
mod torch;
mod view;
mod zip;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use strix_engine::HostBytes;

use crate::convert::LAYOUT_VERSION;
use crate::{Config, Error, Result};

pub use ::safetensors::Dtype;
pub use files::SharedBytes;
pub(crate) use index::is_file_name;
pub use view::View;

use files::Opened;
use safetensors::Header;
use synthetic::Stream;
use view::Data;

/// Problems that [`Weights::check`] spells out; the others are counted.
const MAX_PROBLEMS: usize = 5;

/// How the stand-in for a file begins that Git LFS has not fetched.
const GIT_LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The tensors of a checkpoint, which stay in their files until they are read.
#[derive(Debug)]
pub struct Weights {
    /// What was opened, for error messages.
    path: PathBuf,
    files: Vec<Opened>,
    tensors: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
    /// What [`Weights::same`] found.
    same: Mutex<HashMap<[String; 2], bool>>,
}

/// What a tensor is and where its elements are.
#[derive(Debug)]
struct Place {
    /// Meaningless for what is computed.
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    at: At,
}

#[derive(Debug)]
enum At {
    /// Row-major, one element after the other.
    Bytes(Range<usize>),
    /// From the first element to the last, with a stride in elements for each axis.
    Strided(Range<usize>, Vec<usize>),
    /// In no file.
    Computed(Stream),
}

impl Weights {
    /// Reads a file that is in memory, or part of the program: safetensors or what `torch.save` writes.
    ///
    /// `bytes` must be the same each time they are asked for.
    ///
    /// # Errors
    ///
    /// If it is neither, or is not what its header says.
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        let path = Path::new("checkpoint in memory");
        let mut weights = Self::empty(path);
        weights.add(Opened::memory(path, bytes))?;
        Ok(weights)
    }

    fn empty(path: &Path) -> Self {
        let (tensors, metadata) = (BTreeMap::new(), BTreeMap::new());
        Self { path: path.into(), files: Vec::new(), tensors, metadata, same: Mutex::default() }
    }

    fn add(&mut self, opened: Opened) -> Result<()> {
        let error = |reason| file_error(&opened.path, reason);
        let file = self.files.len();
        let bytes = opened.get();
        let header = match () {
            () if bytes.starts_with(GIT_LFS) => Err(
                "is a pointer of Git LFS, not the file itself: run git lfs pull, or download it from its page".into()
            ),
            () if opened.is_torch() => {
                torch::read(bytes).map(|tensors| Header { tensors, metadata: BTreeMap::new() })
            }
            () => safetensors::read_header(bytes),
        };
        let header = header.map_err(error)?;
        for (name, place) in header.tensors {
            match self.tensors.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(Place { file, ..place });
                }
                Entry::Occupied(entry) => {
                    return Err(error(format!("{} is in an earlier shard too", entry.key())));
                }
            }
        }
        check_layout(&header.metadata).map_err(error)?;
        for (key, value) in header.metadata {
            let earlier = self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
            if *earlier != value {
                return Err(error(format!(
                    "its metadata says {key} = {value:?}, an earlier shard {earlier:?}: are they of one checkpoint?"
                )));
            }
        }
        self.files.push(opened);
        Ok(())
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<View<'_>> {
        let (name, place) = self.tensors.get_key_value(name)?;
        let bytes = |range: &Range<usize>| &self.files[place.file].get()[range.clone()];
        let data = match &place.at {
            At::Bytes(range) => Data::Contiguous(bytes(range)),
            At::Strided(range, strides) => Data::Strided { bytes: bytes(range), strides },
            At::Computed(stream) => Data::Computed(stream),
        };
        Some(View { name, dtype: place.dtype, shape: &place.shape, data })
    }

    /// The file that holds a tensor, and its bytes in it; `None` if there is no such tensor or its elements do not lie
    /// row-major, one after the other. What is returned keeps the file mapped.
    pub fn shared(&self, name: &str) -> Option<(SharedBytes, Range<usize>)> {
        let place = self.tensors.get(name)?;
        match &place.at {
            At::Bytes(range) => Some((self.files[place.file].bytes.clone(), range.clone())),
            At::Strided(..) | At::Computed(_) => None,
        }
    }

    /// The same for the engine.
    pub(crate) fn host_bytes(&self, name: &str) -> Option<HostBytes> {
        let (bytes, range) = self.shared(name)?;
        if !self.files[self.tensors.get(name)?.file].is_mapped() {
            return Some(HostBytes::new(bytes, range));
        }
        #[expect(unsafe_code, reason = "the engine cannot know what is a file's mapping")]
        // SAFETY: `is_mapped` says that the bytes are a `Mmap` of a file, which nothing here writes to.
        Some(unsafe { HostBytes::mapped(bytes, range) })
    }

    /// Whether two tensors have the same dtype, shape and elements, or neither is there. Compared once: they may be
    /// large, and a model is planned and then loaded.
    pub(crate) fn same(&self, a: &str, b: &str) -> bool {
        let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        *same.entry([a.into(), b.into()]).or_insert_with(|| match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.same(&b),
            (None, None) => true,
            _ => false,
        })
    }

    /// Whether its matrices are packed as the kernels stream them: `strix convert` made it.
    pub fn is_packed(&self) -> bool {
        self.metadata.get("format").is_some_and(|format| format == "strix")
    }

    /// What the files say of themselves: the `__metadata__` of safetensors files, joined.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The mapped files: path, length, and when each was last written to, as far as the system tells.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, u64, Option<SystemTime>)> {
        let state = |file: &Opened| file.state().map(|state| (state.len, state.modified));
        self.files.iter().filter_map(move |file| state(file).map(|(len, at)| (&*file.path, len, at)))
    }

    /// The file that holds a tensor; `None` if it is computed.
    pub(crate) fn file_of(&self, name: &str) -> Option<&Path> {
        match self.tensors.get(name)?.at {
            At::Computed(..) => None,
            _ => Some(&self.files[self.tensors[name].file].path),
        }
    }

    /// Reads elements of a tensor into memory now, so that whoever needs them next does not wait.
    pub(crate) fn prefetch(&self, name: &str, elements: Range<usize>) {
        if let Some((file, range)) = self.mapped(name, elements) {
            file.prefetch(range);
        }
    }

    /// Lets the pages of elements that were read leave this process; the system may keep them cached.
    pub(crate) fn release(&self, name: &str, elements: Range<usize>) {
        if let Some((file, range)) = self.mapped(name, elements) {
            file.release(range);
        }
    }

    /// Where elements of a tensor lie; all of them where they do not lie row-major.
    fn mapped(&self, name: &str, elements: Range<usize>) -> Option<(&Opened, Range<usize>)> {
        let place = self.tensors.get(name)?;
        let byte = |element: usize| element * place.dtype.bitsize() / 8;
        let range = match &place.at {
            At::Bytes(range) => range.start + byte(elements.start)..range.start + byte(elements.end),
            At::Strided(range, _) => range.clone(),
            _ => return None,
        };
        Some((&self.files[place.file], range))
    }

    /// Asks whether the files are still as they were when they were opened.
    ///
    /// # Errors
    ///
    /// If one has another length or was written to since: what was read from it may be wrong.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(Opened::check_unchanged)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Holds the checkpoint against the tensors that a config prescribes. Tensors it does not know are allowed, and
    /// a converted checkpoint may lack what its packed matrices are made of: those are looked at as they are loaded.
    ///
    /// # Errors
    ///
    /// If tensors are missing, have another shape, or a dtype that is not F32, F16 or BF16: the first few of them. If
    /// there are layers beyond those that the config counts: another model would be computed.
    pub fn check(&self, config: &Config) -> Result<()> {
        let mut problems = self.more_layers(config);
        for spec in config.tensors() {
            match self.get(&spec.name) {
                None if spec.required && !self.is_packed() => {
                    problems.push(format!("{}: missing", spec.name))
                }
                None => {}
                Some(view) if view.shape != spec.shape => problems.push(format!(
                    "{}: config.json says {} = {:?}, the file holds {:?}",
                    spec.name, spec.axes, spec.shape, view.shape
                )),
                Some(view) => problems.extend(view.check_float().err().map(|e| e.to_string())),
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

    /// Layers beyond those that a config counts.
    fn more_layers(&self, config: &Config) -> Vec<String> {
        let (text, vision, abstractor) = (&config.text, &config.vision, &config.abstractor);
        let mut problems = vec![];
        for (at, packed, key, counted) in [
            ("model.layers.", "decoder.", "num_hidden_layers", text.num_hidden_layers),
            (
                "model.vision_model.encoder.layers.",
                "vision.",
                "visual_model.num_hidden_layers",
                vision.num_hidden_layers,
            ),
            (
                "model.visual_abstractor.encoder.layers.",
                "abstractor.",
                "visual_abstractor.num_hidden_layers",
                abstractor.num_hidden_layers,
            ),
        ] {
            for at in [at, packed] {
                let layer = |name: &str| name.strip_prefix(at)?.split('.').next()?.parse::<usize>().ok();
                if let Some(last) = self.names().filter_map(layer).max().filter(|&last| last >= counted) {
                    problems
                        .push(format!("{at}{last}.* is in the file, and config.json's {key} is {counted}"));
                }
            }
        }
        problems
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
        self.get(name)?.first_non_finite()
    }
}

/// Refuses packed weights of another layout than the one this program streams.
fn check_layout(metadata: &BTreeMap<String, String>) -> Result<(), String> {
    if metadata.get("format").is_none_or(|format| format != "strix") {
        return Ok(());
    }
    let known = LAYOUT_VERSION.to_string();
    match metadata.get("strix.layout") {
        Some(version) if *version == known => Ok(()),
        Some(version) => Err(format!(
            "its packed layout has version {version}, this program knows {known}: use a newer strix, or convert the \
             checkpoint again"
        )),
        None => Err("its packed layout has no version (strix.layout): convert the checkpoint again".into()),
    }
}

fn file_error(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}

#[cfg(test)]
mod tests;
