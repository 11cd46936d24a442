//! How long frames take while a model answers.

use std::time::{Duration, Instant};

use serde::Serialize;

/// What the model is doing while a frame is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    /// Nothing.
    Idle,
    /// Encoding pictures and running the prompt.
    Prompt,
    /// Making one token after the other.
    Tokens,
}

/// Times between frames, in the order they were drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    last: Option<(Instant, During)>,
    times: Vec<(During, Duration)>,
}

/// Times between frames, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) frames: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) worst: f64,
}

impl Frames {
    /// Frames that are kept at most: at 60 a second, those of ten minutes.
    const MOST: usize = 36_000;

    /// Notes that a frame is drawn now.
    pub(crate) fn note(&mut self, now: Instant, during: During) {
        if let Some((last, before)) = self.last.replace((now, during))
            && self.times.len() < Self::MOST
        {
            // The time since a frame that was drawn while the model did something else is the former's.
            self.times.push((before, now - last));
        }
    }

    /// No frame is due for a while: what comes next is no late frame.
    pub(crate) fn pause(&mut self) {
        self.last = None;
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Those that were drawn during any of these.
    pub(crate) fn summary(&self, during: &[During]) -> Summary {
        let mut times: Vec<Duration> =
            self.times.iter().filter(|(of, _)| during.contains(of)).map(|(_, time)| *time).collect();
        times.sort_unstable();
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        let Some(worst) = times.last() else { return Summary::default() };
        // The nearest rank: the smallest time that so many in a hundred do not exceed.
        let rank = |percent: usize| &times[(times.len() * percent).div_ceil(100).max(1) - 1];
        Summary { frames: times.len(), p50: ms(rank(50)), p99: ms(rank(99)), worst: ms(worst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut frames = Frames::default();
        let start = Instant::now();
        let mut now = start;
        frames.note(now, During::Tokens);
        for ms in 1..=100 {
            now += Duration::from_millis(ms);
            frames.note(now, During::Tokens);
        }
        let summary = frames.summary(&[During::Tokens]);
        assert_eq!(summary, Summary { frames: 100, p50: 50.0, p99: 99.0, worst: 100.0 });
        assert_eq!(frames.summary(&[During::Idle]), Summary::default());
    }

    #[test]
    fn a_late_frame_belongs_to_what_made_it_late_and_a_pause_to_nothing() {
        let mut frames = Frames::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        frames.note(at(0), During::Prompt);
        frames.note(at(70), During::Tokens);
        frames.pause();
        frames.note(at(9000), During::Idle);
        frames.note(at(9016), During::Idle);
        assert_eq!(frames.summary(&[During::Prompt]).worst, 70.0);
        assert_eq!(frames.summary(&[During::Tokens]).frames, 0);
        assert_eq!(frames.summary(&[During::Idle, During::Prompt]).frames, 2);
    }
}
