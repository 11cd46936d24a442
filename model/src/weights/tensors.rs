//! The tensors of a checkpoint by name, in their files.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use strix_engine::HostBytes;

use super::cursor::shown;
use super::entry::{At, TensorEntry, file_error};
use super::files::Opened;
use super::names;
use super::view::{Data, View};
use crate::files::{Content, FileContent, SharedBytes};
use crate::packed::{FORMAT, OURS, Packing, Rounding};
use crate::{Config, Error, Result};

/// The tensors of a checkpoint. They stay in their files until they are read.
#[derive(Debug)]
pub struct Weights {
    /// The path that was opened, for error messages.
    pub(super) path: PathBuf,
    pub(super) files: Vec<Opened>,
    pub(super) tensors: BTreeMap<String, TensorEntry>,
    /// Tensors that cannot be read: the file that holds each, and why.
    pub(super) unread: BTreeMap<String, (usize, String)>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Notes on how the tensors were found, for people to read.
    pub(super) notes: Vec<String>,
    /// Names as the files have them, if they were renamed.
    pub(super) names_in_files: Vec<String>,
    /// Results of [`Weights::same`].
    same: Mutex<HashMap<[String; 2], bool>>,
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
        weights.rename();
        Ok(weights)
    }

    /// Reads a file that can be read from any byte on, under a name for error messages. Tensors are read as they are needed.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is neither, or is not what its header says.
    pub fn from_reader(name: &str, reader: impl Read + Seek + Send + 'static) -> Result<Self> {
        let mut weights = Self::empty(name.as_ref());
        weights.add(Opened::provided(name, FileContent::from_reader(reader))?)?;
        weights.rename();
        Ok(weights)
    }

    /// Joins the tensors of files that are provided, by name.
    pub(super) fn from_provided(path: &Path, files: Vec<(&str, FileContent)>) -> Result<Self> {
        let mut weights = Self::empty(path);
        for (name, content) in files {
            weights.add(Opened::provided(name, content)?)?;
        }
        Ok(weights)
    }

    pub(super) fn from_files(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let mut weights = Self::empty(path);
        for file in files {
            weights.add(Opened::map(file)?)?;
        }
        Ok(weights)
    }

    pub(super) fn empty(path: &Path) -> Self {
        Self {
            path: path.into(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            unread: BTreeMap::new(),
            metadata: BTreeMap::new(),
            notes: Vec::new(),
            names_in_files: Vec::new(),
            same: Mutex::default(),
        }
    }

    fn add(&mut self, opened: Opened) -> Result<()> {
        let error = |reason| file_error(&opened.path, reason);
        let file = self.files.len();
        let header = opened.header()?;
        for (name, found) in header.tensors {
            match self.tensors.entry(name) {
                Entry::Vacant(entry) if !self.unread.contains_key(entry.key()) => {
                    entry.insert(TensorEntry { file, ..found });
                }
                entry => return Err(error(format!("{} is in an earlier shard too", shown(entry.key())))),
            }
        }
        for (name, reason) in header.unread {
            match self.unread.entry(name) {
                Entry::Vacant(entry) if !self.tensors.contains_key(entry.key()) => {
                    entry.insert((file, reason));
                }
                entry => return Err(error(format!("{} is in an earlier shard too", shown(entry.key())))),
            }
        }
        self.notes.extend(header.note);
        Packing::of(&header.metadata).map_or(Ok(()), Packing::check).map_err(error)?;
        for (key, value) in header.metadata {
            let earlier = self.metadata.entry(key.clone()).or_insert_with(|| value.clone());
            // What is read must be the same in all shards. What is not may differ: torch's DCP writes the content of each.
            if *earlier != value && (key == FORMAT || key.starts_with(OURS)) {
                return Err(error(format!(
                    "its metadata says {} = {:?}, an earlier shard {:?}: are they of one checkpoint?",
                    shown(&key),
                    shown(&value),
                    shown(earlier)
                )));
            }
        }
        self.files.push(opened);
        Ok(())
    }

    /// Gives tensors the model's own names, where a wrapper has put something before or into all of them.
    pub(super) fn rename(&mut self) {
        if self.is_packed() {
            return;
        }
        let all = self.tensors.keys().chain(self.unread.keys()).map(String::as_str);
        let Some(renaming) = names::Renaming::of(all.clone()) else { return };
        let mut seen = HashSet::new();
        if !all.map(|name| renaming.apply(name)).all(|name| seen.insert(name)) {
            return;
        }
        let apply = |name: &str| renaming.apply(name);
        self.names_in_files = self.tensors.keys().cloned().collect();
        self.tensors = std::mem::take(&mut self.tensors).into_iter().map(|(n, p)| (apply(&n), p)).collect();
        self.unread = std::mem::take(&mut self.unread).into_iter().map(|(n, p)| (apply(&n), p)).collect();
        self.notes.push(renaming.note);
    }

    /// Notes on how the tensors were found, if they were not plainly in the file, for people to read: the prefix of a
    /// wrapper that was taken off their names, the dict within a training's checkpoint that was read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Tensors that cannot be read, and why: sparse or quantised ones of torch, or of a dtype that is not known. Only
    /// where one is needed is that an error.
    pub fn unread(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.unread.iter().map(|(name, (_, reason))| (name.as_str(), reason.as_str()))
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<View<'_>> {
        let (name, found) = self.tensors.get_key_value(name)?;
        let content = || &self.files[found.file].content;
        let data = match &found.at {
            At::Computed(stream) => Data::Computed(stream),
            At::Bytes(range) => match content() {
                Content::Bytes(bytes) => Data::Contiguous(&(**bytes).as_ref()[range.clone()]),
                Content::Reader(reader) => Data::Read { reader, start: range.start, len: range.len() },
            },
            At::Strided(range, strides) => match content() {
                Content::Bytes(bytes) => Data::Strided { bytes: &(**bytes).as_ref()[range.clone()], strides },
                Content::Reader(reader) => {
                    Data::ReadStrided { reader, start: range.start, len: range.len(), strides }
                }
            },
        };
        Some(View { name, dtype: found.dtype, shape: &found.shape, data })
    }

    /// The tensor of that name, which must be there.
    pub(crate) fn view(&self, name: &str) -> Result<View<'_>> {
        let missing = || Error::Tensor { name: name.into(), reason: "is not in the checkpoint".into() };
        self.get(name).ok_or_else(missing)
    }

    /// The file that holds a tensor, and its bytes in it; `None` if there is no such tensor, its elements do not lie
    /// row-major, one after the other, or its file is a reader. What is returned keeps the file mapped.
    pub fn shared(&self, name: &str) -> Option<(SharedBytes, Range<usize>)> {
        let found = self.tensors.get(name)?;
        match &found.at {
            At::Bytes(range) => match &self.files[found.file].content {
                Content::Bytes(bytes) => Some((bytes.clone(), range.clone())),
                Content::Reader(_) => None,
            },
            At::Strided(..) | At::Computed(_) => None,
        }
    }

    /// The same for the engine.
    pub(crate) fn host_bytes(&self, name: &str) -> Option<HostBytes> {
        let found = self.tensors.get(name)?;
        if let (At::Bytes(range), Content::Reader(reader)) = (&found.at, &self.files.get(found.file)?.content)
        {
            return Some(HostBytes::read(reader.clone(), range.clone()));
        }
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
            // What cannot be read is an error where it is needed.
            (Some(a), Some(b)) => a.same(&b).unwrap_or(false),
            (None, None) => true,
            _ => false,
        })
    }

    /// Whether its matrices are packed as the kernels stream them: `strix convert` made it.
    pub fn is_packed(&self) -> bool {
        self.packing().is_some()
    }

    /// What a converted checkpoint says of itself; `None` of a plain one.
    pub(crate) fn packing(&self) -> Option<Packing<'_>> {
        Packing::of(&self.metadata)
    }

    /// What its matrices were converted to; `None` of a plain checkpoint.
    pub(crate) fn stored_rounding(&self) -> Result<Option<Rounding>> {
        let stored = self.packing().map(Packing::rounding).transpose();
        stored.map_err(|reason| file_error(&self.path, reason))
    }

    /// The `__metadata__` of safetensors files, joined.
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

    /// Lets go of what was read and may be asked for again.
    pub(crate) fn forget(&self) {
        for file in &self.files {
            if let Content::Reader(reader) = &file.content {
                reader.forget();
            }
        }
    }

    /// Byte range of some elements of a tensor; of all if they are not row-major.
    fn mapped(&self, name: &str, elements: Range<usize>) -> Option<(&Opened, Range<usize>)> {
        let found = self.tensors.get(name)?;
        let byte = |element: usize| element * found.dtype.bitsize() / 8;
        let range = match &found.at {
            At::Bytes(range) => range.start + byte(elements.start)..range.start + byte(elements.end),
            At::Strided(range, _) => range.clone(),
            _ => return None,
        };
        Some((&self.files[found.file], range))
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

    /// Tensors that the config does not prescribe; [`Weights::check`] lets them pass. The rotary `inv_freq` of
    /// older files, which is never read, does not count.
    pub fn num_unknown(&self, config: &Config) -> usize {
        let known: HashSet<String> = config.tensors().into_iter().map(|spec| spec.name).collect();
        self.names().filter(|&name| !known.contains(name) && !name.ends_with(".rotary_emb.inv_freq")).count()
    }

    /// Index of the first NaN or infinity of a tensor. `None` too if it has none of that name or is not of floats.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn first_non_finite(&self, name: &str) -> Result<Option<usize>> {
        self.get(name).map_or(Ok(None), |view| view.first_non_finite())
    }
}
