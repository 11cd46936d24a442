//! The middle of some runs and their spread, and straight lines through points.

use serde::{Deserialize, Serialize};
pub use strix_model::tune::stats::{Summary, median};

/// A straight line through points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Growth of y for one more of x.
    pub slope: f64,
    /// At an x of 0.
    pub intercept: f64,
    /// Share of the variance that it explains, 0 to 1.
    pub r2: f64,
}

impl Line {
    /// The line of least squares; `None` for fewer than two different x.
    pub fn through(points: &[[f64; 2]]) -> Option<Self> {
        let n = points.len() as f64;
        let mean = |axis: usize| points.iter().map(|p| p[axis]).sum::<f64>() / n;
        let [x, y] = [mean(0), mean(1)];
        let sum = |f: &dyn Fn(&[f64; 2]) -> f64| points.iter().map(f).sum::<f64>();
        let xx = sum(&|p| (p[0] - x).powi(2));
        let xy = sum(&|p| (p[0] - x) * (p[1] - y));
        let yy = sum(&|p| (p[1] - y).powi(2));
        if points.len() < 2 || xx == 0.0 {
            return None;
        }
        let r2 = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Some(Self { slope: xy / xx, intercept: y - x * xy / xx, r2 })
    }

    /// Its y at an x.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_through_their_points() {
        let line = Line::through(&[[1.0, 5.0], [2.0, 7.0], [4.0, 11.0]]).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-12 && (line.intercept - 3.0).abs() < 1e-12, "{line:?}");
        assert!((line.r2 - 1.0).abs() < 1e-12 && (line.at(10.0) - 23.0).abs() < 1e-12);
        let bent = Line::through(&[[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]).unwrap();
        assert!(bent.r2 < 0.01, "{bent:?}");
        assert_eq!(Line::through(&[[1.0, 1.0], [1.0, 2.0]]), None);
    }
}
