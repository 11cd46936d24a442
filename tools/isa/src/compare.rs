//! Two runs next to each other.

use std::fmt::Write as _;

use crate::metrics::{Better, Metric};
use crate::run::{Fate, GpuRun, Report, Run};

/// What has changed of a kernel on a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The GPU.
    pub gpu: String,
    /// The kernel.
    pub label: String,
    /// What has.
    pub what: What,
}

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is compiled, and was not, or the other way round.
    Fate {
        /// What became of it before.
        before: Fate,
        /// What becomes of it now.
        now: Fate,
    },
    /// A figure.
    Figure {
        /// Which.
        metric: Metric,
        /// Before.
        before: f64,
        /// Now.
        now: f64,
    },
}

/// All that has changed, in the order of the new run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Changes.
    pub changes: Vec<Change>,
    /// Kernels whose every figure is the same.
    pub same: usize,
    /// GPUs whose driver is another, with both: their figures say nothing of the kernels.
    pub drivers: Vec<(String, String, String)>,
}

impl Comparison {
    /// Compares a run with an earlier one.
    pub fn of(before: &Run, now: &Run) -> Self {
        let mut comparison = Self::default();
        for gpu in &now.gpus {
            let Some(old) = before.gpus.iter().find(|old| old.gpu == gpu.gpu) else { continue };
            if old.device.driver != gpu.device.driver {
                let drivers = (gpu.gpu.clone(), old.device.driver.clone(), gpu.device.driver.clone());
                comparison.drivers.push(drivers);
            }
            comparison.add(old, gpu);
        }
        comparison
    }

    fn add(&mut self, before: &GpuRun, now: &GpuRun) {
        let change = |label: &str, what| Change { gpu: now.gpu.clone(), label: label.to_owned(), what };
        for kernel in &now.kernels {
            let Some(old) = before.kernels.iter().find(|old| old.label == kernel.label) else {
                self.changes.push(change(&kernel.label, What::Added));
                continue;
            };
            let changes = changed(old, kernel);
            self.same += usize::from(changes.is_empty());
            self.changes.extend(changes.into_iter().map(|what| change(&kernel.label, what)));
        }
        let gone = before.kernels.iter().filter(|old| !now.kernels.iter().any(|k| k.label == old.label));
        self.changes.extend(gone.map(|old| change(&old.label, What::Removed)));
    }

    /// Changes for the worse.
    pub fn worse(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.is_worse())
    }

    /// In words, a line each.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (gpu, before, now) in &self.drivers {
            let _ =
                writeln!(text, "{gpu}: the driver is {now}, and was {before}: its figures changed with it");
        }
        let (mut gpu, mut label) = ("", "");
        for change in &self.changes {
            if change.gpu != gpu {
                gpu = &change.gpu;
                label = "";
                let _ = writeln!(text, "\n{gpu}");
            }
            if change.label != label {
                label = &change.label;
                let _ = writeln!(text, "  {label}");
            }
            let _ = writeln!(text, "    {}", change.words());
        }
        let worse = self.worse().count();
        let _ = writeln!(
            text,
            "\n{} changes, {worse} for the worse; {} kernels are the same",
            self.changes.len(),
            self.same
        );
        text.trim_start().to_owned()
    }
}

fn changed(before: &Report, now: &Report) -> Vec<What> {
    if std::mem::discriminant(&before.fate) != std::mem::discriminant(&now.fate) {
        return vec![What::Fate { before: before.fate.clone(), now: now.fate.clone() }];
    }
    let figure = |metric: Metric| {
        let (before, now) = (metric.of(before)?, metric.of(now)?);
        (metric.shown(before) != metric.shown(now)).then_some(What::Figure { metric, before, now })
    };
    Metric::ALL.into_iter().filter_map(figure).collect()
}

impl Change {
    /// Whether it is for the worse.
    pub fn is_worse(&self) -> bool {
        match &self.what {
            What::Added | What::Removed => false,
            What::Fate { now, .. } => *now != Fate::Made,
            What::Figure { metric, before, now } => metric.is_worse(*before, *now),
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match &self.what {
            What::Added => "new".into(),
            What::Removed => "gone".into(),
            What::Fate { before, now } => format!("{}, and was {}", fate(now), fate(before)),
            What::Figure { metric, before, now } => {
                let by = if *before == 0.0 {
                    String::new()
                } else {
                    format!(" ({:+.1}%)", 100.0 * (now / before - 1.0))
                };
                let verdict = match metric.better() {
                    _ if self.is_worse() => "  worse",
                    Better::Less if now < before => "  better",
                    Better::More if now > before => "  better",
                    _ => "",
                };
                let (before, now) = (metric.shown(*before), metric.shown(*now));
                format!("{:<10} {before:>8} -> {now:>8}{by}{verdict}", metric.head())
            }
        }
    }
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Made => "compiled".into(),
        Fate::Refused(why) => format!("refused ({why})"),
        Fate::Died(why) => format!("the driver's end ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn figures_that_changed_are_named_with_both_and_judged() {
        let (before, mut now) = (sample(), sample());
        let statistics = now.gpus[0].kernels[0].statistics.as_mut().unwrap();
        statistics.spills = Some(7);
        statistics.registers = Some(200);
        let comparison = Comparison::of(&before, &now);
        assert_eq!((comparison.changes.len(), comparison.worse().count()), (2, 1));
        let text = comparison.text();
        assert!(text.contains("navi31") && text.contains("spills") && text.contains("worse"), "{text}");
        assert!(text.contains("156 ->      200 (+28.2%)"), "{text}");
        assert_eq!(Comparison::of(&before, &before).changes, []);
    }

    #[test]
    fn kernels_that_come_go_or_are_refused_and_another_driver_are_said() {
        let (before, mut now) = (sample(), sample());
        now.gpus[0].device.driver = "radv Mesa 27".into();
        now.gpus[0].kernels[0].fate = Fate::Refused("out of memory".into());
        now.gpus[0].kernels[1].label = "another".into();
        let comparison = Comparison::of(&before, &now);
        assert_eq!(comparison.drivers.len(), 1);
        assert_eq!(comparison.worse().count(), 1);
        let text = comparison.text();
        for words in ["radv Mesa 27", "refused (out of memory), and was compiled", "new", "gone"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
