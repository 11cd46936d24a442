//! Makes the prompt that the model was trained on, of questions, answers and pictures (SPEC §6).
//!
//! What people say is data: only a template writes `</s>`, and only [`Question::placed`] finds the places of pictures in
//! a text. The roles, `USER:` and `ASSISTANT:`, are ordinary text to the tokenizer, and a question may hold them. They
//! are then written in other tokens than those of the template, which the model was trained to take for a turn; it can
//! still read what they say.

mod question;

use std::fmt;

use crate::tokenizer::{IMAGE_TOKEN, PromptId, Span, Tokenizer};
use crate::{Error, Result};
pub use question::Question;

/// Ending of a question that wants a word or two, as in training and in the authors' evaluations.
pub const SHORT_ANSWER: &str = "\nAnswer the question using a single word or phrase.";

/// Ending of a multiple-choice question. The apostrophe is U+2019, as in training.
pub const OPTION_LETTER: &str = "\nAnswer with the option\u{2019}s letter from the given choices directly.";

/// Text that ends an answer; the tokenizer reads it as its end token.
pub const END: &str = "</s>";

/// Text in front of the first turn in [`Template::VicunaV1`].
const VICUNA_SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
    The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// The form in which turns are written into a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// `USER: {q} ASSISTANT: {a}</s>USER: …`, without a system text: what mPLUG-Owl2 was trained on.
    #[default]
    MplugOwl2,
    /// The same turns after Vicuna 1.1's system text and a space.
    VicunaV1,
    /// The texts alone, `{q} {a}</s>{q}`: no roles and nothing after the last question. For a prompt written
    /// by hand.
    Plain,
}

impl Template {
    /// Name on the command line: `mplug_owl2`, `vicuna_v1`, `plain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MplugOwl2 => "mplug_owl2",
            Self::VicunaV1 => "vicuna_v1",
            Self::Plain => "plain",
        }
    }
}

impl std::str::FromStr for Template {
    type Err = Error;

    /// Reads a [`name`](Self::name); `v1` is `vicuna_v1`, as the authors have it.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mplug_owl2" => Ok(Self::MplugOwl2),
            "vicuna_v1" | "v1" => Ok(Self::VicunaV1),
            "plain" => Ok(Self::Plain),
            _ => Err(Error::out_of_range("template", format!("{name:?}"), "mplug_owl2, vicuna_v1 or plain")),
        }
    }
}

/// Words in front of what each side says.
const ROLES: [&str; 2] = ["USER:", "ASSISTANT:"];

/// A prompt, span by span. Its text, [`IMAGE_TOKEN`]s and `</s>` included, is what it prints as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt(Vec<Span>);

impl Prompt {
    /// Its spans.
    pub fn spans(&self) -> &[Span] {
        &self.0
    }

    /// Number of pictures that it asks for.
    pub fn num_images(&self) -> usize {
        self.0.iter().filter(|span| **span == Span::Picture).count()
    }

    /// Checks that it has a place for each picture and a picture for each place.
    ///
    /// # Errors
    ///
    /// If not, with both numbers.
    pub fn check_images(&self, num_images: usize) -> Result<()> {
        check_places(self.num_images(), num_images)
    }

    /// Ids of its tokens, [`PromptId::Picture`] for each picture.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Vec<PromptId> {
        tokenizer.encode_spans(&self.0)
    }

    fn marked(&mut self, text: &str) {
        self.0.push(Span::Marked(text.to_owned()));
    }

    /// Text that people say. Within a role it is split, so that it does not have the role's tokens.
    fn literal(&mut self, text: &str) {
        let roles = ROLES.iter().flat_map(|role| text.match_indices(role));
        let mut splits: Vec<_> = roles.map(|(at, _)| at + 1).collect();
        splits.sort_unstable();
        let mut start = 0;
        for at in splits.into_iter().chain([text.len()]) {
            self.0.push(Span::Literal(text[start..at].to_owned()));
            start = at;
        }
    }
}

impl From<&str> for Prompt {
    /// A prompt written by hand: its `<|image|>`, `<s>`, `</s>` and `<unk>` are what they look like.
    fn from(text: &str) -> Self {
        Self(Span::read(text))
    }
}

impl From<&String> for Prompt {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| match span {
            Span::Marked(text) | Span::Literal(text) => f.write_str(text),
            Span::Picture => f.write_str(IMAGE_TOKEN),
        })
    }
}

/// A question and, once it is known, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The question, and where its pictures are.
    pub user: Question,
    /// The answer, without `</s>`; `None` while it is to be generated.
    pub reply: Option<String>,
}

/// The turns of a chat, first to last. At most the last waits for its reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    template: Template,
    system: Option<String>,
    turns: Vec<Turn>,
}

impl Conversation {
    /// A chat without turns.
    pub fn new(template: Template) -> Self {
        Self { template, ..Self::default() }
    }

    /// Forgets the turns; the template and the text in front of them stay.
    pub fn clear(&mut self) {
        self.turns.clear();
    }

    /// The turns so far.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// How turns are written.
    pub fn template(&self) -> Template {
        self.template
    }

    /// Has these turns in place of its own.
    pub(crate) fn restore(&mut self, turns: Vec<Turn>) {
        self.turns = turns;
    }

    /// Adds a question that brings `num_images` new pictures.
    ///
    /// They go in front of the text with nothing between, unless the question has places of its own
    /// ([`Question::placed`]): then those are theirs. The frames of a video are pictures, in order.
    ///
    /// # Errors
    ///
    /// If the question has places, but not as many as pictures, or the one before has no reply yet. The
    /// conversation is then as before.
    pub fn ask(&mut self, question: impl Into<Question>, num_images: usize) -> Result<()> {
        if self.turns.last().is_some_and(|turn| turn.reply.is_none()) {
            return Err(Error::Prompt(
                "the last question has no reply yet; give it before asking the next".into(),
            ));
        }
        let question = question.into();
        let user = if question.num_images() > 0 {
            check_places(question.num_images(), num_images)?;
            question
        } else {
            question.behind(num_images)
        };
        self.turns.push(Turn { user, reply: None });
        Ok(())
    }

    /// Gives the last question its reply.
    ///
    /// White space around it and any `</s>` at its end are taken off (the authors' chat keeps `</s>` and
    /// writes it twice).
    ///
    /// # Errors
    ///
    /// If no question waits for a reply.
    pub fn reply(&mut self, text: &str) -> Result<()> {
        match self.turns.last_mut() {
            Some(turn) if turn.reply.is_none() => {
                let mut text = text.trim();
                while let Some(rest) = text.strip_suffix(END) {
                    text = rest.trim_end();
                }
                turn.reply = Some(text.to_owned());
                Ok(())
            }
            _ => Err(Error::Prompt("a reply without a question; ask first".into())),
        }
    }

    /// Takes the reply of the last turn away, and returns it: it is gone on with.
    pub(crate) fn reopen(&mut self) -> Option<String> {
        self.turns.last_mut()?.reply.take()
    }

    /// Takes away the last turn, and returns it: to ask again, or after a failure.
    pub fn undo(&mut self) -> Option<Turn> {
        self.turns.pop()
    }

    /// Puts back a turn that [`Conversation::undo`] took away.
    pub fn put_back(&mut self, turn: Turn) {
        self.turns.push(turn);
    }

    /// Takes away the first turn, and returns it: to make room.
    pub fn drop_first(&mut self) -> Option<Turn> {
        (!self.turns.is_empty()).then(|| self.turns.remove(0))
    }

    /// The text in front of the first turn, if there is one.
    pub fn system(&self) -> Option<&str> {
        let own = (self.template == Template::VicunaV1).then_some(VICUNA_SYSTEM);
        self.system.as_deref().or(own).filter(|text| !text.is_empty())
    }

    /// What [`Conversation::set_system`] set.
    pub(crate) fn own_system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// Sets the text in front of the first turn, in place of the template's own; `None` for that one. mPLUG-Owl2 was
    /// trained without a text.
    pub fn set_system(&mut self, text: Option<String>) {
        self.system = text;
    }

    /// The prompt, up to where the answer begins: `… ASSISTANT:` without a space at the end.
    ///
    /// The evaluation scripts add that space, which is one more token (29871 in LLaMA's vocabulary).
    pub fn prompt(&self) -> Prompt {
        let roles = self.template != Template::Plain;
        let mut prompt = Prompt::default();
        if let Some(system) = self.system() {
            prompt.literal(system);
            prompt.marked(" ");
        }
        for turn in &self.turns {
            if roles {
                prompt.marked("USER: ");
            }
            for part in turn.user.parts() {
                match part {
                    Some(text) => prompt.literal(text),
                    None => prompt.0.push(Span::Picture),
                }
            }
            if roles {
                prompt.marked(" ASSISTANT:");
            }
            if let Some(reply) = &turn.reply {
                prompt.marked(" ");
                prompt.literal(reply);
                prompt.marked(END);
            }
        }
        prompt
    }

    /// Number of pictures that [`prompt`](Self::prompt) asks for.
    pub fn num_images(&self) -> usize {
        self.turns.iter().map(|turn| turn.user.num_images()).sum()
    }
}

/// Number of `<|image|>` places in a prompt.
pub fn count_images(prompt: &str) -> usize {
    prompt.matches(IMAGE_TOKEN).count()
}

/// Checks that a prompt has a place for each picture and a picture for each place.
///
/// # Errors
///
/// If not, with both numbers.
pub fn check_images(prompt: &str, num_images: usize) -> Result<()> {
    check_places(count_images(prompt), num_images)
}

fn check_places(places: usize, num_images: usize) -> Result<()> {
    if places == num_images { Ok(()) } else { Err(Error::PictureMismatch { places, pictures: num_images }) }
}

/// A question with choices, in the form of training: each on its line after `A. `, `B. `, …
///
/// # Errors
///
/// With fewer than 2 choices or more than 26, the letters there are.
pub fn multiple_choice(question: &str, choices: &[&str]) -> Result<String> {
    if !(2..=26).contains(&choices.len()) {
        return Err(Error::out_of_range("choices", choices.len(), "2 to 26"));
    }
    let mut text = question.to_owned();
    for (letter, choice) in ('A'..='Z').zip(choices) {
        text += &format!("\n{letter}. {choice}");
    }
    Ok(text + OPTION_LETTER)
}

#[cfg(test)]
mod tests;
