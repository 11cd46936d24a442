//! A device that an app draws with: how Strix waits for it, when Strix gives it work, and how much.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::staging::STAGING_BYTES;

/// How a device is shared with the app that owns it. The default suits an app that draws.
///
/// ```
/// use std::time::Duration;
/// use strix_engine::{Frames, Polling, Sharing};
///
/// let frames = Frames::new();
/// let sharing = Sharing { frames: Some(frames.clone()), ..Sharing::default() };
/// assert_eq!(sharing.polling, Polling::Every(Duration::from_micros(250)));
/// // Then, after each frame that the app submits:
/// frames.frame();
/// ```
#[derive(Clone, Debug)]
pub struct Sharing {
    /// The adapter of the device. [`Gpu::missing`](crate::Gpu::missing) then tells what the adapter has beyond the device,
    /// and cooperative matrices are used where the device was made with them.
    pub adapter: Option<wgpu::Adapter>,
    /// How Strix waits for the device.
    pub polling: Polling,
    /// Where the app tells of its frames. Work is then submitted after a frame, and no more than a slice of it.
    /// `None`: work is submitted as soon as there is some.
    pub frames: Option<Frames>,
    /// Bytes of weights that are under way to the device at a time, and that come between two frames. A piece has at most
    /// 4 MiB, and no more than 16 MiB are under way.
    pub upload_bytes: u64,
}

impl Default for Sharing {
    fn default() -> Self {
        let polling = Polling::Every(Duration::from_micros(250));
        Self { adapter: None, polling, frames: None, upload_bytes: STAGING_BYTES }
    }
}

impl Sharing {
    /// For a device that nobody draws with: waits cost the least.
    pub(crate) fn alone() -> Self {
        Self { polling: Polling::Wait, ..Self::default() }
    }
}

/// How Strix waits for what it submitted.
///
/// Nothing of wgpu's is told of the end of a submission unless somebody polls the device. An app's own `Queue::submit` polls
/// as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Within wgpu, on a thread of Strix's. It has the least delay. Meanwhile wgpu lets nobody present a surface or destroy
    /// a buffer: both wait as long as Strix does. For devices that nobody draws with.
    Wait,
    /// Without holding anything of wgpu's. Strix sleeps until somebody's poll has found the end of what it waits for, and
    /// polls itself each time so long has passed, without waiting. An app that polls in every frame may give more than the
    /// length of a frame. At most a second.
    ///
    /// No other thread may poll with a wait that has a timeout meanwhile: wgpu 30 panics where one ends as another poll
    /// finds the queue empty. Polls that do not wait, and those that wait without a timeout, are fine.
    Every(Duration),
}

/// Where an app tells of its frames, so that Strix computes between them. Clones are the same.
///
/// Strix takes a turn after each frame: it submits work of one slice of device time (`LoadOptions::slice` of the model; 4 ms
/// leave an app of 60 frames a second most of the device), or [`Sharing::upload_bytes`] of weights. A single step of a large
/// model may take longer than a slice: smaller chunks of prompts make shorter ones. While no frames come, as in a window that
/// is hidden or has nothing to draw, Strix takes turns all the same.
///
/// Small copies, such as those of tokens and results, and the preparation of a texture are submitted without a turn.
#[derive(Clone)]
pub struct Frames(Arc<Pacer>);

struct Pacer {
    state: Mutex<State>,
    changed: Condvar,
    idle: Duration,
}

#[derive(Default)]
struct State {
    /// Whether a frame came since the last turn.
    has_frame: bool,
    last: Option<Instant>,
    turns: u64,
}

impl Frames {
    /// Goes on without frames after 100 ms.
    pub fn new() -> Self {
        Self::with_idle(Duration::from_millis(100))
    }

    /// Goes on without frames after so long.
    pub fn with_idle(idle: Duration) -> Self {
        Self(Arc::new(Pacer { state: Mutex::default(), changed: Condvar::new(), idle }))
    }

    /// Says that the app has submitted a frame. It returns at once.
    pub fn frame(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.has_frame = true;
        state.last = Some(Instant::now());
        drop(state);
        self.0.changed.notify_one();
    }

    /// Number of turns that Strix took so far.
    pub fn turns(&self) -> u64 {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).turns
    }

    /// Waits for the next turn.
    pub(crate) fn turn(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = state.last.map_or(Duration::ZERO, |last| self.0.idle.saturating_sub(last.elapsed()));
            if state.has_frame || left.is_zero() {
                break;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.has_frame = false;
        state.turns += 1;
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("turns", &self.turns()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn there_is_a_turn_after_each_frame_and_none_before_the_next() {
        let frames = Frames::with_idle(Duration::from_secs(3600));
        // An app that draws nothing yet holds nothing up.
        frames.turn();
        frames.turn();
        frames.frame();
        frames.frame();
        frames.turn();
        assert_eq!(frames.turns(), 3, "two frames are one turn");
        let waiter = thread::spawn({
            let frames = frames.clone();
            move || frames.turn()
        });
        // It may have to wait a little to be seen waiting; what it must not do is to go on.
        thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        frames.frame();
        waiter.join().unwrap();
        assert_eq!(frames.turns(), 4);
    }

    #[test]
    fn an_app_that_stops_drawing_is_not_waited_for() {
        let frames = Frames::with_idle(Duration::from_millis(5));
        frames.frame();
        for _ in 0..4 {
            frames.turn();
        }
        assert_eq!(frames.turns(), 4);
    }
}
