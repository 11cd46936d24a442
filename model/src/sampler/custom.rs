//! A caller's own way to choose the next token.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strix_engine::panic_text;

use crate::{Error, Result};

/// Chooses each token of an answer, in place of the draw that [`SamplingParams`](super::SamplingParams) describe:
/// [`GenerateOptions::sampler`](crate::GenerateOptions::sampler).
///
/// It is a closure that is given id and logit of each token that may come, and returns one of those ids. Before it,
/// `logit_bias`, the penalties and `min_new_tokens` of the sampling options apply, and the constraint rules tokens out;
/// `temperature`, `top_k`, `top_p`, `min_p` and `seed` do nothing. The logits are those of the model otherwise, in f32.
///
/// Each answer begins with a clone of the closure, so that what it keeps is its answer's own; so does one that is
/// [gone on with](crate::Session::resume). It is called on the model's thread, which runs nothing meanwhile: it should return
/// soon. If it panics, or returns another id, its answer ends with an error, and others go on. A [saved](crate::Session::save) session does not keep it.
///
/// ```
/// use strix_model::{CustomSampler, GenerateOptions, LoadOptions, Model};
///
/// // The likeliest token that is not the one before it.
/// let mut last = None;
/// let sampler = CustomSampler::of_candidates(2, move |tokens| {
///     let (id, _) = tokens.iter().find(|(id, _)| Some(*id) != last).unwrap_or(&tokens[0]);
///     last = Some(*id);
///     *id
/// });
/// let options = GenerateOptions { sampler: Some(sampler), max_tokens: 4, ..GenerateOptions::default() };
/// let mut session = Model::nano(&LoadOptions::default())?.session()?;
/// let answer = session.ask("what color is the sky?", &options)?.finish()?;
/// assert!(answer.ids.windows(2).all(|pair| pair[0] != pair[1]));
/// # Ok::<(), strix_model::Error>(())
/// ```
pub struct CustomSampler {
    candidates: Option<usize>,
    choose: Box<dyn Choose>,
}

/// A closure that can be cloned.
trait Choose: Send + Sync {
    fn choose(&mut self, tokens: &[(u32, f32)]) -> u32;
    fn cloned(&self) -> Box<dyn Choose>;
}

impl<F: FnMut(&[(u32, f32)]) -> u32 + Clone + Send + Sync + 'static> Choose for F {
    fn choose(&mut self, tokens: &[(u32, f32)]) -> u32 {
        self(tokens)
    }

    fn cloned(&self) -> Box<dyn Choose> {
        Box::new(self.clone())
    }
}

impl CustomSampler {
    /// Chooses among all tokens, which come by rising id. Their logits are read from the device for every token: 4 bytes
    /// each, 128 kB of the published model.
    pub fn of_all(choose: impl FnMut(&[(u32, f32)]) -> u32 + Clone + Send + Sync + 'static) -> Self {
        Self { candidates: None, choose: Box::new(choose) }
    }

    /// Chooses among the `count` likeliest, at least 1, which come likeliest first; of equal logits the lowest id comes first. Up
    /// to 64 are found on the device, and 8 bytes each are read for a token; more, or with `logit_bias`, a penalty, a
    /// constraint or `log_probs`, are found among all on the host.
    pub fn of_candidates(
        count: usize,
        choose: impl FnMut(&[(u32, f32)]) -> u32 + Clone + Send + Sync + 'static,
    ) -> Self {
        Self { candidates: Some(count.max(1)), choose: Box::new(choose) }
    }

    /// Number of the likeliest that it chooses among; `None`: all.
    pub(super) fn candidates(&self) -> Option<usize> {
        self.candidates
    }

    /// The token that it chooses, which is one of these.
    pub(super) fn choose(&mut self, tokens: &[(u32, f32)]) -> Result<u32> {
        // What it keeps is never used again.
        let chosen = catch_unwind(AssertUnwindSafe(|| self.choose.choose(tokens)));
        let token =
            chosen.map_err(|panic| Error::SamplerPanicked(panic_text(&*panic).unwrap_or_default().into()))?;
        match tokens.iter().any(|(given, _)| *given == token) {
            true => Ok(token),
            false => Err(Error::NotACandidate { token, candidates: tokens.len() }),
        }
    }
}

impl Clone for CustomSampler {
    fn clone(&self) -> Self {
        Self { candidates: self.candidates, choose: self.choose.cloned() }
    }
}

impl fmt::Debug for CustomSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomSampler").field("candidates", &self.candidates).finish_non_exhaustive()
    }
}
