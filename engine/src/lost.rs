//! A device that is lost: an error wherever it is met, though wgpu panics of it in places.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::{Error, Gpu, Result};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a call of wgpu's whose panic becomes an [`Error::Lost`]: a panic hook may keep quiet then.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

impl Gpu {
    /// Calls wgpu where it panics when the driver has lost the device or has no memory left.
    pub(crate) fn guarded<T>(&self, call: impl FnOnce() -> T) -> Result<T> {
        caught(call).map_err(|panic| self.lose(panic))
    }

    /// Notes that the device is lost: no work is given to it any more.
    pub(crate) fn lose(&self, reason: impl ToString) -> Error {
        self.inner.lost.store(true, Ordering::Relaxed);
        Error::Lost(reason.to_string())
    }

    /// Says whether the device still answers, as far as is known.
    ///
    /// # Errors
    ///
    /// Once it is known to be lost.
    pub fn check_alive(&self) -> Result<()> {
        match self.inner.lost.load(Ordering::Relaxed) {
            true => {
                Err(Error::Lost("it is lost since an earlier error; open it and load the model anew".into()))
            }
            false => Ok(()),
        }
    }
}

/// Calls wgpu where it may panic; the message if it does.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let outer = GUARDED.replace(true);
    // wgpu's own state is behind locks that a panic opens.
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    result.map_err(|panic| words(&*panic))
}

/// Message of a panic; `None` if it is no text.
pub fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied())
}

/// Message of a panic, without wgpu's heading.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic_text(panic).unwrap_or("wgpu gave up");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
