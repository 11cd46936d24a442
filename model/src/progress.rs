//! Progress of a task that takes long.

/// Progress of loading, or of writing or checking a folder.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The tensor that was read last.
    pub what: String,
    /// Bytes of the checkpoint read so far.
    pub done_bytes: u64,
    /// Bytes of the checkpoint that will be read.
    pub total_bytes: u64,
}
