//! What can be asked of an answer, and what is known of it when it has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strix_engine::Streamed;

use crate::constraint::Constraint;
use crate::sampler::{CustomSampler, SamplingParams};
use crate::stop::StopMatcher;
use crate::{Error, Result};

/// How an answer is generated.
///
/// ```
/// use strix_model::{FinishReason, GenerateOptions, LoadOptions, Model, SamplingParams};
///
/// let options = GenerateOptions {
///     sampling: SamplingParams { temperature: 0.7, top_p: 0.9, seed: 7, ..SamplingParams::default() },
///     max_tokens: 64,
///     stop: vec!["orange".into()],
///     log_probs: Some(3),
///     ..GenerateOptions::default()
/// };
/// let mut session = Model::nano(&LoadOptions::default())?.session()?;
/// let answer = session.ask("What are the seven colors of the rainbow?", &options)?.finish()?;
/// assert_eq!(answer.text, "The seven colors of the rainbow are red,");
/// assert_eq!(answer.finish_reason, FinishReason::Stop("orange".into()));
/// assert!(answer.log_probs.len() == answer.ids.len() && answer.log_probs[0].top.len() == 3);
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// How tokens are chosen; greedy by default.
    pub sampling: SamplingParams,
    /// Chooses the tokens in place of the draw that `sampling` describes.
    pub sampler: Option<CustomSampler>,
    /// Tokens at most; 512 by default.
    pub max_tokens: u32,
    /// Texts that end the answer and are not part of it. They do so within a constraint too, whatever it asks for.
    pub stop: Vec<String>,
    /// What the answer must be.
    pub constraint: Option<Constraint>,
    /// Also gives the log-probability of each token, and of so many of the likeliest in its place.
    pub log_probs: Option<usize>,
    /// Set it, from any thread, to end the answer with the text so far. It is looked at between two submits to the
    /// device, while pictures are encoded too. [`Generation::canceller`](crate::Generation::canceller) does the same.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            sampling: SamplingParams::default(),
            sampler: None,
            max_tokens: 512,
            stop: vec![],
            constraint: None,
            log_probs: None,
            cancel: None,
        }
    }
}

impl GenerateOptions {
    /// Checks every option against its range, and those against each other that must agree.
    ///
    /// # Errors
    ///
    /// Names the first that is wrong, its value and what it can be.
    pub fn validate(&self) -> Result<()> {
        self.validate_but_constraint()?;
        self.constraint.as_ref().map_or(Ok(()), Constraint::validate)
    }

    /// The same without what takes longest, and comes again with a vocabulary.
    pub(crate) fn validate_but_constraint(&self) -> Result<()> {
        self.sampling.validate()?;
        let (least, most) = (self.sampling.min_new_tokens, self.max_tokens);
        if least > most as usize {
            return Err(Error::out_of_range("min_new_tokens", least, format!("at most max_tokens, {most}")));
        }
        StopMatcher::new(self.stop.clone()).map(drop)
    }

    /// Whether the flag in `cancel` is set.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed))
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it.
    Eos,
    /// It is what its constraint asks for, and nothing can follow.
    Complete,
    /// This stop text appeared.
    Stop(String),
    /// It reached its `max_tokens`.
    MaxTokens,
    /// The context is full.
    Context,
    /// It was cancelled.
    Cancelled,
}

impl std::fmt::Display for FinishReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Eos => f.write_str("eos"),
            Self::Complete => f.write_str("complete"),
            Self::Stop(_) => f.write_str("stop"),
            Self::MaxTokens => f.write_str("max_tokens"),
            Self::Context => f.write_str("context"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// One generated token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text that became certain with it; often its own, sometimes none, sometimes more.
    pub text: String,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From the question until room and a turn were there for it.
    pub queued: Duration,
    /// Preprocessing and encoding the pictures of this question.
    pub image_encode: Duration,
    /// Running the prompt, with what others ran in between.
    pub prefill: Duration,
    /// Positions of the prompt that were run; those already in the cache are not.
    pub prefill_tokens: u32,
    /// Positions of the prompt that the cache held already.
    pub reused_tokens: u32,
    /// Running one token after the other, with what others ran in between.
    pub decode: Duration,
    /// Tokens that took part in `decode`: all but the first.
    pub decode_tokens: u32,
    /// From the question to the first token, pictures included.
    pub first_token: Duration,
    /// Finding which tokens may come next under a constraint; done on another thread, while the device runs.
    pub constraint: Duration,
    /// What a constraint kept the device waiting for: that which was not found in time, and taking note of each token.
    pub constraint_wait: Duration,
    /// What was streamed to the device up to the first token.
    pub streamed_before: Streamed,
    /// What was streamed to the device during `decode`.
    pub streamed: Streamed,
}

impl Timing {
    /// Decoding speed; `None` where there was one token only, which comes from the prompt: there is no speed of one.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let known = self.decode_tokens > 0 && !self.decode.is_zero();
        known.then(|| f64::from(self.decode_tokens) / self.decode.as_secs_f64())
    }

    /// Bytes streamed to the device for each decoded token; 0 where all layers are on the device.
    pub fn streamed_bytes_per_token(&self) -> u64 {
        self.streamed.bytes / u64::from(self.decode_tokens.max(1))
    }

    /// Share of the time of the answer, 0 to 1, in which the device waited for what was streamed to it: for its bytes to
    /// come from the file, or from the host's memory.
    pub fn waiting_share(&self) -> f64 {
        let waiting = self.streamed_before.and(self.streamed).waiting.as_secs_f64();
        let time = (self.image_encode + self.prefill + self.decode).as_secs_f64();
        if time > 0.0 { (waiting / time).min(1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaming_is_counted_by_token_and_by_time() {
        let mut timing = Timing::default();
        assert_eq!((timing.streamed_bytes_per_token(), timing.waiting_share()), (0, 0.0));
        timing.decode_tokens = 3;
        timing.decode = Duration::from_secs(8);
        timing.streamed = Streamed { bytes: 12, waiting: Duration::from_secs(2) };
        assert_eq!((timing.streamed_bytes_per_token(), timing.waiting_share()), (4, 0.25));
        // The first pass reads the file.
        timing.prefill = Duration::from_secs(2);
        timing.streamed_before = Streamed { bytes: 99, waiting: Duration::from_secs(3) };
        assert_eq!((timing.streamed_bytes_per_token(), timing.waiting_share()), (4, 0.5));
        // Clocks of two threads may differ.
        timing.decode = Duration::from_secs(1);
        assert_eq!(timing.waiting_share(), 1.0);
    }
}
