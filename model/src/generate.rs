//! The token loop: an iterator that samples, decodes and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strix_engine::Streamed;

use crate::decoder::CANDIDATES;
use crate::model::Model;
use crate::sampler::{LogProbs, Sampler, SamplingParams};
use crate::session::{Before, Row, Scores, Session, Want};
use crate::stop::StopMatcher;
use crate::tokenizer::Detokenizer;
use crate::{Error, Result};

/// Bytes of text that a token is expected to have at most, on average.
const TEXT_BYTES: usize = 8;

/// How an answer is generated.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// How tokens are chosen; greedy by default.
    pub sampling: SamplingParams,
    /// Tokens at most.
    pub max_tokens: u32,
    /// Texts that end the answer and are not part of it.
    pub stop: Vec<String>,
    /// Also gives the log-probability of each token, and of so many of the likeliest in its place.
    pub log_probs: Option<usize>,
    /// Set it, from any thread, to end the answer with the text so far. It is looked at between two submits to the
    /// device, while pictures are encoded too.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            sampling: SamplingParams::default(),
            max_tokens: 512,
            stop: vec![],
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
        self.sampling.validate()?;
        let (least, most) = (self.sampling.min_new_tokens, self.max_tokens);
        if least > most as usize {
            return Err(Error::out_of_range("min_new_tokens", least, format!("at most max_tokens, {most}")));
        }
        StopMatcher::new(self.stop.clone()).map(drop)
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model ended it.
    Eos,
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
    /// Preprocessing and encoding the pictures of this question.
    pub image_encode: Duration,
    /// Running the prompt.
    pub prefill: Duration,
    /// Positions of the prompt that were run; those already in the cache are not.
    pub prefill_tokens: u32,
    /// Positions of the prompt that the cache held already.
    pub reused_tokens: u32,
    /// Running one token after the other.
    pub decode: Duration,
    /// Tokens that took part in `decode`: all but the first.
    pub decode_tokens: u32,
    /// From the question to the first token, pictures included.
    pub first_token: Duration,
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

    /// Share of the time of decoding, 0 to 1, in which the device waited for what was streamed to it.
    pub fn waiting_share(&self) -> f64 {
        let (waiting, decode) = (self.streamed.waiting.as_secs_f64(), self.decode.as_secs_f64());
        if decode > 0.0 { (waiting / decode).min(1.0) } else { 0.0 }
    }
}

/// Tokens of an answer as they are generated. Dropping it keeps what was generated in the conversation.
#[derive(Debug)]
pub struct Answer<'a> {
    session: &'a mut Session,
    options: GenerateOptions,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    /// What runs next: the prompt, then each token.
    rows: Vec<Row>,
    ids: Vec<u32>,
    log_probs: Vec<LogProbs>,
    text: String,
    /// The text of the last token, and what of it is certain.
    decoded: String,
    certain: String,
    finish: Option<FinishReason>,
    failed: bool,
    timing: Timing,
    /// How to take it back while no token has come.
    before: Option<Before>,
}

/// What can be refused of an answer before anything else is done for it.
pub(crate) struct Start {
    options: GenerateOptions,
    sampler: Sampler,
    stops: StopMatcher,
}

impl Start {
    pub(crate) fn new(model: &Model, options: &GenerateOptions) -> Result<Self> {
        options.validate()?;
        let vocab = model.inner.config.text.vocab_size;
        if let Some((id, _)) = options.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= vocab) {
            return Err(Error::UnknownToken { token: i64::from(*id), vocab });
        }
        Ok(Self {
            options: options.clone(),
            sampler: Sampler::new(options.sampling.clone(), &model.inner.eos)?,
            stops: StopMatcher::new(options.stop.clone())?,
        })
    }

    /// An answer to these positions, which the session has begun; it was `before` before they were asked.
    pub(crate) fn answer<'a>(self, session: &'a mut Session, rows: &[Row], before: Before) -> Answer<'a> {
        let Self { options, mut sampler, stops } = self;
        #[expect(clippy::float_cmp, reason = "1 is the value that switches it off")]
        if options.sampling.repetition_penalty != 1.0 {
            sampler.see(rows.iter().filter_map(|r| if let Row::Token(id) = r { Some(*id) } else { None }));
        }
        let keep = session.len();
        let (reused, prefilled) = (keep as u32, (rows.len() - keep) as u32);
        let timing = Timing { prefill_tokens: prefilled, reused_tokens: reused, ..Timing::default() };
        // Room for the whole answer, so that no token allocates.
        let room = (options.max_tokens as usize).min(session.model().inner.ctx as usize - rows.len() + 1);
        Answer {
            session,
            options,
            sampler,
            detokenizer: Detokenizer::default(),
            stops,
            rows: rows[keep..].to_vec(),
            ids: Vec::with_capacity(room),
            log_probs: vec![],
            text: String::with_capacity(room * TEXT_BYTES),
            decoded: String::with_capacity(TEXT_BYTES),
            certain: String::with_capacity(TEXT_BYTES),
            finish: None,
            failed: false,
            timing,
            before: Some(before),
        }
    }
}

impl Answer<'_> {
    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// Where the time went so far.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The text so far, without white space at either end.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// The tokens so far, the one that ended it included.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How likely each of them was, if [`GenerateOptions::log_probs`] asks for it; else nothing.
    pub fn log_probs(&self) -> &[LogProbs] {
        &self.log_probs
    }

    /// Generates the next token: its id, and the text that became certain with it. What the iterator gives, without
    /// a string of its own: between two tokens Strix then allocates nothing, on the host or the device.
    pub fn advance(&mut self) -> Option<Result<(u32, &str)>> {
        if self.finish.is_some() || self.failed {
            return None;
        }
        if self.options.max_tokens == 0 {
            self.finish = Some(FinishReason::MaxTokens);
            return None;
        }
        match self.step() {
            Ok(id) => id.map(|id| Ok((id, self.certain.as_str()))),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }

    fn step(&mut self) -> Result<Option<u32>> {
        let cancel = self.options.cancel.clone();
        let go_on = || !cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        // Between two tokens it is asked elsewhere.
        let go_on: Option<&dyn Fn() -> bool> =
            if cancel.is_some() && self.ids.is_empty() { Some(&go_on) } else { None };
        if self.ids.is_empty() {
            if go_on.is_some_and(|go_on| !go_on()) || !self.session.encode(go_on)? {
                self.finish = Some(FinishReason::Cancelled);
                return Ok(None);
            }
            self.timing.image_encode = std::mem::take(&mut self.session.image_encode);
        }
        let start = Instant::now();
        let before = self.session.model().streamed();
        let needed = self.sampler.candidates_needed().and_then(|n| u32::try_from(n).ok());
        let needed = needed.filter(|&n| n <= CANDIDATES && self.options.log_probs.is_none());
        let want = needed.map_or(Want::Full, Want::Candidates);
        let Some(scores) = self.session.forward(&self.rows, want, go_on)? else {
            self.finish = Some(FinishReason::Cancelled);
            return Ok(None);
        };
        let id = match scores {
            Scores::Candidates(candidates) => self.sampler.sample_candidates(candidates)?,
            Scores::Full(logits) => {
                let id = self.sampler.sample(logits)?;
                self.log_probs.extend(self.options.log_probs.map(|top| LogProbs::of(logits, id, top)));
                id
            }
        };
        let elapsed = start.elapsed();
        if self.ids.is_empty() {
            self.timing.prefill = elapsed;
            self.timing.first_token = self.timing.image_encode + elapsed;
        } else {
            self.timing.decode += elapsed;
            self.timing.decode_tokens += 1;
            let now = self.session.model().streamed();
            self.timing.streamed.bytes += now.bytes - before.bytes;
            self.timing.streamed.waiting += now.waiting - before.waiting;
        }
        self.ids.push(id);
        self.rows.clear();
        self.rows.push(Row::Token(id));
        self.decode(id)?;
        Ok(Some(id))
    }

    /// Finds the text that a token makes certain; sets `finish` if it is the last.
    fn decode(&mut self, id: u32) -> Result<()> {
        let model = self.session.model().clone();
        let (inner, tokenizer) = (&model.inner, model.tokenizer()?);
        let text = &mut self.certain;
        text.clear();
        if inner.eos.contains(&id) {
            self.finish = Some(FinishReason::Eos);
        } else {
            self.detokenizer.push_to(tokenizer, id, &mut self.decoded);
            self.stops.push_to(&self.decoded, text);
            let cancelled = self.options.cancel.as_ref().is_some_and(|c| c.load(Ordering::Relaxed));
            self.finish = if let Some(stop) = self.stops.matched() {
                Some(FinishReason::Stop(stop.to_owned()))
            } else if cancelled {
                Some(FinishReason::Cancelled)
            } else if self.ids.len() >= self.options.max_tokens as usize {
                Some(FinishReason::MaxTokens)
            } else if self.session.len() >= inner.ctx as usize {
                Some(FinishReason::Context)
            } else {
                None
            };
        }
        if self.finish.is_some() && self.stops.matched().is_none() {
            self.stops.push_to(&self.detokenizer.finish(), text);
            *text += &self.stops.finish();
            if let Some(stop) = self.stops.matched() {
                self.finish = Some(FinishReason::Stop(stop.to_owned()));
            }
        }
        // White space before the answer is not part of it.
        if self.text.is_empty() {
            text.drain(..text.len() - text.trim_start().len());
        }
        self.text += text;
        Ok(())
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance()?;
        Some(next.map(|(id, text)| Token { id, text: text.to_owned() }))
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.session.end();
        let Some(before) = self.before.take() else { return };
        // Nothing generated: it was not answered, and may be asked again.
        let answered = !self.ids.is_empty()
            && match &before {
                Before::Turn => self.session.conversation.reply(self.text.trim()).is_ok(),
                Before::Chat { .. } => true,
            };
        if !answered {
            self.session.restore(before);
        }
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
        // Clocks of two threads may differ.
        timing.decode = Duration::from_secs(1);
        assert_eq!(timing.waiting_share(), 1.0);
    }
}
