//! The terminal's echo. While an answer streams it is off: keys that are typed then would stand in the middle of the
//! answer, and are for the next line.

/// The echo is off until it is dropped.
pub(crate) struct Silence(());

impl Silence {
    /// Nothing changes where stdin is no terminal.
    pub(crate) fn begin() -> Self {
        #[cfg(unix)]
        unix::begin();
        Self(())
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore();
    }
}

/// Turns the echo on again, if it was turned off: for an end that drops nothing.
pub(crate) fn restore() {
    #[cfg(unix)]
    unix::restore();
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// What was set before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn begin() {
        let Ok(before) = tcgetattr(io::stdin()) else { return };
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        if tcsetattr(io::stdin(), OptionalActions::Now, &silent).is_ok() {
            *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        }
    }

    pub(super) fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A terminal that is gone needs none.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }
}
