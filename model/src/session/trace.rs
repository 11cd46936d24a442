//! Looking into a session: every tensor of a run, replays beside the CPU references, attention probabilities.

use strix_engine::{Deviation, Difference};

use super::inspect::logits_together;
use super::inspected::Inspected;
use super::{Inspect, Session};
use crate::decoder::{Regime, Tap};
use crate::inner::{Inner, Running};
use crate::kv_pool::Sequence;
use crate::rows::{self, Row};
use crate::runner::{Pass, Share};
use crate::sampler::best;
use crate::tokenizer::PromptId;
use crate::trace::{Trace, in_order};
use crate::{Error, Result};

/// Most rows whose attention probabilities are written out: the table grows with their square, and its
/// kernel loops over all keys.
const MAX_TAPPED_ROWS: usize = 1000;

/// What is done with a pass, whose inputs are written, on these pages; whether it was the last. Whether it ends the run.
type Run<'a> = dyn FnMut(&mut Pass, &Inner, &[u32], bool) -> Result<bool> + 'a;

impl Inspect<'_> {
    /// The positions of prepared ids, if they and `more` tokens fit the context; their pictures are encoded.
    fn rows_of(&mut self, ids: &[PromptId], more: usize) -> Result<Vec<Row>> {
        let inner = self.inner();
        let pictures = self.session.talk().picture_ids();
        let rows = rows::of_ids(&inner.config, ids, &pictures)?;
        let ctx = inner.ctx as usize;
        if rows.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if rows.len() + more > ctx {
            return Err(Error::ContextFull { needed: rows.len() + more, limit: ctx });
        }
        self.state().pictures = self.session.encode()?;
        Ok(rows)
    }

    /// Runs ids as one chunk and returns every tensor on the way, the logits of
    /// all rows among them as `lm_head`. Leaves the session as after [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn trace(&mut self, ids: &[PromptId]) -> Result<Trace> {
        let inner = self.inner();
        let (mut pass, _alone) = self.whole(&inner, ids, &mut Tap::default())?;
        let trace = in_order(&mut pass.program, &inner, self.pages());
        self.end();
        trace
    }

    /// Runs ids in the session's chunks, then the last position once more as a decode
    /// step; returns every tensor of the last chunk and of the decode step. Leaves the session as after
    /// [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn trace_end(&mut self, ids: &[PromptId]) -> Result<[Trace; 2]> {
        let mut last = None;
        let decoded = self.each_pass(ids, |pass, inner, pages, ends| {
            last = ends.then(|| in_order(&mut pass.program, inner, pages)).transpose()?;
            if !ends {
                pass.program.run(&[])?;
            }
            Ok(false)
        })?;
        debug_assert!(!decoded);
        let decode = self.decode_last(|pass, inner, pages| in_order(&mut pass.program, inner, pages))?;
        Ok([last.expect("there is a last chunk"), decode])
    }

    /// Attention probabilities of some decoder layers over ids, run as one chunk:
    /// for each of `layers` in turn, `[num_attention_heads, rows, rows]`. Leaves the session as after
    /// [`Session::reset`], pictures kept.
    ///
    /// # Errors
    ///
    /// If the ids do not fit, there is no such layer, or the device has no room for the tables.
    pub fn attention_probs(&mut self, ids: &[PromptId], layers: &[usize]) -> Result<Vec<Vec<f32>>> {
        let num_layers = self.inner().config.text.num_hidden_layers;
        if let Some(layer) = layers.iter().find(|&&layer| layer >= num_layers) {
            return Err(Error::out_of_range("layers", layer, format!("0 to {}", num_layers - 1)));
        }
        let rows = self.rows_of(ids, 0)?.len();
        if rows > MAX_TAPPED_ROWS {
            return Err(Error::Prompt(format!(
                "attention probabilities of {rows} positions; they are written out for up to {MAX_TAPPED_ROWS}: \
                 shorten the prompt"
            )));
        }
        let mut tap = Tap { layers: layers.to_vec(), probs: vec![] };
        tap.layers.sort_unstable();
        tap.layers.dedup();
        let inner = self.inner();
        let (mut chunk, _alone) = self.whole(&inner, ids, &mut tap)?;
        self.end();
        chunk.program.run(&tap.probs.iter().map(|p| p.id()).collect::<Vec<_>>())?;
        let of = |layer: &usize| -> Result<Vec<f32>> {
            let at = tap.layers.binary_search(layer).expect("one of them");
            let [_, size, _] = tap.probs[at].shape();
            let all: Vec<f32> = chunk.program.read(tap.probs[at])?;
            // A single row runs in a chunk of two.
            let live = all.chunks_exact((size * size) as usize);
            let live = live
                .flat_map(|head| head.chunks_exact(size as usize).take(rows).flat_map(|row| &row[..rows]));
            Ok(live.copied().collect())
        };
        layers.iter().map(of).collect()
    }

    /// A program that runs all of these ids at once, its inputs written; nothing is cached then. What comes with it keeps
    /// others from running, and so the pictures in their places.
    fn whole<'i>(
        &mut self,
        inner: &'i Inner,
        ids: &[PromptId],
        tap: &mut Tap,
    ) -> Result<(Pass, Running<'i>)> {
        let rows = self.rows_of(ids, 0)?;
        let size = (rows.len() as u32).max(2);
        let mut pass = Pass::compile(inner, Regime::Prefill, size, 1, true, tap)?;
        self.begin(rows.len())?;
        let alone = inner.runner()?;
        let Inspected { sequence, pictures, .. } = self.state();
        let sequence = sequence.as_mut().expect("begun");
        inner.pages().grow(sequence, rows.len());
        pass.write(inner, &[Share { sequence, rows: &rows, pictures, candidates: 1 }])?;
        Ok((pass, alone))
    }

    /// Pages of what is being run.
    fn pages(&self) -> &[u32] {
        self.session.inspected.sequence.as_ref().map_or(&[], Sequence::pages)
    }

    /// Runs ids in chunks of the prefill program: for each, `run` does so with its inputs
    /// written, its pages, and whether it is the last; it may end it all by saying so. Whether it did.
    fn each_pass(
        &mut self,
        ids: &[PromptId],
        mut run: impl FnMut(&mut Pass, &Inner, &[u32], bool) -> Result<bool>,
    ) -> Result<bool> {
        let rows = self.rows_of(ids, 0)?;
        self.begin(rows.len())?;
        self.run_rows(&rows, &mut run)
    }

    /// The same of rows, behind those in the cache.
    fn run_rows(&mut self, rows: &[Row], run: &mut Run<'_>) -> Result<bool> {
        let inner = self.inner();
        let Inspected { sequence, pictures, .. } = self.state();
        let sequence = sequence.as_mut().expect("begun");
        let mut runner = inner.runner()?;
        // A prompt of one token is decoded.
        let single = rows.len() == 1 && matches!(rows[0], Row::Token(_));
        let pass = if single { runner.decode(&inner, 1)? } else { &mut runner.prefill };
        let mut rest = rows;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(pass.size.min(rest.len()));
            rest = after;
            inner.pages().grow(sequence, sequence.len() + part.len());
            pass.write(&inner, &[Share { sequence, rows: part, pictures, candidates: 1 }])?;
            if run(pass, &inner, sequence.pages(), rest.is_empty())? {
                return Ok(true);
            }
            inner.pages().extend(sequence, part);
        }
        Ok(false)
    }

    /// Runs the last position of what was run once more, as a decode step, and ends it.
    fn decode_last<R>(&mut self, run: impl FnOnce(&mut Pass, &Inner, &[u32]) -> Result<R>) -> Result<R> {
        let inner = self.inner();
        let sequence = self.state().sequence.as_mut().expect("begun");
        let last = inner.pages().shorten(sequence);
        let row = [last.filter(|row| matches!(row, Row::Token(_))).unwrap_or(Row::Token(0))];
        let result = {
            let mut runner = inner.runner()?;
            let pass = runner.decode(&inner, 1)?;
            pass.write(&inner, &[Share { sequence, rows: &row, pictures: &[], candidates: 1 }])?;
            run(pass, &inner, sequence.pages())
        };
        self.end();
        result
    }

    /// Runs a prompt, and returns the logits of its last row.
    fn logits_of(&mut self, ids: &[PromptId], tokens: usize) -> Result<Vec<f32>> {
        let rows = self.rows_of(ids, tokens.saturating_sub(1))?;
        self.begin(rows.len() + tokens.saturating_sub(1))?;
        let mut logits = vec![];
        self.run_rows(&rows, &mut |pass, _, _, ends| {
            if ends {
                pass.program.run(&[pass.out.logits.id()])?;
                pass.program.read_into(pass.out.logits, &mut logits)?;
            } else {
                pass.program.run(&[])?;
            }
            Ok(false)
        })?;
        Ok(logits)
    }

    /// Runs ids in the session's chunks, then the last position once more as a
    /// decode step, each step also through its kernel's CPU reference on the same inputs. Returns the first
    /// whose result is further than `tolerance` (relative to the tensor's largest value) from it. Leaves the
    /// session as after [`Session::reset`], pictures kept. Slow.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn replay(&mut self, ids: &[PromptId], tolerance: f32) -> Result<Option<Difference>> {
        let mut found = None;
        if self.each_pass(ids, |pass, _, _, _| {
            found = pass.program.replay(tolerance)?;
            Ok(found.is_some())
        })? {
            self.end();
            return Ok(found);
        }
        self.decode_last(|pass, _, _| Ok(pass.program.replay(tolerance)?))
    }

    /// [`Inspect::replay`] of every step: how far each result is from its CPU reference. Slow.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn deviations(&mut self, ids: &[PromptId]) -> Result<Vec<Deviation>> {
        let mut all = vec![];
        self.each_pass(ids, |pass, _, _, _| {
            all.extend(pass.program.deviations()?);
            Ok(false)
        })?;
        all.extend(self.decode_last(|pass, _, _| Ok(pass.program.deviations()?))?);
        Ok(all)
    }

    /// Runs ids through the cache in the session's chunks, then `tokens`
    /// greedy steps; returns each step's logits.
    ///
    /// # Errors
    ///
    /// If the ids do not fit.
    pub fn greedy(&mut self, ids: &[PromptId], tokens: usize) -> Result<Vec<Vec<f32>>> {
        Self::greedy_together(std::slice::from_mut(self.session), &[ids], tokens)
            .map(|mut steps| steps.remove(0))
    }

    /// [`Inspect::greedy`] of several sessions, whose steps after the prompt are of all of them together.
    ///
    /// # Errors
    ///
    /// If they are none or more than 16, or not as many as `ids`, or the ids do not fit.
    pub fn greedy_together(
        sessions: &mut [Session],
        ids: &[&[PromptId]],
        tokens: usize,
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        if sessions.len() != ids.len() {
            return Err(Error::Option(format!("{} sessions and {} prompts", sessions.len(), ids.len())));
        }
        let mut steps: Vec<Vec<Vec<f32>>> = vec![];
        for (session, ids) in sessions.iter_mut().zip(ids) {
            steps.push(vec![session.inspect().logits_of(ids, tokens)?]);
        }
        for _ in 1..tokens {
            let last =
                steps.iter().map(|steps| steps.last().map_or(0, |logits| best(logits))).collect::<Vec<_>>();
            let logits = logits_together(sessions, &last)?;
            steps.iter_mut().zip(logits).for_each(|(steps, logits)| steps.push(logits));
        }
        sessions.iter_mut().for_each(|session| session.inspect().end());
        steps.iter_mut().for_each(|steps| steps.truncate(tokens));
        Ok(steps)
    }
}
