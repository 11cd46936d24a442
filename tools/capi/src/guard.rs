//! The one way into the library: nothing unwinds out of it, and each failure becomes a value.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use strix_engine::{is_guarded, panic_text};

use crate::failure::{ErrorPlace, Failure};
use crate::status::StrixStatus;

thread_local! {
    /// Calls that this thread is within.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic within a call was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a function may return on success.
pub(crate) trait Done {
    fn status(self) -> StrixStatus;
}

impl Done for () {
    fn status(self) -> StrixStatus {
        StrixStatus::Ok
    }
}

impl Done for StrixStatus {
    fn status(self) -> StrixStatus {
        self
    }
}

/// Runs a call. What fails or panics is told by the status, and by an error where there is a place for it; where nothing
/// fails, that is set to `NULL`.
pub(crate) fn guard<T: Done>(
    error: ErrorPlace<'_>,
    call: impl FnOnce() -> Result<T, Failure>,
) -> StrixStatus {
    let (status, failed) = match caught(call).and_then(|done| done) {
        Ok(done) => (done.status(), None),
        Err(failure) => (failure.status, Some(failure)),
    };
    if let Some(place) = error {
        place.write(failed.map(Failure::boxed));
    }
    status
}

/// Runs a call that cannot fail, and has a value to give if it does nevertheless.
pub(crate) fn quietly<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    caught(call).unwrap_or(otherwise)
}

/// Runs something whose panic becomes a failure.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    // The library's own copy of Rust's runtime has a hook of its own: it is the host's neither.
    HOOK.call_once(|| panic::set_hook(Box::new(note)));
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(call));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|panic| {
        let place = PLACE.take();
        let words = panic_text(&*panic).unwrap_or("no reason is given").to_owned();
        // Whatever it is, dropping it might panic again.
        std::mem::forget(panic);
        let message = format!("a fault of Strix, please report it: {words} ({place})");
        Failure::new(StrixStatus::Internal, message)
    })
}

/// Notes where a panic was, in place of printing it to a terminal that is not ours. One that no call waits for is logged.
fn note(panic: &panic::PanicHookInfo<'_>) {
    if is_guarded() {
        return;
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if DEPTH.get() > 0 {
        PLACE.replace(place);
    } else {
        let words = panic_text(panic.payload()).unwrap_or("no reason is given");
        tracing::error!("a fault of Strix, please report it: {words} ({place})");
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;
    use crate::error::{strix_error_code, strix_error_message};

    #[test]
    fn a_panic_is_an_error_that_says_where() {
        let mut place = MaybeUninit::uninit();
        let status = guard(Some(&mut place), || -> Result<(), Failure> { panic!("row {} of {}", 7, 3) });
        assert_eq!(status, StrixStatus::Internal);
        // SAFETY: `guard` wrote it.
        let error = unsafe { place.assume_init() }.unwrap();
        assert_eq!(strix_error_code(Some(&error)), StrixStatus::Internal);
        // SAFETY: the error is there.
        let message = unsafe { std::ffi::CStr::from_ptr(strix_error_message(Some(&error))) };
        let message = message.to_str().unwrap();
        assert!(message.contains("row 7 of 3") && message.contains("guard.rs:"), "{message}");
        assert_eq!(quietly(5, || panic!("no")), 5);
    }

    #[test]
    fn success_clears_the_place_of_an_error() {
        let mut place = MaybeUninit::uninit();
        assert_eq!(guard(Some(&mut place), || Ok(())), StrixStatus::Ok);
        // SAFETY: `guard` wrote it.
        assert!(unsafe { place.assume_init() }.is_none());
        assert_eq!(guard(None, || Ok(StrixStatus::End)), StrixStatus::End);
    }
}
