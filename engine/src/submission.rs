//! What was submitted, and the sign of its end.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Something that was submitted.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) index: wgpu::SubmissionIndex,
    /// Given where waits are not wgpu's.
    pub(crate) done: Option<Arc<Signal>>,
}

/// Set once, by whoever polls the device.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is set, but no longer than so.
    pub(crate) fn wait(&self, most: Duration) {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(is_set, most, |is_set| !*is_set));
    }
}
