//! Looking into a session: a sequence that it runs without a question, step by step, alone or with others.

use std::slice;
use std::sync::Arc;

use strix_engine::StepTime;

use super::Session;
use super::inspected::Inspected;
use crate::decoder::TOGETHER;
use crate::inner::Inner;
use crate::kv_pool::Sequence;
use crate::rows::Row;
use crate::runner::{Pass, Runner, Share};
use crate::trace::profile;
use crate::{Error, Result};

/// Single steps, traces and times of a [`Session`], for tests and benchmarks. They run on the caller's thread, between
/// the answers of other sessions, and have nothing to do with the turns of this one, whose pictures they use.
#[derive(Debug)]
pub struct Inspect<'a> {
    pub(super) session: &'a mut Session,
}

impl<'a> Inspect<'a> {
    pub(super) fn new(session: &'a mut Session) -> Self {
        Self { session }
    }

    pub(super) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.session.model.inner)
    }

    pub(super) fn state(&mut self) -> &mut Inspected {
        &mut self.session.inspected
    }

    /// Begins to run up to `most` positions that have nothing to do with what the cache holds.
    pub(super) fn begin(&mut self, most: usize) -> Result<&mut Sequence> {
        self.end();
        self.session.model.wait_for_cancelled();
        let begun = self.inner().pages().start_apart(most).map_err(|full| full.error(most))?;
        Ok(self.state().sequence.insert(begun))
    }

    /// Lets go of its pages.
    pub(super) fn end(&mut self) {
        let inner = self.inner();
        let state = self.state();
        if let Some(sequence) = state.sequence.take() {
            state.ran = sequence.len();
            inner.pages().finish(sequence);
        }
    }

    /// Positions that are in the cache, or were when this or an answer was run last.
    fn positions(&self) -> usize {
        let Inspected { sequence, ran, .. } = &self.session.inspected;
        let left = self.session.talk().left();
        sequence.as_ref().map_or(if *ran > 0 { *ran } else { left }, Sequence::len)
    }

    /// Runs a token behind what the sequence has in the cache, as a decode step, and returns the likeliest next.
    ///
    /// # Errors
    ///
    /// If the context is full, there is no such token, or the device fails.
    pub fn step(&mut self, token: u32) -> Result<u32> {
        if self.state().sequence.is_none() {
            self.begin(1)?;
        }
        Self::step_together(slice::from_mut(self.session), &[token]).map(|next| next[0])
    }

    /// Runs a token behind what each of these sessions has in the cache, all in one decode step, and returns the likeliest
    /// next of each. [`Inspect::fill`] begins them.
    ///
    /// # Errors
    ///
    /// If they are none or more than 16, as many tokens are not given, one was not begun or has no room, or the device
    /// fails.
    pub fn step_together(sessions: &mut [Session], tokens: &[u32]) -> Result<Vec<u32>> {
        run_together(sessions, tokens, |pass| {
            pass.program.run(&[pass.out.ids.id()])?;
            let [_, candidates] = pass.out.ids.shape();
            let ids = pass.program.read(pass.out.ids)?;
            Ok(ids.chunks_exact(candidates as usize).map(|ids| ids[0]).collect())
        })
    }

    /// Device time of every step of [`Inspect::step_together`], of which nothing is left.
    ///
    /// # Errors
    ///
    /// As [`Inspect::step_together`], or if the device has no timestamp queries.
    pub fn profile_together(sessions: &mut [Session]) -> Result<Vec<StepTime>> {
        let Some(inner) = sessions.first().map(|session| session.model.inner.clone()) else {
            return Ok(vec![]);
        };
        let rows = vec![[Row::Token(0)]; sessions.len()];
        let mut runner = inner.runner()?;
        profile(&mut write_together(&mut runner, &inner, sessions, &rows)?.program)
    }

    /// Device time of every step of the decode program, at the last of the positions that are or were last in the cache.
    /// What the model's cache holds is lost.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries, or as [`Inspect::fill`].
    pub fn profile(&mut self) -> Result<Vec<StepTime>> {
        let ran = self.positions();
        self.fill(ran.saturating_sub(1))?;
        let times = Self::profile_together(slice::from_mut(self.session));
        self.end();
        self.state().ran = ran;
        times
    }

    /// Device time of every step of one prefill chunk that ends there.
    ///
    /// # Errors
    ///
    /// As [`Inspect::profile`].
    pub fn profile_prefill(&mut self) -> Result<Vec<StepTime>> {
        let (ran, inner) = (self.positions(), self.inner());
        let rows = vec![Row::Token(0); inner.runner()?.prefill.size.min(ran.max(1))];
        let most = ran.max(1);
        self.fill(most - rows.len())?;
        let sequence = self.state().sequence.as_mut().expect("filled");
        inner.pages().reserve(sequence, most).map_err(|full| full.error(most))?;
        inner.pages().grow(sequence, most);
        let times = {
            let mut runner = inner.runner()?;
            runner.prefill.write(&inner, &[Share { sequence, rows: &rows, pictures: &[], candidates: 1 }])?;
            profile(&mut runner.prefill.program)
        };
        self.end();
        self.state().ran = ran;
        times
    }
}

/// Runs a token behind what each session has in the cache, all in one step; returns all logits of each.
pub(super) fn logits_together(sessions: &mut [Session], tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
    run_together(sessions, tokens, |pass| {
        pass.program.run(&[pass.out.logits.id()])?;
        let [_, vocab] = pass.out.logits.shape();
        let logits = pass.program.read(pass.out.logits)?;
        Ok(logits.chunks_exact(vocab as usize).map(<[f32]>::to_vec).collect())
    })
}

/// Runs a token behind what each session has in the cache, all in one step; `run` returns what it gave for each.
fn run_together<R>(
    sessions: &mut [Session],
    tokens: &[u32],
    run: impl FnOnce(&mut Pass) -> Result<Vec<R>>,
) -> Result<Vec<R>> {
    if !(1..=TOGETHER).contains(&sessions.len()) || sessions.len() != tokens.len() {
        return Err(Error::Option(format!(
            "{} sessions and {} tokens; a step takes 1 to {TOGETHER} sessions and a token for each",
            sessions.len(),
            tokens.len()
        )));
    }
    let inner = sessions[0].model.inner.clone();
    check_tokens(&inner, tokens)?;
    let rows: Vec<_> = tokens.iter().map(|&token| [Row::Token(token)]).collect();
    let mut runner = inner.runner()?;
    let mut given = run(write_together(&mut runner, &inner, sessions, &rows)?)?;
    // The program may have more rows.
    given.truncate(tokens.len());
    for (session, rows) in sessions.iter_mut().zip(&rows) {
        let sequence = session.inspected.sequence.as_mut().expect("its row was run");
        inner.pages().extend(sequence, rows);
    }
    Ok(given)
}

/// The decode program of so many sessions, with these rows behind what each has in the cache.
fn write_together<'a>(
    runner: &'a mut Runner,
    inner: &Inner,
    sessions: &mut [Session],
    rows: &[[Row; 1]],
) -> Result<&'a mut Pass> {
    let mut parts = vec![];
    for (session, rows) in sessions.iter_mut().zip(rows) {
        if !std::ptr::eq(Arc::as_ptr(&session.model.inner), inner) {
            return Err(Error::Option("a session of another model".into()));
        }
        let Some(sequence) = &mut session.inspected.sequence else {
            return Err(Error::Option("a session that nothing was begun of: fill it first".into()));
        };
        has_room(inner, sequence)?;
        inner.pages().grow(sequence, sequence.len() + 1);
        parts.push(Share { sequence, rows, pictures: &[], candidates: 1 });
    }
    let pass = runner.decode(inner, parts.len())?;
    pass.write(inner, &parts)?;
    Ok(pass)
}

/// Refuses a token that is not in the vocabulary.
fn check_tokens(inner: &Inner, tokens: &[u32]) -> Result<()> {
    let vocab = inner.config.text.vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(&token) => Err(Error::UnknownToken { token, vocab }),
        None => Ok(()),
    }
}

/// Sees to it that a sequence may have one position more.
fn has_room(inner: &Inner, sequence: &mut Sequence) -> Result<()> {
    let (most, ctx) = (sequence.len() + 1, inner.ctx as usize);
    if most > ctx {
        return Err(Error::ContextFull { needed: most, limit: ctx });
    }
    inner.pages().reserve(sequence, most).map_err(|full| full.error(most))
}
