//! The queue of requests of a model, which its scheduler and the askers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::feed::Feed;
use crate::request::Request;

/// What the thread and the askers share.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    pub(crate) changed: Condvar,
    has_news: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Requests that wait for room, in the order in which they came.
    pub(crate) waiting: VecDeque<Request>,
    /// Where the answers that are being run are told.
    pub(crate) running: Vec<Arc<Feed>>,
    /// Requests so far that the cache had no room for at first.
    pub(crate) waited: u64,
    /// Whether the thread is to end, or has ended.
    pub(crate) closed: bool,
}

impl Queue {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everybody look who waits for a change.
    pub(crate) fn tell(&self) {
        self.has_news.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether something came since the state was looked at last.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.load(Ordering::Relaxed)
    }

    /// The state, once there is a request if `is_idle`; `None` once all is to end.
    pub(crate) fn wait(&self, is_idle: bool) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state();
        while is_idle && state.waiting.is_empty() && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.has_news.store(false, Ordering::Relaxed);
        (!state.closed).then_some(state)
    }

    /// Notes that nothing is held for an answer any more.
    pub(crate) fn let_go(&self, feed: &Arc<Feed>) {
        self.state().running.retain(|other| !Arc::ptr_eq(other, feed));
        self.tell();
    }

    /// Ends everything that waits with an error; what comes later is refused.
    pub(crate) fn close(&self, error: fn() -> Error) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            state.running.clear();
            std::mem::take(&mut state.waiting)
        };
        // Whoever listens may ask, which takes the state.
        waiting.iter().for_each(|request| request.sample.feed.end(Err(error()), None));
        self.changed.notify_all();
    }
}
