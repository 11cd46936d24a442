//! Device times of a program's steps, so that a submit of some takes no longer than it may.

use std::ops::Range;
use std::time::Duration;

/// Device time of each step in seconds, as far as it was seen.
#[derive(Debug)]
pub(super) struct Costs(Vec<Option<f32>>);

impl Costs {
    pub(super) fn unknown(steps: usize) -> Self {
        Self(vec![None; steps])
    }

    /// The first of these steps that together take no longer than `most`, and at least one; one that was never seen is
    /// alone.
    pub(super) fn piece(&self, steps: Range<usize>, most: Duration) -> Range<usize> {
        let most = most.as_secs_f32();
        if most >= (Duration::MAX / 4).as_secs_f32() {
            return steps;
        }
        let sums = self.0[steps.clone()].iter().scan(0.0, |sum, cost| {
            *sum += cost.unwrap_or(f32::INFINITY);
            Some(*sum)
        });
        let count = sums.take_while(|&sum| sum <= most).count();
        steps.start..(steps.start + count.max(1)).min(steps.end)
    }

    /// What the first of these steps takes; nothing, if that is not known or there is none.
    pub(super) fn first(&self, steps: Range<usize>) -> Duration {
        let cost = self.0[steps].first().copied().flatten();
        Duration::from_secs_f32(cost.unwrap_or(0.0))
    }

    /// Notes what these steps took together. Where the device may have been idle for a part of it, they took no more.
    pub(super) fn learn(&mut self, steps: Range<usize>, took: Duration, is_exact: bool) {
        let took = took.as_secs_f32();
        let count = steps.len() as f32;
        let known: f32 = self.0[steps.clone()].iter().flatten().sum();
        let is_known = known > 0.0 && self.0[steps.clone()].iter().all(Option::is_some);
        for cost in &mut self.0[steps] {
            *cost = match *cost {
                // Steps keep their proportions; a single look may have been disturbed.
                Some(cost) if is_known && (is_exact || took < known) => {
                    Some(cost * 0.5 * (1.0 + took / known))
                }
                Some(cost) if is_known => Some(cost),
                _ => Some(took / count),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_piece_takes_no_longer_than_it_may_and_an_unknown_step_is_alone() {
        let mut costs = Costs::unknown(6);
        assert_eq!(costs.piece(0..6, 10 * MS), 0..1);
        assert_eq!(costs.piece(2..2, 10 * MS), 2..2);
        assert_eq!(costs.piece(0..6, Duration::MAX / 2), 0..6);
        for (step, ms) in [3, 3, 30, 1, 1].into_iter().enumerate() {
            costs.learn(step..step + 1, ms * MS, true);
        }
        let pieces: Vec<_> = std::iter::successors(Some(0..0), |piece: &Range<usize>| {
            (piece.end < 6).then(|| costs.piece(piece.end..6, 10 * MS))
        })
        .collect();
        assert_eq!(pieces, [0..0, 0..2, 2..3, 3..5, 5..6]);
    }

    #[test]
    fn what_was_seen_once_is_corrected_and_an_idle_device_tells_nothing() {
        let mut costs = Costs::unknown(2);
        // The driver compiled a kernel.
        costs.learn(0..1, 500 * MS, false);
        costs.learn(1..2, 2 * MS, true);
        for _ in 0..12 {
            costs.learn(0..1, 4 * MS, true);
        }
        assert!((costs.0[0].unwrap() - 4e-3).abs() < 2e-4, "{costs:?}");
        costs.learn(0..2, 60 * MS, false);
        assert!((costs.0[1].unwrap() - 2e-3).abs() < 1e-5, "{costs:?}");
        costs.learn(0..2, 12 * MS, true);
        assert!(
            (costs.0[0].unwrap() - 6e-3).abs() < 3e-4 && (costs.0[1].unwrap() - 3e-3).abs() < 2e-4,
            "{costs:?}"
        );
    }
}
