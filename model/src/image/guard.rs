//! Panics of decoders become errors.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use strix_engine::panic_text;

use super::limits::image_error;
use crate::Result;

thread_local! {
    /// Guarded calls that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// Number of panics of decoders that became errors since the program began.
///
/// A file that makes a decoder panic is only an error here; a fuzzer, or whoever watches a service, wants to know.
pub fn num_decoder_panics() -> u64 {
    CAUGHT.load(Ordering::Relaxed)
}

/// Runs a decoder on the file `name`; its panic becomes an error that names both, and is not printed.
///
/// The first call wraps the panic hook in one that is silent inside of such calls and otherwise passes on; a hook that
/// the program sets after that prints, and the error is the same. What panics in a program built with `panic = "abort"`
/// ends it.
pub(super) fn guarded<T>(
    name: &str,
    decoder: impl fmt::Display,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    static WRAPPED: Once = Once::new();
    if !std::thread::panicking() {
        WRAPPED.call_once(|| {
            let hook = panic::take_hook();
            panic::set_hook(Box::new(move |panic| {
                if DEPTH.get() == 0 {
                    hook(panic);
                }
            }));
        });
    }
    DEPTH.set(DEPTH.get() + 1);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.unwrap_or_else(|payload| {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        let words = panic_text(payload.as_ref()).unwrap_or("no reason is given");
        Err(image_error(
            name,
            format!("the {decoder} decoder cannot read it and broke off ({words}): {SAVE_ANEW}"),
        ))
    })
}

const SAVE_ANEW: &str = "open it in another program and save it as PNG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoders_panic_is_an_error_that_names_file_and_decoder() {
        let before = num_decoder_panics();
        let done: Result<()> = guarded("cat.png", "PNG", || panic!("index {} of {}", 7, 3));
        assert!(num_decoder_panics() > before);
        let error = done.unwrap_err().to_string();
        assert!(error.starts_with("cat.png: the PNG decoder") && error.contains("index 7 of 3"), "{error}");
        assert_eq!(DEPTH.get(), 0);
        assert_eq!(guarded("cat.png", "PNG", || Ok(5)).unwrap(), 5);
    }
}
