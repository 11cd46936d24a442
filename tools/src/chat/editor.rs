//! Where lines come from: a line editor at a terminal, or stdin as it is.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Cmd, CompletionType, Config, Context, Editor, Helper, KeyCode, KeyEvent, Modifiers};
use strix_model::cache::make_private;

use super::commands::{Argument, COMMANDS};
use crate::terminal::{self, note, paint};
use crate::{Usage, cache};

/// Lines of the history that are kept.
const HISTORY: usize = 1000;
/// Longest line of stdin.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// What was read.
pub(super) enum Entry {
    Line(String),
    /// Ctrl-C cleared the line; whether there was anything on it is not known.
    Cleared,
    End,
}

/// Where lines come from.
pub(super) enum Input {
    Terminal(Box<Terminal>),
    Lines,
}

impl Input {
    pub(super) fn open() -> anyhow::Result<Self> {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Ok(if is_terminal { Self::Terminal(Box::new(Terminal::new()?)) } else { Self::Lines })
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Whether keys are read one by one, Ctrl-C among them: not by a terminal that acts on nothing.
    pub(super) fn edits(&self) -> bool {
        self.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// The next line, or several that are one.
    pub(super) fn read(&mut self, prompt: &str) -> anyhow::Result<Entry> {
        let line = match self {
            Self::Terminal(terminal) => terminal.read(prompt)?,
            Self::Lines => lines()?,
        };
        Ok(match line {
            Entry::Line(line) => Entry::Line(line.replace("\\\n", "\n")),
            other => other,
        })
    }
}

/// A line of stdin and those that it goes on in.
fn lines() -> anyhow::Result<Entry> {
    let mut text = vec![];
    let mut stdin = io::stdin().lock().take(MAX_LINE_BYTES + 1);
    loop {
        let read = stdin.read_until(b'\n', &mut text)?;
        if text.len() as u64 > MAX_LINE_BYTES {
            return Err(Usage(format!("a line on stdin is above {MAX_LINE_BYTES} bytes: shorten it")).into());
        }
        if read == 0 || !(text.ends_with(b"\\\n") || text.ends_with(b"\\\r\n")) {
            break;
        }
    }
    if text.is_empty() {
        return Ok(Entry::End);
    }
    let text = String::from_utf8(text)
        .map_err(|e| Usage(format!("a line on stdin: {e}: save it as UTF-8")))?
        .replace("\r\n", "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(Entry::Line(text.strip_suffix('\n').unwrap_or(text).to_owned()))
}

/// A line editor with a history.
pub(super) struct Terminal {
    editor: Editor<Keys, FileHistory>,
    /// Where the history is kept.
    history: Option<PathBuf>,
}

impl Terminal {
    fn new() -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .completion_type(CompletionType::List)
            .bracketed_paste(true)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Keys { files: FilenameCompleter::new() }));
        for enter in [KeyCode::Enter, KeyCode::Char('\r')] {
            editor.bind_sequence(KeyEvent(enter, Modifiers::ALT), Cmd::Newline);
        }
        let history =
            cache::dir().and_then(|dir| make_private(&dir).is_ok().then(|| dir.join("chat_history")));
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            note(&format!("{}: {error}: the history of earlier chats is not there", path.display()));
        }
        Ok(Self { editor, history })
    }

    fn read(&mut self, prompt: &str) -> anyhow::Result<Entry> {
        let styled = paint(terminal::colours(&io::stdout()), terminal::BOLD, prompt);
        let line = match self.editor.readline(&(prompt, styled.as_str())) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ok(Entry::Cleared),
            Err(ReadlineError::Eof) => return Ok(Entry::End),
            Err(error) => return Err(error.into()),
        };
        if !line.trim().is_empty() {
            self.editor.add_history_entry(&line)?;
            // One that cannot be kept is there until the chat ends.
            if let Some(path) = &self.history {
                let _ = self.editor.append_history(path);
            }
        }
        Ok(Entry::Line(line))
    }
}

/// What keys do beyond editing.
struct Keys {
    files: FilenameCompleter,
}

impl Helper for Keys {}

impl Hinter for Keys {
    type Hint = String;
}

impl Highlighter for Keys {}

impl Validator for Keys {
    /// A line that ends in a backslash goes on in the next one.
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match ctx.input().ends_with('\\') {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Keys {
    type Candidate = Pair;

    /// Commands, and the files that follow some of them.
    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(typed) = line[..pos].strip_prefix('/') else { return Ok((pos, vec![])) };
        let Some((name, _)) = typed.split_once(' ') else {
            let fitting = COMMANDS.iter().filter(|known| known.name.starts_with(typed));
            let pair = |name: &str, space: &str| Pair {
                display: format!("/{name}"),
                replacement: format!("/{name}{space}"),
            };
            let space = |argument| if argument == Argument::Nothing { "" } else { " " };
            return Ok((0, fitting.map(|known| pair(known.name, space(known.argument))).collect()));
        };
        let takes_file = |name| COMMANDS.iter().any(|k| k.name == name && k.argument == Argument::File);
        if takes_file(name) { self.files.complete_path(line, pos) } else { Ok((pos, vec![])) }
    }
}

#[cfg(test)]
mod tests {
    use rustyline::history::MemHistory;

    use super::*;

    fn completions(line: &str) -> (usize, Vec<String>) {
        let (history, keys) = (MemHistory::new(), Keys { files: FilenameCompleter::new() });
        let (at, pairs) = keys.complete(line, line.len(), &Context::new(&history)).unwrap();
        (at, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn commands_and_their_files_are_completed() {
        assert_eq!(completions("/im"), (0, vec!["/image ".into()]));
        assert_eq!(completions("/s"), (0, vec!["/save ".into(), "/system ".into(), "/stats".into()]));
        assert_eq!(completions("/").1.len(), COMMANDS.len());
        let (at, files) = completions("/image ../tests/nano/samples/pair_");
        assert_eq!((at, files.len()), (7, 2), "{files:?}");
        assert!(files[0].ends_with("pair_1.png"));
        assert_eq!(completions("/clear ../tests").1, [""; 0]);
        assert_eq!(completions("What is ../tes").1, [""; 0]);
    }
}
