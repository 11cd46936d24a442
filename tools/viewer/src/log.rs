//! The window's state as lines of JSON, for tests and for whoever watches it: one line each time that something changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::conversation::{Gaze, Outcome, Turn};
use crate::state::{Dialog, Phase, Planned, State};
use crate::view::Controls;

/// A question and its answer, as a line tells of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct TurnLine {
    question: String,
    pictures: Vec<String>,
    answer: String,
    /// `open`, `failed: …`, or why it ended: `eos`, `cancelled`, `max_tokens`.
    outcome: String,
    /// `unknown`, `asked`, `known` or `failed: …`.
    gaze: String,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    /// `loading`, `ready`, `answering` or `empty`.
    phase: &'static str,
    model: Option<String>,
    draft: String,
    /// The path that is being typed, of a picture or of a model.
    path: Option<String>,
    draft_pictures: Vec<String>,
    turns: Vec<TurnLine>,
    /// `model`, `settings` or `details`.
    dialog: Option<&'static str>,
    /// `asked`, `known` or `failed: …` of the model that the dialog shows.
    plan: Option<String>,
    /// The word that is looked at.
    word: Option<String>,
    trouble: Option<String>,
    loaded_bytes: u64,
    /// The control that has the keyboard.
    focused: Option<&'static str>,
    /// Where each control is, in pixels of the window: left, top, width, height.
    controls: BTreeMap<&'static str, [i32; 4]>,
}

/// The file of the lines.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    last: Option<Line>,
}

impl Log {
    /// Begins it.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, last: None })
    }

    /// Writes a line if anything changed.
    pub(crate) fn note(&mut self, state: &State, controls: &Controls, scale: f32) {
        let line = Line::of(state, controls, scale);
        if self.last.as_ref() == Some(&line) {
            return;
        }
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // Whoever reads it sees that nothing comes.
            _ = self.file.write_all(&text);
        }
        self.last = Some(line);
    }
}

impl Line {
    fn of(state: &State, controls: &Controls, scale: f32) -> Self {
        let (phase, loaded_bytes) = match &state.phase {
            Phase::Loading { progress, .. } => ("loading", progress.done_bytes),
            Phase::Ready => ("ready", 0),
            Phase::Answering(_) => ("answering", 0),
            Phase::Empty { .. } => ("empty", 0),
        };
        let plan = match &state.dialog {
            Some(Dialog::Model { planned, .. }) => match planned {
                Planned::Nothing => None,
                Planned::Asked(_) => Some("asked".into()),
                Planned::Known(..) => Some("known".into()),
                Planned::Failed(_, problem) => Some(format!("failed: {}", problem.text())),
            },
            _ => None,
        };
        let word = state.focus.as_ref().and_then(|focus| {
            let answer = &state.conversation.turn(focus.turn)?.answer;
            Some(answer.text().get(focus.word.clone()?)?.to_owned())
        });
        let empty = match &state.phase {
            Phase::Empty { problem, .. } => problem.as_ref(),
            _ => None,
        };
        let pixels = |rect: &eframe::egui::Rect| {
            [rect.left(), rect.top(), rect.width(), rect.height()].map(|side| (side * scale).round() as i32)
        };
        Self {
            phase,
            model: state.model.as_ref().map(|model| model.choice.name()),
            draft: state.draft.text.clone(),
            path: match &state.dialog {
                Some(Dialog::Model { path, .. }) => Some(path.clone()),
                _ => state.draft.path.clone(),
            },
            draft_pictures: state.draft.pictures.iter().map(|picture| picture.name.clone()).collect(),
            turns: state.conversation.turns().map(TurnLine::of).collect(),
            dialog: state.dialog.as_ref().map(|dialog| match dialog {
                Dialog::Model { .. } => "model",
                Dialog::Settings => "settings",
                Dialog::Details => "details",
            }),
            plan,
            word,
            trouble: state.trouble.as_ref().or(empty).map(crate::problem::Problem::text),
            loaded_bytes,
            focused: controls.focused,
            controls: controls.places.iter().map(|(name, rect)| (*name, pixels(rect))).collect(),
        }
    }
}

impl TurnLine {
    fn of(turn: &Turn) -> Self {
        Self {
            question: turn.question.clone(),
            pictures: turn.pictures.iter().map(|picture| picture.name.clone()).collect(),
            answer: turn.answer.text().to_owned(),
            outcome: match &turn.answer.outcome {
                Outcome::Open => "open".into(),
                Outcome::Done { reason, .. } => reason.to_string(),
                Outcome::Failed(problem) => format!("failed: {}", problem.text()),
            },
            gaze: match &turn.answer.gaze {
                Gaze::Unknown => "unknown".into(),
                Gaze::Asked => "asked".into(),
                Gaze::Known(_) => "known".into(),
                Gaze::Failed(problem) => format!("failed: {}", problem.text()),
            },
        }
    }
}
