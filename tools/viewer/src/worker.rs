//! The thread of the model: it loads, answers and looks into answers, and says what happens.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use strix_engine::Gpu;
use strix_model::image::RgbImage;
use strix_model::prompt::{Conversation, Template};
use strix_model::tokenizer::PromptId;
use strix_model::{Error, FinishReason, GenerateOptions, LoadOptions, Model, Session, Timing};

use crate::attention::{Attention, Readings, Record};
use crate::messages::{Asked, Command, Event, LoadId, Loaded, Progress, TurnId};
use crate::plan::{Plan, source};
use crate::problem::Problem;
use crate::reporter::Reporter;
use crate::settings::Choice;
use crate::watch::Watch;

/// The thread. When this is dropped it ends what it does, as soon as that was cancelled.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it for models on this device. Each tensor of a model waits for `slow_loading`.
    ///
    /// # Errors
    ///
    /// If the system has no thread for it.
    pub(crate) fn start(
        gpu: Gpu,
        report: Arc<Reporter>,
        slow_loading: Option<Duration>,
    ) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let run = move || {
            let mut watch = Watch::new(report.clone());
            let mut desk = Desk { gpu, report, slow_loading, talk: None };
            while let Ok(command) = inbox.recv() {
                if watch.over(command, |command| desk.handle(command)).is_break() {
                    desk.talk = None;
                }
            }
        };
        let thread = thread::Builder::new().name("model".into()).spawn(run)?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Asks for something. It is done after what was asked for before.
    pub(crate) fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            _ = commands.send(command);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// A conversation with a model.
struct Talk {
    session: Session,
    /// Pictures of all turns.
    pictures: Vec<Arc<RgbImage>>,
    records: HashMap<TurnId, Record>,
    readings: Readings,
}

/// What the thread has before it.
struct Desk {
    gpu: Gpu,
    report: Arc<Reporter>,
    slow_loading: Option<Duration>,
    talk: Option<Talk>,
}

impl Desk {
    /// Does what is asked for.
    fn handle(&mut self, command: Command) {
        match command {
            Command::Load { id, choice, options, cancel } => self.load(id, choice, options, cancel),
            Command::Ask { turn, asked, options } => self.ask(turn, asked, &options),
            Command::Reset => self.reset(),
            Command::Attend { turn } => self.attend(turn),
        }
    }

    fn load(&mut self, id: LoadId, choice: Choice, options: LoadOptions, cancel: Arc<AtomicBool>) {
        // The device may have no room for both.
        self.talk = None;
        let start = Instant::now();
        let options = LoadOptions { cancel: Some(cancel), ..options };
        let mut told = None::<Instant>;
        let loaded = Model::load_on(&self.gpu, source(&choice), &options, &mut |progress| {
            self.slow_loading.into_iter().for_each(thread::sleep);
            // More often than it is drawn is no use.
            if told.is_none_or(|told| told.elapsed() > Duration::from_millis(16)) {
                told = Some(Instant::now());
                let now = Progress {
                    what: progress.what.clone(),
                    done_bytes: progress.done_bytes,
                    total_bytes: progress.total_bytes,
                };
                self.report.send(Event::Progress(id, now));
            }
            ControlFlow::Continue(())
        });
        let talk = loaded.and_then(|model| Ok(Talk::new(model.session()?)));
        self.report.send(match talk {
            Ok(talk) => {
                let model = talk.session.model();
                let (plan, notes) = (Plan::of(model, &options), model.notes().to_vec());
                self.talk = Some(talk);
                Event::Loaded(id, Loaded { choice, plan, notes, took: start.elapsed() }.into())
            }
            Err(Error::Interrupted) => Event::NotLoaded(id, choice, None),
            Err(error) => Event::NotLoaded(id, choice, Some(error.into())),
        });
    }

    fn reset(&mut self) {
        if let Some(talk) = &mut self.talk {
            talk.session.reset();
            talk.pictures.clear();
            talk.records.clear();
        }
    }

    fn ask(&mut self, turn: TurnId, asked: Asked, options: &GenerateOptions) {
        let Some(talk) = &mut self.talk else {
            let problem = Problem::new("There is no model that could answer.", "Load one.");
            return self.report.send(Event::Failed { turn, problem });
        };
        let report = &self.report;
        let told = |text: &str| report.send(Event::Token { turn, text: text.to_owned() });
        report.send(match talk.answer(turn, asked, options, told) {
            Ok((reason, timing)) => Event::Answered { turn, reason, timing },
            Err(error) => Event::Failed { turn, problem: error.into() },
        });
    }

    fn attend(&mut self, turn: TurnId) {
        let Some(talk) = &mut self.talk else { return };
        let attention = match talk.records.get(&turn) {
            Some(record) => Attention::of(&talk.session, record, &mut talk.readings).map_err(Problem::from),
            None => Err(Problem::new("The model that gave this answer is no longer there.", "Ask again.")),
        };
        self.report.send(Event::Attended { turn, attention: attention.map(Arc::new) });
    }
}

impl Talk {
    fn new(session: Session) -> Self {
        Self { session, pictures: vec![], records: HashMap::new(), readings: Readings::default() }
    }

    /// Answers, and keeps what is needed to look into the answer. What is refused, or stopped before a word was said,
    /// leaves all as it was.
    fn answer(
        &mut self,
        turn: TurnId,
        asked: Asked,
        options: &GenerateOptions,
        told: impl Fn(&str),
    ) -> strix_model::Result<(FinishReason, Timing)> {
        let (turns, pictures) = (self.session.turns().len(), self.pictures.len());
        let goes_on = matches!(asked, Asked::More);
        let is_new = matches!(asked, Asked::New { .. });
        let said = self.say(asked, options, told);
        if is_new && self.session.turns().len() == turns {
            self.session.drop_waiting();
            self.pictures.truncate(pictures);
            return said.map(|(_, reason, timing)| (reason, timing));
        }
        let (ids, reason, timing) = said?;
        let before = self.records.remove(&turn).filter(|_| goes_on).map(|record| record.ids);
        let ids = before.unwrap_or_default().into_iter().chain(ids).collect();
        let record = Record { prompt: self.prompt()?, ids, pictures: self.pictures.clone() };
        self.records.insert(turn, record);
        Ok((reason, timing))
    }

    /// Asks, and tells of each token.
    fn say(
        &mut self,
        asked: Asked,
        options: &GenerateOptions,
        told: impl Fn(&str),
    ) -> strix_model::Result<(Vec<u32>, FinishReason, Timing)> {
        let mut answer = match asked {
            Asked::New { question, pictures } => {
                for picture in pictures {
                    self.session.add_image(&*picture)?;
                    self.pictures.push(picture);
                }
                self.session.ask(question, options)?
            }
            Asked::Again => self.session.retry(options)?,
            Asked::More => self.session.resume(options.max_tokens)?,
        };
        while let Some(token) = answer.advance() {
            told(token?.1);
        }
        let reason = answer.finish_reason().cloned().unwrap_or(FinishReason::Cancelled);
        Ok((answer.ids().to_vec(), reason, answer.timing()))
    }

    /// The prompt of the last turn, without its answer.
    fn prompt(&self) -> strix_model::Result<Vec<PromptId>> {
        let mut conversation = Conversation::new(Template::default());
        for turn in self.session.turns() {
            if let Some(reply) = &turn.reply {
                conversation.ask(turn.user.clone(), turn.user.num_images())?;
                conversation.reply(reply)?;
            }
        }
        let last = conversation.undo().map(|turn| turn.user);
        let Some(last) = last else { return Ok(vec![]) };
        let pictures = last.num_images();
        conversation.ask(last, pictures)?;
        Ok(conversation.prompt().encode(self.session.model().tokenizer()?))
    }
}
