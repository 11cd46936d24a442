//! Files of a checkpoint that are in no folder: bytes in memory, readers, whatever an app keeps them in.

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strix_engine::ReadAt;

use crate::read::{read_if_there, read_stream};
use crate::weights::of_other_kind;
use crate::{Error, Result};

/// The bytes of a file, shared by all who read them: a memory map, or memory.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Provides the files of a checkpoint by their names: an app's resources, an archive, a download, a store of its own.
///
/// Files cannot be listed, so these names are asked for, in the layout of Hugging Face:
///
/// | name | |
/// |---|---|
/// | `config.json` | sizes and constants; the one file that must be there besides the weights |
/// | `preprocessor_config.json`, `generation_config.json`, `tokenizer_config.json` | without one, what the published model's say |
/// | `tokenizer.model`, else `tokenizer.json` | without both, only prepared ids can be run |
/// | `model.safetensors`, else `model.safetensors.index.json` and the shards that it names | the weights |
/// | `pytorch_model.bin`, else `pytorch_model.bin.index.json` and the shards that it names | the weights, where neither of those is there |
///
/// A map from names to [`FileContent`] provides files, and so does a closure `Fn(&str) -> io::Result<Option<FileContent>>`.
///
/// ```
/// use std::collections::HashMap;
///
/// use strix_model::{Checkpoint, FileContent, Source, nano_files};
///
/// let files: HashMap<&str, FileContent> =
///     nano_files().into_iter().map(|(name, bytes)| (name, FileContent::from_bytes(bytes))).collect();
/// let checkpoint = Checkpoint::open(Source::Provided(&files))?;
/// assert_eq!(checkpoint.config().text.hidden_size, 128);
///
/// let by_name = |name: &str| {
///     let file = nano_files().into_iter().find(|(held, _)| *held == name);
///     Ok(file.map(|(_, bytes)| FileContent::from_reader(std::io::Cursor::new(bytes))))
/// };
/// assert_eq!(Checkpoint::open(Source::Provided(&by_name))?.config(), checkpoint.config());
/// # Ok::<(), strix_model::Error>(())
/// ```
pub trait Files {
    /// The file of that name; `None` where there is none.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be had. Loading ends with [`Error::Io`] of that name.
    fn file(&self, name: &str) -> io::Result<Option<FileContent>>;
}

impl<F: Fn(&str) -> io::Result<Option<FileContent>>> Files for F {
    fn file(&self, name: &str) -> io::Result<Option<FileContent>> {
        self(name)
    }
}

impl<K: Borrow<str> + Ord> Files for BTreeMap<K, FileContent> {
    fn file(&self, name: &str) -> io::Result<Option<FileContent>> {
        Ok(self.get(name).cloned())
    }
}

impl<K: Borrow<str> + Eq + Hash, S: BuildHasher> Files for HashMap<K, FileContent, S> {
    fn file(&self, name: &str) -> io::Result<Option<FileContent>> {
        Ok(self.get(name).cloned())
    }
}

impl fmt::Debug for dyn Files + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

/// What can be read from any byte on.
trait ReadSeek: Read + Seek + Send {}

impl<R: Read + Seek + Send> ReadSeek for R {}

/// The content of a provided file. Clones share it.
#[derive(Clone)]
pub struct FileContent(Given);

#[derive(Clone)]
enum Given {
    Bytes(SharedBytes),
    Reader(Arc<Mutex<dyn ReadSeek>>),
}

impl FileContent {
    /// Bytes in memory: `Vec<u8>`, `&'static [u8]`, `Arc<[u8]>`, a memory map, anything that gives the same bytes each time
    /// it is asked. Weights are read where they are; nothing holds them once a model is loaded, unless the device uses them in
    /// place or its layers take turns.
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Given::Bytes(Arc::new(bytes)))
    }

    /// A reader that can seek, from its byte 0 on, wherever it is now: a `File`, a `Cursor`, an entry of an archive that is
    /// stored, not compressed.
    ///
    /// Weights, of safetensors or of torch, are read tensor by tensor as they are needed, so that the whole is never in
    /// memory; where layers take turns on the device, they are read again for each. Any other file is read whole. The reader
    /// is used from several threads, by one at a time.
    pub fn from_reader(reader: impl Read + Seek + Send + 'static) -> Self {
        Self(Given::Reader(Arc::new(Mutex::new(reader))))
    }

    /// What it holds, under that name: bytes, or a reader with its length.
    pub(crate) fn opened(self, name: &str) -> Result<Content> {
        match self.0 {
            Given::Bytes(bytes) => Ok(Content::Bytes(bytes)),
            Given::Reader(reader) => {
                let mut reader = Reader { name: name.into(), len: 0, kept: Mutex::default(), inner: reader };
                reader.len = reader.end()?;
                if usize::try_from(reader.len).is_err() {
                    let reason = format!("holds {} bytes, more than this program can address", reader.len);
                    return Err(Error::File { path: name.into(), reason });
                }
                Ok(Content::Reader(Arc::new(reader)))
            }
        }
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Given::Bytes(bytes) => write!(f, "{} bytes", (**bytes).as_ref().len()),
            Given::Reader(_) => f.write_str("a reader"),
        }
    }
}

/// What a file holds.
pub(crate) enum Content {
    /// A memory map, or memory.
    Bytes(SharedBytes),
    /// What is read when it is needed.
    Reader(Arc<Reader>),
}

impl Content {
    /// Bytes in all.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => (**bytes).as_ref().len() as u64,
            Self::Reader(reader) => reader.len(),
        }
    }

    /// So many bytes from `at` on, copied only where they have to be read; `None` if the file does not have them all.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(crate) fn part(&self, at: u64, len: u64) -> Result<Option<Cow<'_, [u8]>>> {
        let Some(end) = at.checked_add(len).filter(|&end| end <= self.len()) else { return Ok(None) };
        Ok(Some(match self {
            Self::Bytes(bytes) => Cow::Borrowed(&(**bytes).as_ref()[at as usize..end as usize]),
            Self::Reader(reader) => Cow::Owned(reader.part(at, len)?),
        }))
    }

    /// Its first bytes: so many, or all that there are.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub(crate) fn first(&self, len: u64) -> Result<Cow<'_, [u8]>> {
        Ok(self.part(0, len.min(self.len()))?.unwrap_or_default())
    }
}

/// A reader of a provided file.
pub(crate) struct Reader {
    name: String,
    len: u64,
    /// What [`Reader::kept`] read last, the latest at the end.
    kept: Mutex<Vec<Kept>>,
    inner: Arc<Mutex<dyn ReadSeek>>,
}

/// Parts of a reader that are kept at most: a gated projection takes a few rows of two matrices in turns.
const MOST_KEPT: usize = 4;

/// Bytes of a reader, and where they begin.
struct Kept {
    at: u64,
    bytes: Arc<[u8]>,
}

impl Reader {
    /// Bytes that it had when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn lock(&self) -> MutexGuard<'_, dyn ReadSeek + 'static> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: (&*self.name).into(), source }
    }

    /// Bytes that it has now.
    pub(crate) fn end(&self) -> Result<u64> {
        self.lock().seek(SeekFrom::End(0)).map_err(|source| self.error(source))
    }

    /// Fills `bytes` from byte `at` on.
    pub(crate) fn fill(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.read_at(at, bytes).map_err(|source| self.error(source))
    }

    /// So many bytes from `at` on.
    pub(crate) fn part(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        // A length that a damaged file tells is an error, and does not end the process.
        let room = usize::try_from(len).ok().filter(|&len| bytes.try_reserve_exact(len).is_ok());
        let no_room =
            || self.error(io::Error::new(io::ErrorKind::OutOfMemory, format!("no memory for {len} bytes")));
        bytes.resize(room.ok_or_else(no_room)?, 0);
        self.fill(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The same, kept until [`MOST_KEPT`] others were asked for: the elements of a transposed matrix lie all over its bytes,
    /// and its rows are asked for a few at a time.
    pub(crate) fn kept(&self, at: u64, len: u64) -> Result<Arc<[u8]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|kept| (kept.at, kept.bytes.len() as u64) == (at, len));
        let latest = match found {
            Some(found) => kept.remove(found),
            None => {
                if kept.len() == MOST_KEPT {
                    kept.remove(0);
                }
                Kept { at, bytes: self.part(at, len)?.into() }
            }
        };
        let bytes = latest.bytes.clone();
        kept.push(latest);
        Ok(bytes)
    }

    /// Lets go of what is kept.
    pub(crate) fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All of it, if that is no more than `max_bytes`.
    pub(crate) fn all(&self, max_bytes: u64) -> Result<Vec<u8>> {
        let mut reader = self.lock();
        reader.rewind().map_err(|source| self.error(source))?;
        read_stream(&mut *reader, self.name.as_ref(), max_bytes)
    }
}

impl ReadAt for Reader {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut reader = self.lock();
        reader.seek(SeekFrom::Start(at))?;
        reader.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let end = at + bytes.len() as u64;
                let said = format!("ends before byte {end}, and had {} when it was opened", self.len);
                io::Error::new(io::ErrorKind::UnexpectedEof, said)
            }
            _ => error,
        })
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes, read as they are needed", self.name, self.len)
    }
}

/// Asks for a file.
pub(crate) fn provided(files: &dyn Files, name: &str) -> Result<Option<FileContent>> {
    files.file(name).map_err(|source| Error::Io { path: name.into(), source })
}

/// Where the small files of a checkpoint are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beside<'a> {
    Dir(&'a Path),
    Provided(&'a dyn Files),
}

impl Beside<'_> {
    /// Path of a file, for errors.
    pub(crate) fn path(self, name: &str) -> PathBuf {
        match self {
            Self::Dir(dir) => dir.join(name),
            Self::Provided(_) => name.into(),
        }
    }

    /// Content of a file; `None` where it is not there.
    pub(crate) fn read(self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let files = match self {
            Self::Dir(dir) => return read_if_there(&dir.join(name), max_bytes),
            Self::Provided(files) => files,
        };
        let Some(content) = provided(files, name)? else { return Ok(None) };
        let bytes = match content.opened(name)? {
            Content::Bytes(bytes) => read_stream((*bytes).as_ref(), name.as_ref(), max_bytes)?,
            Content::Reader(reader) => reader.all(max_bytes)?,
        };
        match of_other_kind(&bytes) {
            Some(reason) => Err(Error::File { path: name.into(), reason }),
            None => Ok(Some(bytes)),
        }
    }
}
