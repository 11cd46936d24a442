//! Text that came from a file, a model or a user, as a terminal may be given it.
//!
//! Terminals act on some characters instead of showing them: an escape code in a tensor's name could set the window's
//! title, rewrite lines above, or answer for the user. Such characters are shown as `\x1b` or `\u{202e}`.

use std::fmt::{self, Display, Write as _};

/// Wraps a value so that its text is one line without a character that a terminal acts on, or that is not seen.
///
/// [`Error`](crate::Error) writes its messages so. An app that prints names of tensors, metadata or paths itself does
/// well to do the same.
///
/// ```
/// use strix_model::shown;
///
/// assert_eq!(shown("a\x1b]0;owned\x07").to_string(), r"a\x1b]0;owned\x07");
/// assert_eq!(shown("two\nlines").to_string(), r"two\nlines");
/// assert_eq!(shown("größer ▁the 漢字 🦉").to_string(), "größer ▁the 漢字 🦉");
/// ```
pub fn shown<T: Display>(value: T) -> Shown<T> {
    Shown { value, list: false }
}

/// [`shown`], of a message that may list things, each on a line that two spaces begin; those lines are kept.
pub fn shown_list<T: Display>(value: T) -> Shown<T> {
    Shown { value, list: true }
}

/// The result of [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<T> {
    value: T,
    list: bool,
}

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.list;
        if f.width().is_none() && f.precision().is_none() {
            return write!(Escape { to: f, list }, "{}", self.value);
        }
        // A width counts the characters as they are shown.
        let mut text = String::new();
        write!(Escape { to: &mut text, list }, "{}", self.value)?;
        f.pad(&text)
    }
}

/// Writes what it is given, escaped.
struct Escape<'a, W> {
    to: &'a mut W,
    list: bool,
}

impl<W: fmt::Write> fmt::Write for Escape<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_acted_on(c) || is_unseen(c)) {
            self.to.write_str(&rest[..at])?;
            rest = &rest[at + c.len_utf8()..];
            match c {
                '\n' if self.list && rest.starts_with("  ") => self.to.write_char('\n')?,
                '\n' => self.to.write_str("\\n")?,
                '\r' => self.to.write_str("\\r")?,
                '\t' => self.to.write_str("\\t")?,
                c if c.is_ascii() => write!(self.to, "\\x{:02x}", u32::from(c))?,
                c => write!(self.to, "\\u{{{:x}}}", u32::from(c))?,
            }
        }
        self.to.write_str(rest)
    }
}

/// Whether a terminal does something at this character other than showing it: controls, and what turns the order of the
/// text around it.
pub fn is_acted_on(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether nothing is seen of a character that makes one name look like another. Joiners (U+200C, U+200D) are not among
/// them: words of several languages, and emoji, are written with them.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_all_else_is_not() {
        for (text, want) in [
            ("", ""),
            ("model.layers.0", "model.layers.0"),
            ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\x7f\x08\0", r"a\x7f\x08\x00"),
            ("\u{202e}gnp.exe", r"\u{202e}gnp.exe"),
            ("\u{2066}a\u{2069}\u{200f}", r"\u{2066}a\u{2069}\u{200f}"),
            ("a\r\n\tb", r"a\r\n\tb"),
            ("\u{feff}x\u{200b}", r"\u{feff}x\u{200b}"),
            (r"C:\new", r"C:\new"),
            ("می\u{200c}خواهم 👩\u{200d}🔬", "می\u{200c}خواهم 👩\u{200d}🔬"),
        ] {
            assert_eq!(shown(text).to_string(), want);
        }
        assert_eq!(shown_list("2 problems:\n  a\x1b\n  b\nc").to_string(), "2 problems:\n  a\\x1b\n  b\\nc");
        assert_eq!(format!("{:<6}|", shown("a\x1b")), "a\\x1b |");
        assert_eq!(format!("{:>3}|{}", shown(7), shown('\x07')), "  7|\\x07");
    }
}
