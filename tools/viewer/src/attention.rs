//! Where the words of an answer looked in the pictures.
//!
//! A word's token is chosen at the position before it. What that position attends to in a picture are the abstractor's
//! queries, which have no place; what each query read of the picture's patches is followed through the abstractor's layers
//! by attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928). Both are averaged over heads, and the decoder's over
//! layers.

use std::ops::Range;
use std::sync::Arc;

use strix_model::config::Config;
use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::{Error, Model, Result, Session};

/// Layers of the decoder that are looked into at most.
const MOST_LAYERS: usize = 8;
/// Bytes of the tables of their probabilities at most.
const MOST_BYTES: usize = 256 << 20;

/// An answer as the model ran it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The prompt, with the conversation before it.
    pub(crate) prompt: Vec<PromptId>,
    /// The answer's tokens.
    pub(crate) ids: Vec<u32>,
    /// The pictures of the prompt, in order.
    pub(crate) pictures: Vec<Arc<RgbImage>>,
}

/// What the queries of a picture read of its patches: `[queries, patches]`, each row of sum 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    weights: Vec<f32>,
    patches: usize,
}

/// Where the tokens of an answer looked.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    /// Patches a side.
    pub(crate) grid: usize,
    /// Of each picture of the conversation.
    readings: Vec<Arc<Reading>>,
    /// Of each token, for each picture: attention to its queries.
    tokens: Vec<Vec<Vec<f32>>>,
}

impl Attention {
    /// Looks into an answer.
    ///
    /// # Errors
    ///
    /// If the conversation is too long to be looked into, or the device fails.
    pub(crate) fn of(session: &Session, record: &Record, known: &mut Readings) -> Result<Self> {
        let model = session.model();
        let config = model.config();
        let spans = spans(config, &record.prompt);
        let rows = record.prompt.iter().map(|id| positions(config, *id)).sum::<usize>();
        // The last token is chosen at the one before it: its own position is not needed.
        let said = record.ids.split_last().map_or(&[][..], |(_, rest)| rest);
        let ids: Vec<_> =
            record.prompt.iter().copied().chain(said.iter().map(|&id| PromptId::Token(id))).collect();
        let layers = layers(config, rows + said.len());
        let tables = session.fork()?.inspect().attention_probs(&ids, &layers)?;

        let (heads, size) = (config.text.num_attention_heads, rows + said.len());
        let queries = config.abstractor.num_learnable_queries;
        let tokens = (0..record.ids.len())
            .map(|token| mean_row(&tables, heads, size, rows + token - 1, &spans, queries))
            .collect();
        let readings =
            record.pictures.iter().map(|picture| known.of(model, picture)).collect::<Result<_>>()?;
        Ok(Self { grid: config.vision.grid_size(), readings, tokens })
    }

    /// Number of pictures.
    pub(crate) fn pictures(&self) -> usize {
        self.readings.len()
    }

    /// Part of the attention of these tokens that a picture had, 0 to 1.
    pub(crate) fn share(&self, picture: usize, tokens: Range<usize>) -> f32 {
        let weights = self.weights(picture, tokens);
        weights.iter().sum()
    }

    /// How much these tokens looked at each patch of a picture, row by row; the most is 1.
    pub(crate) fn heat(&self, picture: usize, tokens: Range<usize>) -> Vec<f32> {
        let Some(reading) = self.readings.get(picture) else { return vec![] };
        let weights = self.weights(picture, tokens);
        let mut heat = vec![0.0; reading.patches];
        for (weight, row) in weights.iter().zip(reading.weights.chunks_exact(reading.patches)) {
            for (heat, part) in heat.iter_mut().zip(row) {
                *heat += weight * part;
            }
        }
        let most = heat.iter().copied().fold(0.0, f32::max);
        if most > 0.0 {
            heat.iter_mut().for_each(|heat| *heat /= most);
        }
        heat
    }

    /// Mean attention of some tokens to a picture's queries.
    fn weights(&self, picture: usize, tokens: Range<usize>) -> Vec<f32> {
        let tokens = tokens.start.min(self.tokens.len())..tokens.end.min(self.tokens.len());
        let number = tokens.len().max(1) as f32;
        let mut sum: Vec<f32> = vec![];
        for of in &self.tokens[tokens] {
            let Some(of) = of.get(picture) else { return vec![] };
            sum.resize(of.len(), 0.0);
            sum.iter_mut().zip(of).for_each(|(sum, weight)| *sum += weight / number);
        }
        sum
    }
}

/// What was found of pictures before.
#[derive(Debug, Default)]
pub(crate) struct Readings(Vec<(Arc<RgbImage>, Arc<Reading>)>);

impl Readings {
    fn of(&mut self, model: &Model, picture: &Arc<RgbImage>) -> Result<Arc<Reading>> {
        if let Some((_, known)) = self.0.iter().find(|(other, _)| Arc::ptr_eq(other, picture)) {
            return Ok(known.clone());
        }
        let reading = Arc::new(read(model, picture)?);
        self.0.push((picture.clone(), reading.clone()));
        Ok(reading)
    }
}

/// Positions that an id takes.
fn positions(config: &Config, id: PromptId) -> usize {
    if id == PromptId::Picture { config.num_image_tokens() } else { 1 }
}

/// The position of each picture's first row.
fn spans(config: &Config, prompt: &[PromptId]) -> Vec<usize> {
    let mut at = 0;
    let mut spans = vec![];
    for &id in prompt {
        if id == PromptId::Picture {
            spans.push(at);
        }
        at += positions(config, id);
    }
    spans
}

/// The layers that are looked into: evenly spread, the first and the last among them, if there are more than one.
fn layers(config: &Config, rows: usize) -> Vec<usize> {
    let all = config.text.num_hidden_layers;
    let table = config.text.num_attention_heads * rows * rows * size_of::<f32>();
    let most = (MOST_BYTES / table.max(1)).clamp(1, MOST_LAYERS).min(all);
    if most == 1 { vec![all / 2] } else { (0..most).map(|i| i * (all - 1) / (most - 1)).collect() }
}

/// Mean over tables and heads of what a row attends to: for each picture, its queries.
fn mean_row(
    tables: &[Vec<f32>],
    heads: usize,
    size: usize,
    row: usize,
    spans: &[usize],
    queries: usize,
) -> Vec<Vec<f32>> {
    let number = (tables.len() * heads) as f32;
    let of = |&start: &usize| {
        let mut mean = vec![0.0; queries];
        for head in tables.iter().flat_map(|table| table.chunks_exact(size * size)) {
            let probs = &head[row * size + start..][..queries];
            mean.iter_mut().zip(probs).for_each(|(mean, prob)| *mean += prob / number);
        }
        mean
    };
    spans.iter().map(of).collect()
}

/// Runs a picture through the abstractor and follows what its queries read.
fn read(model: &Model, picture: &RgbImage) -> Result<Reading> {
    let c = &model.config().abstractor;
    let trace = model.trace_encode(&model.pixels(picture)?)?;
    let tensor = |layer: usize, name: &str| {
        let label = format!("abstractor.{layer}.{name}");
        let found = trace.iter().find(|(other, _)| *other == label).map(|(_, values)| values.as_slice());
        found.ok_or_else(|| Error::Tensor { name: label, reason: "the encoder has no such step".into() })
    };
    let (queries, patches) = (c.num_learnable_queries, model.config().vision.num_patches());
    let mut rollout = Rollout::new(queries, patches);
    for layer in 0..c.num_hidden_layers {
        let probs = probabilities(
            tensor(layer, "query")?,
            tensor(layer, "key")?,
            c.num_attention_heads,
            c.hidden_size,
        );
        rollout.step(&probs);
    }
    Ok(rollout.finish())
}

/// `softmax(QKᵀ / √head_dim)`, averaged over heads: `[queries, keys]`.
fn probabilities(q: &[f32], k: &[f32], heads: usize, dim: usize) -> Vec<f32> {
    let (keys, head_dim) = (k.len() / dim, dim / heads);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut mean = vec![0.0; q.len() / dim * keys];
    let mut scores = vec![0.0; keys];
    for (q, mean) in q.chunks_exact(dim).zip(mean.chunks_exact_mut(keys)) {
        for head in 0..heads {
            let of_head = |row: &[f32]| head * head_dim..row.len().min((head + 1) * head_dim);
            let q = &q[of_head(q)];
            for (score, k) in scores.iter_mut().zip(k.chunks_exact(dim)) {
                *score = q.iter().zip(&k[of_head(k)]).map(|(q, k)| q * k).sum::<f32>() * scale;
            }
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            scores.iter_mut().for_each(|score| *score = (*score - most).exp());
            let sum: f32 = scores.iter().sum();
            mean.iter_mut().zip(&scores).for_each(|(mean, score)| *mean += score / sum / heads as f32);
        }
    }
    mean
}

/// What queries have read of patches, layer by layer.
struct Rollout {
    weights: Vec<f32>,
    queries: usize,
    patches: usize,
}

impl Rollout {
    fn new(queries: usize, patches: usize) -> Self {
        Self { weights: vec![0.0; queries * patches], queries, patches }
    }

    /// One layer: half of a query is what it was, half is what it attends to. Its keys are the queries, the class token,
    /// and the patches.
    fn step(&mut self, probs: &[f32]) {
        let (queries, patches) = (self.queries, self.patches);
        let keys = queries + 1 + patches;
        let mut next: Vec<f32> = self.weights.iter().map(|weight| weight / 2.0).collect();
        for (probs, next) in probs.chunks_exact(keys).zip(next.chunks_exact_mut(patches)) {
            for (prob, row) in probs.iter().zip(self.weights.chunks_exact(patches)) {
                next.iter_mut().zip(row).for_each(|(next, weight)| *next += prob * weight / 2.0);
            }
            let of_patches = &probs[queries + 1..];
            next.iter_mut().zip(of_patches).for_each(|(next, prob)| *next += prob / 2.0);
        }
        self.weights = next;
    }

    /// Rows of sum 1: what came of the class token, and of the queries' own content, has no place.
    fn finish(mut self) -> Reading {
        for row in self.weights.chunks_exact_mut(self.patches) {
            let sum: f32 = row.iter().sum();
            if sum > 0.0 {
                row.iter_mut().for_each(|weight| *weight /= sum);
            }
        }
        Reading { weights: self.weights, patches: self.patches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_softmax_by_head_and_then_their_mean() {
        // Two heads of one element; the second cannot tell the keys apart.
        let q = [2.0, 0.0];
        let k = [1.0, 5.0, 0.0, 7.0];
        let got = probabilities(&q, &k, 2, 2);
        let first = 2.0_f32.exp() / (2.0_f32.exp() + 1.0);
        assert!((got[0] - (first + 0.5) / 2.0).abs() < 1e-6, "{got:?}");
        assert!((got.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn rollout_follows_queries_that_read_others() {
        let mut rollout = Rollout::new(2, 2);
        // Keys: two queries, the class token, two patches.
        rollout.step(&[0.0, 0.0, 0.0, 1.0, 0.0, /* the other */ 0.0, 0.0, 1.0, 0.0, 0.0]);
        rollout.step(&[1.0, 0.0, 0.0, 0.0, 0.0, /* the other */ 1.0, 0.0, 0.0, 0.0, 0.0]);
        // The second query read nothing but the class token, and then the first query, which had read the first patch.
        assert_eq!(rollout.finish().weights, [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn heat_is_of_the_tokens_that_are_asked_for() {
        let reading = Reading { weights: vec![1.0, 0.0, 0.0, 1.0], patches: 2 };
        let tokens = vec![vec![vec![0.2, 0.1]], vec![vec![0.0, 0.4]]];
        let attention = Attention { grid: 1, readings: vec![reading.into()], tokens };
        assert_eq!(attention.heat(0, 0..1), [1.0, 0.5]);
        assert_eq!(attention.heat(0, 1..2), [0.0, 1.0]);
        assert!((attention.share(0, 0..2) - 0.35).abs() < 1e-6);
        // What is not there is not looked at.
        assert_eq!(attention.heat(1, 0..1), Vec::<f32>::new());
        assert_eq!((attention.share(0, 7..9), attention.pictures()), (0.0, 1));
    }

    #[test]
    fn layers_are_spread_and_their_tables_fit() {
        let mut config = Config::nano();
        config.text.num_hidden_layers = 32;
        assert_eq!(layers(&config, 10), [0, 4, 8, 13, 17, 22, 26, 31]);
        config.text.num_attention_heads = 32;
        assert_eq!(layers(&config, 1000), [0, 31]);
        assert_eq!(layers(&config, 5000), [16]);
    }
}
