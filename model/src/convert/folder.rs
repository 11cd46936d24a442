//! The folder that is written to: who may write there, and what an interrupted run left in it.
//!
//! Everything is made in `.partial`, beside a journal of the tensors that are finished. When all are, the files
//! move up, the manifest last. So a folder without a manifest is unfinished, and one with it is whole.
//!
//! What was not written here is neither written over nor removed, whatever was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, Read as _, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{io_error, wrong};
use super::manifest::{Manifest, difference};
use super::own;
use super::source::is_copied;
use crate::read::{MAX_MANIFEST_BYTES, read_stream};
use crate::written::{JOURNAL, MANIFEST, PARTIAL};
use crate::{Error, Result};

const LOCK: &str = "lock";
const NEW_JOURNAL: &str = "journal.new";
const INDEX: &str = "model.safetensors.index.json";

/// A file that a file manager leaves in any folder that it shows.
const OF_FILE_MANAGERS: &str = ".DS_Store";

/// A folder that this process alone writes to.
#[derive(Debug)]
pub(super) struct Folder {
    pub out: PathBuf,
    partial: PathBuf,
    /// Held until this is dropped.
    _lock: File,
    /// BLAKE3 of the tensors of each finished job.
    pub finished: BTreeMap<String, Vec<String>>,
    journal: Option<File>,
}

/// State of a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// Everything is there already.
    Complete(Box<Manifest>),
    /// It is to be made, or to be finished.
    Unfinished(Folder),
}

/// First line of the journal.
#[derive(Serialize, Deserialize)]
struct Begin {
    made_from: BTreeMap<String, String>,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Finished {
    job: String,
    blake3: Vec<String>,
}

/// The error of a folder that was written to before and is not to be written over.
fn exists(path: &Path, reason: String) -> Error {
    Error::Exists { path: path.into(), reason }
}

impl Folder {
    /// Opens or makes `out`. `force` begins again where something else was written before.
    pub(super) fn open(out: &Path, made_from: &BTreeMap<String, String>, force: bool) -> Result<Found> {
        let partial = out.join(PARTIAL);
        refuse_foreign(out, force)?;
        let left = partial.exists();
        let lock = lock(out, &partial)?;
        // The path was checked to have no links. If it changed since, another folder was checked.
        if out.canonicalize().map_err(io_error(out))? != out {
            return Err(wrong(out, "was replaced by a link meanwhile: name another folder".into()));
        }
        // And now that nobody else writes there, again.
        refuse_foreign(out, force)?;
        let mut folder =
            Self { out: out.into(), partial, _lock: lock, finished: BTreeMap::new(), journal: None };
        match folder.begin(made_from, force) {
            Ok(None) => Ok(Found::Unfinished(folder)),
            Ok(Some(manifest)) => folder.remove_partial().map(|()| Found::Complete(manifest)),
            Err(error) => {
                // A folder that is refused stays as it was found.
                if !left {
                    let _ = folder.remove_partial();
                }
                Err(error)
            }
        }
    }

    /// Reads what an earlier run left, and begins the journal; the manifest if all is there.
    fn begin(&mut self, made_from: &BTreeMap<String, String>, force: bool) -> Result<Option<Box<Manifest>>> {
        // A manifest that cannot be read may be written over, if that was asked for.
        let manifest = match Manifest::load(&self.out) {
            Err(_) if force => None,
            Err(error) => return Err(exists(&self.out, error.to_string())),
            Ok(manifest) => manifest,
        };
        if force {
            // The journal first: a folder that was half cleared is an unfinished one.
            self.begin_journal(made_from)?;
            self.clear(manifest.as_ref())?;
            return Ok(None);
        }
        let then = match &manifest {
            Some(manifest) => Some(manifest.made_from.clone()),
            None => self.read_journal()?,
        };
        if let Some(then) = &then
            && let Some(difference) = difference(then, made_from)
        {
            let reason = format!(
                "was {} with other options or from another source: {difference}",
                if manifest.is_some() { "written" } else { "begun" }
            );
            return Err(exists(&self.out, reason));
        } else if let Some(manifest) = manifest {
            let damage =
                manifest.files.iter().filter_map(|(name, entry)| match fs::metadata(self.out.join(name)) {
                    Ok(metadata) if metadata.len() == entry.bytes => None,
                    Ok(metadata) => {
                        Some(format!("{name} has {} bytes, expected {}", metadata.len(), entry.bytes))
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Some(format!("{name} is missing")),
                    Err(e) => Some(format!("{name}: {e}")),
                });
            let damage: Vec<String> = damage.collect();
            return match damage.is_empty() {
                true => Ok(Some(Box::new(manifest))),
                false => Err(exists(&self.out, format!("is damaged: {}", damage.join(", ")))),
            };
        }
        self.begin_journal(made_from)?;
        Ok(None)
    }

    /// Path of a file that is being made: in `.partial`, unless it has moved up already.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        let (here, above) = (self.partial.join(name), self.out.join(name));
        if !here.exists() && above.exists() { above } else { here }
    }

    /// Path of a file that is begun anew.
    pub(super) fn new_path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Forgets all finished jobs that are not in `keep`.
    pub(super) fn keep(
        &mut self,
        keep: BTreeMap<String, Vec<String>>,
        made_from: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.finished = keep;
        self.begin_journal(made_from)
    }

    /// Notes that a job's tensors are written.
    pub(super) fn note(&mut self, job: &str, blake3: Vec<String>) -> Result<()> {
        let mut line =
            serde_json::to_vec(&Finished { job: job.into(), blake3: blake3.clone() }).expect("only strings");
        line.push(b'\n');
        let path = self.partial.join(JOURNAL);
        let journal = self.journal.as_mut().expect("begun when the folder was opened");
        journal.write_all(&line).map_err(io_error(&path))?;
        self.finished.insert(job.into(), blake3);
        Ok(())
    }

    /// Writes a whole small file, to be moved up with the others.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.new_path(name);
        let mut file = own::create(&path)?;
        file.write_all(contents).and_then(|()| file.sync_all()).map_err(io_error(&path))
    }

    /// Moves the finished files up in this order, the last of which makes the folder complete.
    pub(super) fn finish(self, names: &[String]) -> Result<()> {
        for name in names {
            let from = self.path_of(name);
            let to = self.out.join(name);
            if from != to {
                fs::rename(&from, &to).map_err(io_error(&to))?;
            }
        }
        // This brings the names to the disk as well. Not every system can open a folder.
        if let Ok(dir) = File::open(&self.out) {
            let _ = dir.sync_all();
        }
        self.remove_partial()
    }

    fn remove_partial(&self) -> Result<()> {
        for name in names(&self.partial)? {
            if is_partial(&name) {
                own::remove(&self.partial.join(name))?;
            }
        }
        match fs::remove_dir(&self.partial) {
            // Another program wrote there meanwhile. Its files are not ours to remove.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.map_err(io_error(&self.partial)),
        }
    }

    /// Removes what an earlier run wrote. The manifest goes first, so that a half-cleared folder is unfinished.
    fn clear(&mut self, manifest: Option<&Manifest>) -> Result<()> {
        own::remove(&self.out.join(MANIFEST))?;
        for name in names(&self.out)? {
            if wrote(manifest, &name) {
                own::remove(&self.out.join(name))?;
            }
        }
        for name in names(&self.partial)? {
            if is_ours(&name) || name == MANIFEST {
                own::remove(&self.partial.join(name))?;
            }
        }
        Ok(())
    }

    /// Source and options of an unfinished run; `None` if there was none.
    fn read_journal(&mut self) -> Result<Option<BTreeMap<String, String>>> {
        let path = self.partial.join(JOURNAL);
        if !own::check(&path)? {
            return Ok(None);
        }
        let file = own::open(&path, OpenOptions::new().read(true))?;
        let bytes = read_stream(file, &path, MAX_MANIFEST_BYTES)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        // A line that cannot be read was cut off with the process that wrote it.
        let mut lines = bytes.split(|&byte| byte == b'\n');
        let begin = lines.next().unwrap_or_default();
        let begin = serde_json::from_slice::<Begin>(begin)
            .map_err(|e| exists(&path, format!("is no journal of strix ({e})")))?;
        for finished in lines.map_while(|line| serde_json::from_slice::<Finished>(line).ok()) {
            self.finished.insert(finished.job, finished.blake3);
        }
        Ok(Some(begin.made_from))
    }

    /// Writes the journal anew with what is finished, so that nothing follows a line that was cut off.
    fn begin_journal(&mut self, made_from: &BTreeMap<String, String>) -> Result<()> {
        let (path, new) = (self.partial.join(JOURNAL), self.partial.join(NEW_JOURNAL));
        let mut text = serde_json::to_string(&Begin { made_from: made_from.clone() }).expect("only strings");
        text.push('\n');
        for (job, blake3) in &self.finished {
            let line = Finished { job: job.clone(), blake3: blake3.clone() };
            text += &serde_json::to_string(&line).expect("only strings");
            text.push('\n');
        }
        own::create(&new)?.write_all(text.as_bytes()).map_err(io_error(&new))?;
        if path.is_dir() {
            // Empty, and it was asked for: see `refuse_foreign`.
            fs::remove_dir(&path).map_err(io_error(&path))?;
        }
        fs::rename(&new, &path).map_err(io_error(&path))?;
        self.journal = Some(own::open(&path, OpenOptions::new().append(true))?);
        Ok(())
    }
}

/// A name that a run gives a file that moves up.
fn is_ours(name: &str) -> bool {
    let shard = name == "model.safetensors" || name.starts_with("model-") && name.ends_with(".safetensors");
    shard || name == INDEX || is_copied(name)
}

/// A name that a run gives a file in `.partial`.
fn is_partial(name: &str) -> bool {
    is_ours(name) || [MANIFEST, LOCK, JOURNAL, NEW_JOURNAL].contains(&name)
}

/// Whether a run wrote the file of that name: the manifest says so, and of a damaged one the name has to do.
fn wrote(manifest: Option<&Manifest>, name: &str) -> bool {
    is_ours(name) && manifest.is_none_or(|manifest| manifest.files.contains_key(name))
}

/// The names in a folder, in order; none where there is no folder.
fn names(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(io_error(dir))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(io_error(dir))
}

/// Leaves alone a folder that holds what was not written here: other files, links, folders.
fn refuse_foreign(out: &Path, force: bool) -> Result<()> {
    let partial = out.join(PARTIAL);
    let mut begun = false;
    match partial.symlink_metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            let what = if metadata.is_symlink() { "is a symbolic link" } else { "is not a folder" };
            return Err(wrong(&partial, format!("{what}, and strix did not make it: remove it")));
        }
        Ok(_) => {
            for name in names(&partial)?.into_iter().filter(|name| name != OF_FILE_MANAGERS) {
                let path = partial.join(&name);
                if !is_partial(&name) {
                    let reason = "was not written by strix: remove it, or name another folder";
                    return Err(wrong(&path, reason.into()));
                }
                if name == JOURNAL && is_empty_folder(&path) {
                    match force {
                        true => continue,
                        false => return Err(exists(&path, "is a folder, not a journal".into())),
                    }
                }
                own::check(&path)?;
                begun |= name == JOURNAL && begins(&path);
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error(&partial)(e)),
    }

    let manifest = own::check(&out.join(MANIFEST))?;
    let written = if manifest && force { Manifest::load(out).ok().flatten() } else { None };
    let others = |name: &&String| ![PARTIAL, MANIFEST, OF_FILE_MANAGERS].contains(&name.as_str());
    for name in names(out)?.iter().filter(others) {
        // Without a manifest, only what a run was moving up.
        let known = manifest || begun && is_ours(name);
        if !known {
            return Err(wrong(
                out,
                format!("holds {name} and was not written by strix: name another folder"),
            ));
        }
        if (!manifest || force) && is_ours(name) {
            own::check(&out.join(name))?;
            if !wrote(written.as_ref(), name) {
                return Err(wrong(
                    out,
                    format!("holds {name}, which strix did not write: move it away, or name another folder"),
                ));
            }
        }
    }
    Ok(())
}

/// Whether a file begins as a journal of ours.
fn begins(path: &Path) -> bool {
    let mut line = vec![];
    let read = own::open(path, OpenOptions::new().read(true))
        .map(|file| io::BufReader::new(file.take(MAX_MANIFEST_BYTES)).read_until(b'\n', &mut line));
    matches!(read, Ok(Ok(_))) && serde_json::from_slice::<Begin>(&line).is_ok()
}

fn is_empty_folder(path: &Path) -> bool {
    let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    is_folder && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn lock(out: &Path, partial: &Path) -> Result<File> {
    let path = partial.join(LOCK);
    loop {
        fs::create_dir_all(partial).map_err(io_error(partial))?;
        let lock = match own::open(&path, OpenOptions::new().create(true).truncate(false).write(true)) {
            // Another process finished and removed the folder in between.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        match lock.try_lock() {
            Ok(()) if path.exists() => return Ok(lock),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(wrong(out, "another process is writing to it: wait for it to end".into()));
            }
            Err(TryLockError::Error(e)) => return Err(io_error(&path)(e)),
        }
    }
}
