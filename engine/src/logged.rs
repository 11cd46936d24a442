//! Where the threads of a model log.

use tracing::dispatcher::{get_default, with_default};
use tracing::subscriber::NoSubscriber;

/// The same for a thread of its own, whose log is then that of the thread that calls this: a subscriber that an app has set
/// for one thread, for as long as it loads a model or asks, hears of all that is done for it.
pub fn logged<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let here = get_default(|log| (!log.is::<NoSubscriber>()).then(|| log.clone()));
    move || match &here {
        Some(log) => with_default(log, run),
        // One that is set for all threads later is heard too.
        None => run(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread;

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    struct Kept(Arc<Mutex<Vec<&'static str>>>);

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_thread_logs_where_the_one_that_began_it_does() {
        let kept = Arc::new(Mutex::new(vec![]));
        tracing::subscriber::with_default(Kept(kept.clone()), || {
            thread::spawn(logged(|| tracing::info!(target: "heard", "x"))).join().unwrap();
            thread::spawn(|| tracing::info!(target: "lost", "x")).join().unwrap();
        });
        thread::spawn(logged(|| tracing::info!(target: "nobody", "x"))).join().unwrap();
        assert_eq!(*kept.lock().unwrap(), ["heard"]);
    }
}
