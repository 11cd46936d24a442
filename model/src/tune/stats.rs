//! The middle of some runs, their spread, and which of them stand out.

use serde::{Deserialize, Serialize};

/// Runs beyond the quartiles by more than so many times their distance stand out (Tukey 1977).
const FENCE: f64 = 1.5;

/// Statistics of some runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of runs.
    pub runs: usize,
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// A tenth are below.
    pub p10: f64,
    /// A tenth are above.
    pub p90: f64,
    /// Runs further than 1.5 interquartile ranges from the quartiles.
    pub outliers: usize,
}

impl Summary {
    /// The statistics of these runs; `None` if there are none.
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let [p10, q1, median, q3, p90] = [0.1, 0.25, 0.5, 0.75, 0.9].map(|at| quantile(&sorted, at));
        let fence = FENCE * (q3 - q1);
        let outliers = runs.iter().filter(|&&run| run < q1 - fence || run > q3 + fence).count();
        Some(Self { runs: runs.len(), median, min, max, p10, p90, outliers })
    }

    /// Distance of the 10th to the 90th percentile, in parts of the median.
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.p90 - self.p10) / self.median } else { 0.0 }
    }
}

/// The value at a share of sorted values, between two of them in proportion.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let rank = at * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

/// The value in the middle of `values`; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    Summary::of(values).map_or(0.0, |summary| summary.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!((summary.runs, summary.median, summary.min, summary.max), (5, 3.0, 1.0, 5.0));
        assert!((summary.p10 - 1.4).abs() < 1e-12 && (summary.p90 - 4.6).abs() < 1e-12, "{summary:?}");
        assert_eq!(Summary::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_run_far_from_the_others_is_an_outlier() {
        let mut runs = vec![10.0, 11.0, 10.5, 10.2, 10.8, 10.4];
        assert_eq!(Summary::of(&runs).unwrap().outliers, 0);
        runs.push(30.0);
        assert_eq!(Summary::of(&runs).unwrap().outliers, 1);
        runs.push(1.0);
        assert_eq!(Summary::of(&runs).unwrap().outliers, 2);
    }
}
