//! What the window knows and what may be done, without a window: each thing that happens changes it, and what the model, the
//! system or the device is to do for it goes into `wishes`.

mod dialog;
mod wish;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use strix_model::{FinishReason, LoadOptions};

use crate::conversation::{Answer, Conversation, Entry, Gaze, Outcome, Turn};
use crate::frames::{During, Frames};
use crate::messages::{Asked, Command, Event, LoadId, Loaded, Progress, TurnId};
use crate::picture::Picture;
use crate::problem::{Fix, Problem};
use crate::settings::{Choice, Settings};
pub(crate) use dialog::{Dialog, Planned};
pub(crate) use wish::Wish;

/// Pictures of one question at most.
pub(crate) const MOST_PICTURES: usize = 8;

/// What the model is doing.
#[derive(Debug)]
pub(crate) enum Phase {
    /// A model is being loaded.
    Loading {
        choice: Choice,
        progress: Progress,
        since: Instant,
        cancel: Arc<AtomicBool>,
    },
    /// It waits for a question.
    Ready,
    Answering(Answering),
    /// There is none, and perhaps a reason.
    Empty {
        choice: Choice,
        problem: Option<Problem>,
    },
}

/// An answer that is being made.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) turn: TurnId,
    /// When its first token came.
    pub(crate) first: Option<Instant>,
    /// Tokens so far.
    pub(crate) tokens: u32,
    cancel: Arc<AtomicBool>,
}

/// The device of the model and the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    /// Its name and backend.
    pub(crate) name: String,
    /// Whether it is the processor.
    pub(crate) is_software: bool,
}

/// A question that is being written.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) text: String,
    pub(crate) pictures: Vec<Picture>,
    /// A path that is being typed, while its field is open.
    pub(crate) path: Option<String>,
    /// Pictures that are still being read.
    pub(crate) reading: usize,
}

/// What is looked at of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Focus {
    pub(crate) turn: TurnId,
    /// The word, by its bytes; the whole answer if none is.
    pub(crate) word: Option<std::ops::Range<usize>>,
    /// Whether it stays when the pointer leaves.
    pub(crate) is_pinned: bool,
}

/// The window's state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) device: Device,
    pub(crate) phase: Phase,
    pub(crate) model: Option<Loaded>,
    pub(crate) conversation: Conversation,
    pub(crate) draft: Draft,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) focus: Option<Focus>,
    /// What went wrong last; shown until it is put away.
    pub(crate) trouble: Option<Problem>,
    /// Frames of the answer that is made, or was last.
    pub(crate) frames: Frames,
    pub(crate) wishes: Vec<Wish>,
    /// Whether the field of the question is to have the keyboard.
    pub(crate) wants_focus: bool,
    next_turn: TurnId,
    /// The load that was asked for last.
    last_load: LoadId,
}

impl State {
    /// That of a window that was just opened: it asks for the model of the settings.
    pub(crate) fn new(settings: Settings, device: Device) -> Self {
        let choice = settings.model.clone();
        let mut state = Self {
            settings,
            device,
            phase: Phase::Empty { choice: choice.clone(), problem: None },
            model: None,
            conversation: Conversation::default(),
            draft: Draft::default(),
            dialog: None,
            focus: None,
            trouble: None,
            frames: Frames::default(),
            wishes: vec![],
            wants_focus: true,
            next_turn: 1,
            last_load: 0,
        };
        state.load(choice);
        state
    }

    /// That of no window.
    pub(crate) fn idle() -> Self {
        let mut state = Self::new(Settings::default(), Device::default());
        state.wishes.clear();
        state
    }

    /// Goes on in a window that was opened anew, since its device was lost.
    pub(crate) fn reopened(&mut self, device: Device, reason: &str) {
        self.device = device;
        self.fail_open_answer(&Problem::lost(reason));
        self.wishes.clear();
        // Its pictures would have come to the window that is gone.
        self.draft.reading = 0;
        let choice = self.model.take().map_or_else(|| self.settings.model.clone(), |model| model.choice);
        self.phase = Phase::Empty { choice, problem: Some(Problem::lost(reason)) };
        let turns = self.conversation.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Turn(turn) => Some(&mut turn.pictures),
            Entry::Begun(_) => None,
        });
        turns.chain([&mut self.draft.pictures]).flatten().for_each(Picture::drop_texture);
    }

    /// How a model is loaded now.
    pub(crate) fn loading_options(&self) -> LoadOptions {
        self.settings.loading.options(self.device.is_software)
    }

    /// Why nothing can be asked now; `None` if it can.
    pub(crate) fn why_not_ask(&self) -> Option<&'static str> {
        match &self.phase {
            Phase::Loading { .. } => Some("The model is being loaded"),
            Phase::Answering(_) => Some("The last question is being answered"),
            Phase::Empty { .. } => Some("Load a model first"),
            Phase::Ready if self.draft.reading > 0 => Some("A picture is being read"),
            Phase::Ready if self.draft.text.trim().is_empty() => Some("Write a question"),
            Phase::Ready => None,
        }
    }

    /// Asks what is written.
    pub(crate) fn ask(&mut self) {
        if self.why_not_ask().is_some() {
            return;
        }
        let question = std::mem::take(&mut self.draft.text).trim().to_owned();
        let pictures = std::mem::take(&mut self.draft.pictures);
        self.draft.path = None;
        let asked = Asked::New {
            question: question.clone(),
            pictures: pictures.iter().map(|picture| picture.pixels.clone()).collect(),
        };
        let id = self.next_turn;
        self.next_turn += 1;
        let turn = Turn { id, question, pictures, answer: Answer::default() };
        self.conversation.entries.push(Entry::Turn(turn.into()));
        self.begin(id, asked);
    }

    /// Asks the last question once more.
    pub(crate) fn again(&mut self) {
        let Some(turn) = self.last_answered() else { return };
        if let Some(turn) = self.conversation.turn_mut(turn) {
            // What was not answered at all was not kept by the model: it is asked as if it were new.
            let asked = match turn.answer.num_tokens() {
                0 => Asked::New {
                    question: turn.question.clone(),
                    pictures: turn.pictures.iter().map(|picture| picture.pixels.clone()).collect(),
                },
                _ => Asked::Again,
            };
            turn.answer = Answer::default();
            let id = turn.id;
            self.begin(id, asked);
        }
    }

    /// Goes on with the last answer, which was cut off.
    pub(crate) fn more(&mut self) {
        let Some(turn) = self.last_answered() else { return };
        if let Some(turn) = self.conversation.turn_mut(turn).filter(|turn| turn.answer.is_cut()) {
            turn.answer.reopen();
            let id = turn.id;
            self.begin(id, Asked::More);
        }
    }

    /// The last turn, if something may be done with it.
    fn last_answered(&self) -> Option<TurnId> {
        matches!(self.phase, Phase::Ready).then(|| self.conversation.last().map(|turn| turn.id))?
    }

    fn begin(&mut self, turn: TurnId, asked: Asked) {
        let cancel = Arc::new(AtomicBool::new(false));
        let options = strix_model::GenerateOptions {
            cancel: Some(cancel.clone()),
            ..self.settings.answering.options()
        };
        self.focus = None;
        self.frames.clear();
        self.phase = Phase::Answering(Answering { turn, first: None, tokens: 0, cancel });
        self.wishes.push(Wish::Tell(Command::Ask { turn, asked, options }));
    }

    /// Ends what takes long: the answer, or loading.
    pub(crate) fn stop(&mut self) {
        match &self.phase {
            Phase::Answering(Answering { cancel, .. }) | Phase::Loading { cancel, .. } => {
                cancel.store(true, Ordering::Relaxed);
            }
            Phase::Ready | Phase::Empty { .. } => {}
        }
    }

    /// Begins a new conversation with the same model.
    pub(crate) fn begin_anew(&mut self) {
        if matches!(self.phase, Phase::Answering(_)) {
            return;
        }
        self.conversation = Conversation::default();
        self.frames.clear();
        self.focus = None;
        self.wants_focus = true;
        self.wishes.push(Wish::Tell(Command::Reset));
    }

    /// Loads a model in place of the one that is there.
    pub(crate) fn load(&mut self, choice: Choice) {
        self.stop();
        let cancel = Arc::new(AtomicBool::new(false));
        let options = self.loading_options();
        self.dialog = None;
        self.model = None;
        self.trouble = None;
        self.last_load += 1;
        let id = self.last_load;
        let since = Instant::now();
        self.phase = Phase::Loading {
            choice: choice.clone(),
            progress: Progress::default(),
            since,
            cancel: cancel.clone(),
        };
        self.wishes.push(Wish::Tell(Command::Load { id, choice, options, cancel }));
    }

    /// Changes the settings so that a model fits, and plans or loads it again.
    pub(crate) fn mend(&mut self, fix: Fix, choice: Choice) {
        self.settings.loading.mend(fix);
        self.wishes.push(Wish::Save);
        match self.dialog {
            Some(Dialog::Model { .. }) => self.plan(choice),
            _ => self.load(choice),
        }
    }

    /// Opens the dialog in which a model is chosen.
    pub(crate) fn choose_model(&mut self) {
        let current = self.model.as_ref().map_or(&self.settings.model, |model| &model.choice).clone();
        self.dialog = Some(Dialog::Model { path: String::new(), planned: Planned::Nothing });
        self.plan(current);
    }

    /// Has a model looked at for the dialog.
    pub(crate) fn plan(&mut self, choice: Choice) {
        if let Some(Dialog::Model { planned, path }) = &mut self.dialog {
            *path = match &choice {
                Choice::Folder(folder) => folder.display().to_string(),
                Choice::Nano => String::new(),
            };
            *planned = Planned::Asked(choice.clone());
            self.wishes.push(Wish::Plan(choice));
        }
    }

    /// Has it looked into where an answer looked, and shows it; puts it away if it is shown.
    pub(crate) fn look(&mut self, turn: TurnId) {
        if self.focus.as_ref().is_some_and(|focus| focus.turn == turn) {
            self.focus = None;
            return;
        }
        self.focus = Some(Focus { turn, word: None, is_pinned: false });
        if let Some(turn) = self.conversation.turn_mut(turn)
            && matches!(turn.answer.gaze, Gaze::Unknown | Gaze::Failed(_))
        {
            turn.answer.gaze = Gaze::Asked;
            let turn = turn.id;
            self.wishes.push(Wish::Tell(Command::Attend { turn }));
        }
    }

    /// Reads pictures for the next question.
    pub(crate) fn open(&mut self, paths: Vec<PathBuf>) {
        self.draft.reading += paths.len();
        self.wishes.push(Wish::Open(paths));
    }

    /// Reads a picture whose path was typed. Its field takes the path back if there is none.
    pub(crate) fn open_typed(&mut self, typed: String) {
        self.draft.reading += 1;
        self.draft.path = None;
        self.wants_focus = true;
        self.wishes.push(Wish::OpenTyped(typed));
    }

    /// Takes a picture for the next question.
    pub(crate) fn add(&mut self, picture: Picture) {
        if self.draft.pictures.len() >= MOST_PICTURES {
            let what =
                format!("A question takes {MOST_PICTURES} pictures, and {} is one more.", picture.name);
            self.trouble =
                Some(Problem::input(what, "Ask about these first; the conversation remembers them."));
            return;
        }
        self.draft.pictures.push(picture);
        self.wants_focus = true;
    }

    /// What is done while a frame is drawn.
    pub(crate) fn during(&self) -> During {
        match &self.phase {
            Phase::Answering(Answering { first: None, .. }) => During::Prompt,
            Phase::Answering(_) => During::Tokens,
            _ => During::Idle,
        }
    }

    /// Notes what happened.
    pub(crate) fn apply(&mut self, event: Event) {
        if event.load().is_some_and(|id| id != self.last_load) {
            return;
        }
        match event {
            Event::Planned(of, plan) => {
                if let Some(Dialog::Model { planned, .. }) = &mut self.dialog
                    && planned.choice() == Some(&of)
                {
                    *planned = match plan {
                        Ok(plan) => Planned::Known(of, plan),
                        Err(problem) => Planned::Failed(of, problem),
                    };
                }
            }
            Event::Progress(_, now) => {
                if let Phase::Loading { progress, .. } = &mut self.phase {
                    *progress = now;
                }
            }
            Event::Loaded(_, model) => self.loaded(*model),
            Event::NotLoaded(_, choice, problem) => {
                self.model = None;
                self.phase = Phase::Empty { choice, problem };
            }
            Event::Token { turn, text } => self.token(turn, &text),
            Event::Answered { turn, reason, timing } => {
                self.ended(turn, Outcome::Done { reason, timing });
            }
            Event::Failed { turn, problem } => {
                if problem.is_lost {
                    self.wishes.push(Wish::Reopen);
                }
                self.ended(turn, Outcome::Failed(problem));
            }
            Event::Attended { turn, attention } => {
                if let Some(turn) = self.conversation.turn_mut(turn) {
                    turn.answer.gaze = attention.map_or_else(Gaze::Failed, Gaze::Known);
                }
            }
            Event::Reading(pictures) => self.draft.reading += pictures,
            Event::Picture(picture) => {
                self.draft.reading = self.draft.reading.saturating_sub(1);
                match picture {
                    Ok(picture) => self.add(picture),
                    Err(problem) => self.trouble = Some(problem),
                }
            }
            Event::NotOpened(typed) => _ = self.draft.path.get_or_insert(typed),
            Event::Chosen(path) => self.plan(Choice::Folder(path)),
            Event::Lost => self.wishes.push(Wish::Reopen),
            Event::Trouble(problem) => self.trouble = Some(problem),
        }
    }

    fn loaded(&mut self, model: Loaded) {
        if !self.conversation.entries.is_empty() {
            self.conversation.entries.push(Entry::Begun(model.choice.name()));
        }
        // A model of the settings, or of an option, was not chosen in the window.
        if self.settings.model != model.choice {
            self.settings.loaded(&model.choice);
            self.wishes.push(Wish::Save);
        }
        self.model = Some(model);
        self.phase = Phase::Ready;
        self.wants_focus = true;
    }

    fn token(&mut self, turn: TurnId, text: &str) {
        if let Phase::Answering(answering) = &mut self.phase
            && answering.turn == turn
        {
            answering.first.get_or_insert_with(Instant::now);
            answering.tokens += 1;
        }
        if let Some(turn) = self.conversation.turn_mut(turn) {
            turn.answer.push(text);
        }
    }

    fn ended(&mut self, turn: TurnId, outcome: Outcome) {
        if let Some(turn) = self.conversation.turn_mut(turn) {
            turn.answer.outcome = outcome;
        }
        // A model may have been chosen meanwhile, which is loading by now.
        if matches!(&self.phase, Phase::Answering(answering) if answering.turn == turn) {
            self.phase = Phase::Ready;
            self.frames.pause();
            self.wants_focus = true;
        }
    }

    fn fail_open_answer(&mut self, problem: &Problem) {
        if let Phase::Answering(Answering { turn, .. }) = self.phase
            && let Some(turn) = self.conversation.turn_mut(turn)
        {
            turn.answer.outcome = Outcome::Failed(problem.clone());
        }
    }

    /// Tokens a second of the answer that is made, or of the last.
    pub(crate) fn speed(&self) -> Option<f64> {
        if let Phase::Answering(Answering { first: Some(first), tokens, .. }) = &self.phase {
            let seconds = first.elapsed().as_secs_f64();
            return (*tokens > 1 && seconds > 0.0).then(|| f64::from(tokens - 1) / seconds);
        }
        self.conversation.turns().rev().find_map(|turn| match &turn.answer.outcome {
            Outcome::Done { timing, .. } => timing.tokens_per_second(),
            _ => None,
        })
    }
}

/// A path that was typed: `~/owl.png` is in the user's folder.
pub(crate) fn typed_path(typed: &str) -> PathBuf {
    let typed = typed.trim();
    let inside = typed.strip_prefix("~/").and_then(|rest| Some(std::env::home_dir()?.join(rest)));
    inside.unwrap_or_else(|| typed.into())
}

/// Why an answer ended, where that is worth a word.
pub(crate) fn ending(reason: &FinishReason) -> Option<&'static str> {
    match reason {
        FinishReason::MaxTokens => Some("cut off at the longest answer of the settings"),
        FinishReason::Context => Some("cut off: the context is full"),
        FinishReason::Cancelled => Some("stopped"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
