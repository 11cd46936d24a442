//! Finds which specialisation of each kernel is best on a device. Of the feature `tune`.
//!
//! Kernels say themselves in which ways they can be specialised: each [`Decision`] of a recorded graph lists them. So
//! the tuner knows no kernel's variants; it records what the model runs, has each way taken in turn, checks it against
//! the CPU reference and times it.
//!
//! An app tunes in some spare seconds, as often as it likes, and loads with the same folder:
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::time::Duration;
//!
//! use strix_model::tune::tune;
//! use strix_model::{Config, DeviceCache, Gpu, LoadOptions, Model, Source, unwatched};
//!
//! let (folder, dir) = ("my-app-cache", "mplug-owl2-llama2-7b".as_ref());
//! let gpu = Gpu::new()?;
//! let cache = DeviceCache::new(folder);
//! let outcome = tune(&gpu, &cache, &Config::load(dir)?, Duration::from_secs(20), &mut |progress| {
//!     println!("{} of {}: {}", progress.done, progress.total, progress.what);
//!     ControlFlow::Continue(())
//! })?;
//! println!("{} measured, {} left for the next time", outcome.measured, outcome.left);
//!
//! let options = LoadOptions { cache_dir: Some(folder.into()), ..LoadOptions::default() };
//! let model = Model::load_on(&gpu, Source::Dir(dir), &options, &mut unwatched)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`clock`], [`data`], [`processor`] and [`stats`] are what the benches share with the tuner.

pub mod clock;
pub mod data;
pub mod processor;
pub mod stats;
mod subjects;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use strix_engine::{Choices, Decision, Error as EngineError, Gpu, Graph, MAX_TRIPS, Program, Specialisation};

use self::clock::Clock;
use self::processor::process_ns;
use self::subjects::{Record, Subject, subjects};
use crate::cache::{Chosen, DeviceCache, Measured, Tuning, in_words};
use crate::{Config, Error, Result};

/// Compiling and running once must not take longer.
const SLOWEST_COMPILE: Duration = Duration::from_secs(10);
/// A way that takes this many times the best is timed no further,
const HOPELESS: f64 = 3.0;
/// if it takes at least this long, so that the clock can be trusted.
const LONG_NS: f64 = 20e6;
/// A way is better only if it takes less than this part of the default's time. The rest is noise.
const BETTER: f64 = 0.97;
/// Runs of each way at least, and time in which there may be more.
const RUNS: usize = 3;
/// See [`RUNS`].
const BUDGET_NS: f64 = 2e8;
/// Largest error of a result, relative to the largest number of it.
const TOLERANCE: f32 = 1e-3;

/// Progress of tuning.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The measurement that comes next.
    pub what: String,
    /// Measurements that exist.
    pub done: usize,
    /// Measurements in all.
    pub total: usize,
}

/// The result of a run of the tuner.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All that is known now.
    pub tuning: Tuning,
    /// The default way of each decision.
    pub defaults: Vec<Chosen>,
    /// Measurements that this run made.
    pub measured: usize,
    /// Measurements that are left for another run.
    pub left: usize,
    /// Whether the caller broke it off.
    pub interrupted: bool,
}

/// One way of one decision, to be measured on one subject.
struct Job<'a> {
    subject: &'a Subject,
    decision: &'a Decision,
    way: &'a Specialisation,
}

impl Job<'_> {
    fn is(&self, measured: &Measured) -> bool {
        let Decision { kernel, situation, .. } = self.decision;
        measured.subject == self.subject.name
            && measured.kernel == *kernel
            && measured.situation == *situation
            && measured.way == *self.way
    }
}

/// Operands of a subject, made once for all its ways.
struct Operands {
    /// Name of the subject.
    of: String,
    timed: Record,
    checked: Record,
}

impl Operands {
    fn new(gpu: &Gpu, subject: &Subject) -> Result<Self> {
        let Subject { name, timed, checked } = subject;
        Ok(Self { of: name.clone(), timed: timed(gpu)?, checked: checked(gpu)? })
    }
}

/// Times every legal way of every kernel at the shapes of `config`, for about as long as `budget`, and keeps the
/// winners in `cache`. Each measurement is kept as soon as it is made; those that exist are not made again.
///
/// # Errors
///
/// If a family of kernels is forced, the device fails or the cache cannot be written.
pub fn tune(
    gpu: &Gpu,
    cache: &DeviceCache,
    config: &Config,
    budget: Duration,
    progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Outcome> {
    if gpu.target().forced {
        let family = gpu.target().family;
        let reason =
            format!("the {family} kernels are forced, so there is nothing to choose: unset STRIX_FAMILY");
        return Err(Error::Option(reason));
    }
    let started = Instant::now();
    let mut tuning = cache.tuning(gpu);
    gpu.set_choices(Choices::default());
    let subjects = subjects(config);
    let decisions = subjects.iter().map(|s| decisions(gpu, s)).collect::<Result<Vec<_>>>()?;
    let defaults = defaults(&decisions);
    let jobs = jobs(&subjects, &decisions);
    let is_known = |tuning: &Tuning, job: &Job<'_>| tuning.measured.iter().any(|m| job.is(m));
    let mut done = jobs.iter().filter(|job| is_known(&tuning, job)).count();
    let (before, mut interrupted) = (done, false);
    let clock = Clock::new(gpu);
    let mut prepared: Option<Operands> = None;
    for job in &jobs {
        if is_known(&tuning, job) {
            continue;
        }
        let what = format!("{}  {}", job.subject.name, in_words(job.way));
        interrupted = progress(&Progress { what, done, total: jobs.len() }).is_break();
        // At least one measurement is made, so that every run gets further.
        if interrupted || (done > before && started.elapsed() > budget) {
            break;
        }
        let best = best_of(&tuning, job);
        let operands = match prepared.take().filter(|operands| operands.of == job.subject.name) {
            Some(operands) => Ok(operands),
            None => Operands::new(gpu, job.subject),
        };
        let result = match operands {
            Ok(operands) => measure(&clock, job, prepared.insert(operands), best)?,
            // The device has no room for the model's shape.
            Err(error) => Err(error.to_string()),
        };
        let Decision { kernel, situation, .. } = job.decision.clone();
        let (way, subject) = (job.way.clone(), job.subject.name.clone());
        tuning.measured.push(Measured { kernel, situation, way, subject, result });
        tuning.chosen = chosen(&tuning, &jobs);
        cache.store_tuning(gpu, &tuning)?;
        done += 1;
    }
    gpu.set_choices(tuning.choices());
    Ok(Outcome { tuning, defaults, measured: done - before, left: jobs.len() - done, interrupted })
}

/// The decisions that recording a subject makes, where there is a choice.
fn decisions(gpu: &Gpu, subject: &Subject) -> Result<Vec<Decision>> {
    let record = (subject.checked)(gpu)?;
    let mut g = Graph::for_planning(gpu.target());
    record(&mut g);
    Ok(g.decisions().iter().filter(|d| d.legal.len() > 1).cloned().collect())
}

fn defaults(decisions: &[Vec<Decision>]) -> Vec<Chosen> {
    let mut defaults: Vec<Chosen> = vec![];
    for Decision { kernel, situation, legal, taken } in decisions.iter().flatten() {
        let (kernel, situation, way) = (kernel.clone(), situation.clone(), legal[*taken].clone());
        if !defaults.iter().any(|d| d.kernel == kernel && d.situation == situation) {
            defaults.push(Chosen { kernel, situation, way });
        }
    }
    defaults
}

/// The default of each decision comes first: the others are compared with it.
fn jobs<'a>(subjects: &'a [Subject], decisions: &'a [Vec<Decision>]) -> Vec<Job<'a>> {
    let mut jobs = vec![];
    for (subject, decisions) in subjects.iter().zip(decisions) {
        for decision in decisions {
            let others = (0..decision.legal.len()).filter(|&i| i != decision.taken);
            let ways = [decision.taken].into_iter().chain(others).map(|i| &decision.legal[i]);
            jobs.extend(ways.map(|way| Job { subject, decision, way }));
        }
    }
    jobs
}

/// The shortest time so far of a job's decision on its subject.
fn best_of(tuning: &Tuning, job: &Job<'_>) -> Option<f64> {
    let same = |m: &&Measured| {
        m.subject == job.subject.name
            && m.kernel == job.decision.kernel
            && m.situation == job.decision.situation
    };
    let times = tuning.measured.iter().filter(same).filter_map(|m| m.result.clone().ok());
    times.reduce(f64::min)
}

/// The winner of each situation of which every way was measured on every subject: the least time of all subjects
/// together, if it is clearly less than the default's. Winners of earlier runs stay where this one has none.
fn chosen(tuning: &Tuning, jobs: &[Job<'_>]) -> Vec<Chosen> {
    let mut chosen = tuning.chosen.clone();
    let mut situations: Vec<(&str, &str)> = vec![];
    for Decision { kernel, situation, .. } in jobs.iter().map(|job| job.decision) {
        if !situations.contains(&(kernel, situation)) {
            situations.push((kernel, situation));
        }
    }
    for (kernel, situation) in situations {
        let of_situation =
            || jobs.iter().filter(|j| j.decision.kernel == kernel && j.decision.situation == situation);
        let result =
            |job: &Job<'_>| tuning.measured.iter().find(|m| job.is(m)).map(|m| m.result.as_ref().ok());
        let mut totals: Vec<(&Specialisation, Option<f64>)> = vec![];
        let mut complete = true;
        for job in of_situation() {
            let Some(time) = result(job) else {
                complete = false;
                break;
            };
            match totals.iter_mut().find(|(way, _)| *way == job.way) {
                Some((_, total)) => *total = total.zip(time).map(|(total, &ns)| total + ns),
                None => totals.push((job.way, time.copied())),
            }
        }
        let right: Vec<_> = totals.into_iter().filter_map(|(way, total)| Some((way, total?))).collect();
        let best = right.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let default = of_situation().map(|job| &job.decision.legal[job.decision.taken]).next();
        let default = right.iter().find(|(way, _)| Some(*way) == default);
        let winner =
            default.filter(|(_, usual)| best.is_some_and(|(_, best)| *best > BETTER * usual)).or(best);
        if let (true, Some((way, _))) = (complete, winner) {
            chosen.retain(|c| c.kernel != kernel || c.situation != situation);
            chosen.push(Chosen { kernel: kernel.into(), situation: situation.into(), way: (*way).clone() });
        }
    }
    chosen
}

/// A job's time in nanoseconds, or why its way must not be used.
fn measure(
    clock: &Clock,
    job: &Job<'_>,
    operands: &Operands,
    best: Option<f64>,
) -> Result<std::result::Result<f64, String>> {
    let Decision { kernel, situation, .. } = job.decision;
    let mut choices = Choices::default();
    choices.set(kernel, situation, job.way.clone());
    clock.gpu().set_choices(choices);
    match time(clock, operands, best) {
        Err(Refused::Not(Error::Engine(EngineError::Lost(reason)))) => Err(EngineError::Lost(reason).into()),
        Err(Refused::Not(error)) => Ok(Err(error.to_string())),
        Err(Refused::For(reason)) => Ok(Err(reason)),
        Ok(ns) => Ok(Ok(ns)),
    }
}

/// Why there is no time.
enum Refused {
    /// The result was wrong, slow or unsafe, in words.
    For(String),
    /// An error.
    Not(Error),
}

impl<E: Into<Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Not(error.into())
    }
}

/// Times a way that loops no more than is safe, compiles in time and is right. The small shape comes first: what a
/// driver compiles late is compiled by then, unless it compiles for the size too. So a way is hopeless if two runs of it
/// are; nobody asks whether it is right then.
fn time(clock: &Clock, operands: &Operands, best: Option<f64>) -> std::result::Result<f64, Refused> {
    let gpu = clock.gpu();
    for record in [&operands.timed, &operands.checked] {
        let mut g = Graph::for_planning(gpu.target());
        record(&mut g);
        let trips = g.plan().usage.trips;
        if trips > MAX_TRIPS {
            let reason = format!("an invocation would loop {trips} times; {MAX_TRIPS} are safe");
            return Err(Refused::For(reason));
        }
    }
    let (wall, busy) = (Instant::now(), process_ns().filter(|_| clock.is_software()));
    let mut checked = program(gpu, &operands.checked)?;
    checked.run(&[])?;
    let wall = wall.elapsed();
    // Another program may have used the processor meanwhile.
    let busy = busy.zip(process_ns()).map(|(before, after)| Duration::from_nanos((after - before) as u64));
    let took = busy.unwrap_or(wall).min(wall);
    if took > SLOWEST_COMPILE {
        let (took, most) = (took.as_secs_f64(), SLOWEST_COMPILE.as_secs());
        return Err(Refused::For(format!(
            "it took {took:.1} s to compile and run once; {most} s are allowed"
        )));
    }
    let mut timed = program(gpu, &operands.timed)?;
    let mut hopeless = None;
    for _ in 0..2 {
        let once = Instant::now();
        timed.run(&[])?;
        let once_ns = once.elapsed().as_nanos() as f64;
        hopeless = best.filter(|best| once_ns > HOPELESS * best && once_ns > LONG_NS).map(|_| once_ns);
        if hopeless.is_none() {
            break;
        }
    }
    if let Some(ns) = hopeless {
        return Ok(ns);
    }
    drop(timed);
    if let Some(d) = checked.replay(TOLERANCE)? {
        let (got, want) = (d.got, d.want);
        return Err(Refused::For(format!(
            "it is wrong: {}[{}] is {got} where the reference has {want}",
            d.tensor, d.element
        )));
    }
    Ok(clock.time(&*operands.timed, RUNS, BUDGET_NS)?.rate_ns())
}

fn program(gpu: &Gpu, record: &Record) -> Result<Program> {
    let mut g = Graph::new(gpu.target());
    record(&mut g);
    Ok(Program::compile(gpu, g)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(name: &str) -> Specialisation {
        vec![("family".to_owned(), name.to_owned())]
    }

    fn subject(name: &str) -> Subject {
        let nothing = || Box::new(|_: &Gpu| Ok(Box::new(|_: &mut Graph| ()) as Record));
        Subject { name: name.into(), timed: nothing(), checked: nothing() }
    }

    /// The ways chosen when these (subject, way, result) were measured.
    fn chosen_of(results: &[(&str, &str, std::result::Result<f64, &str>)]) -> Vec<Specialisation> {
        let subjects = [subject("small"), subject("large")];
        let legal = vec![way("subgroup"), way("plain")];
        let decision = Decision { kernel: "gemm".into(), situation: "int8".into(), legal, taken: 0 };
        let decisions = [vec![decision.clone()], vec![decision]];
        let measured = |&(subject, name, result): &(&str, &str, std::result::Result<f64, &str>)| Measured {
            kernel: "gemm".into(),
            situation: "int8".into(),
            way: way(name),
            subject: subject.into(),
            result: result.map_err(Into::into),
        };
        let tuning = Tuning { measured: results.iter().map(measured).collect(), chosen: vec![] };
        chosen(&tuning, &jobs(&subjects, &decisions)).into_iter().map(|c| c.way).collect()
    }

    #[test]
    fn the_way_that_takes_least_on_all_subjects_together_is_chosen() {
        let small = [("small", "subgroup", Ok(1.0)), ("small", "plain", Ok(2.0))];
        let large = [("large", "subgroup", Ok(30.0)), ("large", "plain", Ok(20.0))];
        assert_eq!(chosen_of(&[small, large].concat()), [way("plain")]);
    }

    #[test]
    fn the_default_stays_where_another_is_hardly_better() {
        let with = |plain: f64| {
            let small = [("small", "subgroup", Ok(1.0)), ("small", "plain", Ok(1.0))];
            chosen_of(&[small, [("large", "subgroup", Ok(99.0)), ("large", "plain", Ok(plain))]].concat())
        };
        assert_eq!(with(97.0), [way("subgroup")]);
        assert_eq!(with(95.0), [way("plain")]);
    }

    #[test]
    fn nothing_is_chosen_before_all_was_measured() {
        assert!(chosen_of(&[]).is_empty());
        let three =
            [("small", "subgroup", Ok(1.0)), ("small", "plain", Ok(2.0)), ("large", "plain", Ok(2.0))];
        assert!(chosen_of(&three).is_empty());
    }

    #[test]
    fn what_was_rejected_once_is_not_chosen() {
        let results = [
            ("small", "subgroup", Ok(1.0)),
            ("small", "plain", Ok(2.0)),
            ("large", "subgroup", Err("it is wrong")),
            ("large", "plain", Ok(20.0)),
        ];
        assert_eq!(chosen_of(&results), [way("plain")]);
    }
}
