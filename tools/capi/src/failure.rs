//! What a call failed with, in Rust and as C sees it.

use std::ffi::CString;
use std::mem::MaybeUninit;

use strix_model::Remedy;

use crate::status::StrixStatus;

/// What went wrong in one call. It has no tie to the handle of the call, and may outlive it.
///
/// It does not change: any number of threads may read it. Freed with strix_error_free.
pub struct StrixError {
    pub(crate) status: StrixStatus,
    pub(crate) message: CString,
    pub(crate) remedies: Vec<Remedy>,
}

/// The place where a call puts its error.
pub(crate) type ErrorPlace<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixError>>>>;

/// What a call failed with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StrixStatus,
    pub(crate) message: String,
    remedies: Vec<Remedy>,
}

impl Failure {
    pub(crate) fn new(status: StrixStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), remedies: vec![] }
    }

    /// The same as C sees it.
    pub(crate) fn boxed(self) -> Box<StrixError> {
        let Self { status, message, remedies } = self;
        Box::new(StrixError { status, message: crate::text::ending(message), remedies })
    }
}

impl From<strix_model::Error> for Failure {
    fn from(error: strix_model::Error) -> Self {
        Self { status: StrixStatus::of(&error), message: error.to_string(), remedies: error.remedies() }
    }
}

impl From<strix_engine::Error> for Failure {
    fn from(error: strix_engine::Error) -> Self {
        Self::new(StrixStatus::of_device(&error), error.to_string())
    }
}
