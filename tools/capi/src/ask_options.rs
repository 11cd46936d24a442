//! Options of an answer.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

use strix_model::{Constraint, CustomSampler, GenerateOptions, SamplingParams};

use crate::calls::User;
use crate::canceller::StrixCanceller;
use crate::failure::Failure;
use crate::load_options::cancel_flag;
use crate::raw::{self, choices, given, list, text};
use crate::status::StrixStatus;

/// What the text of an answer must be. An answer that ends by itself fits whole; one that is cut short is the beginning of one
/// that fits.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixConstraintKind {
    /// Anything.
    None = 0,
    /// Any JSON value.
    Json = 1,
    /// JSON of the schema whose JSON text constraint is. What of JSON Schema cannot be kept to is refused.
    JsonSchema = 2,
    /// Text that the regex constraint matches from its first character to its last.
    Regex = 3,
    /// Text of the grammar constraint, in llguidance's dialect of Lark's notation.
    Lark = 4,
}

choices!(StrixConstraintKind: 5);

/// What is added to the logit of a token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixLogitBias {
    /// The token.
    pub token: u32,
    /// What is added; -INFINITY rules the token out.
    pub bias: f32,
}

/// A token that may come next, and its logit: the model's, with biases and penalties.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixLogit {
    /// The token.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
}

/// Chooses the next token among those that may come: returns the id of one. Another ends the answer with an error.
///
/// It is called on the model's thread, which has nothing to run meanwhile: it should return soon. tokens are there during the
/// call only. It must not free anything of this model, which would wait for its own thread, nor wait for an answer of it, throw
/// or longjmp.
pub type StrixSamplerCallback =
    Option<extern "C" fn(user: *mut c_void, tokens: *const StrixLogit, num_tokens: usize) -> u32>;

/// How an answer is generated. Each field that is zero has its default; so all zeros are the defaults, which are greedy. It is
/// read during the call only, and so is what it points to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixAskOptions {
    /// Set by the caller: sizeof(StrixAskOptions).
    pub size: usize,
    /// Texts that end the answer and are not part of it: num_stop of them.
    pub stop: *const *const c_char,
    /// Number of stop texts.
    pub num_stop: usize,
    /// What constraint_kind needs; else NULL.
    pub constraint: *const c_char,
    /// num_logit_bias of them.
    pub logit_bias: *const StrixLogitBias,
    /// Number of logit biases.
    pub num_logit_bias: usize,
    /// Ends the answer, from any thread; NULL: only strix_generation_cancel and its like do. It may be freed once the call
    /// has returned.
    pub canceller: *const StrixCanceller,
    /// Chooses each token in place of temperature, top_k, top_p, min_p and seed; NULL: those do.
    pub sampler: StrixSamplerCallback,
    /// First argument of sampler. What it points to must be there until the answer has ended.
    pub sampler_user: *mut c_void,
    /// Seed of the random numbers. The same seed gives the same tokens.
    pub seed: u64,
    /// What the answer must be.
    pub constraint_kind: MaybeUninit<StrixConstraintKind>,
    /// Tokens at most. 0: 512.
    pub max_tokens: u32,
    /// The end token is not chosen before so many tokens.
    pub min_tokens: u32,
    /// Only so many of the likeliest tokens stay; 0: 50, -1: all.
    pub top_k: i32,
    /// Divisor of the logits. 0: greedy, the likeliest token each time.
    pub temperature: f32,
    /// The likeliest tokens stay until their probabilities reach this sum, up to 1. 0: 1, all.
    pub top_p: f32,
    /// Tokens less likely than this fraction of the likeliest go, up to 1.
    pub min_p: f32,
    /// What logits of tokens seen before are divided by if positive, and multiplied with if not. 0: 1, no change.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token that the answer holds, -2 to 2.
    pub presence_penalty: f32,
    /// The same for each time that it came, -2 to 2.
    pub frequency_penalty: f32,
    /// 1: each token has the logarithm of its probability.
    pub log_probs: u32,
    /// With log_probs: each token also has so many of the likeliest in its place.
    pub top_log_probs: u32,
    /// 1: every <|image|> of a question is the place of a picture. 0: pictures are in front of the question, and its text is
    /// data, whatever it looks like.
    pub placed: u32,
    /// sampler is given so many of the likeliest tokens, likeliest first; 0: all, by their ids.
    pub sampler_candidates: u32,
}

given!(StrixAskOptions);

/// The options of one call, and whether its question has places for pictures.
pub(crate) fn read(options: *const StrixAskOptions) -> Result<(GenerateOptions, bool), Failure> {
    let given = raw::options(options)?;
    let default = GenerateOptions::default();
    let stop = list(given.stop, given.num_stop, "stop")?;
    let biases = list(given.logit_bias, given.num_logit_bias, "logit_bias")?;
    let or_one = |value: f32| if value == 0.0 { 1.0 } else { value };
    let sampling = SamplingParams {
        temperature: given.temperature,
        top_k: match given.top_k {
            0 => default.sampling.top_k,
            -1 => 0,
            top_k => usize::try_from(top_k).map_err(|_| {
                Failure::new(StrixStatus::OutOfRange, format!("top_k is {top_k}; it can be -1 or more"))
            })?,
        },
        top_p: or_one(given.top_p),
        min_p: given.min_p,
        repetition_penalty: or_one(given.repetition_penalty),
        presence_penalty: given.presence_penalty,
        frequency_penalty: given.frequency_penalty,
        logit_bias: biases.iter().map(|&StrixLogitBias { token, bias }| (token, bias)).collect(),
        min_new_tokens: given.min_tokens as usize,
        seed: given.seed,
    };
    let constrained =
        |make: fn(String) -> Constraint| text(given.constraint, "constraint").map(|text| make(text.into()));
    let constraint = match raw::choice(given.constraint_kind)? {
        StrixConstraintKind::None => None,
        StrixConstraintKind::Json => Some(Constraint::Json),
        StrixConstraintKind::JsonSchema => Some(constrained(Constraint::JsonSchema)?),
        StrixConstraintKind::Regex => Some(constrained(Constraint::Regex)?),
        StrixConstraintKind::Lark => Some(constrained(Constraint::Lark)?),
    };
    let options = GenerateOptions {
        sampling,
        max_tokens: if given.max_tokens == 0 { default.max_tokens } else { given.max_tokens },
        stop: stop
            .iter()
            .map(|&stop| text(stop, "a stop text").map(ToOwned::to_owned))
            .collect::<Result<_, _>>()?,
        constraint,
        log_probs: (given.log_probs != 0).then_some(given.top_log_probs as usize),
        cancel: cancel_flag(given.canceller),
        sampler: given
            .sampler
            .map(|callback| sampler(callback, User::new(given.sampler_user), given.sampler_candidates)),
    };
    Ok((options, given.placed != 0))
}

/// The caller's way to choose a token.
fn sampler(
    callback: extern "C" fn(*mut c_void, *const StrixLogit, usize) -> u32,
    user: User,
    candidates: u32,
) -> CustomSampler {
    let mut given = vec![];
    let choose = move |tokens: &[(u32, f32)]| {
        given.clear();
        given.extend(tokens.iter().map(|&(token, logit)| StrixLogit { token, logit }));
        callback(user.get(), given.as_ptr(), given.len())
    };
    match candidates {
        0 => CustomSampler::of_all(choose),
        count => CustomSampler::of_candidates(count as usize, choose),
    }
}
