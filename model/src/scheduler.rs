//! The thread that runs the requests of a model.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use strix_engine::logged;

use crate::batch::Batch;
use crate::inner::Inner;
use crate::queue::{Queue, State};
use crate::request::Request;
use crate::{Error, Result};

/// What a model is doing for all its sessions, as a server would show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activity {
    /// Answers that are being run.
    pub running: usize,
    /// Answers that wait for a turn or for room.
    pub waiting: usize,
    /// Answers so far that the KV cache had no room for at first.
    pub waited_for_room: u64,
    /// Positions that the KV cache has room for.
    pub kv_positions: u64,
    /// Those of them that no running answer has or may still take.
    pub kv_positions_left: u64,
    /// Pictures encoded so far. One that several conversations are about counts once, as long as it is kept.
    pub encoded_pictures: u64,
}

/// Runs the requests of a model on a thread of its own, which begins with the first.
pub(crate) struct Scheduler {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    inner: Arc<Inner>,
}

impl Scheduler {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { queue: Arc::default(), thread: Mutex::default(), inner }
    }

    /// Adds a request to the queue. One that the pool has no room for will wait, unless it is larger than the pool.
    pub(crate) fn submit(&self, request: Request) -> Result<()> {
        let limit = self.inner.options.queue;
        self.inner.pages().fits(request.positions(self.inner.ctx))?;
        self.start()?;
        {
            let mut state = self.queue.state();
            if state.closed {
                return Err(Error::Stopped);
            }
            // Those that nobody wants any more go as soon as the thread sees them.
            let waiting = state.waiting.iter().filter(|request| !request.sample.is_cancelled());
            if waiting.count() >= limit {
                return Err(Error::QueueFull { limit });
            }
            state.waiting.push_back(request);
        }
        self.queue.tell();
        Ok(())
    }

    /// Starts the thread, if it was not.
    fn start(&self) -> Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (inner, queue) = (self.inner.clone(), self.queue.clone());
            let run = move || {
                let mut batch = Batch::new(&inner, &queue);
                while batch.turn() {}
            };
            let started = thread::Builder::new().name("strix scheduler".into()).spawn(logged(run));
            *thread = Some(started.map_err(|source| Error::Io { path: "a thread".into(), source })?);
        }
        Ok(())
    }

    /// What is being run, and what waits.
    pub(crate) fn activity(&self) -> Activity {
        let state = self.queue.state();
        let [kv_positions, kv_positions_left] = self.inner.pages().positions();
        Activity {
            running: state.running.len(),
            waiting: state.waiting.len(),
            waited_for_room: state.waited,
            kv_positions,
            kv_positions_left,
            encoded_pictures: self.inner.pictures().encoded,
        }
    }

    /// Waits until nothing is held for answers that nobody wants any more.
    pub(crate) fn wait_for_cancelled(&self) {
        let mut state = self.queue.state();
        let is_held = |state: &State| {
            let waiting = state.waiting.iter().map(|request| &request.sample.feed);
            state.running.iter().chain(waiting).any(|feed| feed.is_cancelled())
        };
        while !state.closed && is_held(&state) {
            state = self.queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.tell();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A callback may drop the last of the model's handles on the thread itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // What it panicked with was printed, and whoever waited for it was told.
            let _ = thread.join();
        }
    }
}
