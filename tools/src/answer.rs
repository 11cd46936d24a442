//! A streaming answer: its text as it comes, a sign of life before it, Ctrl-C during it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;
use strix_model::Generation;

use crate::failure;

/// A flag that Ctrl-C sets. A second Ctrl-C ends the process.
pub(crate) fn cancelled_by_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    Ok(Interrupt::watch()?.cancels())
}

/// Ctrl-C before an answer begins ends the process, and says so.
pub(crate) struct Interrupt {
    cancel: Arc<AtomicBool>,
    answering: Arc<AtomicBool>,
}

impl Interrupt {
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let [cancel, answering] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (pressed, begun) = (Arc::clone(&cancel), Arc::clone(&answering));
        ctrlc::set_handler(move || {
            if !begun.load(Ordering::Relaxed) {
                let code = failure::report(&strix_model::Error::Interrupted.into());
                std::process::exit(code.into());
            }
            // Nothing is printed: the answer holds stdout.
            if pressed.swap(true, Ordering::Relaxed) {
                std::process::exit(crate::INTERRUPTED.into());
            }
        })?;
        Ok(Self { cancel, answering })
    }

    /// From now on the flag returned is set instead. A second Ctrl-C ends the process.
    pub(crate) fn cancels(self) -> Arc<AtomicBool> {
        self.answering.store(true, Ordering::Relaxed);
        self.cancel
    }
}

/// Runs `answer` to its end and passes its text on as it comes, without the space that the first word
/// begins with. `waiting` goes when the first token comes.
pub(crate) fn stream(
    answer: &mut Generation,
    waiting: Spinner,
    mut show: impl FnMut(&str) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut waiting = Some(waiting);
    let mut begun = false;
    for token in answer {
        waiting = None;
        let text = token?.text;
        let text = if begun { &text } else { text.trim_start() };
        begun |= !text.is_empty();
        show(text)?;
    }
    drop(waiting);
    Ok(())
}

/// On a terminal, turns on stderr once a second has passed, until it is dropped.
pub(crate) struct Spinner {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    pub(crate) fn start(message: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        // Without a thread there is no sign of life, and the answer all the same.
        let thread = thread::Builder::new().spawn(move || {
            if stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let spinner = ProgressBar::new_spinner().with_message(message);
                spinner.enable_steady_tick(Duration::from_millis(120));
                let _ = stopped.recv();
                spinner.finish_and_clear();
            }
        });
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
