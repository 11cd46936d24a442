//! What the handles of one model share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, ThreadId};

use strix_model::Model;

use crate::failure::Failure;
use crate::log::Log;
use crate::status::StrixStatus;

/// A model, its log, and the answers that are listened to. The last of its handles waits for these.
pub(crate) struct Shared {
    pub(crate) model: Model,
    pub(crate) log: Log,
    listeners: Arc<Listeners>,
}

impl Shared {
    pub(crate) fn new(model: Model, log: Log) -> Arc<Self> {
        Arc::new(Self { model, log, listeners: Arc::default() })
    }

    /// Notes an answer that is listened to.
    pub(crate) fn listener(&self) -> Listening {
        self.listeners.now().answers += 1;
        Listening(self.listeners.clone())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.listeners.wait();
    }
}

/// The answers of a model that are listened to.
#[derive(Default)]
struct Listeners {
    now: Mutex<Listened>,
    changed: Condvar,
}

#[derive(Default)]
struct Listened {
    /// Answers that have not ended.
    answers: usize,
    /// Threads that are within a callback, once for each.
    within: Vec<ThreadId>,
}

impl Listeners {
    fn now(&self) -> MutexGuard<'_, Listened> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no answer is listened to. From within a callback of one, its own end would be waited for: then not at all.
    fn wait(&self) {
        let mut now = self.now();
        while now.answers > 0 && !now.within.contains(&thread::current().id()) {
            now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// An answer that is listened to, until this is dropped.
pub(crate) struct Listening(Arc<Listeners>);

impl Listening {
    /// Calls the listener, which does not panic.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let thread = thread::current().id();
        self.0.now().within.push(thread);
        let done = call();
        let within = &mut self.0.now().within;
        if let Some(at) = within.iter().rposition(|&other| other == thread) {
            within.remove(at);
        }
        done
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.now().answers -= 1;
        self.0.changed.notify_all();
    }
}

/// What one call at a time may use. Another is refused, and not kept waiting: it may come from a callback of the first.
pub(crate) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self(Mutex::new(inner))
    }

    /// The use of it, for this call; `name` is that of the handle.
    pub(crate) fn lock(&self, name: &str) -> Result<MutexGuard<'_, T>, Failure> {
        match self.0.try_lock() {
            Ok(inner) => Ok(inner),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                StrixStatus::InUse,
                format!(
                    "the {name} is within another call, on another thread or on this one, which is in a callback of it"
                ),
            )),
            Err(TryLockError::Poisoned(_)) => Err(Failure::new(
                StrixStatus::Internal,
                format!("the {name} was within a call that failed by a fault of Strix: free it"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn listen(listeners: &Arc<Listeners>) -> Listening {
        listeners.now().answers += 1;
        Listening(listeners.clone())
    }

    #[test]
    fn a_callback_waits_for_other_models_and_not_for_its_own() {
        let [a, b] = [Arc::<Listeners>::default(), Arc::default()];
        let (of_a, of_b) = (listen(&a), listen(&b));
        of_a.call(|| {
            a.wait();
            // Within a callback of both.
            of_b.call(|| [&a, &b].map(|of| of.wait()));
            let late = thread::spawn(move || {
                thread::sleep(Duration::from_millis(50));
                drop(of_b);
            });
            b.wait();
            assert_eq!(b.now().answers, 0, "its answers are waited for");
            late.join().unwrap();
        });
        assert!(a.now().within.is_empty() && b.now().within.is_empty());
        drop(of_a);
        a.wait();
    }
}
