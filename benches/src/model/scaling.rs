//! The growth of times: of decode with the context, of prefill with the prompt, of a layer with its depth.

use strix_engine::StepTime;

use super::growth::{Growth, Point, Scaling, Series};
use crate::output::{duration, plain};
use crate::run::Row;
use crate::stats::Line;

impl Scaling {
    /// The growth that rows named `decode/N` and `prefill/N` show, and the nanoseconds of each layer.
    pub(super) fn of(rows: &[Row], layers: &[f64]) -> Self {
        let named = |task: &str| -> Vec<Point> {
            let point = |row: &Row| {
                let x = row.name.strip_prefix(task)?.parse().ok()?;
                let rate = row.figures?.rate;
                Some(Point { x, ns: rate.median, p10_ns: rate.p10, p90_ns: rate.p90 })
            };
            rows.iter().filter_map(point).collect()
        };
        let layer = |(i, &ns): (usize, &f64)| Point { x: i as f64, ns, p10_ns: ns, p90_ns: ns };
        let layers = layers.iter().enumerate().map(layer).collect();
        let series = [
            Series::new("Decode over the context", "context", Growth::Affine, named("decode/")),
            Series::new("Prefill over the prompt", "positions", Growth::Linear, named("prefill/")),
            Series::new("A decoder layer over its depth", "layer", Growth::Constant, layers),
        ];
        Self { series: series.into_iter().filter(|series| series.points.len() > 1).collect() }
    }
}

impl Series {
    fn new(title: &str, x: &str, growth: Growth, mut points: Vec<Point>) -> Self {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let flat: Vec<_> = points.iter().map(|p| [p.x, p.ns]).collect();
        let logs: Vec<_> = flat.iter().filter(|p| p[0] > 0.0 && p[1] > 0.0).map(|p| p.map(f64::ln)).collect();
        let exponent = (growth == Growth::Linear).then(|| Line::through(&logs)).flatten().map(|l| l.slope);
        Self { title: title.into(), x: x.into(), growth, fit: Line::through(&flat), exponent, points }
    }

    /// The growth in words.
    pub fn words(&self) -> String {
        let (Some(first), Some(last), Some(fit)) = (self.points.first(), self.points.last(), self.fit) else {
            return String::new();
        };
        let (slope, r2) = (signed(fit.slope), fit.r2);
        let ratio = last.ns / first.ns;
        let times = format!("from {} to {} the time becomes {ratio:.2} times as long", first.x, last.x);
        match self.growth {
            Growth::Affine => {
                let fixed = signed(fit.intercept);
                format!("fitted: {fixed} and {slope} for each position of the context, R² {r2:.4}; {times}")
            }
            Growth::Linear => format!(
                "grows with the {} power of the length (1 is linear); fitted: {slope} a position, R² {r2:.4}; {times}, \
                 the length {:.0} times",
                self.exponent.map_or("unknown".into(), |e| format!("{e:.3}")),
                last.x / first.x
            ),
            Growth::Constant => {
                let mean = self.points.iter().map(|p| p.ns).sum::<f64>() / self.points.len() as f64;
                let off = self.points.iter().map(|p| (p.ns - mean).abs()).fold(0.0, f64::max);
                format!(
                    "mean {}; fitted: {:.2}% of it more for each layer; the furthest layer is {:.2}% from the mean",
                    duration(mean),
                    100.0 * fit.slope / mean,
                    100.0 * off / mean
                )
            }
        }
    }

    /// The points as a table: heads and rows.
    pub(crate) fn table(&self) -> ([&str; 4], Vec<Vec<String>>) {
        let row = |p: &Point| vec![plain(p.x), duration(p.ns), duration(p.p10_ns), duration(p.p90_ns)];
        ([&self.x, "median", "p10", "p90"], self.points.iter().map(row).collect())
    }
}

fn signed(ns: f64) -> String {
    if ns < 0.0 { format!("-{}", duration(-ns)) } else { duration(ns) }
}

/// Nanoseconds of each decoder layer's steps.
pub(super) fn per_layer(steps: &[StepTime], layers: usize) -> Vec<f64> {
    let mut sums = vec![0.0; layers];
    for step in steps {
        let layer = step.label.strip_prefix("decoder.").and_then(|rest| rest.split('.').next()?.parse().ok());
        if let Some(sum) = layer.and_then(|layer: usize| sums.get_mut(layer)) {
            *sum += step.ns;
        }
    }
    sums
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::tests::row;

    pub(crate) fn scaling() -> Scaling {
        let rows =
            [("decode/128", 1.5e6), ("decode/512", 2e6), ("decode/256", 1.667e6), ("prefill/64", 64e6)]
                .into_iter()
                .chain([("prefill/128", 128e6), ("prefill/256", 256e6), ("load", 1.0)])
                .map(|(name, ns)| row(name, &[ns]));
        Scaling::of(&rows.collect::<Vec<_>>(), &[1e6, 1.01e6, 0.99e6])
    }

    #[test]
    fn growth_is_fitted() {
        let [decode, prefill, layers] = <[Series; 3]>::try_from(scaling().series).unwrap();
        let fit = decode.fit.unwrap();
        assert!((fit.slope - 1302.0).abs() < 2.0 && (fit.intercept - 1.333e6).abs() < 1e3, "{fit:?}");
        assert!(decode.points.is_sorted_by(|a, b| a.x < b.x), "{decode:?}");
        assert!((prefill.exponent.unwrap() - 1.0).abs() < 1e-9, "{prefill:?}");
        assert!(prefill.words().contains("1.000 power"), "{}", prefill.words());
        assert!(decode.words().contains("1.33 ms and 1.30 us for each position"), "{}", decode.words());
        assert!(layers.words().contains("the furthest layer is 1.00% from the mean"), "{}", layers.words());
    }

    #[test]
    fn steps_are_counted_to_their_layer() {
        let step = |label: &str, ns| StepTime { label: label.into(), kernel: String::new(), ns };
        let steps = [
            step("embed_tokens", 9.0),
            step("decoder.0.q_proj", 1.0),
            step("decoder.1.q_proj", 2.0),
            step("decoder.10.q_proj", 4.0),
            step("decoder.1.attention", 3.0),
        ];
        assert_eq!(per_layer(&steps, 2), [1.0, 5.0]);
    }
}
