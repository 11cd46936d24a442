//! What is logged, to a function of the caller's: one for each handle, none for all.

use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};
use tracing_log::{LogTracer, NormalizeEvent, log};

use crate::calls::User;
use crate::failure::Failure;
use crate::raw::{self, choices, given};
use crate::text::ending;

/// How much a message matters.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "C makes them"))]
pub enum StrixLogLevel {
    /// As a field of StrixLog: as STRIX_LOG_LEVEL_WARN.
    Default = 0,
    /// Something failed that no function told.
    Error = 1,
    /// Something is not as it should be, and goes on.
    Warn = 2,
    /// What was chosen.
    Info = 3,
    /// Details.
    Debug = 4,
    /// All.
    Trace = 5,
}

choices!(StrixLogLevel: 6);

/// Is told a message: one line of UTF-8 of the part target, such as "strix_model::model". Both texts are there during the
/// call only.
///
/// It is called on whichever thread has something to say, by several at once, also on the model's own, and may use any other
/// handle than those that are within a call. It must not free anything of the model that it is told of, which would wait for
/// its own thread, nor wait for an answer of it, throw or longjmp.
pub type StrixLogCallback = Option<
    extern "C" fn(user: *mut c_void, level: StrixLogLevel, target: *const c_char, message: *const c_char),
>;

/// Where messages go. It is copied: what user points to must be there until the handle that it was given to, and all that was
/// made from that, are freed. Nothing is written to the standard streams, whatever is set here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixLog {
    /// Set by the caller: sizeof(StrixLog).
    pub size: usize,
    /// Is told the messages.
    pub callback: StrixLogCallback,
    /// First argument of callback.
    pub user: *mut c_void,
    /// The least level of messages; those above it are told too.
    pub level: MaybeUninit<StrixLogLevel>,
    /// 0.
    pub reserved: u32,
}

given!(StrixLog);

/// The log of a handle.
#[derive(Clone)]
pub(crate) struct Log(Dispatch);

impl Log {
    /// A log that goes nowhere.
    pub(crate) fn none() -> Self {
        Self(Dispatch::new(NoSubscriber::default()))
    }

    /// The log that the caller asks for; `NULL` asks for none.
    pub(crate) fn of(log: *const StrixLog) -> Result<Self, Failure> {
        let StrixLog { callback, user, level, .. } = raw::options(log)?;
        let level = match raw::choice(level)? {
            StrixLogLevel::Error => Level::ERROR,
            StrixLogLevel::Default | StrixLogLevel::Warn => Level::WARN,
            StrixLogLevel::Info => Level::INFO,
            StrixLogLevel::Debug => Level::DEBUG,
            StrixLogLevel::Trace => Level::TRACE,
        };
        let Some(callback) = callback else { return Ok(Self::none()) };
        static BRIDGE: Once = Once::new();
        // It sends what wgpu says to the log of the thread that says it, and holds nothing itself.
        BRIDGE.call_once(|| {
            if LogTracer::init().is_ok() {
                log::set_max_level(log::LevelFilter::Warn);
            }
        });
        Ok(Self(Dispatch::new(Told { callback, user: User::new(user), level })))
    }

    /// Has all that is logged within go here.
    pub(crate) fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        dispatcher::with_default(&self.0, run)
    }
}

/// Tells the caller.
struct Told {
    callback: extern "C" fn(*mut c_void, StrixLogLevel, *const c_char, *const c_char),
    user: User,
    level: Level,
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let normal = event.normalized_metadata();
        let metadata = normal.as_ref().unwrap_or_else(|| event.metadata());
        // What wgpu says has the metadata of the bridge until here.
        if *metadata.level() > self.level {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let level = match *metadata.level() {
            Level::ERROR => StrixLogLevel::Error,
            Level::WARN => StrixLogLevel::Warn,
            Level::INFO => StrixLogLevel::Info,
            Level::DEBUG => StrixLogLevel::Debug,
            Level::TRACE => StrixLogLevel::Trace,
        };
        let (target, message) = (ending(metadata.target()), ending(line.whole()));
        (self.callback)(self.user.get(), level, target.as_ptr(), message.as_ptr());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A message, and `name=value` of each field behind it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn whole(self) -> String {
        // A message is one line.
        (self.message + &self.fields).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::sync::Mutex;

    use super::*;

    extern "C" fn keep(
        user: *mut c_void,
        level: StrixLogLevel,
        target: *const c_char,
        message: *const c_char,
    ) {
        // SAFETY: the test's list, and two texts that are there during the call.
        let (list, target, message) =
            unsafe { (&*user.cast::<Mutex<Vec<String>>>(), CStr::from_ptr(target), CStr::from_ptr(message)) };
        list.lock().unwrap().push(format!(
            "{level:?} {} {}",
            target.to_str().unwrap(),
            message.to_str().unwrap()
        ));
    }

    fn log(list: &Mutex<Vec<String>>, level: StrixLogLevel) -> Log {
        let user = (&raw const *list).cast_mut().cast();
        let level = MaybeUninit::new(level);
        Log::of(&StrixLog { size: size_of::<StrixLog>(), callback: Some(keep), user, level, reserved: 0 })
            .unwrap()
    }

    #[test]
    fn each_handle_has_its_own_log() {
        let lists = [Mutex::new(vec![]), Mutex::new(vec![])];
        let (a, b) = (log(&lists[0], StrixLogLevel::Info), log(&lists[1], StrixLogLevel::Default));
        a.within(|| {
            tracing::info!(target: "t", number = 3, "two\nlines");
            b.within(|| tracing::warn!(target: "t", "inner"));
            tracing::debug!(target: "t", "too much");
        });
        b.within(|| tracing::info!(target: "t", "too much"));
        Log::none().within(|| tracing::error!(target: "t", "to nobody"));
        tracing::error!(target: "t", "to nobody");
        b.within(|| log::warn!(target: "wgpu", "bridged"));
        assert_eq!(*lists[0].lock().unwrap(), ["Info t two lines number=3"]);
        assert_eq!(*lists[1].lock().unwrap(), ["Warn t inner", "Warn wgpu bridged"]);
    }
}
