//! What a session runs without a question.

use std::sync::Arc;

use crate::kv_pool::Sequence;
use crate::pictures::Encoded;

/// What is looked at.
#[derive(Debug, Default)]
pub(super) struct Inspected {
    /// What is being run.
    pub(super) sequence: Option<Sequence>,
    /// Positions that it had last.
    pub(super) ran: usize,
    /// Pictures of its rows.
    pub(super) pictures: Vec<Arc<Encoded>>,
}
