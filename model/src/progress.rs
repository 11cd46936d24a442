//! Progress of a task that takes long.

use std::ops::ControlFlow;

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

/// Is told of progress, from the thread of the task. [`ControlFlow::Break`] ends the task with
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub type OnProgress<'a> = &'a mut dyn FnMut(&Progress) -> ControlFlow<()>;

/// The [`OnProgress`] of whoever wants to know nothing: it never breaks.
///
/// ```no_run
/// use strix_model::{Checkpoint, Gpu, LoadOptions, Model, Source, unwatched};
///
/// let model = Model::load_on(&Gpu::new()?, Source::Dir("model".as_ref()), &LoadOptions::default(), &mut unwatched)?;
/// # Ok::<(), strix_model::Error>(())
/// ```
pub fn unwatched(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
