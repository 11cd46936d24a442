//! What the scheduler is asked for: a prompt, and how its tokens are chosen and become text. Nothing here knows a device.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::constraint::{Allowed, Guide};
use crate::decoder::CANDIDATES;
use crate::feed::{Feed, TEXT_BYTES};
use crate::generate::{FinishReason, GenerateOptions, Timing};
use crate::inner::Inner;
use crate::picture::Picture;
use crate::rows::Row;
use crate::sampler::{LogProbs, Sampler};
use crate::stop::StopMatcher;
use crate::talk::Left;
use crate::tokenizer::{Detokenizer, Tokenizer};
use crate::{Error, Result};

/// A prompt to be run, and the answer to be generated.
#[derive(Debug)]
pub(crate) struct Request {
    /// All positions of the prompt.
    pub(crate) rows: Vec<Row>,
    /// Pictures of the conversation, those of `rows` among them.
    pub(crate) pictures: Vec<Picture>,
    /// What the conversation left in the cache.
    pub(crate) left: Arc<Mutex<Left>>,
    /// Time that its pictures took before it was asked.
    pub(crate) image_encode: Duration,
    /// When it was asked.
    pub(crate) asked: Instant,
    /// Whether the cache had no room for it when it first could be begun.
    pub(crate) has_waited: bool,
    pub(crate) sample: Sample,
}

impl Request {
    /// Positions that it may come to, in a context of so many. The last token is not run.
    pub(crate) fn positions(&self, ctx: u32) -> usize {
        (self.rows.len() + (self.sample.max_tokens().max(1) - 1) as usize).min(ctx as usize)
    }
}

/// Logits of a sequence's last row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scores<'a> {
    /// Id and logit, largest first.
    Candidates(&'a [(u32, f32)]),
    /// By id.
    Full(&'a [f32]),
}

/// One answer: how its tokens are chosen, become text and end.
#[derive(Debug)]
pub(crate) struct Sample {
    options: GenerateOptions,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    guide: Option<Guide>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) timing: Timing,
    num_tokens: usize,
    /// Whether the answer has text. White space before it is not part of it.
    has_text: bool,
    /// The text of the last token, and what of it is certain.
    decoded: String,
    certain: String,
}

impl Sample {
    /// Checks the options, of which something can be refused before anything else is done.
    pub(crate) fn new(inner: &Inner, options: &GenerateOptions) -> Result<Self> {
        options.validate_but_constraint()?;
        Self::going_on(inner, options)
    }

    /// The same of an answer that has tokens already, and whose limits are of what comes.
    pub(crate) fn going_on(inner: &Inner, options: &GenerateOptions) -> Result<Self> {
        let guide = options
            .constraint
            .as_ref()
            .map(|constraint| Guide::new(constraint, &inner.vocabulary, inner.tokenizer()?, &inner.eos));
        let vocab = inner.config.text.vocab_size;
        if let Some((id, _)) = options.sampling.logit_bias.iter().find(|(id, _)| *id as usize >= vocab) {
            return Err(Error::UnknownToken { token: *id, vocab });
        }
        let mut sampler = Sampler::new(options.sampling.clone(), &inner.eos)?;
        if let Some(custom) = &options.sampler {
            sampler = sampler.with_custom(custom.clone());
        }
        Ok(Self {
            sampler,
            stops: StopMatcher::new(options.stop.clone())?,
            options: options.clone(),
            detokenizer: Detokenizer::default(),
            guide: guide.transpose()?,
            feed: Arc::default(),
            timing: Timing::default(),
            num_tokens: 0,
            has_text: false,
            decoded: String::with_capacity(TEXT_BYTES),
            certain: String::with_capacity(TEXT_BYTES),
        })
    }

    /// Makes room for so many tokens, so that none allocates.
    pub(crate) fn make_room(&mut self, tokens: usize) {
        self.feed = Feed::with_room(tokens);
    }

    /// Goes through tokens that were chosen before, and returns their text.
    pub(crate) fn replay(&mut self, ids: &[u32], inner: &Inner) -> Result<String> {
        let mut text = String::new();
        for &id in ids {
            self.sampler.replay(id);
            self.write(id, inner.tokenizer.as_deref())?;
            text += &self.certain;
        }
        Ok(text)
    }

    /// Takes note of a prompt.
    pub(crate) fn see(&mut self, prompt: &[Row]) {
        #[expect(clippy::float_cmp, reason = "1 is the value that switches it off")]
        if self.options.sampling.repetition_penalty != 1.0 {
            let ids = prompt.iter().filter_map(|row| if let Row::Token(id) = row { Some(*id) } else { None });
            self.sampler.see(ids);
        }
    }

    /// Tokens at most.
    pub(crate) fn max_tokens(&self) -> u32 {
        self.options.max_tokens
    }

    /// Whether nobody wants more of it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.feed.is_cancelled() || self.options.is_cancelled()
    }

    /// Candidates that its next token is chosen from; `None` if that takes all logits.
    pub(crate) fn candidates(&self) -> Option<u32> {
        let needed = self.sampler.candidates_needed().and_then(|n| u32::try_from(n).ok());
        let only_those = self.options.log_probs.is_none() && self.guide.is_none();
        needed.filter(|&n| n <= CANDIDATES && only_those)
    }

    /// Chooses the next token, where the cache holds so many positions: which it is, how likely it was, and whether it
    /// ends the answer.
    pub(crate) fn choose(
        &mut self,
        scores: Scores<'_>,
        inner: &Inner,
        positions: usize,
    ) -> Result<(u32, Option<LogProbs>, Option<FinishReason>)> {
        let (id, log_probs) = match scores {
            Scores::Candidates(candidates) => (self.sampler.sample_candidates(candidates)?, None),
            Scores::Full(logits) => {
                let id = match &self.guide {
                    None => self.sampler.sample(logits)?,
                    Some(guide) => {
                        let start = Instant::now();
                        let end = guide.end();
                        self.timing.constraint_wait += start.elapsed();
                        self.timing.constraint = guide.spent();
                        let sample =
                            |allowed: Allowed<'_>| self.sampler.sample_of(logits, |id| allowed.has(id));
                        end.map_or_else(|| guide.with_allowed(sample), Ok)?
                    }
                };
                (id, self.options.log_probs.map(|top| LogProbs::of(logits, id, top)))
            }
        };
        self.num_tokens += 1;
        let finish = if inner.eos.contains(&id) {
            self.certain.clear();
            Some(FinishReason::Eos)
        } else {
            let is_complete = self.write(id, inner.tokenizer.as_deref())?;
            if let Some(stop) = self.stops.matched() {
                Some(FinishReason::Stop(stop.to_owned()))
            } else if self.options.is_cancelled() {
                Some(FinishReason::Cancelled)
            } else if is_complete {
                Some(FinishReason::Complete)
            } else if self.num_tokens >= self.options.max_tokens as usize {
                Some(FinishReason::MaxTokens)
            } else if positions >= inner.ctx as usize {
                Some(FinishReason::Context)
            } else {
                None
            }
        };
        // What may come after it is found while the device runs it.
        if finish.is_none() {
            self.guide.iter().for_each(Guide::prepare);
        }
        Ok((id, log_probs, finish.map(|reason| self.end(reason))))
    }

    /// The text that became certain with the last token.
    pub(crate) fn certain(&self) -> &str {
        &self.certain
    }

    /// Finds the text that a token makes certain; without a tokenizer there is none. Whether a constraint lets nothing but
    /// the end follow.
    fn write(&mut self, id: u32, tokenizer: Option<&Tokenizer>) -> Result<bool> {
        self.certain.clear();
        let Some(tokenizer) = tokenizer else { return Ok(false) };
        self.detokenizer.push_to(tokenizer, id, &mut self.decoded);
        self.stops.push_to(&self.decoded, &mut self.certain);
        self.trim();
        let Some(guide) = &mut self.guide else { return Ok(false) };
        let start = Instant::now();
        let is_complete = guide.accept(id, self.detokenizer.drops_next_space(tokenizer));
        self.timing.constraint_wait += start.elapsed();
        is_complete
    }

    /// Adds the text that was held back, if the answer ends for this reason; the reason, as that text may hold a stop.
    fn end(&mut self, reason: FinishReason) -> FinishReason {
        if self.stops.matched().is_some() {
            return reason;
        }
        self.stops.push_to(&self.detokenizer.finish(), &mut self.certain);
        self.certain += &self.stops.finish();
        self.trim();
        self.stops.matched().map_or(reason, |stop| FinishReason::Stop(stop.to_owned()))
    }

    /// Takes off white space before the answer, which is not part of it unless it was asked for.
    fn trim(&mut self) {
        let text = &mut self.certain;
        if !self.has_text && self.guide.is_none() {
            text.drain(..text.len() - text.trim_start().len());
        }
        self.has_text |= !text.is_empty();
    }
}
