//! A run that is under way: what was submitted of it, and what is learnt of its steps' times.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::costs::Costs;
use crate::Result;
use crate::segments::Queue;
use crate::waiting::Turn;

/// A run of which some steps are still to come.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) queue: Queue,
    /// The step that comes next.
    pub(super) next: usize,
    /// What was submitted last.
    pub(super) last: Option<Piece>,
    /// When a piece was last seen to be done.
    pub(super) done: Instant,
    /// What is left of a turn between two of the app's frames.
    pub(super) turn: Turn,
}

/// Steps of one submit.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) steps: Range<usize>,
    pub(super) submitted: Instant,
}

/// A wait that took less did not wait: the device had been idle for who knows how long.
const WAITED: Duration = Duration::from_micros(20);

impl Run {
    /// Waits for the piece before the last, if there was one, and learns from it.
    pub(super) fn wait_for(&mut self, before: Option<Piece>, costs: &mut Costs) -> Result<()> {
        if before.is_some() {
            let start = Instant::now();
            self.queue.wait_for_all_but_the_last()?;
            self.note(before, start, costs);
        }
        Ok(())
    }

    /// Waits for the last piece, if there is one, and learns from it.
    pub(super) fn wait_for_the_last(&mut self, costs: &mut Costs) -> Result<()> {
        let last = self.last.take();
        if last.is_some() {
            let start = Instant::now();
            self.queue.wait_for_the_last()?;
            self.note(last, start, costs);
        }
        Ok(())
    }

    /// Learns from a piece that is done what its steps take. It was waited for from `start` on.
    pub(super) fn note(&mut self, piece: Option<Piece>, start: Instant, costs: &mut Costs) {
        let Some(Piece { steps, submitted }) = piece else { return };
        let now = Instant::now();
        let took = now - submitted.max(self.done);
        costs.learn(steps, took, now - start > WAITED);
        self.done = now;
    }
}
