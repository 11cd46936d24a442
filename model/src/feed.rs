//! Where the tokens of an answer wait for whoever asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::Result;
use crate::generate::{FinishReason, Timing};
use crate::sampler::LogProbs;

/// Bytes of text that a token is expected to have at most, on average.
pub(crate) const TEXT_BYTES: usize = 8;

/// Where the scheduler puts an answer's tokens, and its asker takes them.
#[derive(Default)]
pub(crate) struct Feed {
    told: Mutex<Told>,
    changed: Condvar,
    cancelled: AtomicBool,
}

/// What the scheduler has told so far.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) ids: Vec<u32>,
    /// Text of all tokens, and where each one's ends.
    text: String,
    ends: Vec<usize>,
    /// Of the tokens that were not taken yet.
    pub(crate) log_probs: VecDeque<LogProbs>,
    pub(crate) timing: Timing,
    pub(crate) ended: Option<Result<FinishReason>>,
    /// Number of times that something was told.
    news: u64,
    /// What is woken when a token comes.
    pub(crate) waker: Option<Waker>,
    listener: Option<Box<dyn FnMut() -> bool + Send>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("cancelled", &self.cancelled).finish_non_exhaustive()
    }
}

impl Told {
    /// The text that became certain with a token.
    pub(crate) fn text_of(&self, token: usize) -> &str {
        let start = token.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[token]]
    }
}

impl Feed {
    /// A feed with room for so many tokens, so that none allocates.
    pub(crate) fn with_room(tokens: usize) -> Arc<Self> {
        let told = Told {
            ids: Vec::with_capacity(tokens),
            ends: Vec::with_capacity(tokens),
            text: String::with_capacity(tokens * TEXT_BYTES),
            ..Told::default()
        };
        Arc::new(Self { told: told.into(), ..Self::default() })
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody wants more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Notes that nobody wants more. The scheduler sees it, whoever waits for a token does not.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Has whoever waits for a token look. A listener is told by the model's thread, which sees a cancel too.
    pub(crate) fn wake(&self) {
        // Whoever is between looking and waiting has the lock.
        let waker = self.told().waker.take();
        self.changed.notify_all();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Has a function called whenever something is told, until it returns `false`.
    pub(crate) fn listen(&self, listener: impl FnMut() -> bool + Send + 'static) {
        let mut told = self.told();
        told.listener = Some(Box::new(listener));
        // What was told before found nobody.
        self.tell(told);
    }

    /// Waits until there are more than so many tokens or it ended, or for that long.
    pub(crate) fn wait(&self, tokens: usize, most: Option<Duration>) {
        let told = self.told();
        if told.ids.len() > tokens || told.ended.is_some() || self.is_cancelled() {
            return;
        }
        match most {
            None => drop(self.changed.wait(told).unwrap_or_else(PoisonError::into_inner)),
            Some(most) => drop(self.changed.wait_timeout(told, most).unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Tells a token, the text that became certain with it, and whether it was the last.
    pub(crate) fn push(
        &self,
        id: u32,
        text: &str,
        log_probs: Option<LogProbs>,
        timing: &Timing,
        ended: Option<FinishReason>,
    ) {
        let mut told = self.told();
        if told.ended.is_some() {
            return;
        }
        told.ended = ended.map(Ok);
        told.ids.push(id);
        told.text += text;
        let end = told.text.len();
        told.ends.push(end);
        told.log_probs.extend(log_probs);
        told.timing = *timing;
        self.tell(told);
    }

    /// Tells when work on it begins, and how much there is to do.
    pub(crate) fn set_timing(&self, timing: &Timing) {
        self.told().timing = *timing;
    }

    /// Tells that no more comes. What is told later is not heard.
    pub(crate) fn end(&self, how: Result<FinishReason>, timing: Option<&Timing>) {
        let mut told = self.told();
        if told.ended.is_none() {
            told.ended = Some(how);
            told.timing = timing.copied().unwrap_or(told.timing);
            self.tell(told);
        }
    }

    /// Has whoever waits look.
    fn tell<'a>(&'a self, mut told: MutexGuard<'a, Told>) {
        told.news += 1;
        self.changed.notify_all();
        let (waker, listener) = (told.waker.take(), told.listener.take());
        let mut heard = told.news;
        // Both may look at once.
        drop(told);
        waker.into_iter().for_each(Waker::wake);
        let Some(mut listener) = listener else { return };
        while listener() {
            let mut told = self.told();
            // What another thread told meanwhile found no listener.
            if told.news == heard {
                told.listener = Some(listener);
                return;
            }
            heard = told.news;
        }
    }
}
