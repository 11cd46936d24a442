//! A streaming answer: its text as it comes, a sign of life before it, Ctrl-C during it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::ProgressBar;
use strix_model::Generation;

use crate::{echo, failure};

/// A flag that Ctrl-C sets. A second Ctrl-C ends the process.
pub(crate) fn cancelled_by_ctrl_c() -> anyhow::Result<Arc<AtomicBool>> {
    Ok(Interrupt::watch()?.cancels())
}

/// What Ctrl-C does. At first it ends the process, and says so.
pub(crate) struct Interrupt {
    cancel: Arc<AtomicBool>,
    phase: Arc<Mutex<Phase>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Ends the process.
    Waiting,
    /// Nothing: a line editor sees the key.
    Editing,
    /// Cancels an answer; after so many more it ends the process.
    Answering(u8),
}

impl Interrupt {
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let (cancel, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Phase::Waiting)));
        let (pressed, of_handler) = (Arc::clone(&cancel), Arc::clone(&phase));
        ctrlc::set_handler(move || {
            let mut phase = of_handler.lock().unwrap_or_else(PoisonError::into_inner);
            match *phase {
                Phase::Waiting => {
                    let code = failure::report(&strix_model::Error::Interrupted.into());
                    std::process::exit(code.into());
                }
                Phase::Editing => {}
                // Nothing is printed: the answer holds stdout.
                Phase::Answering(0) if pressed.load(Ordering::Relaxed) => {
                    echo::restore();
                    std::process::exit(crate::INTERRUPTED.into());
                }
                Phase::Answering(more) => {
                    if pressed.swap(true, Ordering::Relaxed) {
                        *phase = Phase::Answering(more - 1);
                    }
                }
            }
        })?;
        Ok(Self { cancel, phase })
    }

    /// From now on the flag returned is set instead. A second Ctrl-C ends the process.
    pub(crate) fn cancels(self) -> Arc<AtomicBool> {
        self.set(Phase::Answering(0));
        self.cancel
    }

    /// A chat answers: the flag returned is set. Who means the answer may press twice; the third time ends the process.
    pub(crate) fn at_answer(&self) -> Arc<AtomicBool> {
        self.cancel.store(false, Ordering::Relaxed);
        self.set(Phase::Answering(1));
        Arc::clone(&self.cancel)
    }

    /// A chat waits for a line, which an editor reads or not.
    pub(crate) fn at_prompt(&self, edits: bool) {
        self.set(if edits { Phase::Editing } else { Phase::Waiting });
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
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
