//! A whole answer.

use std::ffi::{CString, c_char};
use std::time::Duration;

use strix_model::{Answer, FinishReason};

use crate::failure::ErrorPlace;
use crate::guard::{guard, quietly};
use crate::raw::{self, filled, handle};
use crate::remedy::out_of;
use crate::status::StrixStatus;
use crate::text::{Text, ending};
use crate::tokens::{StrixLogProb, StrixToken};

/// Why an answer ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrixFinish {
    /// The model ended it.
    Eos = 0,
    /// It is what its constraint asks for, and nothing can follow.
    Complete = 1,
    /// A stop text appeared.
    Stop = 2,
    /// It reached its max_tokens.
    MaxTokens = 3,
    /// The context is full.
    Context = 4,
    /// It was cancelled.
    Cancelled = 5,
    /// A reason that this library has no name for.
    Other = 6,
}

/// A whole answer. It has no tie to the session, and may outlive it.
///
/// It does not change: any number of threads may read it. Freed with strix_answer_free.
pub struct StrixAnswer {
    text: Text,
    stop: Option<CString>,
    ids: Vec<u32>,
    chosen: Vec<f32>,
    top: Vec<Vec<StrixLogProb>>,
    info: Numbers,
}

/// What of [`StrixAnswerInfo`] is no pointer.
struct Numbers {
    finish: StrixFinish,
    timing: strix_model::Timing,
}

/// A whole answer's text and numbers. All that it points to is there until the answer is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixAnswerInfo {
    /// Set by the caller: sizeof(StrixAnswerInfo).
    pub size: usize,
    /// Its text, without white space at either end; under a constraint, with it. UTF-8. A zero byte is behind it; it may
    /// have others within.
    pub text: *const c_char,
    /// Bytes of text.
    pub text_len: usize,
    /// Its tokens, the one that ended it included.
    pub ids: *const u32,
    /// Number of tokens.
    pub num_tokens: usize,
    /// The stop text that ended it; else NULL.
    pub stop: *const c_char,
    /// Seconds from the question until room and a turn were there for it.
    pub queued_seconds: f64,
    /// Seconds of preprocessing and encoding the pictures of this question.
    pub image_seconds: f64,
    /// Seconds of running the prompt.
    pub prefill_seconds: f64,
    /// Seconds of running one token after the other.
    pub decode_seconds: f64,
    /// Seconds from the question to the first token.
    pub first_token_seconds: f64,
    /// Positions of the prompt that were run.
    pub prefill_tokens: u32,
    /// Positions of the prompt that the cache held already.
    pub reused_tokens: u32,
    /// Tokens that took part in decode_seconds: all but the first.
    pub decode_tokens: u32,
    /// Why it ended.
    pub finish: StrixFinish,
}

filled!(StrixAnswerInfo);

impl StrixAnswer {
    pub(crate) fn new(answer: &Answer) -> Box<Self> {
        let (finish, stop) = match &answer.finish_reason {
            FinishReason::Eos => (StrixFinish::Eos, None),
            FinishReason::Complete => (StrixFinish::Complete, None),
            FinishReason::Stop(text) => (StrixFinish::Stop, Some(ending(text.as_str()))),
            FinishReason::MaxTokens => (StrixFinish::MaxTokens, None),
            FinishReason::Context => (StrixFinish::Context, None),
            FinishReason::Cancelled => (StrixFinish::Cancelled, None),
            _ => (StrixFinish::Other, None),
        };
        let likeliest = |&(token, log_prob): &(u32, f32)| StrixLogProb { token, log_prob };
        Box::new(Self {
            text: answer.text.as_str().into(),
            stop,
            ids: answer.ids.clone(),
            chosen: answer.log_probs.iter().map(|of| of.chosen).collect(),
            top: answer.log_probs.iter().map(|of| of.top.iter().map(likeliest).collect()).collect(),
            info: Numbers { finish, timing: answer.timing },
        })
    }
}

/// An answer's text and numbers.
///
/// Fills info, whose size is set. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_answer_info(
    answer: Option<&StrixAnswer>,
    info: *mut StrixAnswerInfo,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let StrixAnswer { text, stop, ids, info: Numbers { finish, timing }, .. } = handle(answer, "answer")?;
        let seconds = |time: Duration| time.as_secs_f64();
        let known = StrixAnswerInfo {
            size: 0,
            text: text.as_ptr(),
            text_len: text.len(),
            ids: ids.as_ptr(),
            num_tokens: ids.len(),
            stop: stop.as_ref().map_or(std::ptr::null(), |stop| stop.as_ptr()),
            queued_seconds: seconds(timing.queued),
            image_seconds: seconds(timing.image_encode),
            prefill_seconds: seconds(timing.prefill),
            decode_seconds: seconds(timing.decode),
            first_token_seconds: seconds(timing.first_token),
            prefill_tokens: timing.prefill_tokens,
            reused_tokens: timing.reused_tokens,
            decode_tokens: timing.decode_tokens,
            finish: *finish,
        };
        raw::fill(info, known)
    })
}

/// A token of an answer, by its index from 0: its id and, if they were asked for, its log-probabilities. It has no text.
///
/// Fills token, whose size is set. What it points to is there until answer is freed. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_answer_token(
    answer: Option<&StrixAnswer>,
    index: usize,
    token: *mut StrixToken,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let StrixAnswer { ids, chosen, top, .. } = handle(answer, "answer")?;
        let &id = ids.get(index).ok_or_else(|| out_of(index, ids.len(), "tokens"))?;
        let top = top.get(index).map_or(&[][..], Vec::as_slice);
        let known = StrixToken {
            size: 0,
            text: c"".as_ptr(),
            text_len: 0,
            top: if top.is_empty() { std::ptr::null() } else { top.as_ptr() },
            num_top: top.len(),
            id,
            log_prob: chosen.get(index).copied().unwrap_or(0.0),
        };
        raw::fill(token, known)
    })
}

/// Frees an answer. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_answer_free(answer: Option<Box<StrixAnswer>>) {
    quietly((), || drop(answer));
}
