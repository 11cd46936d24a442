//! What bounds the speed of the 8.2B model on a GPU, on paper: its memory, by the data sheet, and what the machine code can
//! issue. A prediction, and of the best case: caches that miss, launches and what waits for what come on top.

use std::collections::BTreeMap;

use crate::metrics::Metric;
use crate::peaks::Peak;
use crate::work::Work;

/// What a kernel's time is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of memory.
    Memory,
    /// FMAs, among all that is issued.
    Fmas,
    /// Products of matrices, among all that is issued.
    Matrices,
    /// Loads, by their issue.
    Loads,
}

impl Limit {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fmas => "FMAs",
            Self::Matrices => "matrices",
            Self::Loads => "loads",
        }
    }
}

impl Work {
    /// Seconds that it takes at least, and why. `figures` are those of the kernel's machine code, where it is known.
    pub fn bound(&self, peak: &Peak, figures: Option<&BTreeMap<Metric, f64>>) -> (f64, Limit) {
        let mut bounds = vec![(self.bytes / peak.bytes_per_s, Limit::Memory)];
        if let Some(clocks) = peak.clocks_per_s() {
            let figure = |metric| figures?.get(&metric).copied().filter(|value| *value > 0.0);
            let matrices = figure(Metric::Matrix).zip(peak.matrix_flop_per_clock);
            // Where the machine code is not known, or has no loop of FMAs, the data sheet is the bound.
            let (rate, limit) = match matrices {
                Some((percent, rate)) => (Some(percent / 100.0 * rate), Limit::Matrices),
                None => {
                    let issued = figure(Metric::DualFlops).or_else(|| figure(Metric::Flops));
                    (issued.or(peak.flop_per_clock), Limit::Fmas)
                }
            };
            bounds.extend(rate.map(|rate| (self.flops / (rate * clocks), limit)));
            let loads = figure(Metric::Bytes).filter(|_| self.flops > 0.0);
            bounds.extend(loads.map(|rate| (self.bytes / (rate * clocks), Limit::Loads)));
        }
        bounds.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("memory is one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Phase;

    #[test]
    fn the_slowest_of_memory_products_and_loads_is_the_bound() {
        let peak = Peak {
            units: Some(10),
            clock_mhz: Some(1000),
            flop_per_clock: Some(128.0),
            matrix_flop_per_clock: Some(512.0),
            bytes_per_s: 1e11,
            ..Peak::default()
        };
        let work =
            |flops, bytes| Work { phase: Phase::Decode, kernel: String::new(), dispatches: 1, flops, bytes };
        let near = |(seconds, limit): (f64, Limit), want: f64| {
            ((seconds / want - 1.0).abs() < 1e-9).then_some(limit)
        };
        assert_eq!(near(work(1e9, 1e9).bound(&peak, None), 0.01), Some(Limit::Memory));
        assert_eq!(near(work(1.28e12, 1e9).bound(&peak, None), 1.0), Some(Limit::Fmas));
        let figures = [(Metric::Flops, 64.0), (Metric::Bytes, 1.0)].into();
        assert_eq!(near(work(1.28e12, 1e9).bound(&peak, Some(&figures)), 2.0), Some(Limit::Fmas));
        assert_eq!(near(work(1e9, 1e9).bound(&peak, Some(&figures)), 0.1), Some(Limit::Loads));
        let figures = [(Metric::Flops, 3.0), (Metric::Matrix, 50.0)].into();
        assert_eq!(near(work(2.56e12, 1e9).bound(&peak, Some(&figures)), 1.0), Some(Limit::Matrices));
        let unknown = Peak { bytes_per_s: 1e11, ..Peak::default() };
        assert_eq!(near(work(1e15, 1e9).bound(&unknown, None), 0.01), Some(Limit::Memory));
    }
}
