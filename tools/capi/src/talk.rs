//! The turns of a conversation.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use strix_model::Usage;
use strix_model::prompt::Template;

use crate::failure::ErrorPlace;
use crate::guard::guard;
use crate::raw::{self, choices, filled, null, optional_text};
use crate::remedy::out_of;
use crate::session::{StrixSession, with};
use crate::status::StrixStatus;
use crate::text::ending;

/// How the turns of a conversation are written.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "C makes them")]
pub enum StrixTemplate {
    /// As mPLUG-Owl2 was trained.
    MplugOwl2 = 0,
    /// The same behind Vicuna 1.1's system text.
    VicunaV1 = 1,
    /// The texts alone.
    Plain = 2,
}

choices!(StrixTemplate: 3);

/// A turn of a conversation. Its texts are there until the next call with the session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixTurn {
    /// Set by the caller: sizeof(StrixTurn).
    pub size: usize,
    /// The question, with an <|image|> for each of its pictures.
    pub question: *const c_char,
    /// The answer; NULL while it is still to come.
    pub reply: *const c_char,
    /// Number of its pictures.
    pub num_pictures: usize,
}

/// What a conversation takes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StrixUsage {
    /// Set by the caller: sizeof(StrixUsage).
    pub size: usize,
    /// Positions, those of its pictures too.
    pub positions: u64,
    /// Its pictures.
    pub pictures: u64,
    /// Positions of its pictures.
    pub picture_positions: u64,
    /// Pages of the KV cache that its positions take.
    pub pages: u64,
    /// Pages that the KV cache has, for all conversations.
    pub cache_pages: u64,
}

filled!(StrixTurn, StrixUsage);

/// Number of questions so far.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_num_turns(
    session: Option<&StrixSession>,
    number: Option<&mut MaybeUninit<usize>>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let number = number.ok_or_else(|| null("number"))?;
        number.write(with(session, |inner| Ok(inner.session.turns().len()))?);
        Ok(())
    })
}

/// A question and its answer, by its index from 0. Of an answer cut short, what was taken of it.
///
/// Fills turn, whose size is set. Its texts are there until the next call with session. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_turn(
    session: Option<&StrixSession>,
    index: usize,
    turn: *mut StrixTurn,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        with(session, |inner| {
            let turns = inner.session.turns();
            let found = turns.get(index).ok_or_else(|| out_of(index, turns.len(), "turns"))?;
            inner.turn = [ending(found.user.to_string()), ending(found.reply.clone().unwrap_or_default())];
            let [question, reply] = &inner.turn;
            let known = StrixTurn {
                size: 0,
                question: question.as_ptr(),
                reply: if found.reply.is_some() { reply.as_ptr() } else { std::ptr::null() },
                num_pictures: found.user.num_images(),
            };
            raw::fill(turn, known)
        })
    })
}

/// Takes back the last question and its answer. Its pictures wait for the next question. Without any, nothing is done.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_undo(session: Option<&StrixSession>, error: ErrorPlace<'_>) -> StrixStatus {
    guard(error, || with(session, |inner| Ok(inner.session.undo().map(drop)?)))
}

/// Forgets turns and pictures.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_reset(session: Option<&StrixSession>, error: ErrorPlace<'_>) -> StrixStatus {
    guard(error, || {
        with(session, |inner| {
            inner.session.reset();
            Ok(())
        })
    })
}

/// Lets go of the pictures that wait for the next question.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_drop_waiting(
    session: Option<&StrixSession>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        with(session, |inner| {
            inner.session.drop_waiting();
            Ok(())
        })
    })
}

/// Sets the text in front of the first question; NULL for the template's own.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_set_system(
    session: Option<&StrixSession>,
    text: *const c_char,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let text = optional_text(text, "text")?.map(ToOwned::to_owned);
        with(session, |inner| {
            inner.session.set_system(text);
            Ok(())
        })
    })
}

/// Writes turns in another template, and forgets the conversation.
///
/// One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_set_template(
    session: Option<&StrixSession>,
    style: MaybeUninit<StrixTemplate>,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let template = match raw::choice(style)? {
            StrixTemplate::MplugOwl2 => Template::MplugOwl2,
            StrixTemplate::VicunaV1 => Template::VicunaV1,
            StrixTemplate::Plain => Template::Plain,
        };
        with(session, |inner| {
            inner.session.set_template(template);
            Ok(())
        })
    })
}

/// What the questions and answers so far take.
///
/// Fills usage, whose size is set. One thread at a time uses session.
#[unsafe(no_mangle)]
pub extern "C" fn strix_session_usage(
    session: Option<&StrixSession>,
    usage: *mut StrixUsage,
    error: ErrorPlace<'_>,
) -> StrixStatus {
    guard(error, || {
        let Usage { positions, pictures, picture_positions, pages, cache_pages } =
            with(session, |inner| Ok(inner.session.usage()?))?;
        let known = StrixUsage {
            size: 0,
            positions: positions as u64,
            pictures: pictures as u64,
            picture_positions: picture_positions as u64,
            pages: pages as u64,
            cache_pages: cache_pages as u64,
        };
        raw::fill(usage, known)
    })
}
