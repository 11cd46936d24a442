//! An answer as its asker sees it: tokens as they come, a way to cancel, and what remains in the conversation.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::feed::{Feed, TEXT_BYTES};
use crate::generate::{FinishReason, GenerateOptions, Timing, Token};
use crate::model::Model;
use crate::rows::Row;
use crate::sampler::LogProbs;
use crate::talk::{Before, Last, Talk};
use crate::{Error, Result};

/// Time between two looks at a flag that wakes nobody, while no token comes.
const GLANCE: Duration = Duration::from_millis(5);

/// Cancels a [`Generation`], from any thread.
///
/// ```
/// use strix_model::{FinishReason, GenerateOptions, LoadOptions, Model};
///
/// let mut session = Model::nano(&LoadOptions::default())?.session()?;
/// let mut answer = session.ask("What are the seven colors of the rainbow?", &GenerateOptions::default())?;
/// let canceller = answer.canceller();
/// let button = std::thread::spawn(move || canceller.cancel());
/// button.join().expect("it does not panic");
/// assert!(answer.next().is_none());
/// assert_eq!(answer.finish_reason(), Some(&FinishReason::Cancelled));
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Canceller(Arc<Feed>);

impl Canceller {
    /// Ends the answer with the tokens that were taken so far. It returns at once, and calls nobody; the device is done with
    /// it after the submits that are under way, [`LoadOptions::slice`](crate::LoadOptions::slice) at most. A callback of
    /// [`Generation::listen`] is then told by the model's thread.
    pub fn cancel(&self) {
        self.0.cancel();
        self.0.wake();
    }
}

/// What a callback of [`Generation::listen`] is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A token, and the text that became certain with it.
    Token {
        /// Its id.
        id: u32,
        /// The text.
        text: &'a str,
    },
    /// The answer is complete, and in the conversation.
    Finished(&'a Answer),
    /// It ended with an error; what was said before is in the conversation.
    Failed(Error),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its text, without white space at either end; under a constraint, with it.
    pub text: String,
    /// Its tokens, the one that ended it included.
    pub ids: Vec<u32>,
    /// How likely each of them was, if [`GenerateOptions::log_probs`] asks for it; else nothing.
    pub log_probs: Vec<LogProbs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub timing: Timing,
}

/// An answer while it is generated: an iterator over its tokens. The model runs it with all others of its kind, whether
/// anybody takes the tokens or not.
///
/// Dropping it cancels it. The tokens taken by then stay in the conversation; if there are none, it was never asked.
///
/// ```
/// use strix_model::{FinishReason, GenerateOptions, LoadOptions, Model};
///
/// let model = Model::nano(&LoadOptions::default())?;
/// let mut session = model.session()?;
/// let mut answer = session.ask("Hello!", &GenerateOptions::default())?;
/// let mut text = String::new();
/// for token in answer.by_ref() {
///     text += &token?.text;
/// }
/// assert_eq!((text.trim(), answer.finish_reason()), (answer.text(), Some(&FinishReason::Eos)));
/// println!("{:.1} tokens/s", answer.timing().tokens_per_second().unwrap_or_default());
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Generation {
    feed: Arc<Feed>,
    options: GenerateOptions,
    /// Its prompt.
    rows: Arc<[Row]>,
    /// The conversation that it will be a part of, and how to take it back while no token has come.
    talk: Option<(Arc<Mutex<Talk>>, Before)>,
    ids: Vec<u32>,
    log_probs: Vec<LogProbs>,
    text: String,
    /// Text of the last token.
    certain: String,
    timing: Timing,
    finish: Option<FinishReason>,
    failed: bool,
    /// Keeps the scheduler.
    model: Model,
}

impl Generation {
    /// Takes from a feed that has room for so many tokens.
    pub(crate) fn new(
        model: &Model,
        feed: Arc<Feed>,
        rows: Arc<[Row]>,
        options: &GenerateOptions,
        room: usize,
        talk: (Arc<Mutex<Talk>>, Before),
    ) -> Self {
        Self {
            feed,
            rows,
            options: options.clone(),
            talk: Some(talk),
            ids: Vec::with_capacity(room),
            log_probs: vec![],
            text: String::with_capacity(room * TEXT_BYTES),
            certain: String::with_capacity(TEXT_BYTES),
            timing: Timing::default(),
            finish: None,
            failed: false,
            model: model.clone(),
        }
    }

    /// The model that runs it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Why it ended; `None` while it goes on.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.finish.as_ref()
    }

    /// Where the time went so far. The model may be some tokens ahead of those taken.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The text so far, without white space at either end; under a constraint, with it.
    pub fn text(&self) -> &str {
        if self.options.constraint.is_some() { &self.text } else { self.text.trim() }
    }

    /// The tokens so far, the one that ended it included.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How likely each of them was, if [`GenerateOptions::log_probs`] asks for it; else nothing.
    pub fn log_probs(&self) -> &[LogProbs] {
        &self.log_probs
    }

    /// What cancels it from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.feed.clone())
    }

    /// Waits for the next token: its id, and the text that became certain with it. What the iterator gives, without
    /// a string of its own: between two tokens Strix then allocates nothing, on the host or the device.
    pub fn advance(&mut self) -> Option<Result<(u32, &str)>> {
        loop {
            match self.look(None) {
                Poll::Ready(next) => return self.given(next),
                Poll::Pending => self.wait(),
            }
        }
    }

    /// The next token if it is there, as [`Generation::advance`] gives it. If not, `context`'s task is woken when it is.
    pub fn poll_advance(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<(u32, &str)>>> {
        match self.look(Some(context)) {
            Poll::Ready(next) => Poll::Ready(self.given(next)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// If it ends with an error. What was said before is in the conversation.
    pub fn finish(mut self) -> Result<Answer> {
        while let Some(token) = self.advance() {
            token?;
        }
        self.answer()
    }

    /// Has a function called with each token, and once at the end, in place of taking them. It is called from the model's
    /// thread, which has nothing to run meanwhile: it should return soon. It may ask and cancel. Tokens that came before are
    /// told from within this call. A function that panics is called no more, and its answer is cancelled.
    ///
    /// The answer goes on when what is returned is dropped.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use strix_model::{Event, GenerateOptions, LoadOptions, Model};
    ///
    /// let mut session = Model::nano(&LoadOptions::default())?.session()?;
    /// let (tell, told) = mpsc::channel();
    /// session.ask("What is 3 + 4?", &GenerateOptions::default())?.listen(move |event| match event {
    ///     Event::Token { text, .. } => print!("{text}"),
    ///     Event::Finished(answer) => tell.send(Ok(answer.text.clone())).expect("it is waited for"),
    ///     Event::Failed(error) => tell.send(Err(error)).expect("it is waited for"),
    ///     _ => {}
    /// });
    /// assert_eq!(told.recv().expect("it ends")?, "7");
    /// # Ok::<(), strix_model::Error>(())
    /// ```
    pub fn listen(mut self, mut on_event: impl FnMut(Event<'_>) + Send + 'static) -> Canceller {
        let canceller = self.canceller();
        let feed = self.feed.clone();
        let mut heard = move || {
            loop {
                match self.look(None) {
                    Poll::Pending => return true,
                    Poll::Ready(Some(Ok(id))) => on_event(Event::Token { id, text: &self.certain }),
                    Poll::Ready(Some(Err(error))) => on_event(Event::Failed(error)),
                    Poll::Ready(None) if self.failed => return false,
                    Poll::Ready(None) => {
                        if let Ok(answer) = self.answer() {
                            on_event(Event::Finished(&answer));
                        }
                        return false;
                    }
                }
            }
        };
        let cancelled = canceller.clone();
        let mut listener = move || {
            // A panic of one listener is no matter of the model's other conversations.
            catch_unwind(AssertUnwindSafe(&mut heard)).unwrap_or_else(|_| {
                cancelled.cancel();
                false
            })
        };
        if listener() {
            feed.listen(listener);
        }
        canceller
    }

    fn answer(&mut self) -> Result<Answer> {
        let finish_reason = self.finish.clone().ok_or(Error::Interrupted)?;
        Ok(Answer {
            text: self.text().to_owned(),
            ids: std::mem::take(&mut self.ids),
            log_probs: std::mem::take(&mut self.log_probs),
            finish_reason,
            timing: self.timing,
        })
    }

    fn given(&self, next: Option<Result<u32>>) -> Option<Result<(u32, &str)>> {
        next.map(|id| Ok((id?, self.certain.as_str())))
    }

    fn is_cancelled(&self) -> bool {
        self.feed.is_cancelled() || self.options.is_cancelled()
    }

    /// The next token, the end, or nothing yet.
    fn look(&mut self, context: Option<&mut Context<'_>>) -> Poll<Option<Result<u32>>> {
        if self.finish.is_some() || self.failed {
            return Poll::Ready(None);
        }
        let feed = self.feed.clone();
        let mut told = feed.told();
        self.timing = told.timing;
        if self.is_cancelled() {
            drop(told);
            // The scheduler sees it too, whoever's flag it was.
            feed.cancel();
            self.end(FinishReason::Cancelled);
            return Poll::Ready(None);
        }
        let at = self.ids.len();
        if let Some(&id) = told.ids.get(at) {
            let text = told.text_of(at);
            self.certain.clear();
            self.certain += text;
            self.text += text;
            self.ids.push(id);
            self.log_probs.extend(told.log_probs.pop_front());
            let is_last = at + 1 == told.ids.len();
            if let (true, Some(Ok(reason))) = (is_last, &told.ended) {
                let reason = reason.clone();
                drop(told);
                self.end(reason);
            }
            return Poll::Ready(Some(Ok(id)));
        }
        match told.ended.take() {
            Some(Err(error)) => {
                drop(told);
                self.failed = true;
                self.commit();
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(reason)) => {
                drop(told);
                self.end(reason);
                Poll::Ready(None)
            }
            None => {
                if let Some(context) = context {
                    told.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Ends with what was taken.
    fn end(&mut self, reason: FinishReason) {
        self.finish = Some(reason);
        self.commit();
    }

    /// Waits until something was told.
    fn wait(&self) {
        self.feed.wait(self.ids.len(), self.options.cancel.as_ref().map(|_| GLANCE));
    }

    /// Makes what was taken a part of the conversation.
    fn commit(&mut self) {
        let Some((talk, before)) = self.talk.take() else { return };
        let is_cut =
            !matches!(self.finish, Some(FinishReason::Eos | FinishReason::Complete | FinishReason::Stop(_)));
        let last =
            Last { rows: self.rows.clone(), ids: self.ids.clone(), options: self.options.clone(), is_cut };
        // A reply that is gone on with may go on with a space.
        let text = if matches!(before, Before::Cut { .. }) { &self.text } else { self.text.trim() };
        talk.lock().unwrap_or_else(PoisonError::into_inner).answered(before, text, last);
    }
}

impl Iterator for Generation {
    type Item = Result<Token>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance()?;
        Some(next.map(|(id, text)| Token { id, text: text.to_owned() }))
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.feed.cancel();
        self.commit();
    }
}

/// A [`Generation`] as a stream of tokens, for `async` code: it takes no thread while it waits.
///
/// ```
/// use std::future::poll_fn;
/// use std::pin::Pin;
///
/// // `futures::StreamExt` gives it `next`, `map` and the like.
/// use futures_core::Stream;
/// use strix_model::{GenerateOptions, LoadOptions, Model};
///
/// let mut session = Model::nano(&LoadOptions::default())?.session()?;
/// let mut tokens = session.ask("What is 3 + 4?", &GenerateOptions::default())?.into_stream();
/// pollster::block_on(async {
///     while let Some(token) = poll_fn(|context| Pin::new(&mut tokens).poll_next(context)).await {
///         print!("{}", token?.text);
///     }
///     Ok::<(), strix_model::Error>(())
/// })?;
/// assert_eq!(tokens.generation().text(), "7");
/// # Ok::<(), strix_model::Error>(())
/// ```
#[cfg(feature = "stream")]
#[derive(Debug)]
pub struct Tokens(Generation);

#[cfg(feature = "stream")]
impl Generation {
    /// The same as a stream of tokens.
    pub fn into_stream(self) -> Tokens {
        Tokens(self)
    }
}

#[cfg(feature = "stream")]
impl Tokens {
    /// The answer so far.
    pub fn generation(&self) -> &Generation {
        &self.0
    }
}

#[cfg(feature = "stream")]
impl futures_core::Stream for Tokens {
    type Item = Result<Token>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .poll_advance(context)
            .map(|next| next.map(|next| next.map(|(id, text)| Token { id, text: text.to_owned() })))
    }
}
