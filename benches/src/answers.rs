//! The benches of answers: what a lone one costs beside bare steps, how long others wait while a prompt arrives, and how
//! soon a cancelled one is over.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::{
    Error as ModelError, GenerateOptions, Generation, LoadOptions, Model, SamplingParams, Session,
};

use crate::model::work::kv_bytes;
use crate::model::{Loadable, Of, element};
use crate::stats::Summary;
use crate::{Clock, Result};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The model.
    pub of: Of<'a>,
    /// Options of loading it.
    pub load: LoadOptions,
    /// Tokens of each lone answer.
    pub tokens: u32,
    /// Lone answers, and as many rounds of bare steps in turns with them.
    pub rounds: usize,
    /// Answers that run while a prompt arrives.
    pub running: usize,
    /// Positions of the prompt that arrives.
    pub arriving: u32,
    /// Times that each kind of work is cancelled; 0 for none.
    pub cancels: usize,
    /// Answers that are given eight at a time while the process's memory is watched; 0 for none.
    pub soak: usize,
    /// Loads and drops of the model meanwhile.
    pub loads: usize,
}

/// Times of a step of an answer and of a bare one, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lone {
    /// Median time of a token of a lone answer.
    pub token_ms: f64,
    /// Median time of a bare step over as many positions.
    pub step_ms: f64,
}

/// What answers that run wait for while a prompt arrives, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Arrival {
    /// Median time between two tokens before it comes.
    pub before_ms: f64,
    /// Longest time between two tokens of one answer while the prompt is run.
    pub longest_ms: f64,
    /// Median time between two tokens meanwhile.
    pub median_ms: f64,
    /// From the prompt's arrival to its first token.
    pub first_token_ms: f64,
}

/// Times from a cancel to the end of what was cancelled, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Cancels {
    /// What was cancelled.
    pub what: &'static str,
    /// Worst time until whoever waits for it is told.
    pub told_ms: f64,
    /// Worst time until the device is done with it and its room is free.
    pub free_ms: f64,
    /// Number of cancels.
    pub times: usize,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Positions of the prompt that arrives: what was asked for, or what the context holds.
    pub arriving: u32,
    /// A lone answer.
    pub lone: Option<Lone>,
    /// With prompts that are cut into chunks and run between steps.
    pub between: Option<Arrival>,
    /// With prompts that are cut into chunks, each run as a whole.
    pub in_chunks: Option<Arrival>,
    /// With prompts that are run as a whole.
    pub whole: Option<Arrival>,
    /// Cancels.
    pub cancels: Vec<Cancels>,
    /// Answers so far, and what the process holds then in MiB.
    pub soak: Vec<(usize, f64)>,
    /// Loads so far, and what the process holds once the model is dropped in MiB.
    pub loads: Vec<(usize, f64)>,
}

/// Measures; `on` is told what comes next, and may break off.
///
/// # Errors
///
/// If the model cannot be loaded, or the device fails.
pub fn run_answers(
    clock: &Clock,
    options: &Options<'_>,
    on: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Report> {
    let mut report = Report::default();
    let source = Loadable::open(&options.of)?;
    let config = source.config()?;
    let ctx = options.load.ctx.unwrap_or(config.text.max_position_embeddings as u32);
    let options = &Options { arriving: options.arriving.min(ctx.saturating_sub(64)), ..options.clone() };
    report.arriving = options.arriving;
    let load = |change: &dyn Fn(&mut LoadOptions)| -> Result<Model> {
        let mut load = options.load.clone();
        // Room for all, each with the tokens it may come to.
        let arriving = options.arriving.max(1500).min(ctx);
        let positions = u64::from(arriving + 64) + options.running as u64 * u64::from(RUNNING + 64);
        load.kv_memory.get_or_insert(kv_bytes(&config, positions, element(&load)));
        change(&mut load);
        source.load(clock, &load)
    };
    let model = load(&|_| ())?;
    if on("a lone answer").is_break() {
        return Ok(report);
    }
    report.lone = Some(lone(&model, options)?);
    if on("a prompt that arrives, run between steps").is_break() {
        return Ok(report);
    }
    report.between = Some(arrival(&model, options)?);
    if options.cancels > 0 {
        for (what, cancel) in KINDS {
            if on(&format!("cancels: {what}")).is_break() {
                return Ok(report);
            }
            report.cancels.push(cancels(&model, what, cancel, options.cancels)?);
        }
        if on("cancels: load").is_break() {
            return Ok(report);
        }
        report.cancels.push(load_cancels(clock, &source, options)?);
    }
    if options.soak > 0 {
        if on("answers, eight at a time").is_break() {
            return Ok(report);
        }
        report.soak = soak(&model, options.soak)?;
    }
    drop(model);
    for round in 0..options.loads {
        if round == 0 && on("loads and drops").is_break() {
            return Ok(report);
        }
        drop(load(&|_| ())?);
        if (round + 1) % 5 == 0 {
            report.loads.extend(resident_mib().map(|mib| (round + 1, mib)));
        }
    }
    if on("a prompt that arrives, in whole chunks").is_break() {
        return Ok(report);
    }
    // A slice that nothing is longer than: work is not broken off for a step.
    report.in_chunks = Some(arrival(&load(&|load| load.slice = Duration::from_secs(3600))?, options)?);
    if on("a prompt that arrives, as a whole").is_break() {
        return Ok(report);
    }
    let whole = load(&|load| {
        (load.slice, load.chunk) = (Duration::from_secs(3600), options.arriving.next_multiple_of(64))
    })?;
    report.whole = Some(arrival(&whole, options)?);
    Ok(report)
}

/// Tokens that each answer may have which runs while a prompt arrives.
const RUNNING: u32 = 1024;

/// Tokens of each of them before the prompt comes.
const WARM: usize = 12;

/// Ids of a prompt of so many tokens, which begins with `first`.
fn prompt(model: &Model, first: u32, positions: u32) -> Vec<PromptId> {
    let vocab = model.config().text.vocab_size as u32;
    (0..positions).map(|i| PromptId::Token(3 + (first + 7 * i) % (vocab - 3))).collect()
}

/// Options of an answer that does not end before so many tokens.
fn unending(tokens: u32) -> GenerateOptions {
    let sampling = SamplingParams { min_new_tokens: tokens as usize, ..SamplingParams::greedy() };
    GenerateOptions { sampling, max_tokens: tokens, ..GenerateOptions::default() }
}

/// Times between tokens.
fn gaps(mut answer: Generation, tokens: u32) -> Result<Vec<Instant>> {
    let mut came = Vec::with_capacity(tokens as usize);
    while let Some(token) = answer.advance() {
        token?;
        came.push(Instant::now());
    }
    Ok(came)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(times: &[f64]) -> f64 {
    Summary::of(times).map_or(f64::NAN, |summary| summary.median)
}

fn lone(model: &Model, options: &Options<'_>) -> Result<Lone> {
    let (mut tokens, mut steps) = (vec![], vec![]);
    let mut session = model.session()?;
    let length = 32;
    for round in 0..options.rounds + 1 {
        let ids = prompt(model, round as u32, length);
        let came = gaps(session.complete_ids(&ids, &unending(options.tokens))?, options.tokens)?;
        let between = came.windows(2).map(|pair| ms(pair[1] - pair[0]));
        let token: Vec<_> = between.collect();
        session.inspect().fill(length as usize)?;
        let step: Vec<_> = (1..options.tokens)
            .map(|_| {
                let start = Instant::now();
                session.inspect().step(5)?;
                Ok(ms(start.elapsed()))
            })
            .collect::<Result<_>>()?;
        session.reset();
        // The first warms up.
        if round > 0 {
            tokens.extend(token);
            steps.extend(step);
        }
    }
    Ok(Lone { token_ms: median(&tokens), step_ms: median(&steps) })
}

fn arrival(model: &Model, options: &Options<'_>) -> Result<Arrival> {
    let room = RUNNING.min(model.ctx() - 32);
    let begin = |i: usize| -> Result<(Session, Generation)> {
        let mut session = model.session()?;
        let answer = session.complete_ids(&prompt(model, 1000 + i as u32, 32), &unending(room))?;
        Ok((session, answer))
    };
    let answers = (0..options.running).map(begin).collect::<Result<Vec<_>>>()?;
    let mut arriving = model.session()?;
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = answers
            .into_iter()
            .map(|(session, mut answer)| {
                let (over, count) = (over.clone(), told.clone());
                scope.spawn(move || -> Result<Vec<Instant>> {
                    let mut came = vec![];
                    while !over.load(Ordering::Relaxed) {
                        match answer.advance() {
                            Some(token) => drop(token?),
                            None => break,
                        }
                        came.push(Instant::now());
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    drop((answer, session));
                    Ok(came)
                })
            })
            .collect();
        // The programs for all of them are compiled by then.
        let began = Instant::now();
        while told.load(Ordering::Relaxed) < WARM * options.running
            && began.elapsed() < Duration::from_secs(60)
        {
            thread::sleep(Duration::from_millis(1));
        }
        let came = Instant::now();
        let first =
            arriving.complete_ids(&prompt(model, 5, options.arriving), &unending(1)).map(Generation::finish);
        let told = Instant::now();
        over.store(true, Ordering::Relaxed);
        let tokens: Vec<Vec<Instant>> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_>>()?;
        first??;
        let between = |from: Instant, to: Instant| -> Vec<f64> {
            let of = |tokens: &Vec<Instant>| -> Vec<f64> {
                let pairs = tokens.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
                pairs.map(|pair| ms(pair[1] - pair[0])).collect()
            };
            tokens.iter().flat_map(of).collect()
        };
        let (before, meanwhile) = (between(began, came), between(came, told));
        Ok(Arrival {
            before_ms: median(&before),
            longest_ms: meanwhile.iter().copied().fold(0.0, f64::max),
            median_ms: median(&meanwhile),
            first_token_ms: ms(told - came),
        })
    })
}

/// What the process has in memory, as far as the system tells.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Answers of all lengths, about pictures and not, eight at a time; some are dropped.
fn soak(model: &Model, answers: usize) -> Result<Vec<(usize, f64)>> {
    let size = model.config().vision.image_size as u32;
    let mut held = vec![];
    for round in 0..answers / 8 {
        let mut running = vec![];
        for i in 0..8 {
            let number = round * 8 + i;
            let mut session = model.session()?;
            let ids = if i % 4 == 0 {
                let colour = (number % 251) as u8;
                session
                    .add_image(&RgbImage::from_fn(size, size, |x, y| [x as u8, y as u8, colour].into()))?;
                vec![1.into(), PromptId::Picture, 5.into(), 6.into()]
            } else {
                prompt(model, number as u32, 4 + (number % 40) as u32)
            };
            let answer = session.complete_ids(&ids, &unending(1 + (number % 12) as u32))?;
            running.push((session, answer));
        }
        for (number, (session, mut answer)) in running.into_iter().enumerate() {
            if number == 5 {
                answer.advance().transpose()?;
                continue;
            }
            answer.finish()?;
            drop(session);
        }
        if (round + 1) % 62 == 0 {
            held.extend(resident_mib().map(|mib| ((round + 1) * 8, mib)));
        }
    }
    Ok(held)
}

/// Begins an answer that is cancelled while that is being done.
type Begin = fn(&Model, usize) -> Result<(Session, Generation)>;

/// What is cancelled, and how it is begun.
const KINDS: [(&str, Begin); 3] = [
    ("encode", |model, round| {
        let size = model.config().vision.image_size as u32;
        let mut session = model.session()?;
        session.add_image(&RgbImage::from_fn(size, size, |x, y| [x as u8, y as u8, round as u8].into()))?;
        let answer = session.complete_ids(&[1.into(), PromptId::Picture, 5.into()], &unending(4))?;
        Ok((session, answer))
    }),
    ("prefill", |model, round| {
        let mut session = model.session()?;
        let ids = prompt(model, 100 + round as u32, model.ctx().saturating_sub(64).min(1500));
        let answer = session.complete_ids(&ids, &unending(4))?;
        Ok((session, answer))
    }),
    ("decode", |model, round| {
        let mut session = model.session()?;
        let mut answer = session
            .complete_ids(&prompt(model, 200 + round as u32, 8), &unending(RUNNING.min(model.ctx() - 32)))?;
        if let Some(token) = answer.advance() {
            token?;
        }
        Ok((session, answer))
    }),
];

/// Cancels that work again and again, each time a little later.
fn cancels(model: &Model, what: &'static str, begin: Begin, times: usize) -> Result<Cancels> {
    let (mut told_ms, mut free_ms) = (0.0_f64, 0.0_f64);
    for round in 0..times {
        let (mut session, mut answer) = begin(model, round)?;
        let canceller = answer.canceller();
        let cancelled = thread::scope(|scope| -> Result<Instant> {
            let at = scope.spawn(move || {
                thread::sleep(Duration::from_millis(37 * (1 + round as u64)));
                let at = Instant::now();
                canceller.cancel();
                at
            });
            while let Some(token) = answer.advance() {
                token?;
            }
            let told = Instant::now();
            let at = at.join().expect("no panic");
            told_ms = told_ms.max(ms(told.saturating_duration_since(at)));
            Ok(at)
        })?;
        // It waits for what was cancelled.
        session.inspect().fill(0)?;
        free_ms = free_ms.max(ms(cancelled.elapsed()));
    }
    Ok(Cancels { what, told_ms, free_ms, times })
}

fn load_cancels(clock: &Clock, source: &Loadable<'_>, options: &Options<'_>) -> Result<Cancels> {
    let mut worst = 0.0_f64;
    for round in 0..options.cancels {
        let cancel = Arc::new(AtomicBool::new(false));
        let load = LoadOptions { cancel: Some(cancel.clone()), ..options.load.clone() };
        let at = thread::spawn(move || {
            thread::sleep(Duration::from_millis(53 * (1 + round as u64)));
            let at = Instant::now();
            cancel.store(true, Ordering::Relaxed);
            at
        });
        let loaded = source.load(clock, &load);
        let ended = Instant::now();
        let at = at.join().expect("no panic");
        match loaded {
            Err(crate::Error::Model(ModelError::Interrupted)) => {
                worst = worst.max(ms(ended.saturating_duration_since(at)));
            }
            // It was loaded before.
            Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Cancels { what: "load", told_ms: worst, free_ms: worst, times: options.cancels })
}
