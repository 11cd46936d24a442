//! Options of writing a folder, and what it took.

/// Largest file unless told otherwise: 4 GiB, which every file system takes.
pub const SHARD_BYTES: u64 = (4 << 30) - 1;

/// Options of writing a folder.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Largest file of tensors, in bytes.
    pub shard_bytes: u64,
    /// Whether to begin anew in a folder that something else was written to. Without it that is an error.
    pub force: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { shard_bytes: SHARD_BYTES, force: false }
    }
}

/// Time, bytes and memory that writing a folder took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether an earlier run had done it all; then nothing was done, and only the sizes of the folder are not 0.
    pub already_complete: bool,
    /// Files in the folder, but for its manifest.
    pub num_files: usize,
    /// Tensors in them.
    pub num_tensors: usize,
    /// Bytes of the source that were read.
    pub read_bytes: u64,
    /// Bytes of the source that an earlier run had worked on.
    pub kept_bytes: u64,
    /// Bytes of tensors that were written.
    pub written_bytes: u64,
    /// Bytes of all files of tensors.
    pub total_bytes: u64,
    /// Time from beginning to end.
    pub seconds: f64,
    /// The same without the check of files that an earlier run left.
    pub work_seconds: f64,
    /// Part of that in which the rounding waited for the source.
    pub waited_for_reads_seconds: f64,
    /// Part of that in which it waited for the disk to take what was written.
    pub waited_for_writes_seconds: f64,
    /// Largest resident set of the process, mapped files included; `None` where the system does not tell.
    pub peak_resident_bytes: Option<u64>,
    /// The same without mapped files: what the process had allocated.
    pub peak_anonymous_bytes: Option<u64>,
}

impl Report {
    /// The slowest stage: `reading`, `rounding` or `writing`.
    pub fn limit(&self) -> &'static str {
        let rounding = self.work_seconds - self.waited_for_reads_seconds - self.waited_for_writes_seconds;
        let largest = rounding.max(self.waited_for_reads_seconds).max(self.waited_for_writes_seconds);
        match () {
            () if rounding == largest => "rounding",
            () if self.waited_for_reads_seconds == largest => "reading",
            () => "writing",
        }
    }
}
