//! Conversations: sampling, stopping, pictures, turns, and what survives an answer that is cut short.

mod answers;
mod cut_short;
mod ends;
mod inspected;
mod refused;
mod sampling;
mod several;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strix_engine::Gpu;
use strix_model::prompt::{Question, Template};
use strix_model::{
    Checkpoint, FinishReason, GenerateOptions, Generation, LoadOptions, Model, SamplingParams, Session,
    Source, image,
};
use strix_tests::{assert_close, gpu, nano, prompt_ids};

/// nano with room for all that these tests ask.
fn model() -> Model {
    nano::load(gpu(), 400, 64)
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default()
}

/// Sampling that wanders: hot, and not ended soon.
fn wandering(seed: u64) -> GenerateOptions {
    let sampling = SamplingParams { temperature: 6.0, min_new_tokens: 24, seed, ..SamplingParams::default() };
    GenerateOptions { sampling, max_tokens: 24, ..GenerateOptions::default() }
}

/// What an answer came to: ids, text, pieces, reason.
struct Said {
    ids: Vec<u32>,
    text: String,
    pieces: Vec<String>,
    finish: FinishReason,
}

fn all(mut answer: Generation) -> Said {
    let pieces = answer.by_ref().map(|token| token.unwrap().text).collect();
    let finish = answer.finish_reason().cloned().expect("it ended");
    Said { ids: answer.ids().to_vec(), text: answer.text().to_owned(), pieces, finish }
}

fn replies(session: &Session) -> Vec<String> {
    session.turns().into_iter().map(|turn| turn.reply.expect("a reply")).collect()
}

fn complete(session: &mut Session, sample: &nano::Sample, options: &GenerateOptions) -> Said {
    session.reset();
    sample.add_pictures(session);
    all(session.complete(&sample.prompt, options).unwrap())
}

/// Number of submits to the device that `run` makes.
fn submits(gpu: &Gpu, run: impl FnOnce()) -> u64 {
    let before = gpu.submits();
    run();
    gpu.submits() - before
}
