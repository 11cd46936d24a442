//! One answer's way through its constraint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use llguidance::Matcher;
use llguidance::api::StopReason;
use llguidance::toktrie::SimpleVob;

use super::vocabulary::{Bare, Tokens, Vocabulary};
use super::{Allowed, Constraint, grammar};
use crate::tokenizer::{Detokenizer, Tokenizer};
use crate::{Error, Result};

/// What may come next in one answer.
#[derive(Debug)]
pub(crate) struct Guide(Arc<Mutex<State>>);

struct State {
    /// What it is called in a message.
    what: String,
    tokens: Arc<Tokens>,
    /// Tokens that end an answer.
    eos: Vec<u32>,
    matcher: Matcher,
    /// Whether the next token's space in front is dropped.
    drops_space: bool,
    num_tokens: usize,
    /// The tokens that may come next, once they are known.
    allowed: Option<Result<SimpleVob, String>>,
    /// The end token, if these are no other.
    end: Option<u32>,
    /// Time that finding them took so far.
    spent: Duration,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("what", &self.what).field("num_tokens", &self.num_tokens).finish()
    }
}

/// Checks a constraint without a model's vocabulary.
pub(crate) fn check(constraint: &Constraint) -> Result<()> {
    let mut matcher = grammar::matcher(constraint, &Tokens::of_bytes())?;
    match matcher.compute_mask_or_eos() {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Error::Constraint { what: constraint.to_string(), reason: stuck(&error.to_string()) })
        }
    }
}

/// Why nothing can follow.
fn stuck(error: &str) -> String {
    let error = grammar::said(error);
    if error == StopReason::NoExtensionBias.to_string() { "no token fits".into() } else { error }
}

impl Guide {
    /// Begins an answer that any of `eos` ends.
    pub(crate) fn new(
        constraint: &Constraint,
        vocabulary: &Vocabulary,
        tokenizer: &Tokenizer,
        eos: &[u32],
    ) -> Result<Self> {
        let tokens = vocabulary.tokens(tokenizer);
        let matcher = grammar::matcher(constraint, &tokens.parsers)?;
        let mut state = State {
            what: constraint.to_string(),
            tokens,
            eos: eos.to_vec(),
            matcher,
            drops_space: Detokenizer::default().drops_next_space(tokenizer),
            num_tokens: 0,
            allowed: None,
            end: None,
            spent: Duration::ZERO,
        };
        // One that nothing fits is refused here, before anything is run.
        state.find_allowed();
        if let Some(Err(reason)) = &state.allowed {
            return Err(state.error(reason));
        }
        Ok(Self(Arc::new(state.into())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it found on another thread what may come next, while the device runs.
    pub(crate) fn prepare(&self) {
        let state = self.0.clone();
        // Whoever needs it first, and finds nobody at it, does it: a thread that comes late finds it done.
        rayon::spawn(move || state.lock().unwrap_or_else(PoisonError::into_inner).find_allowed());
    }

    /// Time that finding what may come next took so far.
    pub(crate) fn spent(&self) -> Duration {
        self.state().spent
    }

    /// Has it known what may come next: the end token, if nothing else can.
    pub(crate) fn end(&self) -> Option<u32> {
        let mut state = self.state();
        state.find_allowed();
        state.end
    }

    /// Chooses among the tokens that may come next.
    pub(crate) fn with_allowed<T>(&self, choose: impl FnOnce(Allowed<'_>) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        state.find_allowed();
        match state.allowed.as_ref().expect("just found") {
            Ok(allowed) => choose(Allowed { words: allowed.as_slice(), len: state.tokens.len }),
            Err(reason) => Err(state.error(reason)),
        }
    }

    /// Takes the token that was chosen; `drops_space` is of the next one. Whether nothing but the end can follow.
    pub(crate) fn accept(&mut self, id: u32, drops_space: bool) -> Result<bool> {
        let mut state = self.state();
        let known = match state.tokens.bare.get(&id).filter(|_| state.drops_space) {
            None => Some(id),
            Some(Bare::Id(bare)) => Some(*bare),
            Some(Bare::Nothing) => None,
        };
        state.allowed = None;
        state.drops_space = drops_space;
        state.num_tokens += 1;
        if let Some(id) = known {
            let taken = state.matcher.consume_token(id);
            taken.map_err(|error| state.error(&grammar::said(&error.to_string())))?;
        }
        Ok(state.matcher.is_stopped())
    }
}

impl State {
    fn error(&self, reason: &str) -> Error {
        let reason = match self.num_tokens {
            0 => reason.to_owned(),
            tokens => format!("after {tokens} tokens of the answer: {reason}"),
        };
        Error::Constraint { what: self.what.clone(), reason }
    }

    fn find_allowed(&mut self) {
        if self.allowed.is_none() {
            let start = Instant::now();
            self.allowed = Some(self.allowed());
            self.spent += start.elapsed();
        }
    }

    fn allowed(&mut self) -> Result<SimpleVob, String> {
        let allowed = self.matcher.compute_mask_or_eos();
        let mut allowed = allowed.map_err(|error| stuck(&error.to_string()))?;
        let ends = self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false);
        allowed.disallow_token(self.tokens.eos);
        let goes_on = !allowed.is_zero();
        self.end = self.eos.first().copied().filter(|_| ends && !goes_on);
        if self.drops_space {
            for (&id, bare) in &self.tokens.bare {
                let is_allowed = match bare {
                    Bare::Id(bare) => allowed.is_allowed(*bare),
                    // Models write it before what has no token with a space in front, a number for one.
                    Bare::Nothing => goes_on && self.num_tokens == 0,
                };
                allowed.set(id as usize, is_allowed);
            }
        }
        for &eos in &self.eos {
            if eos < self.tokens.len {
                allowed.set(eos as usize, ends);
            }
        }
        Ok(allowed)
    }
}
