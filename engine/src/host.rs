//! Bytes on the host that tensors are filled from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;

#[cfg(target_os = "linux")]
const DROP: rustix::mm::Advice = rustix::mm::Advice::LinuxDontNeed;
#[cfg(all(unix, not(target_os = "linux")))]
const DROP: rustix::mm::Advice = rustix::mm::Advice::DontNeed;

/// Bytes on the host that hold a tensor's content, of a memory-mapped file for instance. Clones share them.
#[derive(Clone)]
pub struct HostBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
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
        Self { owner, range, mapped: false }
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
        Self { owner: Arc::new(Words(data)), range, mapped: false }
    }

    /// The bytes.
    pub fn get(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }

    /// Bytes from their first to the end of what their owner holds.
    pub(crate) fn room(&self) -> usize {
        (*self.owner).as_ref().len() - self.range.start
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
        let bytes = &self.get()[range];
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

impl fmt::Debug for HostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBytes({:?})", self.range)
    }
}
