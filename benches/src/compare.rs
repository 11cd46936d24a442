//! A run against a stored one.

use crate::run::{Row, Run};
use crate::stats::Summary;

/// Compares the benches that two runs share.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// When the stored run was taken.
    pub date: String,
    /// Differences of the two devices. If there are any, the times must not be compared.
    pub differences: Vec<String>,
    /// The benches of both, in the order of the new run.
    pub changes: Vec<Change>,
    /// Benches of the new run that the stored one lacks.
    pub added: Vec<String>,
    /// Benches of the stored run that the new one lacks.
    pub missing: Vec<String>,
}

/// One bench of two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Median nanoseconds then.
    pub old_ns: f64,
    /// Median nanoseconds now.
    pub new_ns: f64,
    /// Time now over time then: below 1 is faster.
    pub ratio: f64,
    /// Whether that is more than chance.
    pub verdict: Verdict,
}

/// Whether a change is more than chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One median lies within the other run's spread (its 10th to its 90th percentile), and both spreads are small.
    WithinSpread,
    /// The same, but a spread is so large, or the runs so few, that a difference worth knowing would be hidden in it.
    Undecided,
    /// Outside of both.
    Faster,
    /// Outside of both.
    Slower,
}

impl Verdict {
    /// Its name in print.
    pub fn word(self) -> &'static str {
        match self {
            Self::WithinSpread => "",
            Self::Undecided => "undecided",
            Self::Faster => "faster",
            Self::Slower => "slower",
        }
    }
}

/// A spread above this hides what is worth knowing.
const UNDECIDED: f64 = 0.1;
/// Fewer runs say nothing of their spread.
const FEWEST: usize = 3;

impl Verdict {
    /// Whether `new` differs from `old` by more than chance.
    pub fn of(old: &Summary, new: &Summary) -> Self {
        let inside = |value: f64, of: &Summary| (of.p10..=of.p90).contains(&value);
        let vague = |of: &Summary| of.runs < FEWEST || of.spread() > UNDECIDED;
        match () {
            () if inside(new.median, old) || inside(old.median, new) => {
                if vague(old) || vague(new) {
                    Self::Undecided
                } else {
                    Self::WithinSpread
                }
            }
            () if new.runs.min(old.runs) < FEWEST => Self::Undecided,
            () if new.median < old.median => Self::Faster,
            () => Self::Slower,
        }
    }
}

/// A bench of a run against the quickest of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Its name.
    pub name: String,
    /// Median nanoseconds.
    pub ns: f64,
    /// Its time over the quickest one's.
    pub ratio: f64,
    /// Whether it is more than chance; of the quickest itself there is none.
    pub verdict: Option<Verdict>,
}

/// The benches of a run that have a speed, the quickest first. Where operations were counted of all, times are of as many.
pub fn rank(run: &Run) -> Vec<Ranked> {
    let timed = || run.rows.iter().filter_map(|row| Some((row, row.figures?.rate)));
    let most = timed().map(|(row, _)| row.work.flops).max().unwrap_or(0);
    let counted = timed().all(|(row, _)| row.work.flops > 0);
    let of = |(row, rate): (&'_ Row, Summary)| {
        let times = if counted { most as f64 / row.work.flops as f64 } else { 1.0 };
        let [median, min, max, p10, p90] =
            [rate.median, rate.min, rate.max, rate.p10, rate.p90].map(|ns| ns * times);
        (row.name.clone(), Summary { median, min, max, p10, p90, ..rate })
    };
    let mut rows: Vec<(String, Summary)> = timed().map(of).collect();
    rows.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let best = rows.first().map_or(Summary::default(), |(_, rate)| *rate);
    let ranked = |(at, (name, rate)): (usize, &(String, Summary))| Ranked {
        name: name.clone(),
        ns: rate.median,
        ratio: rate.median / best.median,
        verdict: (at > 0).then(|| Verdict::of(&best, rate)),
    };
    rows.iter().enumerate().map(ranked).collect()
}

/// Holds `new` against `old`. Of each bench the times that its rates are of are compared.
pub fn compare(old: &Run, new: &Run) -> Comparison {
    let lacks = |a: &Run, b: &Run| -> Vec<String> {
        a.rows.iter().filter(|row| b.row(&row.name).is_none()).map(|row| row.name.clone()).collect()
    };
    Comparison {
        date: old.date.clone(),
        differences: old.device.differences(&new.device),
        changes: new.rows.iter().filter_map(|row| change(old.row(&row.name)?, row)).collect(),
        added: lacks(new, old),
        missing: lacks(old, new),
    }
}

fn change(old: &Row, new: &Row) -> Option<Change> {
    let (old, new_rate) = (old.figures?.rate, new.figures?.rate);
    let verdict = Verdict::of(&old, &new_rate);
    let (old_ns, new_ns) = (old.median, new_rate.median);
    Some(Change { name: new.name.clone(), old_ns, new_ns, ratio: new_ns / old_ns, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Check;
    use crate::run::tests::{ROOF, row, run};

    #[test]
    fn only_what_lies_outside_of_both_spreads_is_a_change() {
        let old = run(vec![
            row("same", &[99.0, 100.0, 106.0]),
            row("faster", &[90.0, 100.0, 110.0]),
            row("slower", &[90.0, 100.0, 110.0]),
            row("noisy", &[10.0, 100.0, 1000.0]),
            row("gone", &[1.0]),
        ]);
        // Of one run nobody knows the spread.
        let one = compare(&run(vec![row("a", &[1.0])]), &run(vec![row("a", &[5.0])]));
        assert_eq!(one.changes[0].verdict, Verdict::Undecided);
        let new = run(vec![
            row("new", &[1.0]),
            row("same", &[101.0, 104.0, 105.0]),
            row("faster", &[49.0, 50.0, 51.0]),
            row("slower", &[199.0, 200.0, 201.0]),
            row("noisy", &[200.0, 200.0, 200.0]),
        ]);
        let c = compare(&old, &new);
        let found: Vec<_> = c.changes.iter().map(|c| (c.name.as_str(), c.ratio, c.verdict)).collect();
        let want = [
            ("same", 1.04, Verdict::WithinSpread),
            ("faster", 0.5, Verdict::Faster),
            ("slower", 2.0, Verdict::Slower),
            ("noisy", 2.0, Verdict::Undecided),
        ];
        assert_eq!(found, want);
        assert_eq!((c.added, c.missing), (vec!["new".to_owned()], vec!["gone".to_owned()]));
        assert!(c.differences.is_empty() && c.date == old.date);
    }

    #[test]
    fn benches_of_a_run_are_ranked_by_the_quickest() {
        let ranked = rank(&run(vec![
            row("slow", &[19.0, 20.0, 21.0]),
            row("best", &[9.0, 10.0, 13.0]),
            row("maybe", &[10.0, 11.0, 12.0]),
        ]));
        let found: Vec<_> = ranked.iter().map(|r| (r.name.as_str(), r.ratio, r.verdict)).collect();
        let want = [
            ("best", 1.0, None),
            ("maybe", 1.1, Some(Verdict::Undecided)),
            ("slow", 2.0, Some(Verdict::Slower)),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn other_devices_are_named_and_wrong_results_are_not_compared() {
        let old = run(vec![row("a", &[1.0]), row("b", &[1.0])]);
        let mut new = old.clone();
        new.device.adapter = "another".into();
        new.device.subgroup = Some(32);
        new.rows[1].check = Check::Wrong { max: None, rms: None };
        new.rows[1].fill(&ROOF);
        let c = compare(&old, &new);
        assert_eq!(c.changes.len(), 1);
        assert_eq!(
            c.differences,
            ["adapter: llvmpipe <test> & co then, another now", "subgroups: none then, 32 now"]
        );
    }
}
