//! Benches of kernels that anyone wrote: a file of WGSL, what its bindings are given, and what its results should be.
//!
//! A [`Request`] says all of it in words. [`plan`] makes a [`Job`] of each point of its sweeps, without a device but for
//! its limits; [`run`] checks them, times them in turns, and returns their rows.

mod check;
mod device;
mod element;
pub mod expression;
mod job;
mod npy;
mod operand;
mod page;
mod params;
mod resolve;
mod source;
mod texture;
mod tokens;
mod value;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

pub use check::{Expected, Reference};
pub use element::Element;
pub use expression::{Expression, Variables};
pub use job::{Job, plan, plan_sources};
pub use operand::{Fill, Given, Operand};
pub use page::on_page;
pub use source::{FEATURES, Source};

use crate::roofline::Arithmetic;
use crate::rounds::{Event, Settings, Turn, time_in_turns};
use crate::run::Row;
use crate::{Clock, Error, Result, Roofline};

/// Bytes that passes over cold operands go through before they come back to the same.
const COLD_BYTES: u64 = 128 << 20;
/// Most copies of the operands.
const MOST_COPIES: u64 = 16;

/// What is to be benched.
#[derive(Clone, Debug)]
pub struct Request {
    /// Files of WGSL.
    pub files: Vec<PathBuf>,
    /// The kernel of each that has several.
    pub entry: Option<String>,
    /// What bindings are given.
    pub operands: Vec<Operand>,
    /// Workgroups along each axis; without them, invocations for each element of the first output.
    pub workgroups: Option<Vec<Expression>>,
    /// Values of overrides: every combination is benched.
    pub overrides: Vec<Sweep>,
    /// Values of variables: every combination is benched.
    pub variables: Vec<Sweep>,
    /// What results should be.
    pub references: Vec<Reference>,
    /// Workgroups of a kernel that results are compared with, if others.
    pub reference_workgroups: Option<Vec<Expression>>,
    /// Largest error of floats, in parts of the largest expected value.
    pub tolerance: f64,
    /// Operations of a run.
    pub flops: Option<Expression>,
    /// Bytes that a run must move; without it, its operands once.
    pub bytes: Option<Expression>,
    /// The kind of the operations.
    pub arithmetic: Arithmetic,
    /// Whether passes take turns over copies of the operands, so that no cache answers for the memory.
    pub cold: bool,
    /// How long one submit may take.
    pub limit: Duration,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            files: vec![],
            entry: None,
            operands: vec![],
            workgroups: None,
            overrides: vec![],
            variables: vec![],
            references: vec![],
            reference_workgroups: None,
            tolerance: 2e-4,
            flops: None,
            bytes: None,
            arithmetic: Arithmetic::F32,
            cold: true,
            limit: Duration::from_secs(10),
        }
    }
}

/// A name and the values that it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The name.
    pub name: String,
    /// Its values.
    pub values: Vec<f64>,
}

impl Sweep {
    /// Reads `TILE=8,16,32`.
    ///
    /// # Errors
    ///
    /// If it is not of that form.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = || Error::Option(format!("{text:?} is not of the form TILE=8,16,32"));
        let (name, values) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(fail)?;
        let value = |text: &str| match text.trim() {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            text => Expression::parse(text).and_then(|e| e.value(&Variables::new())).map_err(|_| fail()),
        };
        let values = expression::at_commas(values).into_iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Self { name: name.trim().to_owned(), values })
    }
}

/// Checks jobs, times those that are right in turns, and returns their rows in order. `on` sees what is done, and may
/// break off: what is done then has a row.
///
/// # Errors
///
/// If the device refuses or fails, or a kernel takes longer than its limit. After that the device is stuck: drop nothing
/// of it, and end the process.
pub fn run(
    clock: &Clock,
    roof: &Roofline,
    jobs: &[Job],
    settings: &Settings,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Row>> {
    let mut rows = vec![];
    let mut waiting = jobs.iter().peekable();
    while waiting.peek().is_some() {
        let mut turns = vec![];
        let (mut held, mut stopped) = (0, false);
        while let Some(job) = waiting.peek() {
            let copies = copies(job);
            if !turns.is_empty() && held + copies * job.bytes() > settings.memory_bytes {
                break;
            }
            held += copies * job.bytes();
            stopped = on(Event::Preparing { name: &job.name }).is_break();
            if stopped {
                break;
            }
            let job = waiting.next().expect("just seen");
            let mut row = Row {
                name: job.name.clone(),
                kernel: job.entry.clone(),
                dispatches: 1,
                work: job.work,
                arithmetic: job.arithmetic,
                settings: job.settings.clone(),
                ..Row::default()
            };
            let kernel = job.kernel(clock.gpu())?;
            if settings.check {
                job.check(&kernel, &mut row)?;
            }
            let timed = clock.prepare_subject(&mut |passes| kernel.timed(copies as usize, passes))?;
            row.repeats = timed.repeats;
            (row.compile_ns, row.first_ns, row.pipelines) = (timed.compile_ns, timed.first_ns, 1);
            turns.push(Turn { row, timed, spent: Duration::ZERO });
        }
        if time_in_turns(turns, roof, settings, on, &mut rows)? || stopped {
            break;
        }
    }
    Ok(rows)
}

/// Copies of a job's operands.
fn copies(job: &Job) -> u64 {
    if job.cold { COLD_BYTES.div_ceil(job.bytes().max(1)).clamp(1, MOST_COPIES) } else { 1 }
}

#[cfg(test)]
mod tests;
