//! The turns of a chat: what each line does to the session, and what is told of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use strix_model::image::RgbImage;
use strix_model::prompt::Question;
use strix_model::{
    Error, FinishReason, GenerateOptions, Generation, PromptLength, SaveOptions, Session, Timing, shown,
};

use super::commands::{self, Command};
use super::editor::{Entry, Input};
use super::show::Graphics;
use super::{paths, show};
use crate::answer::{self, Interrupt, Spinner};
use crate::echo::Silence;
use crate::pictures::Pictures;
use crate::terminal::{self, say, whisper};
use crate::{DONE, FAULT, INTERRUPTED, Usage, failure, help};

/// Part of the context that an answer is to have, with `--context-shift`.
const ANSWER_SHARE: u32 = 4;

/// Whether the chat goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
    /// An answer was stopped.
    Stopped,
}

pub(super) struct Chat<'a> {
    session: Session,
    generate: GenerateOptions,
    interrupt: Interrupt,
    pictures: &'a Pictures,
    context_shift: bool,
    show: Graphics,
    /// Times that the last question was asked anew.
    retries: u64,
    /// Of the last answer.
    last: Option<Timing>,
}

impl<'a> Chat<'a> {
    pub(super) fn new(
        session: Session,
        generate: GenerateOptions,
        interrupt: Interrupt,
        pictures: &'a Pictures,
        context_shift: bool,
    ) -> Self {
        Self {
            session,
            generate,
            interrupt,
            pictures,
            context_shift,
            show: Graphics::Not,
            retries: 0,
            last: None,
        }
    }

    pub(super) fn show_with(&mut self, way: show::Graphics) {
        self.show = way;
    }

    /// Reads lines until they end; the exit code.
    pub(super) fn talk(&mut self, mut input: Input) -> anyhow::Result<u8> {
        let is_terminal = input.is_terminal();
        loop {
            self.interrupt.at_prompt(input.edits());
            let line = match input.read(&self.prompt())? {
                Entry::Line(line) => line,
                Entry::Cleared => continue,
                Entry::End => return Ok(DONE),
            };
            match self.act(&line) {
                Ok(Next::Line) => {}
                Ok(Next::End) => return Ok(DONE),
                Ok(Next::Stopped) if is_terminal => {}
                Ok(Next::Stopped) => return Ok(INTERRUPTED),
                Err(error) if is_terminal && failure::exit_code(&error) != FAULT => {
                    // Nobody reads what is printed, unless it is that a file cannot be read.
                    terminal::stdout().flush()?;
                    say(&format!("error: {}", failure::words(&error)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn prompt(&self) -> String {
        match self.session.waiting() {
            0 => "> ".into(),
            1 => "[1 picture] > ".into(),
            more => format!("[{more} pictures] > "),
        }
    }

    fn act(&mut self, line: &str) -> anyhow::Result<Next> {
        if line.trim().is_empty() {
            return Ok(Next::Line);
        }
        if commands::is_command(line) {
            return self.command(line.trim_end());
        }
        let dropped = paths::dropped(line)?;
        if !dropped.pictures.is_empty() {
            self.attach_files(&dropped.pictures)?;
        }
        match dropped.text {
            "" => Ok(Next::Line),
            text => self.ask(text),
        }
    }

    fn command(&mut self, line: &str) -> anyhow::Result<Next> {
        match commands::parse(line)? {
            Command::Image(files) => self.attach_files(&paths::named(files))?,
            Command::Video(files) => {
                for path in paths::named(files) {
                    let frames = self.pictures.frames(&path)?;
                    self.attach(&[path], &frames)?;
                }
            }
            Command::Retry => return self.retry(),
            Command::Undo => self.undo()?,
            Command::Clear => {
                self.session.reset();
                self.last = None;
                whisper("all turns and pictures are forgotten");
            }
            Command::Save(file) => self.save(&paths::one(file)?)?,
            Command::Load(file) => self.load(&paths::one(file)?)?,
            Command::System(text) => self.system(text),
            Command::Stats => self.stats()?,
            Command::Help => say(&commands::help(help::columns())),
            Command::Exit => return Ok(Next::End),
        }
        Ok(Next::Line)
    }

    fn attach_files(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        let pictures = files.iter().map(|file| {
            paths::refuse_address(&file.to_string_lossy())?;
            self.pictures.one(file)
        });
        let pictures = pictures.collect::<anyhow::Result<Vec<_>>>()?;
        self.attach(files, &pictures)
    }

    /// Adds pictures to the next question, and shows them.
    pub(super) fn attach(&mut self, files: &[PathBuf], pictures: &[RgbImage]) -> anyhow::Result<()> {
        if pictures.is_empty() {
            return Ok(());
        }
        for picture in pictures {
            self.session.add_image(picture)?;
        }
        self.show.show(pictures)?;
        let names: Vec<_> = files.iter().map(|file| shown(name(file)).to_string()).collect();
        let size = match pictures {
            [one] => format!(", {}x{}", one.width(), one.height()),
            more if more.len() > files.len() => format!(", {} frames", more.len()),
            _ => String::new(),
        };
        let goes = if pictures.len() == 1 { "goes" } else { "go" };
        whisper(&format!("{}{size}: {goes} with the next question", names.join(", ")));
        Ok(())
    }

    fn ask(&mut self, question: impl Into<Question>) -> anyhow::Result<Next> {
        let question = question.into();
        self.retries = 0;
        if self.context_shift {
            self.make_room(&question)?;
        }
        let answer = match self.session.ask(question, &self.options()) {
            Err(Error::PromptTooLong(length)) if !self.session.turns().is_empty() => {
                return Err(full(&length).into());
            }
            answer => answer?,
        };
        self.stream(answer)
    }

    /// Drops the oldest turns until a question fits, and says so.
    fn make_room(&mut self, question: &Question) -> anyhow::Result<()> {
        let room = self.generate.max_tokens.min(self.session.model().ctx() / ANSWER_SHARE);
        let dropped = self.session.make_room(question, room as usize)?;
        if !dropped.is_empty() {
            let pictures = dropped.iter().map(|turn| turn.user.num_images()).sum();
            let pictures =
                if pictures > 0 { format!(" and {}", counted(pictures, "picture")) } else { String::new() };
            whisper(&format!(
                "the context is full: dropped the oldest {}{pictures}",
                counted(dropped.len(), "turn")
            ));
        }
        Ok(())
    }

    fn retry(&mut self) -> anyhow::Result<Next> {
        self.retries += 1;
        let mut options = self.options();
        options.sampling.seed = options.sampling.seed.wrapping_add(self.retries);
        let answer = self.session.retry(&options)?;
        self.stream(answer)
    }

    /// How the next answer is generated: Ctrl-C ends it.
    fn options(&self) -> GenerateOptions {
        GenerateOptions { cancel: Some(self.interrupt.at_answer()), ..self.generate.clone() }
    }

    /// Prints an answer as it comes, and what is told of it.
    fn stream(&mut self, mut answer: Generation) -> anyhow::Result<Next> {
        let silence = Silence::begin();
        let waiting = Spinner::start("reading");
        let mut out = terminal::stdout();
        let mut is_begun = false;
        let streamed = answer::stream(&mut answer, waiting, |text| {
            is_begun |= !text.is_empty();
            out.write_all(terminal::answer(text).as_bytes())?;
            out.flush()
        });
        drop(silence);
        if let Err(error) = streamed {
            if is_begun {
                let _ = writeln!(out);
            }
            return Err(error);
        }
        writeln!(out)?;
        let (timing, reason) = (answer.timing(), answer.finish_reason());
        let is_stopped = reason == Some(&FinishReason::Cancelled);
        whisper(&told(&timing, reason));
        self.last = Some(timing);
        Ok(if is_stopped { Next::Stopped } else { Next::Line })
    }

    fn undo(&mut self) -> anyhow::Result<()> {
        let waited = self.session.drop_waiting();
        if waited > 0 {
            whisper(&format!("let go of {}", counted(waited, "picture")));
            return Ok(());
        }
        let Some(turn) = self.session.undo()? else {
            return Err(Usage("there is nothing to take back".into()).into());
        };
        let pictures = match turn.user.num_images() {
            0 => String::new(),
            1 => "; its picture waits for the next question".into(),
            more => format!("; its {more} pictures wait for the next question"),
        };
        whisper(&format!("took back {}{pictures}", shown(excerpt(&turn.user.text()))));
        Ok(())
    }

    /// Writes the chat to a file, which replaces no file but a chat of the same model.
    fn save(&mut self, path: &Path) -> anyhow::Result<()> {
        if path.exists() && self.session.model().restore(path).is_err() {
            let path = path.display();
            return Err(
                Usage(format!("{path} is there, and is no chat of this model: choose another name")).into()
            );
        }
        self.session.save(path, SaveOptions::default())?;
        whisper(&format!("saved {} in {}", self.holds()?, shown(path.display())));
        Ok(())
    }

    /// Goes on with a chat from a file.
    fn load(&mut self, path: &Path) -> anyhow::Result<()> {
        self.session = self.session.model().restore(path)?;
        (self.last, self.retries) = (None, 0);
        let last = self.session.turns().pop();
        let last = last.map_or(String::new(), |turn| format!(", the last {}", excerpt(&turn.user.text())));
        whisper(&format!("loaded {}{}", self.holds()?, shown(last)));
        Ok(())
    }

    /// The number of turns and of pictures.
    fn holds(&self) -> anyhow::Result<String> {
        let turns = counted(self.session.turns().len(), "turn");
        let pictures = self.session.usage()?.pictures + self.session.waiting();
        Ok(if pictures == 0 { turns } else { format!("{turns} and {}", counted(pictures, "picture")) })
    }

    fn system(&mut self, text: &str) {
        self.session.set_system((!text.is_empty()).then(|| text.to_owned()));
        match self.session.system() {
            Some(system) => whisper(&format!("in front of the first turn: {}", shown(system))),
            None => whisper("nothing is in front of the first turn"),
        }
    }

    fn stats(&self) -> anyhow::Result<()> {
        let (usage, model) = (self.session.usage()?, self.session.model());
        let turns = counted(self.session.turns().len(), "turn");
        say(&format!(
            "context    {} of {} positions{}; {turns}",
            usage.positions,
            model.ctx(),
            of_pictures(usage.picture_positions, usage.pictures)
        ));
        if let Some(timing) = &self.last {
            let rate = timing.tokens_per_second().map_or("-".into(), |rate| format!("{rate:.1}"));
            say(&format!(
                "last turn  {} run, {} reused; {} tokens, {rate} a second, the first after {:.2} s",
                counted(timing.prefill_tokens as usize, "new row"),
                timing.reused_tokens,
                timing.decode_tokens + 1,
                timing.first_token.as_secs_f64(),
            ));
        }
        say(&format!("KV cache   {} of {} pages", usage.pages, usage.cache_pages));
        Ok(())
    }
}

/// What is told of an answer.
fn told(timing: &Timing, reason: Option<&FinishReason>) -> String {
    let rate = timing.tokens_per_second().map_or(String::new(), |rate| format!("{rate:.1} tokens/s  "));
    let reason = match reason {
        Some(FinishReason::Cancelled) => "stopped".into(),
        Some(FinishReason::Context) => "the context is full: the answer ends here".into(),
        Some(reason) => reason.to_string(),
        None => String::new(),
    };
    let new = counted(timing.prefill_tokens as usize, "new row");
    format!("{rate}{new}, {} reused  {reason}", timing.reused_tokens)
}

/// What is told of a question that the turns before it leave no room for.
fn full(length: &PromptLength) -> Usage {
    Usage(format!(
        "the context is full: with this question the conversation takes {} positions{}, and the context holds {}: /undo or \
         /clear makes room, and so does strix chat with --context-shift or a larger --ctx",
        length.positions,
        of_pictures(length.picture_positions, length.pictures),
        length.limit
    ))
}

fn of_pictures(positions: usize, pictures: usize) -> String {
    if pictures == 0 {
        String::new()
    } else {
        format!(", {positions} of them of {}", counted(pictures, "picture"))
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The name of a file without its folders.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The beginning of a text, in quotes.
fn excerpt(text: &str) -> String {
    const MOST: usize = 40;
    let line = text.trim().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(MOST).collect();
    let more = if cut.len() < text.trim().len() { "…" } else { "" };
    format!("\"{cut}{more}\"")
}
