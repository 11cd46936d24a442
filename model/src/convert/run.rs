//! Carries jobs out: one thread reads ahead, all cores round, one thread writes, one waits for the disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fs4::FileExt;
use rayon::prelude::*;

use super::disk::{free_bytes, io_error};
use super::folder::{Folder, Found};
use super::jobs::{Bytes, Job};
use super::manifest::{FileEntry, Manifest, TensorEntry};
use super::memory::Peak;
use super::own;
use super::report::Report;
use super::shards::{ShardPlan, Tensor};
use crate::progress::{OnProgress, Progress};
use crate::read::open_file;
use crate::weights::Weights;
use crate::written::MANIFEST;
use crate::{Error, Result};

/// Pieces that are read, and that are written, ahead of and behind the one that is worked on.
const AHEAD: usize = 2;
/// Bytes after which what was written is sent to the disk, so that closing a file does not wait for all of it.
const SYNC_BYTES: u64 = 128 << 20;
/// Jobs whose finished tensors are checked between two calls of the progress callback.
const CHECKED_AT_ONCE: usize = 8;

/// A folder to be made.
pub(super) struct Work<'a> {
    pub source: &'a Weights,
    pub jobs: Vec<Box<dyn Job + 'a>>,
    pub shard_bytes: u64,
    /// Without its tensors and files.
    pub manifest: Manifest,
    /// Small files beside the tensors.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A piece on its way to the disk.
struct Piece {
    job: usize,
    chunks: Vec<Bytes>,
    last: bool,
}

/// Times that the rounding waited.
#[derive(Default)]
struct Waited {
    read: Duration,
    write: Duration,
}

impl Work<'_> {
    fn tensors(&self) -> Vec<&[Tensor]> {
        self.jobs.iter().map(|job| job.tensors()).collect()
    }

    /// Bytes that a job reads.
    fn read_bytes(&self, job: usize) -> u64 {
        let job = &self.jobs[job];
        (0..job.num_pieces()).map(|piece| job.read_bytes(piece)).sum()
    }

    fn plan(&self) -> Result<ShardPlan> {
        ShardPlan::new(&self.tensors(), &self.manifest.metadata(), self.shard_bytes)
    }

    /// Bytes that will be written, before anything is.
    pub(super) fn bytes(&self) -> Result<u64> {
        Ok(self.plan()?.bytes())
    }

    /// Makes or finishes `out`, which is as [`super::output::resolve`] gives it.
    pub(super) fn run(mut self, out: &Path, force: bool, progress: OnProgress<'_>) -> Result<Report> {
        let started = Instant::now();
        let plan = self.plan()?;
        if !out.exists() {
            check_space(out, plan.bytes())?;
        }
        let mut folder = match Folder::open(out, &self.manifest.made_from, force)? {
            Found::Complete(manifest) => {
                return Ok(Report {
                    already_complete: true,
                    num_files: manifest.files.len(),
                    num_tensors: manifest.tensors.len(),
                    total_bytes: manifest.shard_bytes(),
                    ..Report::default()
                });
            }
            Found::Unfinished(folder) => folder,
        };
        let reads: Vec<u64> = (0..self.jobs.len()).map(|job| self.read_bytes(job)).collect();
        let mut tell = Tell {
            progress,
            state: Progress { what: String::new(), done_bytes: 0, total_bytes: reads.iter().sum() },
        };
        let files = prepare(&mut folder, &plan, &self, &reads, &mut tell)?;
        let todo: Vec<usize> = (0..self.jobs.len())
            .filter(|&job| !folder.finished.contains_key(self.jobs[job].name()))
            .collect();
        let written: u64 = todo.iter().flat_map(|&job| self.jobs[job].tensors()).map(Tensor::bytes).sum();
        check_space(out, written.saturating_sub(begun_bytes(&files, plan.bytes() - written)))?;
        let kept_bytes = tell.state.done_bytes;

        let mut peak = Peak::default();
        let begun = Instant::now();
        let waited = self.carry_out(&mut folder, &plan, files, &todo, &mut tell, &mut peak)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.source.check_unchanged()?;

        self.finish(folder, &plan)?;
        peak.sample();
        Ok(Report {
            already_complete: false,
            num_files: self.manifest.files.len(),
            num_tensors: self.manifest.tensors.len(),
            read_bytes: todo.iter().map(|&job| reads[job]).sum(),
            kept_bytes,
            written_bytes: written,
            total_bytes: plan.bytes(),
            seconds: started.elapsed().as_secs_f64(),
            work_seconds: seconds,
            waited_for_reads_seconds: waited.read.as_secs_f64(),
            waited_for_writes_seconds: waited.write.as_secs_f64(),
            peak_resident_bytes: peak.resident_bytes,
            peak_anonymous_bytes: peak.anonymous_bytes,
        })
    }

    fn carry_out(
        &self,
        folder: &mut Folder,
        plan: &ShardPlan,
        files: Vec<(PathBuf, File)>,
        todo: &[usize],
        tell: &mut Tell<'_>,
        peak: &mut Peak,
    ) -> Result<Waited> {
        let pieces: Vec<(usize, usize)> = todo
            .iter()
            .flat_map(|&job| (0..self.jobs[job].num_pieces()).map(move |piece| (job, piece)))
            .collect();
        let (ready, is_ready) = sync_channel::<()>(AHEAD - 1);
        let (write, to_write) = sync_channel::<Piece>(AHEAD);
        let mut waited = Waited::default();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let ready = ready;
                for &(job, piece) in &pieces {
                    for (view, elements) in self.jobs[job].parts(piece) {
                        self.source.prefetch(view.name, elements);
                    }
                    if ready.send(()).is_err() {
                        return;
                    }
                }
            });
            let writer = scope.spawn(move || Writer::run(self, folder, plan, files, &to_write));

            let made = self.make(&pieces, &is_ready, &write, tell, peak, &mut waited);
            drop((is_ready, write));
            reader.join().expect("reading ahead does not panic");
            let since = Instant::now();
            let written = writer.join().expect("writing does not panic");
            waited.write += since.elapsed();
            // A writer that failed is why nothing could be sent to it.
            written.and(made)
        })?;
        Ok(waited)
    }

    fn make(
        &self,
        pieces: &[(usize, usize)],
        is_ready: &Receiver<()>,
        write: &SyncSender<Piece>,
        tell: &mut Tell<'_>,
        peak: &mut Peak,
        waited: &mut Waited,
    ) -> Result<()> {
        for &(index, piece) in pieces {
            let job = &self.jobs[index];
            let since = Instant::now();
            // The reader ends early only if it panics, which is found when it is joined.
            let _ = is_ready.recv();
            waited.read += since.elapsed();
            let chunks = job.make(piece)?;
            for (view, elements) in job.parts(piece) {
                self.source.release(view.name, elements);
            }
            let last = piece + 1 == job.num_pieces();
            let since = Instant::now();
            if write.send(Piece { job: index, chunks, last }).is_err() {
                return Ok(());
            }
            waited.write += since.elapsed();
            peak.sample();
            tell.done(job.name(), job.read_bytes(piece))?;
        }
        Ok(())
    }

    /// Writes what is beside the tensors, and the manifest, and moves everything to its offset.
    fn finish(&mut self, folder: Folder, plan: &ShardPlan) -> Result<()> {
        let mut names: Vec<String> = plan.shards.iter().map(|shard| shard.name.clone()).collect();
        for shard in &plan.shards {
            self.manifest.files.insert(shard.name.clone(), FileEntry { bytes: shard.bytes, blake3: None });
            for job in &self.jobs[shard.jobs.clone()] {
                for (tensor, blake3) in job.tensors().iter().zip(&folder.finished[job.name()]) {
                    let entry = TensorEntry {
                        file: shard.name.clone(),
                        dtype: tensor.dtype.to_string(),
                        shape: tensor.shape.clone(),
                        bytes: tensor.bytes(),
                        blake3: blake3.clone(),
                    };
                    self.manifest.tensors.insert(tensor.name.clone(), entry);
                }
            }
        }
        if plan.shards.len() > 1 {
            self.files.push(("model.safetensors.index.json".into(), plan.index(&self.tensors())));
        }
        for (name, contents) in &self.files {
            let blake3 = Some(blake3::hash(contents).to_hex().to_string());
            self.manifest.files.insert(name.clone(), FileEntry { bytes: contents.len() as u64, blake3 });
            folder.write(name, contents)?;
            names.push(name.clone());
        }
        folder.write(MANIFEST, &self.manifest.to_json())?;
        names.push(MANIFEST.into());
        folder.finish(&names)
    }
}

struct Tell<'a> {
    progress: OnProgress<'a>,
    state: Progress,
}

impl Tell<'_> {
    fn done(&mut self, what: &str, bytes: u64) -> Result<()> {
        self.state.what = what.into();
        self.state.done_bytes += bytes;
        match (self.progress)(&self.state) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Interrupted),
        }
    }
}

/// Opens the files that are to be written, keeps of earlier runs what is still as the journal says.
fn prepare(
    folder: &mut Folder,
    plan: &ShardPlan,
    work: &Work<'_>,
    reads: &[u64],
    tell: &mut Tell<'_>,
) -> Result<Vec<(PathBuf, File)>> {
    let mut files = vec![];
    let mut keep = BTreeMap::new();
    for shard in &plan.shards {
        let mut path = folder.path_of(&shard.name);
        if !same_header(&path, &shard.header, shard.bytes)? {
            // Not where another version of the program had moved its own to: an empty file would look whole there.
            path = folder.new_path(&shard.name);
            create(&path, &shard.header, shard.bytes, plan.bytes())?;
        } else {
            let finished: Vec<usize> = shard
                .jobs
                .clone()
                .filter(|&job| folder.finished.contains_key(work.jobs[job].name()))
                .collect();
            for jobs in finished.chunks(CHECKED_AT_ONCE) {
                let as_noted: Vec<bool> = jobs
                    .par_iter()
                    .map(|&job| {
                        let hashes = work.jobs[job].tensors().iter().zip(&plan.offsets[job]);
                        let hashes = hashes.map(|(tensor, &at)| hash_range(&path, at, tensor.bytes()));
                        let hashes = hashes.collect::<Result<Vec<_>>>()?;
                        Ok(folder.finished[work.jobs[job].name()] == hashes)
                    })
                    .collect::<Result<_>>()?;
                for (&job, _) in jobs.iter().zip(as_noted).filter(|(_, as_noted)| *as_noted) {
                    let name = work.jobs[job].name();
                    keep.insert(name.to_owned(), folder.finished[name].clone());
                    tell.done(name, reads[job])?;
                }
            }
        }
        let file = own::open(&path, OpenOptions::new().write(true))?;
        files.push((path, file));
    }
    folder.keep(keep, &work.manifest.made_from)?;
    Ok(files)
}

/// Whether a file of an earlier run was laid out as this run would.
fn same_header(path: &Path, header: &[u8], bytes: u64) -> Result<bool> {
    if !own::check(path)? {
        return Ok(false);
    }
    let mut file = own::open(path, OpenOptions::new().read(true))?;
    let mut read = || -> io::Result<bool> {
        let mut found = vec![0; header.len()];
        file.read_exact(&mut found)?;
        Ok(found == header && file.metadata()?.len() == bytes)
    };
    Ok(read().unwrap_or(false))
}

/// `left` bytes are to be written in all.
fn create(path: &Path, header: &[u8], bytes: u64, left: u64) -> Result<()> {
    let mut file = own::create(path)?;
    let written = file.write_all(header).and_then(|()| file.set_len(bytes));
    written.map_err(|e| write_error(path, e, left))
}

/// BLAKE3 of part of a file.
pub(super) fn hash_range(path: &Path, at: u64, bytes: u64) -> Result<String> {
    let file = open_file(path)?;
    hash(file, at, bytes).map_err(io_error(path))
}

fn hash(mut file: File, at: u64, bytes: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(at))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    let mut left = bytes;
    while left > 0 {
        let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..len])?;
        hasher.update(&buffer[..len]);
        left -= len as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Bytes of the disk that these files have beyond `kept_bytes`: of jobs that an earlier run had begun, which are
/// written over.
fn begun_bytes(files: &[(PathBuf, File)], kept_bytes: u64) -> u64 {
    // `None` if the system does not report it.
    let allocated: u64 = files.iter().filter_map(|(_, file)| FileExt::allocated_size(file).ok()).sum();
    allocated.saturating_sub(kept_bytes)
}

pub(super) fn check_space(out: &Path, needed: u64) -> Result<()> {
    match free_bytes(out) {
        Some(free) if free < needed => Err(Error::File {
            path: out.into(),
            reason: format!("{needed} bytes are to be written, {free} are free there"),
        }),
        // If the system does not report it, writing will fail where there is no room.
        _ => Ok(()),
    }
}

/// An error of writing; if there is no room, with the numbers.
fn write_error(path: &Path, source: io::Error, left: u64) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if !matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Error::Io { path: path.into(), source };
    }
    if source.kind() == FileTooLarge {
        let reason = format!(
            "{source}: {left} bytes are still to be written, and files may not grow so large here. What is finished is kept: \
             raise the limit (ulimit -f), and run the same again"
        );
        return Error::File { path: path.into(), reason };
    }
    let free = free_bytes(path).unwrap_or(0);
    let reason = format!(
        "{source}: {left} bytes are still to be written, {free} are free there. What is finished is kept: \
         make room and run the same again"
    );
    Error::File { path: path.into(), reason }
}

/// Writes pieces as they come.
struct Writer<'a> {
    work: &'a Work<'a>,
    folder: &'a mut Folder,
    plan: &'a ShardPlan,
    files: Vec<(PathBuf, File)>,
    /// Bytes of all jobs that are not written yet.
    left: u64,
    /// Bytes since the disk was last told to take them.
    unsynced: u64,
}

impl<'a> Writer<'a> {
    fn run(
        work: &'a Work<'a>,
        folder: &'a mut Folder,
        plan: &'a ShardPlan,
        files: Vec<(PathBuf, File)>,
        to_write: &Receiver<Piece>,
    ) -> Result<()> {
        let jobs = work.jobs.iter().filter(|job| !folder.finished.contains_key(job.name()));
        let left = jobs.flat_map(|job| job.tensors()).map(Tensor::bytes).sum();
        let mut writer = Self { work, folder, plan, files, left, unsynced: 0 };
        thread::scope(|scope| {
            let (sync, to_sync) = sync_channel::<(PathBuf, File)>(AHEAD);
            let syncer = scope.spawn(move || {
                // The first error is enough; the rest is taken, so that the writer never waits in vain.
                let mut result = Ok(());
                for (path, file) in to_sync {
                    result = result.and(file.sync_data().map_err(|e| (path, e)));
                }
                result
            });
            let written = writer.write_all(to_write, &sync);
            drop(sync);
            let synced = syncer.join().expect("waiting for the disk does not panic");
            written.and(synced.map_err(|(path, e)| write_error(&path, e, writer.left)))
        })
    }

    fn write_all(&mut self, pieces: &Receiver<Piece>, sync: &SyncSender<(PathBuf, File)>) -> Result<()> {
        let mut begun: Vec<(u64, blake3::Hasher)> = vec![];
        for Piece { job, chunks, last } in pieces {
            let shard = self.plan.shards.partition_point(|shard| shard.jobs.end <= job);
            let (path, file) = &mut self.files[shard];
            begun.resize_with(chunks.len(), Default::default);
            for ((chunk, (done, hasher)), &offset) in
                chunks.iter().zip(&mut begun).zip(&self.plan.offsets[job])
            {
                let bytes = chunk.get();
                file.seek(SeekFrom::Start(offset + *done))
                    .and_then(|_| file.write_all(bytes))
                    .map_err(|e| write_error(path, e, self.left))?;
                hasher.update(bytes);
                *done += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                self.unsynced += bytes.len() as u64;
            }
            if last {
                let hashes = begun.drain(..).map(|(_, hasher)| hasher.finalize().to_hex().to_string());
                self.folder.note(self.work.jobs[job].name(), hashes.collect())?;
            }
            let shard_done = last && job + 1 == self.plan.shards[shard].jobs.end;
            if shard_done || self.unsynced >= SYNC_BYTES {
                let (path, file) = &self.files[shard];
                let file = file.try_clone().map_err(io_error(path))?;
                // It ends only when this sender is dropped.
                let _ = sync.send((path.clone(), file));
                self.unsynced = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error_with_the_numbers() {
        let error = |kind| write_error(&std::env::temp_dir(), io::Error::from(kind), 7).to_string();
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = error(kind);
            assert!(
                error.contains("7 bytes are still to be written") && error.contains("are free there"),
                "{error}"
            );
            assert!(error.contains("make room and run the same again"), "{error}");
        }
        assert!(!error(io::ErrorKind::FileTooLarge).contains("make room"));
    }

    #[test]
    fn what_an_unfinished_job_has_of_the_disk_is_not_asked_for_again() {
        let path = std::env::temp_dir().join(format!("strix-begun-{}", std::process::id()));
        create(&path, &[1; 4096], 1 << 20, 0).unwrap();
        let mut file = OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&[2; 3 << 16]).unwrap();
        file.sync_all().unwrap();
        let files = [(path.clone(), file)];
        // The header and a finished tensor are kept, two are begun.
        let begun = begun_bytes(&files, 4096 + (1 << 16));
        assert!((2 << 16..3 << 16).contains(&begun), "{begun}");
        assert_eq!(begun_bytes(&files, 1 << 20), 0);
        std::fs::remove_file(path).unwrap();
    }
}
