//! A conversation on the device: its programs, its KV cache and what the cache holds.

mod pictures;
pub(crate) mod rows;
mod timing;
mod trace;

use std::time::Duration;

use strix_engine::{Graph, Program, StepTime, Streamed};
use strix_shaders::Routing;

use crate::decoder::{Logits, Rows, Tap};
use crate::generate::{Answer, GenerateOptions, Start};
use crate::kv_cache::LayerCache;
use crate::model::{Model, profile};
use crate::prompt::{Conversation, Template, Turn, count_images};
use crate::{Result, kv_cache};
use pictures::Picture;
pub(crate) use rows::Row;
pub use trace::trace_dir;

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
    /// Every picture of the conversation.
    pictures: Vec<Picture>,
    /// Pictures that no question has used yet.
    pending: usize,
    /// Time taken by pictures of which no token came yet.
    pub(crate) image_encode: Duration,
}

/// What an answer of which no token came leaves behind.
#[derive(Debug)]
pub(crate) enum Before {
    /// The conversation without its last turn.
    Turn,
    /// This conversation, with so many pictures that no question has used.
    Chat { conversation: Conversation, pending: usize },
}

impl Session {
    pub(crate) fn new(model: &Model) -> Result<Self> {
        let kv = kv_cache::allocate(&model.inner.config.text, model.inner.options.kv, model.inner.ctx);
        let rows = model.inner.options.chunk.min(model.inner.ctx.max(2));
        let prefill = Chunk::compile(model, &kv, rows, false, &mut Tap::default())?;
        let decode = Chunk::compile(model, &kv, 1, false, &mut Tap::default())?;
        if let Some(prefix) = trace::trace_prefix() {
            model.with_encoder(|encoder| {
                let programs = [&encoder.program, &prefill.program, &decode.program];
                trace::check_prefix(&prefix, programs.into_iter().flat_map(Program::written))
            })?;
        }
        Ok(Self {
            prefill,
            decode,
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

    /// Asks within the conversation; tokens stream from the returned iterator. What is refused is refused here, before
    /// a picture is encoded, and leaves everything as it was; so does an answer of which no token came.
    ///
    /// # Errors
    ///
    /// If the prompt does not fit the context, places and pictures differ in number, or an option is out of
    /// range.
    pub fn ask(&mut self, question: &str, options: &GenerateOptions) -> Result<Answer<'_>> {
        let start = Start::new(&self.model, options)?;
        self.conversation.ask(question, self.pending)?;
        match self.rows(&self.conversation.prompt()) {
            Ok(rows) => {
                self.pending = 0;
                Ok(start.answer(self, rows, Before::Turn))
            }
            Err(error) => {
                self.conversation.undo();
                Err(error)
            }
        }
    }

    /// Continues a prompt that is complete with its `<|image|>` places, as a conversation of its own; the
    /// pictures added before are its pictures. What fails leaves everything as it was, as [`Session::ask`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`].
    pub fn complete(&mut self, prompt: &str, options: &GenerateOptions) -> Result<Answer<'_>> {
        let start = Start::new(&self.model, options)?;
        let rows = self.rows(prompt)?;
        let conversation = self.conversation.clone();
        self.conversation.clear();
        let pending = std::mem::replace(&mut self.pending, self.pictures.len());
        Ok(start.answer(self, rows, Before::Chat { conversation, pending }))
    }

    /// Takes back what was asked, of which no token came.
    pub(crate) fn restore(&mut self, before: Before) {
        match before {
            // Its pictures wait for the next question.
            Before::Turn => {
                if let Some(turn) = self.conversation.undo() {
                    self.pending += count_images(&turn.user);
                }
            }
            Before::Chat { conversation, pending } => {
                self.conversation = conversation;
                self.pending = pending;
            }
        }
    }

    /// The positions of a prompt.
    fn rows(&self, prompt: &str) -> Result<Vec<Row>> {
        let model = &self.model.inner;
        rows::of_prompt(self.model.tokenizer()?, &model.config, model.ctx, prompt, self.pictures.len())
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

    /// Runs rows behind those in the cache, whose pictures are encoded, and returns the last one's logits, or `None` if
    /// `go_on` said no between two submits.
    pub(crate) fn forward(
        &mut self,
        rows: &[Row],
        want: Want,
        go_on: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<Scores<'_>>> {
        let mut at = 0;
        while at < rows.len() {
            // A prompt's last row takes the same path however the prompt is cut: its bits do not depend on the chunk.
            let single = rows.len() == 1 && matches!(rows[at], Row::Token(_));
            let size = if single { 1 } else { self.prefill.size.min(rows.len() - at) };
            let last = at + size == rows.len();
            let run = &rows[at..at + size];
            let chunk = if single { &mut self.decode } else { &mut self.prefill };
            chunk.write(run, self.cached.len(), &self.pictures, &self.model);
            let wanted = if let (true, Want::Candidates(wanted)) = (last, want) { wanted } else { 1 };
            chunk.program.write(chunk.rows.candidates, &[wanted]);
            if let Some(prefix) = trace::trace_prefix() {
                trace::dump(&mut chunk.program, &self.model, &prefix, &format!("{:05}", self.cached.len()))?;
            }
            let (candidates, full) = ([chunk.out.ids.id(), chunk.out.values.id()], [chunk.out.logits.id()]);
            let reads: &[_] = match want {
                _ if !last => &[],
                Want::Candidates(_) => &candidates,
                Want::Full => &full,
            };
            match go_on {
                None => chunk.program.run(reads)?,
                Some(go_on) => {
                    if !chunk.program.run_while(reads, go_on)? {
                        return Ok(None);
                    }
                }
            }
            self.cached.extend(run);
            at += size;
            if last {
                let Scratch { ids, logits, candidates } = &mut self.scratch;
                return Ok(Some(match want {
                    Want::Candidates(wanted) => {
                        chunk.program.read_into(chunk.out.ids, ids)?;
                        chunk.program.read_into(chunk.out.values, logits)?;
                        let both = ids.iter().copied().zip(logits.iter().copied());
                        candidates.clear();
                        candidates.extend(both.take(wanted as usize));
                        Scores::Candidates(candidates)
                    }
                    Want::Full => {
                        chunk.program.read_into(chunk.out.logits, logits)?;
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

    fn write(&mut self, rows: &[Row], position: usize, pictures: &[Picture], model: &Model) {
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
                    out.copy_from_slice(pictures[picture].row(row, dim));
                }
            }
            self.program.write(visual, &values);
        }
    }
}
