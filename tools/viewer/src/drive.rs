//! A run without a user: the window asks by itself, measures its frames, and closes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::conversation::Outcome;
use crate::frames::{During, Frames, Summary};
use crate::problem::Problem;
use crate::settings::Slice;
use crate::state::{Phase, State};

/// Frames that are measured before anything is asked: as many as a 99th percentile wants.
const IDLE_FRAMES: usize = 100;

/// Time after which fewer of them must do.
const IDLE_MOST: Duration = Duration::from_secs(30);

/// What is done.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    /// The question.
    pub(crate) question: String,
    /// Number of times that it is asked, each in a conversation of its own.
    pub(crate) times: u32,
    /// File of the frames' times.
    pub(crate) out: PathBuf,
    /// Number of pictures that it is asked about.
    pub(crate) pictures: usize,
    step: Step,
    failed: Option<Problem>,
    frames: Frames,
    speeds: Vec<f64>,
    first_tokens: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Until the model and the pictures are there.
    Waiting,
    Idle(Instant),
    Asked(u32),
    Done,
}

/// What the file holds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    device: &'a str,
    model: Option<String>,
    /// Milliseconds; `null`: as long as it takes.
    slice_ms: Option<u128>,
    /// Milliseconds between frames, nothing being asked.
    idle: Summary,
    /// From the question to the first token: pictures and prompt.
    prompt: Summary,
    /// From the first token to the last.
    tokens: Summary,
    /// Both of these.
    generating: Summary,
    tokens_per_second: Vec<f64>,
    first_token_s: Vec<f64>,
    error: Option<String>,
}

impl Drive {
    /// Begins with waiting.
    pub(crate) fn new(question: String, times: u32, out: PathBuf, pictures: usize) -> Self {
        let (step, frames) = (Step::Waiting, Frames::default());
        let (speeds, first_tokens) = (vec![], vec![]);
        Self { question, times, out, pictures, step, failed: None, frames, speeds, first_tokens }
    }

    /// What came of it, once the window is closed.
    ///
    /// # Errors
    ///
    /// If a picture, the model or an answer failed, or the window was closed before the last answer.
    pub(crate) fn outcome(self) -> Result<(), Problem> {
        match (self.step, self.failed) {
            (_, Some(problem)) => Err(problem),
            (Step::Done, None) => Ok(()),
            _ => Err(Problem::new("The window was closed before the last answer was there.", "")),
        }
    }

    /// Takes the next step, once a frame. Returns whether it is the last.
    pub(crate) fn step(&mut self, state: &mut State) -> bool {
        if !matches!(self.step, Step::Waiting) {
            self.frames.note(Instant::now(), state.during());
        }
        match self.step {
            Step::Waiting | Step::Asked(_) if matches!(state.phase, Phase::Empty { .. }) => {
                return self.finish(state, Some(missing_model(&state.phase)));
            }
            Step::Waiting if state.draft.reading == 0 && state.draft.pictures.len() < self.pictures => {
                let problem = state.trouble.clone();
                let missing = || Problem::input("A picture is missing.", "");
                return self.finish(state, Some(problem.unwrap_or_else(missing)));
            }
            Step::Waiting if matches!(state.phase, Phase::Ready) && state.draft.reading == 0 => {
                self.step = Step::Idle(Instant::now());
            }
            Step::Idle(since)
                if self.frames.summary(&[During::Idle]).frames >= IDLE_FRAMES
                    || since.elapsed() >= IDLE_MOST =>
            {
                self.ask(state);
                self.step = Step::Asked(1);
            }
            Step::Asked(times) if matches!(state.phase, Phase::Ready) => {
                let last = state.conversation.last();
                match last.map(|turn| turn.answer.outcome.clone()) {
                    Some(Outcome::Done { timing, .. }) => {
                        self.speeds.extend(timing.tokens_per_second());
                        self.first_tokens.push(timing.first_token.as_secs_f64());
                    }
                    Some(Outcome::Failed(problem)) => return self.finish(state, Some(problem)),
                    _ => {}
                }
                if times >= self.times {
                    return self.finish(state, None);
                }
                let pictures = last.map(|turn| turn.pictures.clone()).unwrap_or_default();
                state.begin_anew();
                state.draft.pictures = pictures;
                self.ask(state);
                self.step = Step::Asked(times + 1);
            }
            Step::Done => return true,
            Step::Waiting | Step::Idle(_) | Step::Asked(_) => {}
        }
        false
    }

    fn ask(&self, state: &mut State) {
        state.draft.text.clone_from(&self.question);
        state.ask();
    }

    fn finish(&mut self, state: &State, failed: Option<Problem>) -> bool {
        self.step = Step::Done;
        self.failed = failed;
        let slice = state.loading_options().slice.as_millis();
        let report = Report {
            device: &state.device.name,
            model: state.model.as_ref().map(|model| model.choice.name()),
            slice_ms: Some(slice).filter(|_| state.settings.loading.slice != Slice::Whole),
            idle: self.frames.summary(&[During::Idle]),
            prompt: self.frames.summary(&[During::Prompt]),
            tokens: self.frames.summary(&[During::Tokens]),
            generating: self.frames.summary(&[During::Prompt, During::Tokens]),
            tokens_per_second: self.speeds.clone(),
            first_token_s: self.first_tokens.clone(),
            error: self.failed.as_ref().map(Problem::text),
        };
        let written = serde_json::to_vec_pretty(&report).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|text| std::fs::write(&self.out, text)) {
            let problem = Problem::input(format!("{}: {error}", self.out.display()), "");
            self.failed.get_or_insert(problem);
        }
        true
    }
}

/// Why there is no model.
fn missing_model(phase: &Phase) -> Problem {
    match phase {
        Phase::Empty { problem: Some(problem), .. } => problem.clone(),
        _ => Problem::new("The model was not loaded.", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Event;
    use crate::settings::Choice;

    fn drive(out: PathBuf, step: Step) -> Drive {
        Drive { step, ..Drive::new("what is it?".into(), 2, out, 0) }
    }

    #[test]
    fn a_model_that_is_gone_ends_the_run_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("frames.json");
        let mut drive = drive(out.clone(), Step::Asked(1));
        let mut state = State::idle();
        state.apply(Event::NotLoaded(1, Choice::Nano, Some(Problem::new("It broke.", ""))));
        assert!(drive.step(&mut state));
        assert!(std::fs::read_to_string(out).unwrap().contains("It broke."));
        assert_eq!(drive.outcome().unwrap_err().exit_code(), 1);
    }

    #[test]
    fn a_picture_that_is_missing_ends_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("frames.json");
        let mut drive = Drive { pictures: 1, ..drive(out.clone(), Step::Waiting) };
        let mut state = State::idle();
        state.open(vec!["nofile.png".into()]);
        assert!(!drive.step(&mut state));
        assert!(drive.clone().outcome().is_err(), "it is not over");
        state.apply(Event::Picture(crate::picture::Picture::open("nofile.png".as_ref())));
        assert!(drive.step(&mut state));
        let text = std::fs::read_to_string(out).unwrap();
        assert!(text.contains("nofile.png") && text.contains("). Check the path"), "{text}");
        assert_eq!(drive.outcome().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_written_fails_the_run() {
        let mut drive = drive("/nowhere/frames.json".into(), Step::Asked(1));
        drive.finish(&State::idle(), None);
        assert_eq!(drive.outcome().unwrap_err().exit_code(), 2);
    }
}
