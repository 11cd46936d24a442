//! A conversation: its turns, its pictures, and the run of its prompts.

mod pictures;
pub(crate) mod rows;
mod timing;
pub(crate) mod trace;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use strix_engine::StepTime;

use crate::generate::{Answer, GenerateOptions, Start};
use crate::kv_pool::{Sequence, Stamp};
use crate::model::{Model, profile};
use crate::prompt::{Conversation, Prompt, Question, Template, Turn};
use crate::runner::{Part, Pass, Runner, TOGETHER};
use crate::{Error, Result, kv_cache};
pub(crate) use pictures::Picture;
pub(crate) use rows::Row;
pub use trace::trace_dir;
pub use turns::Usage;

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

/// A conversation: its turns and its pictures. It has pages of the model's KV cache only while it is answered; what they
/// hold stays there for its next turn until others need the room.
#[derive(Debug)]
pub struct Session {
    model: Model,
    /// What is being run.
    sequence: Option<Sequence>,
    /// What was run last left this in the cache.
    left: Vec<Stamp>,
    /// Positions that it had.
    ran: usize,
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
        // What does not fit the device is found here, and one that is lost.
        model.inner.gpu.check_alive()?;
        model.runner().map(drop)?;
        Ok(Self {
            model: model.clone(),
            sequence: None,
            left: vec![],
            ran: 0,
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

    /// Forgets turns and pictures; the template stays.
    pub fn reset(&mut self) {
        self.end();
        self.ran = 0;
        self.conversation.clear();
        self.pictures.clear();
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
    pub fn ask(&mut self, question: impl Into<Question>, options: &GenerateOptions) -> Result<Answer<'_>> {
        let start = Start::new(&self.model, options)?;
        self.conversation.ask(question, self.pending)?;
        let begun = self.rows(&self.conversation.prompt()).and_then(|rows| {
            self.begin(&rows, options.max_tokens)?;
            Ok(rows)
        });
        match begun {
            Ok(rows) => {
                self.pending = 0;
                Ok(start.answer(self, &rows, Before::Turn))
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
        let rows = self.rows(&prompt.into())?;
        self.begin(&rows, options.max_tokens)?;
        let conversation = self.conversation.clone();
        self.conversation.clear();
        let pending = std::mem::replace(&mut self.pending, self.pictures.len());
        Ok(start.answer(self, &rows, Before::Chat { conversation, pending }))
    }

    /// Takes back what was asked, of which no token came.
    pub(crate) fn restore(&mut self, before: Before) {
        match before {
            // Its pictures wait for the next question.
            Before::Turn => {
                if let Some(turn) = self.conversation.undo() {
                    self.pending += turn.user.num_images();
                }
            }
            Before::Chat { conversation, pending } => {
                self.conversation = conversation;
                self.pending = pending;
            }
        }
    }

    /// The positions of a prompt.
    fn rows(&self, prompt: &Prompt) -> Result<Vec<Row>> {
        let model = &self.model.inner;
        rows::of_prompt(self.model.tokenizer()?, &model.config, model.ctx, prompt, &self.picture_ids())
    }

    /// Begins to run a prompt that up to `max_tokens` follow. What the cache holds of it need not be run.
    fn begin(&mut self, rows: &[Row], max_tokens: u32) -> Result<()> {
        self.end();
        // The last token is not run.
        let most = (rows.len() + (max_tokens.max(1) - 1) as usize).min(self.model.inner.ctx as usize);
        let model = &self.model.inner;
        let mut pages = model.pages();
        let mut begun = pages.start(rows, most, &self.left).map_err(|full| full.error(most))?;
        // As long as the pool is locked, nobody writes over the page.
        if let Some(copied) = begun.copied()
            && let Err(error) = kv_cache::copy_page(&model.gpu, &model.kv, &model.config.text, copied)
        {
            pages.abandon(begun);
            return Err(error);
        }
        self.sequence = Some(begun);
        Ok(())
    }

    /// Begins to run up to `most` positions that have nothing to do with what the cache holds.
    fn begin_apart(&mut self, most: usize) -> Result<&mut Sequence> {
        self.end();
        let begun = self.model.inner.pages().start_apart(most);
        Ok(self.sequence.insert(begun.map_err(|full| full.error(most))?))
    }

    /// Lets go of its pages.
    pub(crate) fn end(&mut self) {
        if let Some(sequence) = self.sequence.take() {
            self.ran = sequence.len();
            self.left = self.model.inner.pages().finish(sequence);
        }
    }

    /// Positions in the cache.
    pub(crate) fn len(&self) -> usize {
        self.sequence.as_ref().map_or(0, Sequence::len)
    }

    /// Runs rows behind those in the cache, whose pictures are encoded, and returns the last one's logits, or `None` if
    /// `go_on` said no between two submits.
    pub(crate) fn forward(
        &mut self,
        rows: &[Row],
        want: Want,
        go_on: Option<&dyn Fn() -> bool>,
    ) -> Result<Option<Scores<'_>>> {
        let Self { model, sequence, pictures, scratch, .. } = self;
        let sequence = sequence.as_mut().expect("rows are run of a sequence that was begun");
        // A prompt's last row takes the same path however the prompt is cut: its bits do not depend on the chunk.
        let single = rows.len() == 1 && matches!(rows[0], Row::Token(_));
        let mut rest = rows;
        while !rest.is_empty() {
            let mut runner = model.runner()?;
            let pass = if single { runner.decode(model, 1)? } else { &mut runner.prefill };
            let (run, after) = rest.split_at(pass.size.min(rest.len()));
            rest = after;
            let position = sequence.len();
            model.inner.pages().grow(sequence, position + run.len());
            let candidates =
                if let (true, Want::Candidates(wanted)) = (rest.is_empty(), want) { wanted } else { 1 };
            pass.write(&[Part { sequence, rows: run, pictures, candidates }]);
            if let Some(prefix) = trace::trace_prefix() {
                trace::dump(&mut pass.program, model, sequence.pages(), &prefix, &format!("{position:05}"))?;
            }
            let (candidates, full) = ([pass.out.ids.id(), pass.out.values.id()], [pass.out.logits.id()]);
            let reads: &[_] = match want {
                _ if !rest.is_empty() => &[],
                Want::Candidates(_) => &candidates,
                Want::Full => &full,
            };
            if !pass.run(reads, go_on)? {
                return Ok(None);
            }
            model.inner.pages().extend(sequence, run);
            if rest.is_empty() {
                scratch.read(pass, want)?;
            }
        }
        Ok(Some(scratch.scores(want)))
    }

    /// Runs a token behind what each of these sessions has in the cache, all in one decode step, and returns the likeliest
    /// next of each. [`Session::fill`] begins them.
    ///
    /// # Errors
    ///
    /// If they are none or more than 16, as many tokens are not given, one was not begun or has no room, or the device
    /// fails.
    pub fn step_together(sessions: &mut [Self], tokens: &[u32]) -> Result<Vec<u32>> {
        Self::run_together(sessions, tokens, |pass| {
            pass.run(&[pass.out.ids.id()], None)?;
            let [_, candidates] = pass.out.ids.shape();
            let ids = pass.program.read(pass.out.ids)?;
            Ok(ids.chunks_exact(candidates as usize).map(|ids| ids[0]).collect())
        })
    }

    /// The same, of which all logits are returned.
    fn logits_together(sessions: &mut [Self], tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        Self::run_together(sessions, tokens, |pass| {
            pass.run(&[pass.out.logits.id()], None)?;
            let [_, vocab] = pass.out.logits.shape();
            let logits = pass.program.read(pass.out.logits)?;
            Ok(logits.chunks_exact(vocab as usize).map(<[f32]>::to_vec).collect())
        })
    }

    /// Runs a token behind what each session has in the cache, all in one step; `run` returns what it gave for each.
    fn run_together<R>(
        sessions: &mut [Self],
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
        let model = sessions[0].model.clone();
        check_tokens(&model, tokens)?;
        let rows: Vec<_> = tokens.iter().map(|&token| [Row::Token(token)]).collect();
        let mut runner = model.runner()?;
        let mut given = run(Self::write_together(&mut runner, &model, sessions, &rows)?)?;
        // The program may have more rows.
        given.truncate(tokens.len());
        for (session, rows) in sessions.iter_mut().zip(&rows) {
            let sequence = session.sequence.as_mut().expect("its row was run");
            model.inner.pages().extend(sequence, rows);
        }
        Ok(given)
    }

    /// Device time of every step of [`Session::step_together`], of which nothing is left.
    ///
    /// # Errors
    ///
    /// As [`Session::step_together`], or if the device has no timestamp queries.
    pub fn profile_together(sessions: &mut [Self]) -> Result<Vec<StepTime>> {
        let Some(model) = sessions.first().map(|session| session.model.clone()) else { return Ok(vec![]) };
        let rows = vec![[Row::Token(0)]; sessions.len()];
        let mut runner = model.runner()?;
        profile(&mut Self::write_together(&mut runner, &model, sessions, &rows)?.program)
    }

    /// The decode program of so many sessions, with these rows behind what each has in the cache.
    fn write_together<'a>(
        runner: &'a mut Runner,
        model: &Model,
        sessions: &mut [Self],
        rows: &[[Row; 1]],
    ) -> Result<&'a mut Pass> {
        let mut parts = vec![];
        for (session, rows) in sessions.iter_mut().zip(rows) {
            let Some(sequence) = &mut session.sequence else {
                return Err(Error::Option("a session that nothing was begun of: fill it first".into()));
            };
            if !Arc::ptr_eq(&session.model.inner, &model.inner) {
                return Err(Error::Option("a session of another model".into()));
            }
            has_room(model, sequence)?;
            model.inner.pages().grow(sequence, sequence.len() + 1);
            parts.push(Part { sequence, rows, pictures: &[], candidates: 1 });
        }
        let pass = runner.decode(model, parts.len())?;
        pass.write(&parts);
        Ok(pass)
    }

    /// Device time of every step of the decode program, at the last of the positions that are or were last in the cache.
    /// What the model's cache holds is lost.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries, or as [`Session::fill`].
    pub fn profile(&mut self) -> Result<Vec<StepTime>> {
        let ran = self.positions();
        self.fill(ran.saturating_sub(1))?;
        let times = Self::profile_together(std::slice::from_mut(self));
        self.end();
        self.ran = ran;
        times
    }

    /// Device time of every step of one prefill chunk that ends there.
    ///
    /// # Errors
    ///
    /// As [`Session::profile`].
    pub fn profile_prefill(&mut self) -> Result<Vec<StepTime>> {
        let (ran, model) = (self.positions(), self.model.clone());
        let rows = vec![Row::Token(0); model.runner()?.prefill.size.min(ran.max(1))];
        let most = ran.max(1);
        self.fill(most - rows.len())?;
        let sequence = self.sequence.as_mut().expect("filled");
        model.inner.pages().reserve(sequence, most).map_err(|full| full.error(most))?;
        model.inner.pages().grow(sequence, most);
        let times = {
            let mut runner = model.runner()?;
            runner.prefill.write(&[Part { sequence, rows: &rows, pictures: &[], candidates: 1 }]);
            profile(&mut runner.prefill.program)
        };
        self.end();
        self.ran = ran;
        times
    }

    /// Positions that are in the cache or were last.
    fn positions(&self) -> usize {
        self.sequence.as_ref().map_or(self.ran, Sequence::len)
    }
}

/// Refuses a token that is not in the vocabulary.
fn check_tokens(model: &Model, tokens: &[u32]) -> Result<()> {
    let vocab = model.inner.config.text.vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => Err(Error::Prompt(format!("token {token} is not in the vocabulary of {vocab}"))),
        None => Ok(()),
    }
}

/// Sees to it that a sequence may have one position more.
fn has_room(model: &Model, sequence: &mut Sequence) -> Result<()> {
    let (most, ctx) = (sequence.len() + 1, model.inner.ctx as usize);
    if most > ctx {
        return Err(Error::Option(format!("the context of {ctx} positions is full: raise --ctx")));
    }
    model.inner.pages().reserve(sequence, most).map_err(|full| full.error(most))
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

impl Scratch {
    /// Takes what a pass read for its one sequence.
    fn read(&mut self, pass: &Pass, want: Want) -> Result<()> {
        let Self { ids, logits, candidates } = self;
        match want {
            Want::Candidates(wanted) => {
                pass.program.read_into(pass.out.ids, ids)?;
                pass.program.read_into(pass.out.values, logits)?;
                candidates.clear();
                candidates.extend(ids.iter().copied().zip(logits.iter().copied()).take(wanted as usize));
            }
            Want::Full => pass.program.read_into(pass.out.logits, logits)?,
        }
        Ok(())
    }

    /// The same as scores.
    fn scores(&self, want: Want) -> Scores<'_> {
        match want {
            Want::Candidates(_) => Scores::Candidates(&self.candidates),
            Want::Full => Scores::Full(&self.logits),
        }
    }
}
