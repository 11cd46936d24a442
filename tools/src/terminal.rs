//! What the terminal can show.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

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

/// One line on stderr; if that is closed, there is nobody to tell.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A dim line on stderr that a user should know of.
pub(crate) fn note(line: &str) {
    whisper(&format!("note: {line}"));
}

/// One dim line on stderr.
pub(crate) fn whisper(line: &str) {
    say(&paint(colours(&io::stderr()), DIM, line));
}
