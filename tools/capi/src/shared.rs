//! What the handles of one model share.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use strix_model::Model;

use crate::failure::Failure;
use crate::log::Log;
use crate::status::StrixStatus;

thread_local! {
    /// Whether this thread is within a callback of [`Listening`].
    static LISTENING: Cell<bool> = const { Cell::new(false) };
}

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
        *self.listeners.number() += 1;
        Listening(self.listeners.clone())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // From a callback, its own end would be waited for.
        if !LISTENING.get() {
            let mut number = self.listeners.number();
            while *number > 0 {
                number = self.listeners.changed.wait(number).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Number of answers that are listened to.
#[derive(Default)]
struct Listeners {
    number: Mutex<usize>,
    changed: Condvar,
}

impl Listeners {
    fn number(&self) -> MutexGuard<'_, usize> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is listened to, until this is dropped.
pub(crate) struct Listening(Arc<Listeners>);

impl Listening {
    /// Calls the listener.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let outer = LISTENING.replace(true);
        let done = call();
        LISTENING.set(outer);
        done
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        *self.0.number() -= 1;
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
