//! Ids to text, as they come.

use super::marks::{SPACE, byte_of};
use super::normalizer::Normalizer;
use super::vocabulary::Tokenizer;
use crate::sentencepiece::PieceKind;

impl Tokenizer {
    /// Text of ids. Bytes that are no UTF-8 become U+FFFD each, ids past the vocabulary nothing.
    ///
    /// With `skip_special`, `<s>`, `</s>` and `<unk>` are left out as if they were not there. Without, a space
    /// goes in front of text that a special token follows, unless that text begins the ids; transformers does
    /// so, and the goldens show it.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut text = String::new();
        let mut stretch = Detokenizer::default();
        let mut stretch_text = String::new();
        let mut after_special = false;
        for (i, &id) in ids.iter().enumerate() {
            if skip_special || !self.is_special(id) {
                stretch_text.extend(stretch.push(self, id));
                after_special = false;
                continue;
            }
            if !after_special && i != 0 {
                text.push(' ');
            }
            stretch_text.push_str(&stretch.finish());
            text.push_str(&std::mem::take(&mut stretch_text));
            text.push_str(&self.pieces[id as usize].text);
            stretch = Detokenizer::default();
            after_special = true;
        }
        text + &stretch_text + &stretch.finish()
    }

    /// A stream that turns generated ids into text as they come.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }
}

/// Turns ids into text one at a time; what it holds between ids, without the tokenizer.
///
/// For any ids the deltas and [`finish`](Self::finish) together are [`Tokenizer::decode`] of those ids with
/// `skip_special`.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    /// Bytes of a character still incomplete, at most 3.
    bytes: Vec<u8>,
    /// Some text has come out.
    has_text: bool,
    /// The space in front was taken away already.
    space_taken: bool,
}

impl Detokenizer {
    /// Text that `id` completes, `None` if there is none yet. Never holds part of a UTF-8 character.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Option<String> {
        let mut text = String::new();
        self.push_to(tokenizer, id, &mut text);
        (!text.is_empty()).then_some(text)
    }

    /// [`Detokenizer::push`] in place of what `text` holds.
    pub(crate) fn push_to(&mut self, tokenizer: &Tokenizer, id: u32, text: &mut String) {
        text.clear();
        let Some(piece) = tokenizer.pieces.get(id as usize).filter(|_| !tokenizer.is_special(id)) else {
            return;
        };
        if piece.kind == PieceKind::Byte {
            self.bytes.extend(byte_of(&piece.text));
            self.drain(text);
        } else {
            self.flush(text);
            let mut piece_text = if piece.kind == PieceKind::Control { "" } else { piece.text.as_str() };
            if let Some(rest) = piece_text.strip_prefix(SPACE)
                && self.drops_space(tokenizer.normalizer, !text.is_empty())
            {
                piece_text = rest;
                // One space is the dummy prefix. If runs of spaces are removed, all leading ones go.
                self.space_taken = !tokenizer.normalizer.remove_extra_whitespaces;
            }
            text.extend(piece_text.chars().map(|c| if c == SPACE { ' ' } else { c }));
        }
        self.has_text |= !text.is_empty();
    }

    /// Ends the stream: what was held of an incomplete character, U+FFFD for each byte.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.flush(&mut text);
        *self = Self::default();
        text
    }

    /// Whether the next piece's space in front would not come out.
    pub(crate) fn drops_next_space(&self, tokenizer: &Tokenizer) -> bool {
        self.bytes.is_empty() && self.drops_space(tokenizer.normalizer, false)
    }

    fn drops_space(&self, normalizer: Normalizer, text_before: bool) -> bool {
        let drops = normalizer.add_dummy_prefix || normalizer.remove_extra_whitespaces;
        drops && !self.has_text && !text_before && !self.space_taken
    }

    /// Moves whole characters into `text`, and U+FFFD for each byte that no later byte can mend.
    fn drain(&mut self, text: &mut String) {
        while !self.bytes.is_empty() {
            match std::str::from_utf8(&self.bytes) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.bytes.clear();
                }
                Err(e) if e.valid_up_to() > 0 => {
                    text.push_str(&String::from_utf8_lossy(&self.bytes[..e.valid_up_to()]));
                    self.bytes.drain(..e.valid_up_to());
                }
                Err(e) if e.error_len().is_none() => return,
                Err(_) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.remove(0);
                }
            }
        }
    }

    /// Gives up on the bytes held.
    fn flush(&mut self, text: &mut String) {
        text.extend(self.bytes.drain(..).map(|_| char::REPLACEMENT_CHARACTER));
    }
}

/// A [`Detokenizer`] together with its tokenizer.
#[derive(Clone, Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    state: Detokenizer,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, state: Detokenizer::default() }
    }

    /// The same as [`Detokenizer::push`].
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.state.push(self.tokenizer, id)
    }

    /// The same as [`Detokenizer::finish`].
    pub fn finish(&mut self) -> String {
        self.state.finish()
    }
}
