//! A prompt as the tokenizer takes it: what may be a control token is said, not found.

use super::marks::{IMAGE_TOKEN, SPACE};

/// A span of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Text whose `<s>`, `</s>` and `<unk>` are those tokens.
    Marked(String),
    /// Text that is nothing but text, whatever it looks like. It joins text before and behind it as if they were one;
    /// no token reaches from a literal into a literal behind it.
    Literal(String),
    /// The place of a picture.
    Picture,
}

impl Span {
    /// The spans of a text whose every [`IMAGE_TOKEN`] is the place of a picture.
    pub(crate) fn read(text: &str) -> Vec<Self> {
        let mut spans = vec![];
        for (i, chunk) in text.split(IMAGE_TOKEN).enumerate() {
            if i > 0 {
                spans.push(Self::Picture);
            }
            spans.push(Self::Marked(chunk.to_owned()));
        }
        spans
    }

    /// Its text; none of a picture.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Marked(text) | Self::Literal(text) => text,
            Self::Picture => "",
        }
    }
}

/// What is encoded at once: a token, or a stretch of text.
pub(super) enum Unit {
    Special(u32),
    Text(Stretch),
}

/// Text without control tokens.
#[derive(Default)]
pub(super) struct Stretch {
    pub(super) text: String,
    /// Where it is split, as numbers of characters in front that are no spaces: spaces come and go as a text is
    /// normalised, other characters stay.
    pub(super) splits: Vec<usize>,
    ends_in_literal: bool,
}

impl Stretch {
    /// A text that is split nowhere.
    pub(super) fn of(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    fn push(&mut self, text: &str, is_literal: bool) {
        if self.ends_in_literal && is_literal {
            self.splits.push(self.text.chars().filter(|&c| is_solid(c)).count());
        }
        self.text += text;
        self.ends_in_literal = is_literal;
    }
}

/// Whether normalising keeps a character as it is.
pub(super) fn is_solid(c: char) -> bool {
    !matches!(c, ' ' | SPACE)
}

/// Adds a text to the stretch that the units end in.
pub(super) fn push(units: &mut Vec<Unit>, text: &str, is_literal: bool) {
    if text.is_empty() {
        return;
    }
    if !matches!(units.last(), Some(Unit::Text(_))) {
        units.push(Unit::Text(Stretch::default()));
    }
    if let Some(Unit::Text(stretch)) = units.last_mut() {
        stretch.push(text, is_literal);
    }
}
