//! Prints only what a terminal can show and must not act on.
//!
//! Whatever comes from a file, a model or a device passes through here on its way out: characters that a terminal acts
//! on are shown as `\x1b` or `\u{202e}`. Only an answer that goes to a file or a pipe is written as it is.

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, StderrLock, StdoutLock, Write};
use std::path::Path;

use strix_model::{is_acted_on, shown};

/// Whether `stream` is a terminal that may be painted.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    let no_color = env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|v| v == "dumb");
    stream.is_terminal() && !no_color && !dumb
}

/// Characters in a line.
pub(crate) fn columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))
}

/// `text` in the colour or weight of an SGR code, where colours are on.
pub(crate) fn paint(on: bool, sgr: u8, text: &str) -> String {
    if on { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(crate) const BOLD: u8 = 1;
pub(crate) const DIM: u8 = 2;
pub(crate) const RED: u8 = 31;
pub(crate) const GREEN: u8 = 32;

/// Without the absolute path of a directory here, Mesa's EGL complains on stderr for every adapter that is looked at.
#[expect(unsafe_code, reason = "set_var, see below")]
pub(crate) fn quiet_wayland() {
    let absolute = |dir: &OsString| Path::new(dir).is_absolute();
    if cfg!(target_os = "linux") && !env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| absolute(&dir)) {
        let dir = Some(env::temp_dir().into()).filter(absolute).unwrap_or("/tmp".into());
        // SAFETY: the first statement of main; no other thread is there to read the environment.
        unsafe { env::set_var("XDG_RUNTIME_DIR", dir) };
    }
}

/// A text, perhaps of several lines, on stderr; if that is closed, there is nobody to tell.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", lines(text));
}

/// A dim line on stderr that a user should know of.
pub(crate) fn note(line: &str) {
    whisper(&format!("note: {line}"));
}

/// One dim line on stderr.
pub(crate) fn whisper(line: &str) {
    let _ = writeln!(io::stderr(), "{}", paint(colours(&io::stderr()), DIM, &lines(line)));
}

/// Stdout, for everything but an answer or JSON. Names that are put in a line go through [`shown`] first, since here
/// line ends pass.
pub(crate) fn out() -> Escaped<Stdout> {
    Escaped { to: stdout(), escape: lines }
}

/// Stdout, as it is.
pub(crate) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

/// Stdout, whose errors say that it is stdout.
pub(crate) struct Stdout(StdoutLock<'static>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

/// An error of writing to stdout, with its name.
pub(crate) fn of_stdout(e: io::Error) -> io::Error {
    // A call that was interrupted is made again.
    if e.kind() == io::ErrorKind::Interrupted { e } else { io::Error::new(e.kind(), format!("stdout: {e}")) }
}

/// Stderr, for lines of the log. The logger must not paint them: the colours in a value would look like its own.
pub(crate) fn log() -> Escaped<StderrLock<'static>> {
    Escaped { to: io::stderr().lock(), escape: log_line }
}

/// The model's answer: as it is if stdout is a file or a pipe, escaped on a terminal.
pub(crate) fn answer(text: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() {
        escaped(text, |c| matches!(c, '\n' | '\t') || !is_acted_on(c))
    } else {
        text.into()
    }
}

/// A JSON text in which the characters that a terminal acts on are escaped as JSON does it: the same values.
pub(crate) fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // Between values, line ends are layout; within strings, serde has escaped them.
        if c == '\n' || !is_acted_on(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// A stream that escapes what is written to it. A character is written whole, never in parts.
pub(crate) struct Escaped<W> {
    to: W,
    escape: fn(&str) -> Cow<'_, str>,
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.to.write_all((self.escape)(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Text in which line ends and tabs are layout.
fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t') || !is_acted_on(c))
}

fn escaped(text: &str, passes: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&passes) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match passes(c) {
            true => escaped.push(c),
            false => escaped += &shown(c).to_string(),
        }
    }
    escaped.into()
}

/// A line of the log, whose end alone is layout.
fn log_line(line: &str) -> Cow<'_, str> {
    match line.strip_suffix('\n') {
        Some(text) => format!("{}\n", shown(text)).into(),
        None => shown(line).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_layout_passes_to_the_terminal() {
        assert_eq!(lines("a\n\tb \u{200f}ש"), "a\n\tb \u{200f}ש");
        assert_eq!(lines("\x1b[2Ja\r\u{9b}\u{202e}"), r"\x1b[2Ja\r\u{9b}\u{202e}");
        let mut out = Escaped { to: vec![], escape: lines };
        let name = "a\x07";
        writeln!(out, "{name} {:<3}|", 1).unwrap();
        assert_eq!(out.to, b"a\\x07 1  |\n");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "a\x7f": "\x1b\u{9b}\u{202e}\n🦉" });
        for text in [value.to_string(), format!("{value:#}")] {
            let escaped = json(&text);
            assert!(!escaped.chars().any(|c| c != '\n' && is_acted_on(c)), "{escaped:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }

    #[test]
    fn a_line_of_the_log_is_one_line() {
        assert_eq!(log_line("WARN a\nb\x07\x1b[31m\n"), "WARN a\\nb\\x07\\x1b[31m\n");
    }
}
