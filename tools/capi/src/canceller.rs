//! Cancelling, from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strix_model::Canceller;

use crate::guard::quietly;

/// Cancels what it was given to: a load, an answer, or several. It may outlive them.
///
/// Any number of threads may use it at the same time, also from callbacks. Freed with strix_canceller_free, before or after
/// what it was given to ends.
pub struct StrixCanceller {
    pub(crate) flag: Arc<AtomicBool>,
    /// Of an answer that it was taken from.
    answer: Option<Canceller>,
}

impl StrixCanceller {
    pub(crate) fn of(answer: Canceller) -> Box<Self> {
        Box::new(Self { flag: Arc::default(), answer: Some(answer) })
    }
}

/// A canceller to put into options. One may be given to any number of calls: it cancels all of them.
///
/// The caller frees it. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_canceller_new() -> Option<Box<StrixCanceller>> {
    quietly(None, || Some(Box::new(StrixCanceller { flag: Arc::default(), answer: None })))
}

/// Cancels, and returns at once. A load ends with STRIX_STATUS_CANCELLED, an answer with STRIX_FINISH_CANCELLED and the text
/// so far, also while the device computes: after what was submitted, slice_ms at most. NULL is nothing.
///
/// Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn strix_canceller_cancel(canceller: Option<&StrixCanceller>) {
    quietly((), || {
        if let Some(canceller) = canceller {
            canceller.flag.store(true, Ordering::Relaxed);
            canceller.answer.iter().for_each(Canceller::cancel);
        }
    });
}

/// Whether it was cancelled: 1 or 0. Of NULL, 0.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_canceller_is_cancelled(canceller: Option<&StrixCanceller>) -> i32 {
    canceller.is_some_and(|canceller| canceller.flag.load(Ordering::Relaxed)).into()
}

/// Lets a canceller of strix_canceller_new be given to further calls. What it has cancelled stays so, if it has ended.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_canceller_reset(canceller: Option<&StrixCanceller>) {
    if let Some(canceller) = canceller {
        canceller.flag.store(false, Ordering::Relaxed);
    }
}

/// Frees a canceller; nothing is cancelled by that. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_canceller_free(canceller: Option<Box<StrixCanceller>>) {
    quietly((), || drop(canceller));
}
