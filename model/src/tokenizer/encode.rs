//! Text to ids.

use super::marks::{PromptId, SPACE};
use super::spans::{Span, Stretch, Unit, is_solid, push};
use super::vocabulary::{Merges, Tokenizer};

impl Tokenizer {
    /// Ids of a text, after `<s>` if `add_bos`. No `</s>` is added.
    ///
    /// The strings `<s>`, `</s>` and `<unk>` in the text become those tokens, and each stretch of text between
    /// them is encoded on its own.
    pub fn encode(&self, text: &str, add_bos: bool) -> Vec<u32> {
        let mut units = Vec::new();
        for (text, special) in self.split(text) {
            if !text.is_empty() {
                units.push(Unit::Text(Stretch::of(text.to_owned())));
            }
            units.extend(special.map(Unit::Special));
        }
        self.encode_units(units, add_bos)
    }

    fn encode_units(&self, units: Vec<Unit>, add_bos: bool) -> Vec<u32> {
        let mut ids = Vec::new();
        if add_bos {
            ids.push(self.special.bos);
        }
        for (i, part) in units.into_iter().enumerate() {
            match part {
                Unit::Special(id) => ids.push(id),
                Unit::Text(stretch) if self.legacy => self.encode_text(&stretch, &mut ids),
                Unit::Text(stretch) => self.encode_without_legacy(stretch, i == 0, &mut ids),
            }
        }
        ids
    }

    /// Ids of a prompt, [`PromptId::Picture`] for each [`IMAGE_TOKEN`](super::IMAGE_TOKEN).
    ///
    /// The text between pictures is encoded chunk by chunk, each with its own space in front. One `<s>` leads,
    /// unless the prompt begins with a picture: then there is none in front, and every later chunk has its own.
    /// That is how the model was trained (`tokenizer_image_token` of the authors).
    pub fn encode_prompt(&self, prompt: &str) -> Vec<PromptId> {
        self.encode_spans(&Span::read(prompt))
    }

    /// `legacy: false`: only the very first text and texts that start with a space keep a space in front.
    ///
    /// transformers takes the leading `▁` off the first piece and looks up what is left, so `▁no` becomes the
    /// id of `no`, or `<unk>` where there is no such piece. It is what the golden ids hold.
    fn encode_without_legacy(&self, mut stretch: Stretch, is_first: bool, ids: &mut Vec<u32>) {
        stretch.text = stretch.text.replace(SPACE, " ");
        let start = ids.len();
        self.encode_text(&stretch, ids);
        if is_first || stretch.text.starts_with(' ') {
            return;
        }
        let Some(bare) = ids.get(start).and_then(|&id| self.piece(id)?.strip_prefix(SPACE)) else { return };
        if bare.is_empty() {
            ids.remove(start);
        } else {
            ids[start] = self.known.get(bare).copied().unwrap_or(self.special.unk);
        }
    }

    /// Ids of a text without special strings, appended.
    pub(super) fn encode_text(&self, stretch: &Stretch, ids: &mut Vec<u32>) {
        let text = self.normalizer.apply(&stretch.text, &self.user_defined);
        let mut splits = stretch.splits.iter().peekable();
        let (mut start, mut solid) = (0, 0);
        for (at, c) in text.char_indices() {
            // Before `start` is within the piece taken last.
            if at >= start {
                while splits.next_if(|&&split| split <= solid).is_some() {
                    self.merge(&text[start..at], ids);
                    start = at;
                }
                if let Some((piece, id)) = self.user_defined.at_start(&text[at..]) {
                    self.merge(&text[start..at], ids);
                    ids.push(id);
                    start = at + piece.len();
                }
            }
            solid += usize::from(is_solid(c));
        }
        self.merge(&text[start..], ids);
    }

    /// Ids of normalised text, by merges alone.
    fn merge(&self, text: &str, ids: &mut Vec<u32>) {
        match &self.merges {
            Merges::Scored(scores) => scores.encode(text, &self.pieces, &self.known, ids),
            #[cfg(feature = "tokenizer-json")]
            Merges::Listed(listed) => listed.encode(text, self.special, ids),
        }
    }

    /// Splits a text at the special strings: texts, and the token behind each; behind the last there is none.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
        let specials = [self.special.unk, self.special.bos, self.special.eos];
        let specials = specials.map(|id| (self.pieces[id as usize].text.as_str(), id));
        let mut units = Vec::new();
        let mut start = 0;
        for (at, _) in text.char_indices() {
            // Before `start` is within the string found last.
            let here = |(special, _): &&(&str, u32)| at >= start && text[at..].starts_with(special);
            if let Some((special, id)) = specials.iter().filter(here).min_by_key(|(_, id)| id) {
                units.push((&text[start..at], Some(*id)));
                start = at + special.len();
            }
        }
        units.push((&text[start..], None));
        units
    }

    /// Ids of a prompt, [`PromptId::Picture`] for each picture. Text in which nothing looks like a control token has
    /// the ids that [`Tokenizer::encode_prompt`] gives it, whatever spans it is in.
    pub fn encode_spans(&self, spans: &[Span]) -> Vec<PromptId> {
        let has_text = |chunk: &[Span]| chunk.iter().any(|span| !span.text().is_empty());
        let mut chunks = spans.split(|span| *span == Span::Picture).peekable();
        let bos_first = chunks.peek().is_some_and(|chunk| has_text(chunk));
        let mut ids = Vec::new();
        for (i, chunk) in chunks.enumerate() {
            if i > 0 {
                ids.push(PromptId::Picture);
            }
            if has_text(chunk) {
                let add_bos = i == 0 || !bos_first;
                ids.extend(self.encode_units(self.units(chunk), add_bos).into_iter().map(PromptId::Token));
            }
        }
        ids
    }

    /// The units of text between pictures; no text is empty, and no two texts follow each other.
    fn units(&self, spans: &[Span]) -> Vec<Unit> {
        let mut units = Vec::new();
        for span in spans {
            match span {
                Span::Literal(text) => push(&mut units, text, true),
                Span::Marked(text) => {
                    for (text, special) in self.split(text) {
                        push(&mut units, text, false);
                        units.extend(special.map(Unit::Special));
                    }
                }
                Span::Picture => {}
            }
        }
        units
    }
}
