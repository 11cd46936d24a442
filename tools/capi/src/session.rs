//! A conversation: pictures, questions, answers.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;

use strix_model::prompt::Question;
use strix_model::tokenizer::PromptId;
use strix_model::{GenerateOptions, Generation, Session};

use crate::ask_options::{self, StrixAskOptions};
use crate::failure::{ErrorPlace, Failure};
use crate::generation::StrixGeneration;
use crate::guard::{guard, quietly};
use crate::image::StrixImage;
use crate::model::StrixModel;
use crate::raw::{handle, list, place, text, write_list};
use crate::shared::{Exclusive, Shared};
use crate::status::StrixStatus;

/// In ids of strix_session_complete_ids and strix_session_logits, the place of a picture.
pub const STRIX_PICTURE: u32 = u32::MAX;

/// A conversation: its turns and its pictures.
///
/// One thread at a time may use it: a second call meanwhile has STRIX_STATUS_IN_USE. Different sessions, also of one model, may
/// be used at the same time. Freed with strix_session_free, also before its answers.
pub struct StrixSession {
    pub(crate) inner: Exclusive<Inner>,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Inner {
    pub(crate) session: Session,
    /// Texts of the turn that was given out last.
    pub(crate) turn: [CString; 2],
}

pub(crate) type SessionPlace<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixSession>>>>;
type GenerationPlace<'a> = Option<&'a mut MaybeUninit<Option<Box<StrixGeneration>>>>;

impl StrixSession {
    pub(crate) fn new(session: Session, shared: Arc<Shared>) -> Box<Self> {
        Box::new(Self { inner: Exclusive::new(Inner { session, turn: Default::default() }), shared })
    }
}

/// Does something with a session, whose log is its model's.
pub(crate) fn with<T>(
    session: Option<&StrixSession>,
    run: impl FnOnce(&mut Inner) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let StrixSession { inner, shared } = handle(session, "session")?;
    let mut inner = inner.lock("session")?;
    shared.log.within(|| run(&mut inner))
}

/// Begins an answer.
fn answer(
    session: Option<&StrixSession>,
    options: *const StrixAskOptions,
    out: &mut MaybeUninit<Option<Box<StrixGeneration>>>,
    begin: impl FnOnce(&mut Session, &GenerateOptions, bool) -> strix_model::Result<Generation>,
) -> Result<(), Failure> {
    let shared = handle(session, "session")?.shared.clone();
    let (options, placed) = ask_options::read(options)?;
    let generation = with(session, |inner| Ok(begin(&mut inner.session, &options, placed)?))?;
    out.write(Some(StrixGeneration::new(generation, shared)));
    Ok(())
}

/// Begins a conversation.
///
/// The caller frees session; model may be freed before. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_new(
    model: Option<&StrixModel>,
    session: SessionPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(session, "session")?;
        let shared = &handle(model, "model")?.shared;
        let begun = shared.log.within(|| shared.model.session())?;
        out.write(Some(StrixSession::new(begun, shared.clone())));
        Ok(())
    })
}

/// A conversation that goes on from where this one is, on its own. What the cache holds of it is shared.
///
/// The caller frees fork. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_fork(
    session: Option<&StrixSession>,
    fork: SessionPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(fork, "fork")?;
        let shared = handle(session, "session")?.shared.clone();
        let forked = with(session, |inner| Ok(inner.session.fork()?))?;
        out.write(Some(StrixSession::new(forked, shared)));
        Ok(())
    })
}

/// Adds a picture for the next question; several come in the order in which they were added. It is encoded when the question
/// is answered.
///
/// The session takes what it needs of picture, which stays the caller's. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_add_image(
    session: Option<&StrixSession>,
    picture: Option<&StrixImage>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let picture = &handle(picture, "picture")?.0;
        with(session, |inner| Ok(inner.session.add_image(picture)?))
    })
}

/// Asks a question within the conversation. The answer is generated from now on, also while nobody takes its tokens. What is
/// refused leaves everything as it was. options may be NULL.
///
/// The caller frees generation; session may be freed before. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_ask(
    session: Option<&StrixSession>,
    question: *const c_char,
    options: *const StrixAskOptions,
    generation: GenerationPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(generation, "generation")?;
        let question = text(question, "question")?;
        answer(session, options, out, |session, options, placed| {
            let question = if placed { Question::placed(question) } else { question.into() };
            session.ask(question, options)
        })
    })
}

/// Continues a prompt that is complete, with an <|image|> for each picture that was added, as a conversation of its own.
/// options may be NULL.
///
/// The caller frees generation; session may be freed before. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_complete(
    session: Option<&StrixSession>,
    prompt: *const c_char,
    options: *const StrixAskOptions,
    generation: GenerationPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(generation, "generation")?;
        let prompt = text(prompt, "prompt")?;
        answer(session, options, out, |session, options, _| session.complete(prompt, options))
    })
}

/// The same of a prompt that is tokens already; STRIX_PICTURE is the place of a picture. options may be NULL.
///
/// The caller frees generation; session may be freed before. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_complete_ids(
    session: Option<&StrixSession>,
    ids: *const u32,
    num_ids: usize,
    options: *const StrixAskOptions,
    generation: GenerationPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(generation, "generation")?;
        let ids = prompt_ids(list(ids, num_ids, "ids")?);
        answer(session, options, out, |session, options, _| session.complete_ids(&ids, options))
    })
}

/// Answers the last question anew. If no token of that is taken, the answer before is kept. options may be NULL.
///
/// The caller frees generation; session may be freed before. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_retry(
    session: Option<&StrixSession>,
    options: *const StrixAskOptions,
    generation: GenerationPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(generation, "generation")?;
        answer(session, options, out, |session, options, _| session.retry(options))
    })
}

/// Goes on with the last answer, which was cut off by max_tokens, by a full context or by being cancelled, for up to max_tokens
/// tokens more and with the options it had.
///
/// The caller frees generation; session may be freed before. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_resume(
    session: Option<&StrixSession>,
    max_tokens: u32,
    generation: GenerationPlace<'_>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let out = place(generation, "generation")?;
        answer(session, std::ptr::null(), out, |session, _, _| session.resume(max_tokens))
    })
}

/// The logits of the whole vocabulary for the token behind a prompt of tokens, in which STRIX_PICTURE is the place of a
/// picture that was added. The conversation stays as it is; what the cache holds of it is run anew.
///
/// Writes as many values as there is room for, and to num_logits how many there are: the size of the vocabulary. It waits for
/// the device. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_logits(
    session: Option<&StrixSession>,
    ids: *const u32,
    num_ids: usize,
    logits: *mut f32,
    room: usize,
    num_logits: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let ids = prompt_ids(list(ids, num_ids, "ids")?);
        let steps = with(session, |inner| Ok(inner.session.inspect().greedy(&ids, 1)?))?;
        write_list(steps.first().map_or(&[][..], Vec::as_slice), logits, room, num_logits)
    })
}

fn prompt_ids(ids: &[u32]) -> Vec<PromptId> {
    let of = |&id: &u32| if id == STRIX_PICTURE { PromptId::Picture } else { PromptId::Token(id) };
    ids.iter().map(of).collect()
}

/// Frees a conversation. An answer that is under way goes on until its generation is freed. Where it is the last handle of its
/// model, that is freed too, and waited for as strix_model_free says. NULL is nothing.
///
/// No thread may use it any more.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_free(session: Option<Box<StrixSession>>) {
    quietly((), || {
        if let Some(session) = session {
            let log = session.shared.log.clone();
            log.within(|| drop(session));
        }
    });
}
