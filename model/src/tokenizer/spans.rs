//! A prompt as the tokenizer takes it: what may be a control token is said, not found.

use super::{IMAGE_PLACEHOLDER, IMAGE_TOKEN, SPACE, Tokenizer};

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
pub(super) enum Part {
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

impl Tokenizer {
    /// Ids of a prompt, with [`IMAGE_PLACEHOLDER`] for each picture. Text in which nothing looks like a control token has
    /// the ids that [`Tokenizer::encode_prompt`] gives it, whatever spans it is in.
    pub fn encode_spans(&self, spans: &[Span]) -> Vec<i32> {
        let has_text = |chunk: &[Span]| chunk.iter().any(|span| !span.text().is_empty());
        let mut chunks = spans.split(|span| *span == Span::Picture).peekable();
        let bos_first = chunks.peek().is_some_and(|chunk| has_text(chunk));
        let mut ids = Vec::new();
        for (i, chunk) in chunks.enumerate() {
            if i > 0 {
                ids.push(IMAGE_PLACEHOLDER);
            }
            if has_text(chunk) {
                let add_bos = i == 0 || !bos_first;
                ids.extend(self.encode_parts(self.parts(chunk), add_bos).into_iter().map(|id| id as i32));
            }
        }
        ids
    }

    /// The parts of text between pictures; no text is empty, and no two texts follow each other.
    fn parts(&self, spans: &[Span]) -> Vec<Part> {
        let mut parts = Vec::new();
        for span in spans {
            match span {
                Span::Literal(text) => push(&mut parts, text, true),
                Span::Marked(text) => {
                    for (text, special) in self.split(text) {
                        push(&mut parts, text, false);
                        parts.extend(special.map(Part::Special));
                    }
                }
                Span::Picture => {}
            }
        }
        parts
    }
}

/// Adds a text to the stretch that the parts end in.
fn push(parts: &mut Vec<Part>, text: &str, is_literal: bool) {
    if text.is_empty() {
        return;
    }
    if !matches!(parts.last(), Some(Part::Text(_))) {
        parts.push(Part::Text(Stretch::default()));
    }
    if let Some(Part::Text(stretch)) = parts.last_mut() {
        stretch.push(text, is_literal);
    }
}
