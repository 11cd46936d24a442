//! The folder that is written to: who may write there, and what an interrupted run left in it.
//!
//! Everything is made in `.partial`, beside a journal of the tensors that are finished. When all are, the files
//! move up, the manifest last. So a folder without a manifest is unfinished, and one with it is whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{MANIFEST, Manifest, difference};
use crate::{Error, Result};

const PARTIAL: &str = ".partial";
const JOURNAL: &str = "journal.jsonl";
const INDEX: &str = "model.safetensors.index.json";

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

/// What there is in a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// All of it is there already.
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

/// An error of reading or writing a file; if there is no room for it, with what to do.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let free = super::free_bytes(&path).unwrap_or(0);
            wrong(&path, format!("{source}: {free} bytes are free there; make room and run the same again"))
        }
        _ => Error::Io { path, source },
    }
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::File { path: path.into(), reason }
}

impl Folder {
    /// Opens or makes `out`. `force` begins again where something else was written before.
    pub(super) fn open(out: &Path, made_from: &BTreeMap<String, String>, force: bool) -> Result<Found> {
        let partial = out.join(PARTIAL);
        if !out.join(MANIFEST).exists() && !partial.exists() {
            refuse_other_files(out)?;
        }
        let lock = lock(out, &partial)?;
        let mut folder =
            Self { out: out.into(), partial, _lock: lock, finished: BTreeMap::new(), journal: None };
        // A manifest that cannot be read may be written over, if that was asked for.
        let manifest = match Manifest::load(out) {
            Err(_) if force => None,
            manifest => manifest?,
        };
        let then = match &manifest {
            Some(manifest) => Some(manifest.made_from.clone()),
            None => folder.read_journal()?,
        };
        if force {
            folder.clear()?;
        } else if let Some(then) = &then
            && let Some(difference) = difference(then, made_from)
        {
            let reason = format!(
                "was {} with other options or from another source: {difference}; \
                 name another folder, or give --force to write this one again",
                if manifest.is_some() { "written" } else { "begun" }
            );
            if manifest.is_some() {
                folder.remove_partial()?;
            }
            return Err(wrong(out, reason));
        } else if let Some(manifest) = manifest {
            for (name, entry) in &manifest.files {
                let path = out.join(name);
                if fs::metadata(&path).map_err(io_error(&path))?.len() != entry.bytes {
                    return Err(wrong(&path, damaged(entry.bytes)));
                }
            }
            folder.remove_partial()?;
            return Ok(Found::Complete(Box::new(manifest)));
        }
        folder.begin_journal(made_from)?;
        Ok(Found::Unfinished(folder))
    }

    /// Where a file is or will be made: in `.partial`, unless it has moved up already.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        let (here, above) = (self.partial.join(name), self.out.join(name));
        if !here.exists() && above.exists() { above } else { here }
    }

    /// Where a file is begun anew.
    pub(super) fn new_place(&self, name: &str) -> PathBuf {
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
        let path = self.new_place(name);
        let mut file = File::create(&path).map_err(io_error(&path))?;
        file.write_all(contents).and_then(|()| file.sync_all()).map_err(io_error(&path))
    }

    /// Moves the finished files up in this order, the last of which makes the folder complete.
    pub(super) fn finish(self, names: &[String]) -> Result<()> {
        for name in names {
            let from = self.place(name);
            let to = self.out.join(name);
            if from != to {
                fs::rename(&from, &to).map_err(io_error(&to))?;
            }
        }
        // So that the names are on the disk as well. Not every system can open a folder.
        if let Ok(dir) = File::open(&self.out) {
            let _ = dir.sync_all();
        }
        self.remove_partial()
    }

    fn remove_partial(&self) -> Result<()> {
        fs::remove_dir_all(&self.partial).map_err(io_error(&self.partial))
    }

    /// Removes what an earlier run wrote. The manifest goes first, so that a half-cleared folder is unfinished.
    fn clear(&mut self) -> Result<()> {
        self.finished.clear();
        let remove = |path: &Path| match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path)(e)),
            _ => Ok(()),
        };
        remove(&self.out.join(MANIFEST))?;
        for dir in [&self.out, &self.partial] {
            for entry in fs::read_dir(dir).map_err(io_error(dir))? {
                let path = entry.map_err(io_error(dir))?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if is_ours(&name) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// What an unfinished run was making; `None` if there was none.
    fn read_journal(&mut self) -> Result<Option<BTreeMap<String, String>>> {
        let path = self.partial.join(JOURNAL);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error(&path)(e)),
        };
        // What cannot be read was cut off with the process that wrote it.
        let mut lines = text.lines();
        let Some(begin) = lines.next().and_then(|line| serde_json::from_str::<Begin>(line).ok()) else {
            return Ok(None);
        };
        for finished in lines.map_while(|line| serde_json::from_str::<Finished>(line).ok()) {
            self.finished.insert(finished.job, finished.blake3);
        }
        Ok(Some(begin.made_from))
    }

    /// Writes the journal anew with what is finished, so that nothing follows a line that was cut off.
    fn begin_journal(&mut self, made_from: &BTreeMap<String, String>) -> Result<()> {
        let (path, new) = (self.partial.join(JOURNAL), self.partial.join("journal.new"));
        let mut text = serde_json::to_string(&Begin { made_from: made_from.clone() }).expect("only strings");
        text.push('\n');
        for (job, blake3) in &self.finished {
            let line = Finished { job: job.clone(), blake3: blake3.clone() };
            text += &serde_json::to_string(&line).expect("only strings");
            text.push('\n');
        }
        fs::write(&new, text).map_err(io_error(&new))?;
        fs::rename(&new, &path).map_err(io_error(&path))?;
        let journal = OpenOptions::new().append(true).open(&path).map_err(io_error(&path))?;
        self.journal = Some(journal);
        Ok(())
    }
}

fn damaged(bytes: u64) -> String {
    format!("is not {bytes} bytes long, as {MANIFEST} says: give --force to write the folder again")
}

/// A name that a run writes.
fn is_ours(name: &str) -> bool {
    let shard = name == "model.safetensors" || name.starts_with("model-") && name.ends_with(".safetensors");
    shard || name == INDEX || name.starts_with("journal.") || super::COPIED.contains(&name)
}

/// A folder that holds something else is left alone.
fn refuse_other_files(out: &Path) -> Result<()> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error(out)(e)),
    };
    match entries.flatten().next() {
        None => Ok(()),
        Some(entry) => Err(wrong(
            out,
            format!(
                "holds {} and was not written by strix: name another folder",
                entry.file_name().to_string_lossy()
            ),
        )),
    }
}

fn lock(out: &Path, partial: &Path) -> Result<File> {
    let path = partial.join("lock");
    loop {
        fs::create_dir_all(partial).map_err(io_error(partial))?;
        let lock = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
            // Another process finished and took the folder away in between.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(io_error(&path))?,
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
