//! Bytes on the host that tensors are filled from.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::{fmt, io};

use bytemuck::Pod;

use crate::{Error, Result};

#[cfg(target_os = "linux")]
const DROP: rustix::mm::Advice = rustix::mm::Advice::LinuxDontNeed;
#[cfg(all(unix, not(target_os = "linux")))]
const DROP: rustix::mm::Advice = rustix::mm::Advice::DontNeed;

/// Bytes that are read where they are needed, from what is no memory: a file that cannot be mapped, a part of an archive.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// What is read, for errors: a file's name.
    fn name(&self) -> &str;

    /// Fills `bytes` with what lies from byte `at` on.
    ///
    /// # Errors
    ///
    /// If that cannot be read, or ends before `bytes` is full.
    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// Holder of bytes.
#[derive(Clone)]
enum Owner {
    Memory(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Reader(Arc<dyn ReadAt>),
}

/// Bytes on the host that hold a tensor's content, of a memory-mapped file for instance. Clones share them.
#[derive(Clone)]
pub struct HostBytes {
    owner: Owner,
    range: Range<usize>,
    /// Whether they are a file's, and so can be dropped from memory and read again.
    mapped: bool,
}

impl HostBytes {
    /// Part of what `owner` holds.
    ///
    /// # Panics
    ///
    /// If it does not hold that range.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        let len = (*owner).as_ref().len();
        assert!(range.start <= range.end && range.end <= len, "host bytes {range:?} of {len}");
        Self { owner: Owner::Memory(owner), range, mapped: false }
    }

    /// Part of what `reader` reads. It is read piece by piece as it comes to the device, and again each time it does, where
    /// tensors take turns.
    ///
    /// # Panics
    ///
    /// If the range ends before it starts.
    pub fn read(reader: Arc<dyn ReadAt>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "host bytes {range:?}");
        Self { owner: Owner::Reader(reader), range, mapped: false }
    }

    /// Part of a file that `owner` maps for reading. The system is told which pages come next and which
    /// are not needed soon.
    ///
    /// # Safety
    ///
    /// What `owner` holds must be the mapping of a file that is only read. Pages of anything else would be lost when
    /// the system is told that they are not needed.
    ///
    /// # Panics
    ///
    /// If it does not hold that range.
    #[expect(unsafe_code, reason = "a promise that only the caller can keep")]
    pub unsafe fn mapped(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Self {
        Self { mapped: true, ..Self::new(owner, range) }
    }

    /// Bytes of all of `data`.
    pub fn from_vec<T: Pod + Send + Sync>(data: Vec<T>) -> Self {
        struct Words<T>(Vec<T>);
        impl<T: Pod> AsRef<[u8]> for Words<T> {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        let range = 0..size_of_val(&data[..]);
        Self { owner: Owner::Memory(Arc::new(Words(data))), range, mapped: false }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes, if they are in memory.
    pub fn get(&self) -> Option<&[u8]> {
        Some(&self.owner.memory()?[self.range.clone()])
    }

    /// Part of the bytes: where they are in memory, else read.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn piece(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        match &self.owner {
            Owner::Memory(owner) => Ok(Cow::Borrowed(&(**owner).as_ref()[self.range.clone()][range])),
            Owner::Reader(reader) => {
                assert!(range.end <= self.range.len(), "{range:?} of {:?}", self.range);
                let mut bytes = vec![0; range.len()];
                let read = reader.read_at((self.range.start + range.start) as u64, &mut bytes);
                read.map_err(|source| Error::Read { name: reader.name().into(), source })?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Bytes from their first to the end of what their owner holds in memory.
    #[cfg_attr(
        not(feature = "vulkan-import"),
        allow(dead_code, reason = "only what is imported has to have room")
    )]
    pub(crate) fn room(&self) -> usize {
        self.owner.memory().map_or(0, |all| all.len() - self.range.start)
    }

    /// Part of these bytes.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len(), "{range:?} of {:?}", self.range);
        let start = self.range.start;
        Self { owner: self.owner.clone(), range: start + range.start..start + range.end, mapped: self.mapped }
    }

    /// Asks the system to read part of them from their file, without waiting for it.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        self.advise(range, rustix::mm::Advice::WillNeed);
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Lets part of them go from this process's memory; they are read again when used again.
    pub(crate) fn done_with(&self, range: Range<usize>) {
        #[cfg(unix)]
        self.advise(range, DROP);
        #[cfg(not(unix))]
        let _ = range;
    }

    #[cfg(unix)]
    fn advise(&self, range: Range<usize>, advice: rustix::mm::Advice) {
        let page = rustix::param::page_size();
        let Some(bytes) = self.get().map(|bytes| &bytes[range]) else { return };
        let (start, end) = (bytes.as_ptr().addr() / page * page, bytes.as_ptr().addr() + bytes.len());
        if !self.mapped || bytes.is_empty() {
            return;
        }
        #[expect(unsafe_code, reason = "the system's own call")]
        // SAFETY: the pages hold bytes of a mapped file that is only read, which `mapped` promises; the advice
        // changes when they are in memory, not what they hold.
        let advised =
            unsafe { rustix::mm::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, advice) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the system takes no advice on mapped pages");
        }
    }
}

impl Owner {
    /// All that it holds, if that is in memory.
    fn memory(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(owner) => Some((**owner).as_ref()),
            Self::Reader(_) => None,
        }
    }
}

impl fmt::Debug for HostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBytes({:?})", self.range)
    }
}
