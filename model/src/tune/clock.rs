//! Times recorded graphs.
//!
//! A time is taken by timestamp query and from the host's clock. On a software device, which shares its cores with
//! everything else on the machine, the processor time of this process is taken as well: spread over the cores it is the
//! time an idle machine would need, and the only one of the three that another program hardly disturbs.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use strix_engine::{Gpu, Graph, Program, Result, StepTime};

use super::processor::{cores, process_ns};
use super::stats::{Summary, median};

/// Shorter sequences of steps are repeated within a run until they take this long.
const SHORTEST_RUN_NS: f64 = 15e6;
/// Most repetitions of a sequence within a run.
const MOST_REPEATS: usize = 256;
/// From this on a run for timestamps is also the run for the host's clock: what the queries add is lost in it.
const LONG_RUN_NS: f64 = 50e6;
/// Timestamps that say more than so many times what the host's clock says are not trusted.
const TRUST: f64 = 1.05;

/// Takes times on one device.
#[derive(Clone, Debug)]
pub struct Clock {
    gpu: Gpu,
    warm_up: Duration,
    stamps: bool,
}

/// The clock that a time was taken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timer {
    /// Timestamp queries.
    Timestamp,
    /// The host's clock around submit and wait.
    Wall,
    /// Processor time over the cores that could be used.
    Idle,
}

/// Times of one pass over a sequence of steps, run by run, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// By timestamp query: the sum of the steps. Empty where there are none, or they cannot be trusted.
    pub device_ns: Vec<f64>,
    /// By the host's clock, around submit and wait.
    pub wall_ns: Vec<f64>,
    /// On software devices: processor time over the cores that could be used.
    pub idle_ns: Vec<f64>,
}

impl Times {
    /// The runs that rates are made of, and their summary: timestamps, else the host's clock; on a software device the
    /// processor's time where that is less.
    pub fn best_source(&self) -> Option<(Timer, Summary)> {
        let device = Summary::of(&self.device_ns).map(|s| (Timer::Timestamp, s));
        let measured = device.or_else(|| Some((Timer::Wall, Summary::of(&self.wall_ns)?)))?;
        let idle = Summary::of(&self.idle_ns).filter(|idle| idle.median < measured.1.median);
        Some(idle.map_or(measured, |idle| (Timer::Idle, idle)))
    }
}

/// Work that can be timed: dispatches that are submitted together.
pub trait Subject {
    /// Runs it and waits for the device.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn run(&mut self) -> Result<()>;

    /// The same with the time of each step by timestamp query; the steps of repeated passes follow each other.
    ///
    /// # Errors
    ///
    /// If the device fails.
    fn profile(&mut self) -> Result<Vec<StepTime>>;

    /// Workgroups of its largest grid.
    fn workgroups(&self) -> f64;
}

impl Subject for Program {
    fn run(&mut self) -> Result<()> {
        Program::run(self, &[])
    }

    fn profile(&mut self) -> Result<Vec<StepTime>> {
        Program::profile(self)
    }

    fn workgroups(&self) -> f64 {
        let of = |groups: [u32; 3]| groups.iter().map(|&n| f64::from(n)).product();
        self.steps().iter().map(|step| of(step.groups)).fold(1.0, f64::max)
    }
}

/// A compiled sequence of steps with the times taken of it so far.
#[derive(Debug)]
pub struct Timed<S = Program> {
    subject: S,
    /// Passes over the sequence in one run.
    pub repeats: usize,
    /// Cores that a software device can use for it.
    cores: f64,
    software: bool,
    stamped: bool,
    /// Nanoseconds of the last run.
    last_ns: f64,
    /// Times so far.
    pub times: Times,
    /// Time in each step of one pass, of every run.
    steps: Vec<(f64, Vec<StepTime>)>,
    /// Recording, allocating and creating pipelines, before the first run.
    pub compile_ns: f64,
    /// Time of the first run above the second: what the driver does lazily.
    pub first_ns: f64,
    /// Pipelines that did not exist before.
    pub pipelines: u64,
}

impl Clock {
    /// A clock for `gpu`.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), warm_up: Duration::ZERO, stamps: gpu.can_profile().is_ok() }
    }

    /// The same that lets everything run for so long before it takes times: clocks of devices rise under load.
    #[must_use]
    pub fn warmed(self, warm_up: Duration) -> Self {
        Self { warm_up, ..self }
    }

    /// The same that takes no timestamps.
    #[must_use]
    pub fn without_timestamps(self) -> Self {
        Self { stamps: false, ..self }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether the device is this machine's processor.
    pub fn is_software(&self) -> bool {
        self.gpu.target().is_cpu
    }

    /// Whether the device itself can tell the time of each step.
    pub fn has_timestamps(&self) -> bool {
        self.stamps
    }

    /// Compiles what `record` records, runs it once to compile what the driver compiles lazily, and once more to warm
    /// up.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn prepare(&self, record: &dyn Fn(&mut Graph)) -> Result<Timed> {
        self.prepare_subject(&mut |passes| self.program(record, passes))
    }

    /// The same of any work: `make` makes so many passes of it.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or the device fails.
    pub fn prepare_subject<S: Subject>(&self, make: &mut dyn FnMut(usize) -> Result<S>) -> Result<Timed<S>> {
        let existing = self.gpu.created().pipelines;
        let start = Spent::begin(self.is_software());
        let mut subject = make(1)?;
        let compile_ns = start.ns();
        let pipelines = self.gpu.created().pipelines - existing;
        let start = Spent::begin(self.is_software());
        subject.run()?;
        let first_ns = start.ns();
        let (start, wall) = (Spent::begin(self.is_software()), Instant::now());
        subject.run()?;
        let (second_ns, wall_ns) = (start.ns(), wall.elapsed().as_nanos() as f64);

        let repeats = ((SHORTEST_RUN_NS / wall_ns.max(1.0)).ceil() as usize).clamp(1, MOST_REPEATS);
        if repeats > 1 {
            subject = make(repeats)?;
            subject.run()?;
        }
        while wall.elapsed() < self.warm_up {
            subject.run()?;
        }
        let cores = subject.workgroups().min(cores() as f64);
        Ok(Timed {
            subject,
            repeats,
            cores,
            software: self.is_software(),
            stamped: self.has_timestamps(),
            last_ns: wall_ns * repeats as f64,
            times: Times::default(),
            steps: vec![],
            compile_ns,
            first_ns: (first_ns - second_ns).max(0.0),
            pipelines,
        })
    }

    /// Prepares and times what `record` records, `runs` times at least and so often that it takes `budget_ns`, but no
    /// more than four times `runs`.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn time(&self, record: &dyn Fn(&mut Graph), runs: usize, budget_ns: f64) -> Result<Timed> {
        let mut timed = self.prepare(record)?;
        let start = Instant::now();
        for run in 0..4 * runs {
            if run >= runs && start.elapsed().as_nanos() as f64 > budget_ns {
                break;
            }
            timed.run()?;
        }
        Ok(timed)
    }

    fn program(&self, record: &dyn Fn(&mut Graph), repeats: usize) -> Result<Program> {
        let mut g = Graph::new(self.gpu.target());
        for _ in 0..repeats {
            record(&mut g);
        }
        Program::compile(&self.gpu, g)
    }
}

impl<S: Subject> Timed<S> {
    /// Takes one run's times.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn run(&mut self) -> Result<()> {
        let passes = self.repeats as f64;
        let mut wall = None;
        if self.stamped {
            let (steps, wall_ns, idle_ns) = self.watched(S::profile)?;
            let total = steps.iter().map(|s| s.ns).sum::<f64>();
            if total <= 0.0 || total > TRUST * wall_ns {
                self.stamped = false;
                self.times.device_ns.clear();
                self.steps.clear();
            } else {
                self.times.device_ns.push(total / passes);
                self.steps.push((total / passes, mean_pass(steps, self.repeats)));
            }
            wall = (self.last_ns > LONG_RUN_NS).then_some((wall_ns, idle_ns));
        }
        let (wall_ns, idle_ns) = match wall {
            Some(both) => both,
            None => {
                let ((), wall_ns, idle_ns) = self.watched(S::run)?;
                (wall_ns, idle_ns)
            }
        };
        self.last_ns = wall_ns;
        self.times.wall_ns.push(wall_ns / passes);
        self.times.idle_ns.extend(idle_ns.map(|ns| ns / passes));
        Ok(())
    }

    /// The result of `run`, and its time by the host's clock and by the processor.
    fn watched<T>(&mut self, run: impl FnOnce(&mut S) -> Result<T>) -> Result<(T, f64, Option<f64>)> {
        let (wall, busy) = (Instant::now(), process_ns().filter(|_| self.software));
        let result = run(&mut self.subject)?;
        let wall_ns = wall.elapsed().as_nanos() as f64;
        let idle_ns = busy.and_then(|before| Some((process_ns()? - before) / self.cores));
        Ok((result, wall_ns, idle_ns))
    }

    /// Expected time of the next run.
    pub fn expected(&self) -> Duration {
        // One for timestamps and one without.
        let twice = self.stamped && self.last_ns <= LONG_RUN_NS;
        Duration::from_nanos(self.last_ns as u64) * if twice { 2 } else { 1 }
    }

    /// Nanoseconds of one pass: the median of what rates are made of; 0 before the first run.
    pub fn rate_ns(&self) -> f64 {
        self.times.best_source().map_or(0.0, |(_, summary)| summary.median)
    }

    /// Nanoseconds of so many passes, by the mean of as many runs as they take. For harnesses that ask for them.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn passes_ns(&mut self, passes: u64) -> Result<f64> {
        self.times = Times::default();
        self.steps.clear();
        let runs = passes.div_ceil(self.repeats as u64).max(1);
        (0..runs).try_for_each(|_| self.run())?;
        let mean = |runs: &[f64]| runs.iter().sum::<f64>() / runs.len() as f64;
        let measured =
            if self.times.device_ns.is_empty() { &self.times.wall_ns } else { &self.times.device_ns };
        // Without processor time the second mean is NaN, which `min` ignores.
        Ok(passes as f64 * mean(measured).min(mean(&self.times.idle_ns)))
    }

    /// What is timed.
    pub fn subject(&self) -> &S {
        &self.subject
    }
}

impl Timed {
    /// Time in each step of one pass, of the run in the middle; empty without timestamps.
    pub fn steps(&self) -> &[StepTime] {
        let middle = median(&self.times.device_ns);
        let nearest = self.steps.iter().min_by(|a, b| (a.0 - middle).abs().total_cmp(&(b.0 - middle).abs()));
        nearest.map_or(&[], |(_, steps)| steps)
    }

    /// Specialisation of the first step's kernel.
    pub fn kernel(&self) -> &str {
        self.subject.steps().first().map_or("", |step| step.shader.label.as_str())
    }

    /// Dispatches of one pass.
    pub fn dispatches(&self) -> usize {
        self.subject.steps().len() / self.repeats
    }
}

/// The steps of one pass of several, each with its mean time.
fn mean_pass(mut steps: Vec<StepTime>, passes: usize) -> Vec<StepTime> {
    let pass = steps.len() / passes;
    let mean = |at: usize| (at..steps.len()).step_by(pass).map(|i| steps[i].ns).sum::<f64>() / passes as f64;
    let means: Vec<_> = (0..pass).map(mean).collect();
    steps.truncate(pass);
    steps.iter_mut().zip(means).for_each(|(step, ns)| step.ns = ns);
    steps
}

/// Time since some moment: of the host's clock, or of the processor where another program could have it.
struct Spent {
    wall: Instant,
    busy: Option<f64>,
}

impl Spent {
    fn begin(of_processor: bool) -> Self {
        Self { wall: Instant::now(), busy: process_ns().filter(|_| of_processor) }
    }

    fn ns(&self) -> f64 {
        let wall = self.wall.elapsed().as_nanos() as f64;
        self.busy.and_then(|before| Some(process_ns()? - before)).unwrap_or(wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_processor_only_where_it_took_less() {
        let times = |device: &[f64], wall: &[f64], idle: &[f64]| Times {
            device_ns: device.to_vec(),
            wall_ns: wall.to_vec(),
            idle_ns: idle.to_vec(),
        };
        let source = |t: Times| t.best_source().map(|(source, summary)| (source, summary.median));
        assert_eq!(source(times(&[4.0], &[5.0], &[3.0])), Some((Timer::Idle, 3.0)));
        assert_eq!(source(times(&[4.0], &[5.0], &[6.0])), Some((Timer::Timestamp, 4.0)));
        assert_eq!(source(times(&[], &[5.0], &[])), Some((Timer::Wall, 5.0)));
        assert_eq!(source(times(&[], &[], &[])), None);
    }
}
