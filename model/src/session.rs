//! A conversation: what is asked in it, and what was said.

mod inspect;
mod inspected;
mod pictures;
mod saved;
mod timing;
mod trace;
mod turns;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::generate::{FinishReason, GenerateOptions};
use crate::generation::Generation;
use crate::model::Model;
use crate::prompt::{Conversation, Prompt, Question, Template, Turn};
use crate::request::{Request, Sample};
use crate::rows::{self, Row};
use crate::talk::{Before, Talk};
use crate::tokenizer::PromptId;
use crate::{Error, Result};
pub use inspect::Inspect;
use inspected::Inspected;
pub use saved::SaveOptions;
pub use turns::Usage;

/// A conversation: its turns and its pictures. It has pages of the model's KV cache only while it is answered; what they
/// hold stays there for its next turn until others need the room.
///
/// ```
/// use strix_model::{GenerateOptions, LoadOptions, Model};
///
/// let model = Model::nano(&LoadOptions::default())?;
/// let mut session = model.session()?;
/// # let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/shapes.png");
/// session.add_image(picture)?;
/// let options = GenerateOptions::default();
/// assert_eq!(session.ask("Is there a blue triangle in the image?", &options)?.finish()?.text, "yes");
/// // A later question runs its own tokens only.
/// let answer = session.ask("What is 3 + 4?", &options)?.finish()?;
/// assert!(answer.text == "7" && answer.timing.reused_tokens > 0);
///
/// // A saved conversation goes on with the tokens that it would have had.
/// # let file = std::env::temp_dir().join(format!("strix-doctest-{}.session", std::process::id()));
/// session.save(&file, Default::default())?;
/// let restored = model.restore(&file)?;
/// assert_eq!(restored.turns(), session.turns());
/// # std::fs::remove_file(&file).ok();
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    model: Model,
    talk: Arc<Mutex<Talk>>,
    inspected: Inspected,
}

impl Model {
    /// Starts a conversation. It shares the programs and the KV cache with all others.
    ///
    /// # Errors
    ///
    /// If the device has no room for the programs.
    pub fn session(&self) -> Result<Session> {
        Session::new(self)
    }

    /// A conversation that was saved with [`Session::save`]. It goes on with the tokens it would have had.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged or no saved session, or is of another model or of one that was loaded with
    /// other dtypes.
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Session> {
        let session = self.session()?;
        session.restore(path.as_ref())?;
        Ok(session)
    }
}

impl Session {
    pub(crate) fn new(model: &Model) -> Result<Self> {
        // What does not fit the device is found here, and one that is lost.
        model.inner.gpu.check_alive()?;
        model.inner.need_runner()?;
        Ok(Self { model: model.clone(), talk: Arc::default(), inspected: Inspected::default() })
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The questions and replies so far; of an answer cut short, what was taken of it. The reply of one that is under way
    /// is still to come.
    pub fn turns(&self) -> Vec<Turn> {
        self.talk().conversation.turns().to_vec()
    }

    /// Writes later turns in another template; forgets the conversation.
    pub fn set_template(&mut self, template: Template) {
        self.reset();
        self.talk().conversation = Conversation::new(template);
    }

    /// Forgets turns and pictures; the template stays. An answer that is under way goes on, and adds to nothing.
    pub fn reset(&mut self) {
        self.inspect().end();
        let fresh = {
            let talk = self.talk();
            let mut conversation = talk.conversation.clone();
            conversation.clear();
            Talk { conversation, left: talk.left.clone(), ..Talk::default() }
        };
        // An answer that is under way keeps the one that it was asked in.
        self.talk = Arc::new(fresh.into());
    }

    /// A conversation that goes on from where this one is, on its own. They share what the cache holds of it.
    ///
    /// # Errors
    ///
    /// If the last question is still being answered.
    pub fn fork(&self) -> Result<Self> {
        let talk = self.talk().fork()?;
        Ok(Self { model: self.model.clone(), talk: Arc::new(talk.into()), inspected: Inspected::default() })
    }

    /// Asks within the conversation. The text is data, whatever it looks like; [`Question::placed`] puts pictures where its
    /// `<|image|>` are. The answer is generated from now on, beside those of other sessions, and its tokens
    /// are taken from what is returned. What is refused is refused here and leaves everything as it was; so does an
    /// answer of which no token is taken.
    ///
    /// # Errors
    ///
    /// If the prompt does not fit the context, places and pictures differ in number, an option is out of range, the last
    /// question is still being answered, the KV cache is too small for it, or too many others wait.
    pub fn ask(&mut self, question: impl Into<Question>, options: &GenerateOptions) -> Result<Generation> {
        self.answer(options, |talk| {
            talk.conversation.ask(question, talk.pending)?;
            Ok((talk.conversation.prompt(), Before::Turn))
        })
    }

    /// Asks for several answers to one question, each with a seed of its own: that of the options, and those that follow it.
    /// The prompt is run once. Each answer comes with the conversation that it is a part of; this one stays as it is.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`]; then none is asked for.
    pub fn samples(
        &self,
        question: impl Into<Question>,
        options: &GenerateOptions,
        number: usize,
    ) -> Result<Vec<(Self, Generation)>> {
        let question = question.into();
        let sample = |i: usize| {
            let mut options = options.clone();
            options.sampling.seed = options.sampling.seed.wrapping_add(i as u64);
            let mut session = self.fork()?;
            let generation = session.ask(question.clone(), &options)?;
            Ok((session, generation))
        };
        (0..number).map(sample).collect()
    }

    /// Continues a prompt that is complete with its `<|image|>` places and its `</s>`, as a conversation of its own; the
    /// pictures added before are its pictures. What fails leaves everything as it was, as [`Session::ask`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`].
    pub fn complete(&mut self, prompt: &str, options: &GenerateOptions) -> Result<Generation> {
        self.answer(options, |talk| Ok((prompt.into(), talk.set_aside())))
    }

    /// The same of a prompt that is tokens already. A model without a tokenizer answers
    /// with tokens alone.
    ///
    /// # Errors
    ///
    /// As [`Session::ask`].
    pub fn complete_ids(&mut self, ids: &[PromptId], options: &GenerateOptions) -> Result<Generation> {
        let sample = Sample::new(&self.model.inner, options)?;
        let inner = self.model.inner.clone();
        self.begin(options, sample, |talk| {
            let pictures = talk.picture_ids();
            let rows = rows::of_ids(&inner.config, ids, &pictures)?;
            rows::check_length(&inner.config, inner.ctx, &rows, pictures.len())?;
            Ok((rows, talk.set_aside()))
        })
    }

    /// Goes on with the last answer, which was cut off by `max_tokens`, by the end of the context or by being cancelled, for
    /// up to so many tokens more. With the options it had it goes on as if it had not been; its reply becomes longer.
    ///
    /// # Errors
    ///
    /// If there is none, or as [`Session::ask`].
    pub fn resume(&mut self, max_tokens: u32) -> Result<Generation> {
        let inner = self.model.inner.clone();
        let last = self.talk().last.clone().filter(|last| last.is_cut && !last.ids.is_empty());
        let Some(last) = last else {
            return Err(Error::NothingToResume);
        };
        let options = GenerateOptions { max_tokens, cancel: None, ..last.options.clone() };
        let mut sample = Sample::going_on(&self.model.inner, &options)?;
        let text = sample.replay(&last.ids, &inner)?;
        let rows = last.all();
        if rows.len() > inner.ctx as usize {
            return Err(Error::ContextFull { needed: rows.len(), limit: inner.ctx as usize });
        }
        self.begin(&options, sample, |talk| {
            talk.last = None;
            let reply = talk.conversation.reopen();
            Ok((rows, Before::Cut { reply, text, last: Box::new(last) }))
        })
    }

    /// Begins an answer to the prompt that `ask` makes of the conversation.
    fn answer(
        &mut self,
        options: &GenerateOptions,
        ask: impl FnOnce(&mut Talk) -> Result<(Prompt, Before)>,
    ) -> Result<Generation> {
        let sample = Sample::new(&self.model.inner, options)?;
        let model = self.model.clone();
        self.begin(options, sample, |talk| {
            let (prompt, before) = ask(talk)?;
            let rows = model.tokenizer().and_then(|tokenizer| {
                rows::of_prompt(tokenizer, model.config(), model.ctx(), &prompt, &talk.picture_ids())
            });
            match rows {
                Ok(rows) => Ok((rows, before)),
                Err(error) => {
                    talk.take_back(before);
                    Err(error)
                }
            }
        })
    }

    /// Begins an answer to the positions that `ask` makes of the conversation.
    fn begin(
        &mut self,
        options: &GenerateOptions,
        mut sample: Sample,
        ask: impl FnOnce(&mut Talk) -> Result<(Vec<Row>, Before)>,
    ) -> Result<Generation> {
        let asked = Instant::now();
        self.inspect().end();
        let talk = self.talk.clone();
        let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
        talk.check_is_free()?;
        let pending = talk.pending;
        let asked_for = ask(&mut talk);
        // Pictures of a question that is refused wait for the next.
        talk.pending = pending;
        let (rows, before) = asked_for?;
        let room = (options.max_tokens as usize).min(self.model.inner.ctx as usize - rows.len() + 1);
        sample.see(&rows);
        sample.make_room(room);
        let (feed, prompt) = (sample.feed.clone(), Arc::from(rows.as_slice()));
        match self.submit(&mut talk, rows, sample, asked) {
            Ok(()) => {
                talk.pending = match before {
                    Before::Turn | Before::Answered(_) => 0,
                    Before::Chat { .. } => talk.pictures.len(),
                    Before::Cut { .. } => pending,
                };
                talk.is_answering = true;
                Ok(Generation::new(&self.model, feed, prompt, options, room, (self.talk.clone(), before)))
            }
            Err(error) => {
                talk.take_back(before);
                talk.pending = pending;
                Err(error)
            }
        }
    }

    /// Gives a prompt to the scheduler.
    fn submit(&self, talk: &mut Talk, rows: Vec<Row>, sample: Sample, asked: Instant) -> Result<()> {
        let inner = &self.model.inner;
        if let Some(number) = talk.pictures.iter().position(|picture| picture.is_absent(inner)) {
            return Err(Error::PictureAbsent { number });
        }
        if sample.max_tokens() == 0 {
            sample.feed.end(Ok(FinishReason::MaxTokens), None);
            return Ok(());
        }
        self.model.scheduler.submit(Request {
            rows,
            pictures: talk.pictures.clone(),
            left: talk.left.clone(),
            image_encode: talk.image_encode,
            asked,
            has_waited: false,
            sample,
        })?;
        talk.image_encode = Duration::ZERO;
        Ok(())
    }

    /// What tests and benchmarks need: single steps, traces, times, a context of any length without a prompt.
    pub fn inspect(&mut self) -> Inspect<'_> {
        Inspect::new(self)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inspect().end();
    }
}
