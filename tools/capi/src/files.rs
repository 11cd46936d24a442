//! Files of a model that are in no folder: bytes in memory, or a function that provides them.

use std::ffi::{c_char, c_void};
use std::io::{self, Read, Seek, SeekFrom};

use strix_model::{FileContent, Source};

use crate::calls::User;
use crate::checkpoint::{CheckpointPlace, StrixCheckpoint};
use crate::failure::{ErrorPlace, Failure};
use crate::guard::guard;
use crate::log::{Log, StrixLog};
use crate::raw::{list, null, place, text};
use crate::status::StrixStatus;
use crate::text::ending;

/// A file in the caller's memory. The bytes must be there, and stay as they are, until the checkpoint and all models, sessions
/// and answers of it are freed: a session alone may still bring weights to the device. Whoever would be told when takes
/// strix_checkpoint_from_provider, which has a release.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixNamedBytes {
    /// Its name, such as "config.json". It is read during the call only.
    pub name: *const c_char,
    /// Its bytes.
    pub data: *const u8,
    /// Number of bytes.
    pub len: usize,
}

/// Reads bytes of a file, from byte at on: all len of them. Returns 0; anything else is an error, and the load or the answer
/// that needed them fails.
///
/// It is called by one thread at a time, but not always the same, also on the model's own. It must not free anything of the
/// model, throw or longjmp.
pub type StrixReadCallback =
    Option<extern "C" fn(user: *mut c_void, at: u64, bytes: *mut u8, len: usize) -> i32>;

/// Is told that a file, or its bytes, are not needed any more. It may be called on any thread, also on the model's own. It must
/// not free anything of the model, throw or longjmp.
pub type StrixReleaseCallback = Option<extern "C" fn(user: *mut c_void)>;

/// A file that a function provides: data, or read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixFile {
    /// Set by the library before the call: sizeof(StrixFile) as it has it.
    pub size: usize,
    /// Bytes in memory, len of them, which stay as they are until release is called; or NULL, and read is called.
    pub data: *const u8,
    /// Bytes that the file has.
    pub len: u64,
    /// Reads them, if data is NULL.
    pub read: StrixReadCallback,
    /// Is called when the file is not needed any more; NULL: nobody is told.
    pub release: StrixReleaseCallback,
    /// First argument of read and release.
    pub user: *mut c_void,
}

/// Provides a file by its name, such as "config.json" or "model.safetensors": fills file and returns 1. Returns 0 where there
/// is none of that name, and anything negative where it cannot be had, which ends loading.
///
/// It is called during strix_checkpoint_from_provider only, on its thread, and must not throw or longjmp.
pub type StrixProvideCallback =
    Option<extern "C" fn(user: *mut c_void, name: *const c_char, file: *mut StrixFile) -> i32>;

/// Opens a model of files in memory: config.json, model.safetensors, tokenizer.model and what else a folder would hold. log
/// may be NULL.
///
/// The caller frees checkpoint, and the bytes after it and all its models, sessions and answers. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_from_memory(
    files: *const StrixNamedBytes,
    num_files: usize,
    log: *const StrixLog,
    checkpoint: CheckpointPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(checkpoint, "checkpoint")?;
        let log = Log::of(log)?;
        let held = list(files, num_files, "files")?.iter().map(|file| {
            let name = text(file.name, "the name of a file")?;
            let bytes = Foreign { bytes: list(file.data, file.len, name)?, _release: None };
            Ok::<_, Failure>((name, FileContent::from_bytes(bytes)))
        });
        let held = held.collect::<Result<std::collections::BTreeMap<_, _>, _>>()?;
        out.write(Some(StrixCheckpoint::open(Source::Provided(&held), log)?));
        Ok(())
    })
}

/// Opens a model of files that a function provides: of an archive, a store, a network. They are asked for by name; of weights,
/// bytes are read as they are needed. log may be NULL.
///
/// The caller frees checkpoint. provide is not called after the call; what it provided is, until it is released. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_checkpoint_from_provider(
    provide: StrixProvideCallback,
    user: *mut c_void,
    log: *const StrixLog,
    checkpoint: CheckpointPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(checkpoint, "checkpoint")?;
        let provide = provide.ok_or_else(|| null("provide"))?;
        let (user, log) = (User::new(user), Log::of(log)?);
        let files = |name: &str| {
            let mut file = StrixFile {
                size: size_of::<StrixFile>(),
                data: std::ptr::null(),
                len: 0,
                read: None,
                release: None,
                user: std::ptr::null_mut(),
            };
            match provide(user.get(), ending(name).as_ptr(), &raw mut file) {
                0 => Ok(None),
                1 => content(&file).map(Some),
                code => Err(io::Error::other(format!("the app provides no file: its code is {code}"))),
            }
        };
        out.write(Some(StrixCheckpoint::open(Source::Provided(&files), log)?));
        Ok(())
    })
}

/// What a provided file holds.
fn content(file: &StrixFile) -> io::Result<FileContent> {
    let release = Release { callback: file.release, user: User::new(file.user) };
    let refused = |failure: Failure| io::Error::other(failure.message);
    if !file.data.is_null() {
        let len = usize::try_from(file.len).map_err(io::Error::other)?;
        let bytes = list(file.data, len, "data").map_err(refused)?;
        return Ok(FileContent::from_bytes(Foreign { bytes, _release: Some(release) }));
    }
    let read = file.read.ok_or_else(|| refused(null("both data and read of a file")))?;
    Ok(FileContent::from_reader(Reader { read, release, at: 0, len: file.len }))
}

/// Bytes of the caller's.
struct Foreign {
    /// They are there until `_release` is dropped, or for as long as the caller has promised.
    bytes: &'static [u8],
    _release: Option<Release>,
}

impl AsRef<[u8]> for Foreign {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

/// Tells the caller when it is dropped.
struct Release {
    callback: StrixReleaseCallback,
    user: User,
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(callback) = self.callback {
            callback(self.user.get());
        }
    }
}

/// A file that the caller reads.
struct Reader {
    read: extern "C" fn(*mut c_void, u64, *mut u8, usize) -> i32,
    release: Release,
    at: u64,
    len: u64,
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if len > 0 {
            let code = (self.read)(self.release.user.get(), self.at, bytes.as_mut_ptr(), len);
            if code != 0 {
                let at = self.at;
                return Err(io::Error::other(format!("the app reads no bytes at {at}: its code is {code}")));
            }
        }
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let sought = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = sought.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::fs;
    use std::mem::MaybeUninit;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use strix_engine::Gpu;
    use strix_model::convert::{WriteOptions, convert};
    use strix_model::{Dtype, GenerateOptions, LoadOptions, Model, Remedy, Rounding, unwatched};

    use super::*;
    use crate::shared::Shared;

    /// A folder whose files are provided, and how many of them were and are needed.
    #[derive(Default)]
    struct Store {
        folder: PathBuf,
        provided: AtomicUsize,
        released: AtomicUsize,
    }

    struct Stored<'a> {
        store: &'a Store,
        _bytes: Vec<u8>,
    }

    extern "C" fn provide(user: *mut c_void, name: *const c_char, file: *mut StrixFile) -> i32 {
        // SAFETY: the test's store, a text and a place.
        let (store, name, file) = unsafe { (&*user.cast::<Store>(), CStr::from_ptr(name), &mut *file) };
        let Ok(bytes) = fs::read(store.folder.join(name.to_str().unwrap())) else { return 0 };
        (file.data, file.len) = (bytes.as_ptr(), bytes.len() as u64);
        file.release = Some(release);
        file.user = Box::into_raw(Box::new(Stored { store, _bytes: bytes })).cast();
        store.provided.fetch_add(1, Ordering::Relaxed);
        1
    }

    extern "C" fn release(user: *mut c_void) {
        // SAFETY: what `provide` made, once.
        let stored = unsafe { Box::from_raw(user.cast::<Stored<'_>>()) };
        stored.store.released.fetch_add(1, Ordering::Relaxed);
    }

    /// What is streamed as it lies in the file comes from there for as long as there may be answers.
    #[test]
    fn bytes_are_needed_while_a_session_is_there() {
        let folder = std::env::temp_dir().join(format!("strix-capi-{}", std::process::id()));
        let store = Store { folder, ..Store::default() };
        let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model/nano");
        let int8 = Rounding { dtype: Dtype::Int8 { group: None }, vision: true };
        convert(&nano, &store.folder, int8, &WriteOptions::default(), &mut unwatched).unwrap();

        let mut place = MaybeUninit::uninit();
        let user = (&raw const store).cast_mut().cast();
        let opened =
            strix_checkpoint_from_provider(Some(provide), user, std::ptr::null(), Some(&mut place), None);
        assert_eq!(opened, StrixStatus::Ok);
        // SAFETY: it was written.
        let checkpoint = unsafe { place.assume_init() }.unwrap();

        let gpu = Gpu::new().unwrap();
        let mut options =
            LoadOptions { ctx: Some(64), device_memory: Some(1 << 20), ..LoadOptions::default() };
        let remedies = checkpoint.checkpoint.plan(&gpu, &options).unwrap_err().remedies();
        let least = remedies.iter().find_map(|remedy| match remedy {
            Remedy::DeviceMemory(bytes) => Some(*bytes),
            _ => None,
        });
        options.device_memory = least;
        let source = Source::Checkpoint(&checkpoint.checkpoint);
        let model = Model::load_on(&gpu, source, &options, &mut unwatched).unwrap();
        assert!(model.memory().streams());
        let model = Shared::new(model, Log::none());
        let session = crate::session::StrixSession::new(model.model.session().unwrap(), model.clone());
        drop((checkpoint, model));
        let needed = || store.provided.load(Ordering::Relaxed) - store.released.load(Ordering::Relaxed);
        assert!(needed() > 0);
        let answer =
            session.inner.lock("session").unwrap().session.ask("What is this?", &GenerateOptions::default());
        assert!(!answer.unwrap().finish().unwrap().text.is_empty());
        assert!(needed() > 0);
        drop(session);
        assert_eq!(needed(), 0);
        fs::remove_dir_all(&store.folder).unwrap();
    }
}
