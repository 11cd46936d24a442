//! What the window and the thread of the model say to each other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use strix_model::image::RgbImage;
use strix_model::{FinishReason, GenerateOptions, LoadOptions, Timing};

use crate::attention::Attention;
use crate::picture::Picture;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::settings::Choice;

/// Number of a turn, counted over all conversations of the window.
pub(crate) type TurnId = u64;

/// Number of a load, counted up: what an earlier one still says is no longer heard.
pub(crate) type LoadId = u64;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// A question, with pictures that no question before had.
    New { question: String, pictures: Vec<Arc<RgbImage>> },
    /// The last question once more.
    Again,
    /// More of the last answer, which was cut off.
    More,
}

/// What the window wants done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Load a model in place of the one that is there.
    Load { id: LoadId, choice: Choice, options: LoadOptions, cancel: Arc<AtomicBool> },
    /// Answer.
    Ask { turn: TurnId, asked: Asked, options: GenerateOptions },
    /// Forget the conversation.
    Reset,
    /// Say where the words of an answer looked.
    Attend { turn: TurnId },
}

/// A model that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) choice: Choice,
    pub(crate) plan: Plan,
    /// What the user should know of it.
    pub(crate) notes: Vec<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// How far loading is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The tensor that was read last.
    pub(crate) what: String,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A model was looked at, and would be loaded like this.
    Planned(Choice, Result<Box<Plan>, Problem>),
    Progress(LoadId, Progress),
    Loaded(LoadId, Box<Loaded>),
    /// No model was loaded, and none is there; `None`: it was cancelled.
    NotLoaded(LoadId, Choice, Option<Problem>),
    /// A token of an answer, with the text that became certain.
    Token {
        turn: TurnId,
        text: String,
    },
    Answered {
        turn: TurnId,
        reason: FinishReason,
        timing: Timing,
    },
    /// No answer, or no more of it.
    Failed {
        turn: TurnId,
        problem: Problem,
    },
    Attended {
        turn: TurnId,
        attention: Result<Arc<Attention>, Problem>,
    },
    /// So many pictures were chosen outside of the window, and are being read.
    Reading(usize),
    /// A picture was read: one of those that were opened, or of `Reading`.
    Picture(Result<Picture, Problem>),
    /// No picture was at a path that was typed.
    NotOpened(String),
    /// A folder was chosen in a dialog.
    Chosen(std::path::PathBuf),
    /// The device is lost.
    Lost,
    /// Something else went wrong.
    Trouble(Problem),
}

impl Event {
    /// The load that it is of, if it is of one.
    pub(crate) fn load(&self) -> Option<LoadId> {
        match self {
            Self::Progress(id, _) | Self::Loaded(id, _) | Self::NotLoaded(id, ..) => Some(*id),
            _ => None,
        }
    }
}
