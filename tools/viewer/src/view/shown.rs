//! What is shown of where an answer looked, and what the user wants of a turn.

use std::ops::Range;
use std::sync::Arc;

use crate::attention::Attention;
use crate::conversation::Gaze;
use crate::messages::TurnId;
use crate::state::{Focus, State};

/// What the user wants of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Ask once more.
    Again,
    /// Go on with an answer that was cut off.
    More,
    /// Show where the answer looked, or stop showing it.
    Look(TurnId),
}

/// What is shown of where an answer looked.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) turn: TurnId,
    pub(super) attention: Arc<Attention>,
    /// The tokens that are looked at.
    pub(super) tokens: Range<usize>,
}

impl Shown {
    /// What the user's focus is on, if it is known.
    pub(super) fn of(state: &State) -> Option<Self> {
        let Focus { turn, word, .. } = state.focus.as_ref()?;
        let answer = &state.conversation.turn(*turn)?.answer;
        let Gaze::Known(attention) = &answer.gaze else { return None };
        let all = 0..answer.text().len();
        let tokens = answer.tokens_of(word.clone().unwrap_or(all));
        Some(Self { turn: *turn, attention: attention.clone(), tokens })
    }
}
