//! Files that are mapped, or held in memory, for as long as a checkpoint is open.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;

use super::file_error;
use crate::{Error, Result};

/// The bytes of a file, shared by all who read them: a memory map, or memory.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A file of a checkpoint.
pub(super) struct Opened {
    /// For error messages.
    pub path: PathBuf,
    pub bytes: SharedBytes,
    /// The mapped file and what it was like; `None` for bytes in memory.
    on_disk: Option<(File, State)>,
}

/// What of a file must not change while it is mapped.
#[derive(PartialEq)]
struct State {
    len: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(path: &Path, file: &File) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::Io { path: path.into(), source })?;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl Opened {
    pub(super) fn memory(path: &Path, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self { path: path.into(), bytes: Arc::new(bytes), on_disk: None }
    }

    pub(super) fn map(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let state = State::of(path, &file)?;
        #[expect(unsafe_code, reason = "a checkpoint of 16 GB must not be copied into memory")]
        // SAFETY: nothing here writes to the map. It stays valid as long as nobody changes or cuts the file while
        // it is open, which no program can prevent; the documents ask for it. Should it happen, numbers change or
        // the process gets SIGBUS; every length was checked against the map, so no read leaves it.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self { path: path.into(), bytes: Arc::new(map), on_disk: Some((file, state)) })
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.on_disk.is_some()
    }

    pub(super) fn get(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    pub(super) fn check_unchanged(&self) -> Result<()> {
        let Some((file, before)) = &self.on_disk else { return Ok(()) };
        let now = State::of(&self.path, file)?;
        if now == *before {
            return Ok(());
        }
        let how = if now.len == before.len {
            "was written to".into()
        } else {
            format!("went from {} to {} bytes", before.len, now.len)
        };
        Err(file_error(
            &self.path,
            format!("{how} while it was being read; leave it alone while a model is open, and load it again"),
        ))
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.path.display(), self.get().len())
    }
}
