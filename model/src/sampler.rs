//! Chooses the next token from the logits, in the order of transformers' processors and warpers.

mod custom;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::{Error, Result};
pub use custom::CustomSampler;

/// At or below this temperature the likeliest token is taken, as in the authors' web demo.
const GREEDY_TEMPERATURE: f32 = 1e-3;

/// Tokens seen that there is room for from the beginning.
const SEEN: usize = 1024;

/// Id of the largest logit, the first of equals, as a greedy sampler has it.
pub fn best(logits: &[f32]) -> u32 {
    let largest = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
    largest.map_or(0, |(id, _)| id as u32)
}

/// Options of choosing the next token.
///
/// Steps, in order: logit bias, repetition penalty, presence and frequency penalty, `min_new_tokens`, then, unless greedy, temperature, `top_k`, `top_p`,
/// `min_p`, and a draw from what is left. The default is greedy; the authors' examples sample at a
/// temperature of 0.2 or 0.7.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// Divisor of the logits, 0 or more. 0.001 and below is greedy: the likeliest token, no draw.
    pub temperature: f32,
    /// Only this many of the likeliest tokens stay; 0 keeps all. 50 unless said, as in transformers.
    pub top_k: usize,
    /// The likeliest tokens stay until their probabilities reach this sum, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// Tokens less likely than this fraction of the likeliest go, in [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// What the logits of tokens seen before are divided by if positive, multiplied with if not; more than 0,
    /// 1 changes nothing (Keskar et al. 2019, arXiv:1909.05858). One that makes a logit infinite is an error when it
    /// does.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token that the answer holds, from -2 to 2; 0 changes nothing.
    pub presence_penalty: f32,
    /// The same for each time that it came.
    pub frequency_penalty: f32,
    /// Added to the logits of some tokens, by id; -∞ rules one out. Two entries of the same id both count.
    #[serde(with = "biases")]
    pub logit_bias: Vec<(u32, f32)>,
    /// The end token is not chosen before this many tokens.
    pub min_new_tokens: usize,
    /// Seed of the random numbers. The same seed gives the same tokens.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 50,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: vec![],
            min_new_tokens: 0,
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// The likeliest token each time.
    pub fn greedy() -> Self {
        Self::default()
    }

    /// Whether no random number is drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= GREEDY_TEMPERATURE
    }

    /// Checks every option.
    ///
    /// # Errors
    ///
    /// Names the first that is out of its range, its value and the range.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("temperature", self.temperature, self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "more than 0 and at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0.0, "more than 0"),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.abs() <= 2.0, "from -2 to 2"),
            (
                "frequency_penalty",
                self.frequency_penalty,
                self.frequency_penalty.abs() <= 2.0,
                "from -2 to 2",
            ),
        ];
        for (name, value, good, range) in checks {
            if !good || !value.is_finite() {
                return Err(Error::out_of_range(name, value, range));
            }
        }
        match self.logit_bias.iter().find(|(_, bias)| !(bias.is_finite() || *bias == f32::NEG_INFINITY)) {
            Some((id, bias)) => {
                let range = "any number, or -inf to rule the token out";
                Err(Error::out_of_range("logit_bias", format!("{bias} for token {id}"), range))
            }
            None => Ok(()),
        }
    }
}

/// Biases in JSON, which has no infinity: a token that is ruled out has `null`.
mod biases {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(biases: &[(u32, f32)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(biases.iter().map(|&(id, bias)| (id, bias.is_finite().then_some(bias))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(u32, f32)>, D::Error> {
        let biases = Vec::<(u32, Option<f32>)>::deserialize(from)?;
        Ok(biases.into_iter().map(|(id, bias)| (id, bias.unwrap_or(f32::NEG_INFINITY))).collect())
    }
}

/// Chooses the tokens of one answer.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    custom: Option<CustomSampler>,
    eos: Vec<u32>,
    /// Tokens of the prompt and of the answer in order, each once; only where they are penalised.
    seen: Vec<u32>,
    /// Tokens of the answer in order, each with how often it came; only where they are penalised.
    counts: Vec<(u32, u32)>,
    num_sampled: usize,
    random: SplitMix64,
    /// Used again for every token, so that none allocates.
    candidates: Vec<(u32, f32)>,
    weights: Vec<f64>,
}

impl Sampler {
    /// A sampler at the start of an answer that ends with any of the tokens `eos`.
    ///
    /// # Errors
    ///
    /// If an option is out of its range.
    pub fn new(params: SamplingParams, eos: &[u32]) -> Result<Self> {
        params.validate()?;
        let random = SplitMix64(params.seed);
        let (seen, counts) = (Vec::with_capacity(SEEN), Vec::with_capacity(SEEN));
        let (candidates, weights) = (vec![], vec![]);
        Ok(Self {
            params,
            custom: None,
            eos: eos.to_vec(),
            seen,
            counts,
            num_sampled: 0,
            random,
            candidates,
            weights,
        })
    }

    /// The same with a caller's own choice in place of the draw.
    pub fn with_custom(self, custom: CustomSampler) -> Self {
        Self { custom: Some(custom), ..self }
    }

    /// Counts tokens of the prompt as seen, for the repetition penalty. Tokens chosen here count by themselves.
    pub fn see(&mut self, ids: impl IntoIterator<Item = u32>) {
        let penalises = self.penalises();
        for id in ids.into_iter().filter(|_| penalises) {
            if let Err(at) = self.seen.binary_search(&id) {
                self.seen.insert(at, id);
            }
        }
    }

    #[expect(clippy::float_cmp, reason = "1 is the value that switches it off")]
    fn penalises(&self) -> bool {
        self.params.repetition_penalty != 1.0
    }

    fn counts(&self) -> bool {
        self.params.presence_penalty != 0.0 || self.params.frequency_penalty != 0.0
    }

    /// Number of the likeliest tokens that [`sample_candidates`](Self::sample_candidates) needs for the next
    /// token: `None` if only [`sample`](Self::sample) will do, as tokens far down may come up.
    ///
    /// One more for each end token while none may be chosen, as they may be among them.
    pub fn candidates_needed(&self) -> Option<usize> {
        if self.penalises() || self.counts() || !self.params.logit_bias.is_empty() {
            return None;
        }
        let kept = match &self.custom {
            Some(custom) => custom.candidates().unwrap_or(0),
            None if self.params.is_greedy() => 1,
            None => self.params.top_k,
        };
        (kept > 0).then(|| kept.saturating_add(if self.masks_eos() { self.eos.len() } else { 0 }))
    }

    /// The next token, from the logits of the whole vocabulary. Of equal logits the lowest id comes first.
    ///
    /// # Errors
    ///
    /// If a logit is NaN or +∞, or all are -∞: the weights or a kernel are broken; or if the repetition penalty makes one
    /// infinite. The sampler stays as it was.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.sample_of(logits, |_| true)
    }

    /// [`sample`](Self::sample) of those tokens that `may_come` allows, as if the logits of all others were -∞.
    ///
    /// # Errors
    ///
    /// As [`sample`](Self::sample), and if none of those that may come is left.
    pub fn sample_of(&mut self, logits: &[f32], may_come: impl Fn(u32) -> bool) -> Result<u32> {
        let penalty = self.params.repetition_penalty;
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits.iter().copied()).map(|(id, logit)| {
            // Damaged ones are found wherever they are.
            let is_ruled_out = logit < f32::INFINITY && !may_come(id);
            (id, if is_ruled_out { f32::NEG_INFINITY } else { logit })
        }));
        for &(id, bias) in &self.params.logit_bias {
            if let Some((_, logit)) = self.candidates.get_mut(id as usize) {
                *logit += bias;
            }
        }
        for &id in &self.seen {
            if let Some((_, logit)) = self.candidates.get_mut(id as usize) {
                let before = *logit;
                *logit = if before < 0.0 { before * penalty } else { before / penalty };
                if *logit == f32::INFINITY && before.is_finite() {
                    return Err(Error::Option(format!(
                        "repetition_penalty is {penalty}, which makes the logit of token {id}, {before}, infinite: take one \
                         nearer to 1"
                    )));
                }
            }
        }
        let (presence, frequency) = (self.params.presence_penalty, self.params.frequency_penalty);
        for &(id, count) in &self.counts {
            if let Some((_, logit)) = self.candidates.get_mut(id as usize) {
                *logit -= presence + frequency * count as f32;
            }
        }
        self.choose()
    }

    /// The next token, from the likeliest `(id, logit)`: at least as many as
    /// [`candidates_needed`](Self::candidates_needed), or the whole vocabulary. In the same state
    /// [`sample`](Self::sample) gives the same token, if of equal logits the lowest ids were taken.
    ///
    /// # Errors
    ///
    /// As [`sample`](Self::sample), and if these options need all logits.
    pub fn sample_candidates(&mut self, candidates: &[(u32, f32)]) -> Result<u32> {
        if self.candidates_needed().is_none() {
            return Err(Error::Option(
                "top_k 0, penalties and logit_bias need all logits, not candidates".into(),
            ));
        }
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
        self.choose()
    }

    /// Takes note of a token of the answer that was chosen before: what comes then is as if it had been chosen here.
    pub(crate) fn replay(&mut self, id: u32) {
        self.count(id);
        if !self.params.is_greedy() {
            self.random.uniform();
        }
    }

    fn masks_eos(&self) -> bool {
        self.num_sampled < self.params.min_new_tokens
    }

    /// The next token, from `candidates`.
    fn choose(&mut self) -> Result<u32> {
        let masks_eos = self.masks_eos();
        let candidates = &mut self.candidates;
        let broken = |reason: String| Error::Tensor { name: "logits".into(), reason };
        if let Some((id, logit)) =
            candidates.iter().find(|(_, logit)| logit.is_nan() || *logit == f32::INFINITY)
        {
            return Err(broken(format!("that of token {id} is {logit}; the weights may be damaged")));
        }
        let masked = if masks_eos { self.eos.as_slice() } else { &[] };
        candidates.retain(|(id, logit)| !masked.contains(id) && *logit > f32::NEG_INFINITY);

        let id = if let Some(custom) = &mut self.custom
            && !candidates.is_empty()
        {
            if let Some(count) = custom.candidates() {
                keep_likeliest(candidates, count);
            }
            Some(custom.choose(candidates)?)
        } else if self.params.is_greedy() {
            candidates.iter().copied().min_by(likelier).map(|(id, _)| id)
        } else {
            self.draw()
        };
        let id = id.ok_or_else(|| broken("no token is left to choose from".into()))?;
        self.count(id);
        Ok(id)
    }

    /// Counts a token of the answer.
    fn count(&mut self, id: u32) {
        self.see([id]);
        if self.counts() {
            match self.counts.binary_search_by_key(&id, |(id, _)| *id) {
                Ok(at) => self.counts[at].1 += 1,
                Err(at) => self.counts.insert(at, (id, 1)),
            }
        }
        self.num_sampled += 1;
    }

    /// A token at random, with the probabilities that the warpers leave; `None` from none.
    fn draw(&mut self) -> Option<u32> {
        let (candidates, weights) = (&mut self.candidates, &mut self.weights);
        let top_k = self.params.top_k;
        keep_likeliest(candidates, if top_k > 0 { top_k } else { candidates.len() });

        // softmax(logits / temperature), unnormalised: the likeliest has 1. The sums are in this order on
        // every path, so the draw is too.
        let temperature = f64::from(self.params.temperature);
        let (_, most) = *candidates.first()?;
        let weight = |&(_, logit): &(u32, f32)| ((f64::from(logit) - f64::from(most)) / temperature).exp();
        weights.clear();
        weights.extend(candidates.iter().map(weight));

        // A token stays if those before it do not yet reach top_p.
        let reach = f64::from(self.params.top_p) * weights.iter().sum::<f64>();
        if self.params.top_p < 1.0 {
            let mut before = 0.0;
            let kept = weights.iter().take_while(|&&weight| {
                let stays = before < reach;
                before += weight;
                stays
            });
            let kept = kept.count();
            weights.truncate(kept);
        }
        // The likeliest token's weight is 1, so min_p of it is min_p.
        let min_p = f64::from(self.params.min_p);
        let kept = weights.partition_point(|&weight| weight >= min_p);
        weights.truncate(kept);

        let mut left = self.random.uniform() * weights.iter().sum::<f64>();
        let at = weights.iter().position(|&weight| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a trace above the sum: then it is the last one.
        Some(candidates[at.unwrap_or(weights.len() - 1)].0)
    }
}

/// The log-probabilities of a token and of the likeliest tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbs {
    /// Natural logarithm of the probability that the model gave the token that was chosen, before any option changed it.
    pub chosen: f32,
    /// The likeliest tokens with theirs, likeliest first; among equals the lowest id comes first.
    pub top: Vec<(u32, f32)>,
}

impl LogProbs {
    /// Those of token `id` and of the `top` likeliest, from the logits of the whole vocabulary.
    pub(crate) fn of(logits: &[f32], id: u32, top: usize) -> Self {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(most)).exp()).sum();
        let log_prob = |logit: f32| (f64::from(logit) - f64::from(most) - sum.ln()) as f32;
        let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        let top = top.min(all.len());
        if top > 0 && top < all.len() {
            all.select_nth_unstable_by(top - 1, likelier);
        }
        all.truncate(top);
        all.sort_unstable_by(likelier);
        Self {
            chosen: logits.get(id as usize).map_or(f32::NEG_INFINITY, |&logit| log_prob(logit)),
            top: all.into_iter().map(|(id, logit)| (id, log_prob(logit))).collect(),
        }
    }
}

/// Leaves so many of the likeliest, likeliest first.
fn keep_likeliest(candidates: &mut Vec<(u32, f32)>, count: usize) {
    if count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, likelier);
        candidates.truncate(count);
    }
    candidates.sort_unstable_by(likelier);
}

/// Likeliest first; among equals the lowest id comes first.
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0))
}

/// SplitMix64 (Steele, Lea & Flood 2014, OOPSLA): whole-number steps, so the same on every platform.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64(pub u64);

impl SplitMix64 {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in [0, 1), from the 53 bits that an f64 holds exactly.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
