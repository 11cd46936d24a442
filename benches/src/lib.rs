//! The clock of the benches: how long a recorded [`Graph`] takes, and what share that is of what the device
//! can do at all.
//!
//! A time is taken by timestamp query, and from the host's clock where the device has no such queries. On a
//! software device, which shares its cores with everything else on the machine, the processor time of this
//! process is taken as well: spread over the cores it is the time an idle machine would need, and the only
//! one of the three that another program hardly disturbs.

pub mod data;
mod report;
mod roofline;
pub mod tune;

use std::time::Instant;

use strix_engine::wgpu::{DeviceType, Features};
use strix_engine::{Gpu, Graph, Program, Result, StepTime};

pub use report::{Options, Report, Row};
pub use roofline::Roofline;

/// Shorter sequences of steps are repeated within a run until they take this long.
const SHORTEST_RUN_NS: f64 = 15e6;
/// Most repetitions of a sequence within a run.
const MOST_REPEATS: usize = 256;

/// What a sequence of steps has to do, however well it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes to move: every operand once.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
}

/// Takes times on one device.
#[derive(Clone, Debug)]
pub struct Clock {
    gpu: Gpu,
    /// Runs at least and at most.
    runs: (usize, usize),
    /// No further run is begun after so many nanoseconds.
    budget_ns: f64,
}

/// Where a time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Timestamp queries.
    Device,
    /// The host's clock around submit and wait.
    Wall,
}

/// How long one pass over a sequence of steps took, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Where [`Timing::runs_ns`] is from.
    pub source: Source,
    /// Each run.
    pub runs_ns: Vec<f64>,
    /// The median run's time in each step.
    pub steps: Vec<StepTime>,
    /// Least processor time of a run, over the cores it could use; on software devices.
    pub idle_ns: Option<f64>,
    /// Recording, allocating and creating pipelines, before the first run.
    pub compile_ns: f64,
    /// What the first run took above the second: what a driver does lazily.
    pub first_ns: f64,
    /// Pipelines that did not exist before.
    pub pipelines: u64,
}

impl Timing {
    /// The run in the middle.
    pub fn median_ns(&self) -> f64 {
        median(&self.runs_ns)
    }

    /// The quickest run.
    pub fn best_ns(&self) -> f64 {
        self.runs_ns.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// From the quickest to the slowest run, in parts of the median.
    pub fn spread(&self) -> f64 {
        let worst = self.runs_ns.iter().copied().fold(0.0, f64::max);
        (worst - self.best_ns()) / self.median_ns()
    }

    /// The time that rates are made of: the median run; on a software device the idle machine's estimate, or
    /// the best run where that is less.
    pub fn rate_ns(&self) -> f64 {
        self.idle_ns.map_or(self.median_ns(), |idle| idle.min(self.best_ns()))
    }
}

/// The value in the middle of `values`; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

impl Clock {
    /// A clock for `gpu`; `quick` takes 3 runs, else there are 5 to 20, until 3 seconds have passed.
    pub fn new(gpu: &Gpu, quick: bool) -> Self {
        let (runs, budget_ns) = if quick { ((3, 3), 1e9) } else { ((5, 20), 3e9) };
        Self { gpu: gpu.clone(), runs, budget_ns }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether the device is this machine's processor.
    pub fn is_software(&self) -> bool {
        self.gpu.info().device_type == DeviceType::Cpu
    }

    /// Whether the device itself can tell the time of each step.
    pub fn has_timestamps(&self) -> bool {
        self.gpu.device().features().contains(Features::TIMESTAMP_QUERY)
    }

    /// Times what `record` records: after a first run that compiles and one that warms up.
    ///
    /// # Errors
    ///
    /// If the device refuses or fails.
    pub fn time(&self, record: &dyn Fn(&mut Graph)) -> Result<Timing> {
        let existing = self.gpu.created().pipelines;
        let start = Spent::begin(self.is_software());
        let mut program = self.program(record, 1)?;
        let compile_ns = start.ns();
        let pipelines = self.gpu.created().pipelines - existing;
        let start = Spent::begin(self.is_software());
        program.run(&[])?;
        let first_ns = start.ns();
        let (start, wall) = (Spent::begin(self.is_software()), Instant::now());
        program.run(&[])?;
        let (second_ns, wall_ns) = (start.ns(), wall.elapsed().as_nanos() as f64);

        let repeats = ((SHORTEST_RUN_NS / wall_ns.max(1.0)).ceil() as usize).clamp(1, MOST_REPEATS);
        if repeats > 1 {
            program = self.program(record, repeats)?;
            program.run(&[])?;
        }
        let mut timing = self.runs(&mut program, repeats)?;
        timing.compile_ns = compile_ns;
        timing.first_ns = (first_ns - second_ns).max(0.0);
        timing.pipelines = pipelines;
        Ok(timing)
    }

    /// Times a program as it is, of which one run is `repeats` passes.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub fn runs(&self, program: &mut Program, repeats: usize) -> Result<Timing> {
        let stamped = self.has_timestamps();
        let groups = program.steps().iter().map(|s| s.groups.iter().map(|&n| f64::from(n)).product());
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        let cores = groups.fold(1.0, f64::max).min(cores);
        let passes = repeats as f64;

        let mut runs: Vec<(f64, Vec<StepTime>)> = vec![];
        let mut idle = vec![];
        let start = Instant::now();
        while runs.len() < self.runs.0
            || (runs.len() < self.runs.1 && (start.elapsed().as_nanos() as f64) < self.budget_ns)
        {
            let (wall, busy) = (Instant::now(), busy_ns());
            let steps = if stamped { program.profile()? } else { vec![] };
            if !stamped {
                program.run(&[])?;
            }
            let wall_ns = wall.elapsed().as_nanos() as f64;
            if let (true, Some(before), Some(after)) = (self.is_software(), busy, busy_ns()) {
                idle.push((after - before) / cores / passes);
            }
            let total = if stamped { steps.iter().map(|s| s.ns).sum() } else { wall_ns };
            runs.push((total / passes, if stamped { mean_pass(steps, repeats) } else { vec![] }));
        }
        let middle = median(&runs.iter().map(|r| r.0).collect::<Vec<_>>());
        let runs_ns = runs.iter().map(|r| r.0).collect();
        let steps = runs.into_iter().find(|r| r.0 == middle).map_or(vec![], |r| r.1);
        Ok(Timing {
            source: if stamped { Source::Device } else { Source::Wall },
            runs_ns,
            steps,
            idle_ns: idle.into_iter().reduce(f64::min),
            compile_ns: 0.0,
            first_ns: 0.0,
            pipelines: 0,
        })
    }

    /// Times something the host does, after one run that warms up. Processor time is taken for one core's, since most
    /// of the work is of one thread after the other: no more than the sum of all can be certain.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn host<E>(
        &self,
        mut work: impl FnMut() -> std::result::Result<(), E>,
    ) -> std::result::Result<Timing, E> {
        let first = Spent::begin(self.is_software());
        work()?;
        let first_ns = first.ns();
        let (mut runs_ns, mut idle) = (vec![], vec![]);
        let start = Instant::now();
        while runs_ns.len() < self.runs.0
            || (runs_ns.len() < self.runs.1 && (start.elapsed().as_nanos() as f64) < self.budget_ns)
        {
            let (wall, busy) = (Instant::now(), Spent::begin(self.is_software()));
            work()?;
            runs_ns.push(wall.elapsed().as_nanos() as f64);
            idle.push(busy.ns());
        }
        let idle_ns = idle.iter().copied().reduce(f64::min).filter(|_| self.is_software());
        let first_ns = (first_ns - median(&idle)).max(0.0);
        let source = Source::Wall;
        Ok(Timing { source, runs_ns, steps: vec![], idle_ns, compile_ns: 0.0, first_ns, pipelines: 0 })
    }

    fn program(&self, record: &dyn Fn(&mut Graph), repeats: usize) -> Result<Program> {
        let mut g = Graph::new(self.gpu.target());
        for _ in 0..repeats {
            record(&mut g);
        }
        Program::compile(&self.gpu, g)
    }
}

/// Time under each name that `name` gives to a step, and its share of the whole; the longest first.
pub fn shares<'a>(steps: &'a [StepTime], name: impl Fn(&'a StepTime) -> &'a str) -> Vec<(&'a str, f64, f64)> {
    let total: f64 = steps.iter().map(|s| s.ns).sum();
    let mut sums: Vec<(&str, f64, f64)> = vec![];
    for step in steps {
        let (name, share) = (name(step), step.ns / total);
        match sums.iter_mut().find(|sum| sum.0 == name) {
            Some(sum) => *sum = (name, sum.1 + step.ns, sum.2 + share),
            None => sums.push((name, step.ns, share)),
        }
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums
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
        Self { wall: Instant::now(), busy: busy_ns().filter(|_| of_processor) }
    }

    fn ns(&self) -> f64 {
        let wall = self.wall.elapsed().as_nanos() as f64;
        self.busy.and_then(|before| Some(busy_ns()? - before)).unwrap_or(wall)
    }
}

/// Processor time of all threads of this process so far, where the system tells.
fn busy_ns() -> Option<f64> {
    let of_thread = |entry: std::io::Result<std::fs::DirEntry>| -> Option<f64> {
        let text = std::fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").ok()?;
    Some(threads.filter_map(of_thread).sum())
}

#[cfg(test)]
mod tests {
    use strix_engine::wgpu;

    use super::*;

    #[test]
    fn median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
    #[test]
    fn a_device_without_timestamps_is_timed_by_the_host() {
        let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(descriptor);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
        let adapter = adapter.expect("these tests need an adapter; lavapipe will do");
        let device = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()));
        let (device, queue) = device.expect("a device");
        let clock = Clock::new(&Gpu::from_wgpu(device, queue).expect("default limits suffice"), true);
        let timing = clock.time(&|g| {
            let x = g.input("x", [1, 4096]);
            let index = g.input("index", [1]);
            strix_shaders::take_rows(g, "y", x, index);
        });
        let timing = timing.expect("it runs");
        assert_eq!(timing.source, Source::Wall);
        assert!(timing.steps.is_empty() && timing.runs_ns.len() == 3 && timing.best_ns() > 0.0);
    }
}
