//! A conversation on the device: its programs, its KV cache and what the cache holds.

mod timing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strix_engine::{Difference, Graph, Program, StepTime, Streamed};
use strix_shaders::Routing;

use crate::decoder::{Logits, Rows, Tap};
use crate::generate::{Answer, GenerateOptions};
use crate::image::RgbImage;
use crate::kv_cache::LayerCache;
use crate::model::{Model, Trace, profile, trace};
use crate::prompt::{Conversation, Template, Turn, check_images, count_images};
use crate::tokenizer::IMAGE_PLACEHOLDER;
use crate::{Error, Result, kv_cache};

/// One position of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A token of the vocabulary.
    Token(u32),
    /// A row of a picture of this session.
    Image { picture: usize, row: usize },
}

/// What a forward pass hands to the sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The largest logits with their ids.
    Candidates(u32),
    /// All of them.
    Full,
}

/// Logits of the last row.
#[derive(Debug)]
pub(crate) enum Scores<'a> {
    /// Id and logit, largest first.
    Candidates(&'a [(u32, f32)]),
    /// By id.
    Full(&'a [f32]),
}

/// What is used again for every token, so that none allocates.
#[derive(Debug, Default)]
struct Scratch {
    ids: Vec<u32>,
    logits: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

/// Most rows whose attention probabilities are written out: the table grows with their square, and its
/// kernel loops over all keys.
const MAX_TAPPED_ROWS: usize = 1000;

/// A decoder program for a fixed number of rows.
#[derive(Debug)]
struct Chunk {
    program: Program,
    rows: Rows,
    out: Logits,
    size: usize,
    /// Values of an input before they are written.
    values: [Vec<u32>; 2],
}

/// A conversation: its turns, its pictures, and the KV cache they left on the device.
#[derive(Debug)]
pub struct Session {
    model: Model,
    prefill: Chunk,
    decode: Chunk,
    kv: Vec<LayerCache>,
    /// Whether noise was written to all of it once, for timing.
    noise: bool,
    /// What the first positions of the cache hold.
    cached: Vec<Row>,
    scratch: Scratch,
    pub(crate) conversation: Conversation,
    /// Embeddings of every picture of the conversation.
    pictures: Vec<Arc<[f32]>>,
    /// Pictures that no question has used yet.
    pending: usize,
    pub(crate) image_encode: Duration,
}

impl Session {
    pub(crate) fn new(model: &Model) -> Result<Self> {
        let kv = kv_cache::allocate(&model.inner.config.text, model.inner.options.kv, model.inner.ctx);
        Ok(Self {
            prefill: Chunk::compile(
                model,
                &kv,
                model.inner.options.chunk.min(model.inner.ctx.max(2)),
                false,
                &mut Tap::default(),
            )?,
            decode: Chunk::compile(model, &kv, 1, false, &mut Tap::default())?,
            model: model.clone(),
            kv,
            noise: false,
            cached: Vec::with_capacity(model.inner.ctx as usize),
            scratch: Scratch::default(),
            conversation: Conversation::default(),
            pictures: vec![],
            pending: 0,
            image_encode: Duration::ZERO,
        })
    }

    /// The model it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The questions and replies so far; of an answer cut short, what was generated.
    pub fn turns(&self) -> &[Turn] {
        self.conversation.turns()
    }

    /// Writes later turns in another template; forgets the conversation.
    pub fn set_template(&mut self, template: Template) {
        self.reset();
        self.conversation = Conversation::new(template);
    }

    /// Forgets turns and pictures; the template and the device memory stay.
    pub fn reset(&mut self) {
        self.conversation.clear();
        self.pictures.clear();
        self.cached.clear();
        self.pending = 0;
        self.image_encode = Duration::ZERO;
    }

    /// A picture for the next question; several come in the order they were added.
    ///
    /// # Errors
    ///
    /// If it cannot be resized, or the device fails.
    pub fn add_image(&mut self, picture: &RgbImage) -> Result<()> {
        let start = Instant::now();
        let pixels = self.model.pixels(picture)?;
        let embeds = self.model.encode(&pixels)?;
        self.add_embeds(embeds.into());
        self.image_encode += start.elapsed();
        Ok(())
    }

    /// A picture that [`Model::encode`] has seen already.
    ///
    /// # Panics
    ///
    /// If it is not of the config's size.
    pub fn add_embeds(&mut self, embeds: Arc<[f32]>) {
        let c = &self.model.inner.config;
        assert_eq!(embeds.len(), c.num_image_tokens() * c.text.hidden_size, "embeddings of one image");
        self.pictures.push(embeds);
        self.pending += 1;
    }

    /// Asks within the conversation; tokens stream from the returned iterator.
    ///
    /// # Errors
    ///
    /// If the prompt does not fit the context, places and pictures differ in number, or an option is out of
    /// range.
    pub fn ask(&mut self, question: &str, options: &GenerateOptions) -> Result<Answer<'_>> {
        self.conversation.ask(question, self.pending)?;
        let prompt = self.conversation.prompt();
        match self.rows(&prompt) {
            Ok(rows) => {
                self.pending = 0;
                Answer::start(self, rows, options.clone(), true)
            }
            Err(error) => {
                self.conversation.undo();
                Err(error)
            }
        }
    }

    /// Continues a prompt that is complete with its `<|image|>` places, as a conversation of its own; the
    /// pictures added before are its pictures.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`].
    pub fn complete(&mut self, prompt: &str, options: &GenerateOptions) -> Result<Answer<'_>> {
        self.conversation.clear();
        self.pending = self.pictures.len();
        let rows = self.rows(prompt)?;
        Answer::start(self, rows, options.clone(), false)
    }

    /// Takes back the last question; its pictures wait for the next.
    pub(crate) fn undo(&mut self) {
        if let Some(turn) = self.conversation.undo() {
            self.pending += count_images(&turn.user);
        }
    }

    /// The positions of a prompt.
    fn rows(&self, prompt: &str) -> Result<Vec<Row>> {
        check_images(prompt, self.pictures.len())?;
        let ids = self.model.tokenizer()?.encode_prompt(prompt);
        let rows = self.place(&ids)?;
        let ctx = self.model.inner.ctx as usize;
        if rows.len() > ctx {
            let text = ids.iter().filter(|&&id| id != IMAGE_PLACEHOLDER).count();
            return Err(Error::Prompt(format!(
                "the prompt takes {} positions ({text} tokens of text and {} {} of {}), the context holds {ctx}: \
                 shorten it, use fewer pictures, or raise --ctx",
                rows.len(),
                self.pictures.len(),
                if self.pictures.len() == 1 { "picture" } else { "pictures" },
                self.model.inner.config.num_image_tokens(),
            )));
        }
        if rows.is_empty() {
            return Err(Error::Prompt("the prompt is empty".into()));
        }
        Ok(rows)
    }

    /// Puts the rows of the pictures where their placeholders are.
    fn place(&self, ids: &[i32]) -> Result<Vec<Row>> {
        let c = &self.model.inner.config;
        let mut picture = 0;
        let mut rows = vec![];
        for &id in ids {
            if id == IMAGE_PLACEHOLDER {
                if picture == self.pictures.len() {
                    return Err(Error::Prompt(format!(
                        "the prompt has more places than the {picture} pictures given"
                    )));
                }
                rows.extend((0..c.num_image_tokens()).map(|row| Row::Image { picture, row }));
                picture += 1;
            } else if id < 0 || id as usize >= c.text.vocab_size {
                return Err(Error::Prompt(format!(
                    "token {id} is not in the vocabulary of {}",
                    c.text.vocab_size
                )));
            } else {
                rows.push(Row::Token(id as u32));
            }
        }
        Ok(rows)
    }

    /// The positions of prepared ids, if they and `more` tokens fit the context.
    fn place_all(&self, ids: &[i32], more: usize) -> Result<Vec<Row>> {
        let rows = self.place(ids)?;
        let ctx = self.model.inner.ctx as usize;
        if rows.is_empty() || rows.len() + more > ctx {
            return Err(Error::Prompt(format!(
                "{} positions and {more} tokens after them; the context holds 1 to {ctx}: raise --ctx",
                rows.len()
            )));
        }
        Ok(rows)
    }

    /// Positions the cache already holds of a sequence; at least its last row is left to run.
    pub(crate) fn reuse(&mut self, rows: &[Row]) -> usize {
        let common = self.cached.iter().zip(rows).take_while(|(a, b)| a == b).count();
        let keep = common.min(rows.len() - 1);
        self.cached.truncate(keep);
        keep
    }

    /// What its programs have brought to the device of streamed layers so far.
    pub(crate) fn moved(&self) -> Streamed {
        self.prefill.program.moved().and(self.decode.program.moved())
    }

    /// Positions in the cache.
    pub(crate) fn len(&self) -> usize {
        self.cached.len()
    }

    /// Runs rows behind those in the cache and returns the last one's logits, or `None` if `cancelled` said
    /// so between two chunks.
    pub(crate) fn forward(
        &mut self,
        rows: &[Row],
        want: Want,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Scores<'_>>> {
        let mut at = 0;
        while at < rows.len() {
            if at > 0 && cancelled() {
                return Ok(None);
            }
            // A prompt's last row takes the same path however the prompt is cut: its bits do not depend on the chunk.
            let single = rows.len() == 1 && matches!(rows[at], Row::Token(_));
            let size = if single { 1 } else { self.prefill.size.min(rows.len() - at) };
            let last = at + size == rows.len();
            let run = &rows[at..at + size];
            let chunk = if single { &mut self.decode } else { &mut self.prefill };
            chunk.write(run, self.cached.len(), &self.pictures, &self.model);
            let wanted = if let (true, Want::Candidates(wanted)) = (last, want) { wanted } else { 1 };
            chunk.program.write(chunk.rows.candidates, &[wanted]);
            if let Some(prefix) = trace_prefix() {
                dump(&mut chunk.program, &self.model, &prefix, self.cached.len())?;
            }
            let (candidates, full) = ([chunk.out.ids.id(), chunk.out.values.id()], [chunk.out.logits.id()]);
            let reads: &[_] = match want {
                _ if !last => &[],
                Want::Candidates(_) => &candidates,
                Want::Full => &full,
            };
            chunk.program.run(reads)?;
            self.cached.extend(run);
            at += size;
            if last {
                let Scratch { ids, logits, candidates } = &mut self.scratch;
                return Ok(Some(match want {
                    Want::Candidates(wanted) => {
                        chunk.program.read_into(chunk.out.ids, ids);
                        chunk.program.read_into(chunk.out.values, logits);
                        let both = ids.iter().copied().zip(logits.iter().copied());
                        candidates.clear();
                        candidates.extend(both.take(wanted as usize));
                        Scores::Candidates(candidates)
                    }
                    Want::Full => {
                        chunk.program.read_into(chunk.out.logits, logits);
                        Scores::Full(logits)
                    }
                }));
            }
        }
        Ok(None)
    }

    /// Device time of every step of the decode program, at the cache's present length.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries.
    pub fn profile(&mut self) -> Result<Vec<StepTime>> {
        let position = self.cached.len().saturating_sub(1);
        let row =
            [self.cached.last().copied().filter(|r| matches!(r, Row::Token(_))).unwrap_or(Row::Token(0))];
        self.decode.write(&row, position, &self.pictures, &self.model);
        // It overwrites the last position's keys and values with themselves, or with those of token 0.
        self.cached.truncate(position);
        profile(&mut self.decode.program)
    }

    /// Device time of every step of one prefill chunk of the pictures' and prompt's last rows.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries.
    pub fn profile_prefill(&mut self) -> Result<Vec<StepTime>> {
        let size = self.prefill.size.min(self.cached.len().max(1));
        let start = self.cached.len().saturating_sub(size);
        let mut rows = self.cached[start..].to_vec();
        rows.resize(size, Row::Token(0));
        self.prefill.write(&rows, start, &self.pictures, &self.model);
        self.cached.truncate(start);
        profile(&mut self.prefill.program)
    }

    /// Runs ids (-200 where a picture goes) as one chunk and returns every tensor on the way, the logits of
    /// all rows among them as `lm_head`. Leaves the session as after [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn trace(&mut self, ids: &[i32]) -> Result<Trace> {
        in_order(&mut self.whole(ids, &mut Tap::default())?.program, &self.model)
    }

    /// Runs ids (-200 where a picture goes) in the session's chunks, then the last position once more as a decode
    /// step; returns every tensor of the last chunk and of the decode step. Leaves the session as after
    /// [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn trace_end(&mut self, ids: &[i32]) -> Result<[Trace; 2]> {
        let rows = self.place_all(ids, 0)?;
        self.cached.clear();
        let last = (rows.len() - 1) / self.prefill.size;
        for (i, run) in rows.chunks(self.prefill.size).enumerate() {
            self.prefill.write(run, i * self.prefill.size, &self.pictures, &self.model);
            if i < last {
                self.prefill.program.run(&[])?;
            }
        }
        let chunk = in_order(&mut self.prefill.program, &self.model)?;
        let row = rows.last().copied().filter(|row| matches!(row, Row::Token(_))).unwrap_or(Row::Token(0));
        self.decode.write(&[row], rows.len() - 1, &self.pictures, &self.model);
        Ok([chunk, in_order(&mut self.decode.program, &self.model)?])
    }

    /// Attention probabilities of some decoder layers over ids (-200 where a picture goes), run as one chunk:
    /// for each of `layers` in turn, `[num_attention_heads, rows, rows]`. Leaves the session as after
    /// [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit, there is no such layer, or the device has no room for the tables.
    pub fn attention_probs(&mut self, ids: &[i32], layers: &[usize]) -> Result<Vec<Vec<f32>>> {
        let num_layers = self.model.inner.config.text.num_hidden_layers;
        if let Some(layer) = layers.iter().find(|&&layer| layer >= num_layers) {
            return Err(Error::Option(format!(
                "attention of decoder layer {layer}; there are 0 to {}",
                num_layers - 1
            )));
        }
        let rows = self.place_all(ids, 0)?.len();
        if rows > MAX_TAPPED_ROWS {
            return Err(Error::Prompt(format!(
                "attention probabilities of {rows} positions; they are written out for up to {MAX_TAPPED_ROWS}: \
                 shorten the prompt"
            )));
        }
        let mut tap = Tap { layers: layers.to_vec(), probs: vec![] };
        tap.layers.sort_unstable();
        tap.layers.dedup();
        let mut chunk = self.whole(ids, &mut tap)?;
        chunk.program.run(&tap.probs.iter().map(|p| p.id()).collect::<Vec<_>>())?;
        let of = |layer: &usize| {
            let at = tap.layers.binary_search(layer).expect("one of them");
            let [_, size, _] = tap.probs[at].shape();
            let all = chunk.program.read(tap.probs[at]);
            // A single row runs in a chunk of two.
            let live = all.chunks_exact((size * size) as usize);
            live.flat_map(|head| head.chunks_exact(size as usize).take(rows).flat_map(|row| &row[..rows]))
                .copied()
                .collect()
        };
        Ok(layers.iter().map(of).collect())
    }

    /// A program that runs all of these ids at once, its inputs written; nothing is cached then.
    fn whole(&mut self, ids: &[i32], tap: &mut Tap) -> Result<Chunk> {
        let rows = self.place_all(ids, 0)?;
        let mut chunk = Chunk::compile(&self.model, &self.kv, (rows.len() as u32).max(2), true, tap)?;
        self.cached.clear();
        chunk.write(&rows, 0, &self.pictures, &self.model);
        Ok(chunk)
    }

    /// Runs ids (-200 where a picture goes) in the session's chunks, then the last position once more as a
    /// decode step, each step also through its kernel's CPU reference on the same inputs. Returns the first
    /// whose result is further than `tolerance` (relative to the tensor's largest value) from it. Leaves the
    /// session as after [`Session::reset`], pictures kept. Slow.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn replay(&mut self, ids: &[i32], tolerance: f32) -> Result<Option<Difference>> {
        let rows = self.place_all(ids, 0)?;
        self.cached.clear();
        for (i, run) in rows.chunks(self.prefill.size).enumerate() {
            self.prefill.write(run, i * self.prefill.size, &self.pictures, &self.model);
            if let Some(difference) = self.prefill.program.replay(tolerance)? {
                return Ok(Some(difference));
            }
        }
        let last = rows.last().copied().filter(|row| matches!(row, Row::Token(_))).unwrap_or(Row::Token(0));
        self.decode.write(&[last], rows.len() - 1, &self.pictures, &self.model);
        Ok(self.decode.program.replay(tolerance)?)
    }

    /// Runs ids (-200 where a picture goes) through the cache in the session's chunks, then `tokens`
    /// greedy steps; returns each step's logits.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn greedy(&mut self, ids: &[i32], tokens: usize) -> Result<Vec<Vec<f32>>> {
        let mut rows = self.place_all(ids, tokens.saturating_sub(1))?;
        self.cached.clear();
        let mut steps = vec![];
        for _ in 0..tokens {
            let Some(Scores::Full(logits)) = self.forward(&rows, Want::Full, &|| false)? else { break };
            // The first of equals, as the sampler has it.
            let best =
                logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id);
            rows = vec![Row::Token(best as u32)];
            steps.push(logits.to_vec());
        }
        Ok(steps)
    }
}

impl Chunk {
    fn compile(model: &Model, kv: &[LayerCache], size: u32, all_logits: bool, tap: &mut Tap) -> Result<Self> {
        let inner = &model.inner;
        let mut g = Graph::new(inner.gpu.target());
        let rows = Rows::declare(&mut g, &inner.config.text, size);
        let out = inner.decoder.record(&mut g, &inner.config.text, kv, rows, all_logits, tap);
        let program = Program::compile(&inner.gpu, g)?;
        Ok(Self { program, rows, out, size: size as usize, values: [vec![], vec![]] })
    }

    fn write(&mut self, rows: &[Row], position: usize, pictures: &[Arc<[f32]>], model: &Model) {
        let Rows { tokens: t, modality: m, visual, routing, span, last, candidates: _ } = self.rows;
        let [values, modality] = &mut self.values;
        values.clear();
        values.extend(rows.iter().map(|row| if let Row::Token(id) = row { *id } else { 0 }));
        self.program.write(t, values);
        modality.clear();
        modality.extend(rows.iter().map(|row| u32::from(matches!(row, Row::Image { .. }))));
        self.program.write(m, modality);
        Routing::write(modality, values);
        self.program.write(routing.0, values);
        self.program.write(span, &[position as u32, rows.len() as u32]);
        self.program.write(last, &[rows.len() as u32 - 1]);
        if let (Some(visual), true) = (visual, modality.contains(&1)) {
            let dim = model.inner.config.text.hidden_size;
            let mut values = vec![0.0; rows.len() * dim];
            for (row, out) in rows.iter().zip(values.chunks_exact_mut(dim)) {
                if let Row::Image { picture, row } = *row {
                    out.copy_from_slice(&pictures[picture][row * dim..][..dim]);
                }
            }
            self.program.write(visual, &values);
        }
    }
}

/// `STRIX_TRACE=decoder.3`: the labels whose tensors are dumped.
fn trace_prefix() -> Option<String> {
    std::env::var("STRIX_TRACE").ok().filter(|v| !v.is_empty())
}

/// Whether a label begins with `prefix`; that of layer 1 is none of layer 10's.
fn is_named(label: &str, prefix: &str) -> bool {
    let rest = label.strip_prefix(prefix);
    rest.is_some_and(|rest| !(prefix.ends_with(char::is_numeric) && rest.starts_with(char::is_numeric)))
}

/// A trace of a chunk, keys in the order of positions.
fn in_order(program: &mut Program, model: &Model) -> Result<Trace> {
    let (mut trace, model) = (trace(program)?, &model.inner);
    kv_cache::by_position(&mut trace, &model.config.text, model.options.kv, model.ctx);
    Ok(trace)
}

/// Writes the tensors of the steps named by `prefix` to `strix-trace/` and says on the log which step first
/// differs from its CPU reference.
fn dump(program: &mut Program, model: &Model, prefix: &str, position: usize) -> Result<()> {
    let dir = PathBuf::from(std::env::var_os("STRIX_TRACE_DIR").unwrap_or_else(|| "strix-trace".into()));
    let io = |path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Io { path, source }
    };
    std::fs::create_dir_all(&dir).map_err(io(&dir))?;
    for (i, (label, values)) in
        in_order(program, model)?.into_iter().enumerate().filter(|(_, (l, _))| is_named(l, prefix))
    {
        let path = dir.join(format!("{position:05}-{i:04}-{label}.f32"));
        std::fs::write(&path, bytemuck::cast_slice::<f32, u8>(&values)).map_err(io(&path))?;
    }
    match program.replay(1e-3)? {
        None => tracing::info!(position, "every step agrees with its CPU reference"),
        Some(d) => tracing::error!(
            position,
            "step {} ({}, {}) is the first that differs: {}[{}] is {} where the reference has {}",
            d.step,
            d.label,
            d.kernel,
            d.tensor,
            d.element,
            d.got,
            d.want
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_not_traced_for_another_that_begins_like_it() {
        assert!(is_named("decoder.1.q_proj", "decoder.1"));
        assert!(is_named("decoder.1.q_proj", "decoder.1.q"));
        assert!(is_named("decoder.1.q_proj", "decoder"));
        assert!(!is_named("decoder.10.q_proj", "decoder.1"));
        assert!(!is_named("vision.1.query_key_value", "decoder.1"));
    }
}
