//! What was asked and answered, as the window shows it.

use std::ops::Range;
use std::sync::Arc;

use strix_model::{FinishReason, Timing};

use crate::attention::Attention;
use crate::messages::TurnId;
use crate::picture::Picture;
use crate::problem::Problem;

/// How an answer ended, if it has.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is still being made.
    Open,
    Done {
        reason: FinishReason,
        timing: Timing,
    },
    Failed(Problem),
}

/// What is known of where an answer looked.
#[derive(Clone, Debug, Default)]
pub(crate) enum Gaze {
    #[default]
    Unknown,
    /// The model looks into it.
    Asked,
    Known(Arc<Attention>),
    Failed(Problem),
}

/// An answer, as far as it has come.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    text: String,
    /// The bytes of each token's text.
    tokens: Vec<Range<usize>>,
    pub(crate) outcome: Outcome,
    pub(crate) gaze: Gaze,
}

impl Default for Answer {
    fn default() -> Self {
        Self { text: String::new(), tokens: vec![], outcome: Outcome::Open, gaze: Gaze::Unknown }
    }
}

impl Answer {
    /// The text so far, without white space in front of it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Number of its tokens so far.
    pub(crate) fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Adds a token's text.
    pub(crate) fn push(&mut self, text: &str) {
        let text = if self.text.is_empty() { text.trim_start() } else { text };
        let start = self.text.len();
        self.text += text;
        self.tokens.push(start..self.text.len());
    }

    /// Opens it again, for more.
    pub(crate) fn reopen(&mut self) {
        (self.outcome, self.gaze) = (Outcome::Open, Gaze::Unknown);
    }

    /// Whether it was cut off, and may be gone on with.
    pub(crate) fn is_cut(&self) -> bool {
        let cut = |reason: &FinishReason| matches!(reason, FinishReason::MaxTokens | FinishReason::Cancelled);
        !self.tokens.is_empty() && matches!(&self.outcome, Outcome::Done { reason, .. } if cut(reason))
    }

    /// The word that a byte of the text is in: its bytes, without the punctuation around it. None in white space.
    pub(crate) fn word_at(&self, byte: usize) -> Option<Range<usize>> {
        let text = &self.text;
        let here = text.get(byte..)?.chars().next()?;
        if here.is_whitespace() {
            return None;
        }
        let start = text[..byte].rfind(char::is_whitespace);
        let start = start.map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let end = text[byte..].find(char::is_whitespace).map_or(text.len(), |at| byte + at);
        let word = &text[start..end];
        let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
        if bare.is_empty() {
            return Some(start..end);
        }
        let start = start + word.find(bare).unwrap_or(0);
        Some(start..start + bare.len())
    }

    /// The tokens that a part of the text came with.
    pub(crate) fn tokens_of(&self, bytes: Range<usize>) -> Range<usize> {
        let overlaps = |token: &Range<usize>| token.start < bytes.end && token.end > bytes.start;
        let first = self.tokens.iter().position(overlaps).unwrap_or(0);
        let last = self.tokens.iter().rposition(overlaps).map_or(first, |last| last + 1);
        first..last
    }
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) id: TurnId,
    pub(crate) question: String,
    pub(crate) pictures: Vec<Picture>,
    pub(crate) answer: Answer,
}

/// One thing of the conversation.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Turn(Box<Turn>),
    /// A model was loaded: what follows is another conversation.
    Begun(String),
}

/// Everything that was said in this window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) entries: Vec<Entry>,
}

impl Conversation {
    /// Its turns.
    pub(crate) fn turns(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Turn(turn) => Some(&**turn),
            Entry::Begun(_) => None,
        })
    }

    /// The turn of this number.
    pub(crate) fn turn_mut(&mut self, id: TurnId) -> Option<&mut Turn> {
        self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Turn(turn) if turn.id == id => Some(&mut **turn),
            _ => None,
        })
    }

    /// The turn of this number.
    pub(crate) fn turn(&self, id: TurnId) -> Option<&Turn> {
        self.turns().find(|turn| turn.id == id)
    }

    /// The last turn of the conversation that goes on.
    pub(crate) fn last(&self) -> Option<&Turn> {
        match self.entries.last() {
            Some(Entry::Turn(turn)) => Some(turn),
            _ => None,
        }
    }

    /// Whether this turn is one of the conversation that goes on.
    pub(crate) fn is_live(&self, id: TurnId) -> bool {
        let live = self.entries.iter().rev().take_while(|entry| matches!(entry, Entry::Turn(_)));
        live.into_iter().any(|entry| matches!(entry, Entry::Turn(turn) if turn.id == id))
    }

    /// Number of pictures, in the conversation that a turn belongs to, before it.
    pub(crate) fn pictures_before(&self, id: TurnId) -> usize {
        let mut pictures = 0;
        for entry in &self.entries {
            match entry {
                Entry::Begun(_) => pictures = 0,
                Entry::Turn(turn) if turn.id == id => break,
                // What was never answered is no part of the conversation.
                Entry::Turn(turn) if turn.answer.num_tokens() == 0 => {}
                Entry::Turn(turn) => pictures += turn.pictures.len(),
            }
        }
        pictures
    }

    /// Whether two turns belong to the same conversation.
    pub(crate) fn are_together(&self, a: TurnId, b: TurnId) -> bool {
        let mut group = 0;
        let mut groups = [None; 2];
        for entry in &self.entries {
            match entry {
                Entry::Begun(_) => group += 1,
                Entry::Turn(turn) => {
                    for (of, id) in groups.iter_mut().zip([a, b]) {
                        *of = of.or((turn.id == id).then_some(group));
                    }
                }
            }
        }
        groups[0].is_some() && groups[0] == groups[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pieces: &[&str]) -> Answer {
        let mut answer = Answer::default();
        pieces.iter().for_each(|piece| answer.push(piece));
        answer
    }

    fn turn(id: TurnId, pictures: usize, said: &str) -> Entry {
        let picture = || Picture::new("x", strix_model::image::RgbImage::new(2, 2), vec![]);
        let pictures = (0..pictures).map(|_| picture()).collect();
        Entry::Turn(
            Turn {
                id,
                question: "?".into(),
                pictures,
                answer: answer(&said.split_inclusive(' ').collect::<Vec<_>>()),
            }
            .into(),
        )
    }

    #[test]
    fn words_are_found_with_their_tokens() {
        let answer = answer(&[" a", " gre", "en", " circle", "."]);
        assert_eq!((answer.text(), answer.num_tokens()), ("a green circle.", 5));
        let word = answer.word_at(4).unwrap();
        assert_eq!(&answer.text()[word.clone()], "green");
        assert_eq!(answer.tokens_of(word), 1..3);
        // The full stop belongs to no word's bytes.
        let word = answer.word_at(14).unwrap();
        assert_eq!(&answer.text()[word.clone()], "circle");
        assert_eq!(answer.tokens_of(word), 3..4);
        assert_eq!(answer.word_at(1), None);
        assert_eq!(answer.word_at(15), None);
    }

    #[test]
    fn words_of_other_alphabets_are_cut_at_letters() {
        let answer = answer(&["größer", "\u{3000}漢字", " …!"]);
        let at = |byte| answer.word_at(byte).map(|word| answer.text()[word].to_owned());
        assert_eq!(at(0).as_deref(), Some("größer"));
        assert_eq!(at("größer\u{3000}".len()).as_deref(), Some("漢字"));
        assert_eq!(at(2), Some("größer".into()));
        // The middle of a letter is no place.
        assert_eq!(at(3), None);
        assert_eq!(at(answer.text().len() - 1).as_deref(), Some("…"));
    }

    #[test]
    fn pictures_are_counted_in_their_own_conversation() {
        let entries = vec![
            turn(1, 2, "yes"),
            turn(2, 1, ""),
            turn(3, 1, "no"),
            Entry::Begun("nano".into()),
            turn(4, 1, "red"),
            turn(5, 0, "blue"),
        ];
        let conversation = Conversation { entries };
        let before = [1, 2, 3, 4, 5].map(|id| conversation.pictures_before(id));
        assert_eq!(before, [0, 2, 2, 0, 1]);
        assert!(conversation.are_together(4, 5) && !conversation.are_together(3, 4));
        assert!(!conversation.are_together(4, 9));
        assert!(conversation.is_live(4) && !conversation.is_live(3));
        assert_eq!(conversation.last().map(|turn| turn.id), Some(5));
    }

    #[test]
    fn what_was_cut_off_may_be_gone_on_with() {
        let mut answer = answer(&["a"]);
        assert!(!answer.is_cut());
        answer.outcome = Outcome::Done { reason: FinishReason::MaxTokens, timing: Timing::default() };
        assert!(answer.is_cut());
        answer.reopen();
        assert!(!answer.is_cut());
        answer.outcome = Outcome::Done { reason: FinishReason::Eos, timing: Timing::default() };
        assert!(!answer.is_cut());
    }
}
