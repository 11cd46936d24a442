//! Files that are mapped, or held in memory, for as long as a checkpoint is open.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memmap2::Mmap;

use super::entry::{Fault, file_error};
use super::safetensors::{self, Header};
use super::{kinds, torch};
use crate::files::{Content, FileContent};
use crate::read::open_file;
use crate::{Error, Result};

/// First bytes of a file by which its kind is known: a tar archive says so at byte 257.
const HEAD_BYTES: u64 = 512;
/// Bytes of the smallest page there is.
const PAGE_BYTES: usize = 4096;

/// A file of a checkpoint.
pub(super) struct Opened {
    /// For error messages.
    pub path: PathBuf,
    pub content: Content,
    /// The mapped file; `None` for what is provided.
    on_disk: Option<OnDisk>,
}

struct OnDisk {
    file: File,
    /// Its identity when it was opened.
    state: State,
    map: Arc<Mmap>,
}

/// Identity of a file: it must not change while the file is mapped.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct State {
    pub len: u64,
    pub modified: Option<SystemTime>,
}

impl State {
    fn of(path: &Path, file: &File) -> Result<Self> {
        let metadata = file.metadata().map_err(|source| Error::Io { path: path.into(), source })?;
        Ok(Self { len: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl Opened {
    pub(super) fn memory(path: &Path, bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self { path: path.into(), content: Content::Bytes(Arc::new(bytes)), on_disk: None }
    }

    /// A file that the caller provides.
    pub(super) fn provided(name: &str, content: FileContent) -> Result<Self> {
        Ok(Self { path: name.into(), content: content.opened(name)?, on_disk: None })
    }

    pub(super) fn map(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = open_file(path)?;
        let state = State::of(path, &file)?;
        #[expect(unsafe_code, reason = "a checkpoint of 16 GB must not be copied into memory")]
        // SAFETY: nothing here writes to the map. It stays valid as long as nobody changes or cuts the file while
        // it is open, which no program can prevent; the documents ask for it. Should it happen, numbers change or
        // the process gets SIGBUS; every length was checked against the map, so no read leaves it.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let map = Arc::new(map);
        Ok(Self {
            path: path.into(),
            content: Content::Bytes(map.clone()),
            on_disk: Some(OnDisk { file, state, map }),
        })
    }

    /// Identity of the file when it was opened; `None` for bytes in memory.
    pub(super) fn state(&self) -> Option<State> {
        self.on_disk.as_ref().map(|on_disk| on_disk.state)
    }

    /// Reads bytes of the file into memory now, so that whoever needs them next does not wait.
    pub(super) fn prefetch(&self, range: Range<usize>) {
        let Some(OnDisk { map, .. }) = &self.on_disk else { return };
        // Advice: where it is not taken, pages come when they are touched.
        #[cfg(unix)]
        let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        #[cfg(target_os = "linux")]
        if map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()).is_ok() {
            return;
        }
        for at in range.step_by(PAGE_BYTES) {
            std::hint::black_box(map[at]);
        }
    }

    /// Lets the pages of bytes that were read leave this process; the system may keep them cached.
    pub(super) fn release(&self, range: Range<usize>) {
        let Some(OnDisk { map, .. }) = &self.on_disk else { return };
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            #[expect(unsafe_code, reason = "pages of a checkpoint that was read must not pile up")]
            // SAFETY: of a shared map of a file that nobody writes to: its pages come back with the same content.
            let _ = unsafe { map.unchecked_advise_range(DontNeed, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = (map, range);
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.on_disk.is_some()
    }

    /// Its tensors.
    pub(super) fn header(&self) -> Result<Header> {
        self.read_header().map_err(|fault| fault.of(&self.path))
    }

    fn read_header(&self) -> Result<Header, Fault> {
        let head = self.content.first(HEAD_BYTES)?;
        Ok(match kinds::of_bytes(&head) {
            Some(kind) => return Err(Fault::Wrong(format!("is {}: {}", kind.what, kind.todo))),
            None if self.is_torch(&head) => torch::read(&self.content)?,
            None => {
                let header = self.content.first(safetensors::header_end(&head))?;
                safetensors::read_header(&header, self.content.len())?
            }
        })
    }

    /// Whether it is, or should be, what `torch.save` writes: by the file's name, else by how it begins. A file of
    /// safetensors under a name of torch's is what it is.
    fn is_torch(&self, head: &[u8]) -> bool {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => false,
            Some("bin" | "pt" | "pth" | "ckpt") => !safetensors::begins(head),
            _ => torch::begins(head),
        }
    }

    pub(super) fn check_unchanged(&self) -> Result<()> {
        let (before, now) = match (&self.on_disk, &self.content) {
            (Some(OnDisk { file, state, .. }), _) => (*state, State::of(&self.path, file)?),
            (None, Content::Bytes(_)) => return Ok(()),
            (None, Content::Reader(reader)) => {
                let state = |len| State { len, modified: None };
                (state(reader.len()), state(reader.end()?))
            }
        };
        if now == before {
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
        write!(f, "{}: {} bytes", self.path.display(), self.content.len())
    }
}
