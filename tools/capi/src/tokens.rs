//! Tokens of an answer, and how likely they were.

use std::ffi::c_char;

use strix_model::LogProbs;

use crate::raw::filled;
use crate::text::Text;

/// A token, and the logarithm of its probability.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixLogProb {
    /// The token.
    pub token: u32,
    /// Natural logarithm of the probability that the model gave it, before any option changed it.
    pub log_prob: f32,
}

/// A token of an answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixToken {
    /// Set by the caller: sizeof(StrixToken). As a callback gets it, the library's.
    pub size: usize,
    /// The text that became certain with it: UTF-8, often the token's own, sometimes none, sometimes more. A zero byte is
    /// behind it; it may have others within.
    pub text: *const c_char,
    /// Bytes of text.
    pub text_len: usize,
    /// With log_probs, the likeliest tokens in its place, likeliest first: num_top of them; else NULL.
    pub top: *const StrixLogProb,
    /// Number of these.
    pub num_top: usize,
    /// Its id.
    pub id: u32,
    /// With log_probs, the logarithm of its probability; else 0.
    pub log_prob: f32,
}

filled!(StrixToken);

/// Keeps what a [`StrixToken`] points to.
#[derive(Default)]
pub(crate) struct Kept {
    text: Text,
    top: Vec<StrixLogProb>,
}

impl Kept {
    /// The token, whose pointers are good until the next or until this is dropped.
    pub(crate) fn token(&mut self, id: u32, text: &str) -> StrixToken {
        self.text.set(text);
        StrixToken {
            size: size_of::<StrixToken>(),
            text: self.text.as_ptr(),
            text_len: self.text.len(),
            top: std::ptr::null(),
            num_top: 0,
            id,
            log_prob: 0.0,
        }
    }

    /// The same token, with how likely it was.
    pub(crate) fn likely(&mut self, token: StrixToken, of: &LogProbs) -> StrixToken {
        self.top.clear();
        self.top.extend(of.top.iter().map(|&(token, log_prob)| StrixLogProb { token, log_prob }));
        let top = if self.top.is_empty() { std::ptr::null() } else { self.top.as_ptr() };
        StrixToken { top, num_top: self.top.len(), log_prob: of.chosen, ..token }
    }
}
