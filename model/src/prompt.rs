//! Makes the prompt string that the model was trained on, of questions, answers and pictures (SPEC §6).

use crate::tokenizer::IMAGE_TOKEN;
use crate::{Error, Result};

/// Ending of a question that wants a word or two, as in training and in the authors' evaluations.
pub const SHORT_ANSWER: &str = "\nAnswer the question using a single word or phrase.";

/// Ending of a multiple-choice question. The apostrophe is U+2019, as in training.
pub const OPTION_LETTER: &str = "\nAnswer with the option\u{2019}s letter from the given choices directly.";

/// Text that ends an answer; the tokenizer reads it as its end token.
pub const END: &str = "</s>";

/// System text of [`Template::VicunaV1`].
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

/// A question and, once it is known, its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The question, [`IMAGE_TOKEN`]s included.
    pub user: String,
    /// The answer, without `</s>`; `None` while it is to be generated.
    pub reply: Option<String>,
}

/// The turns of a chat, first to last. At most the last waits for its reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    template: Template,
    turns: Vec<Turn>,
}

impl Conversation {
    /// A chat without turns.
    pub fn new(template: Template) -> Self {
        Self { template, turns: Vec::new() }
    }

    /// Forgets the turns; the template stays.
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
    /// Their [`IMAGE_TOKEN`]s go in front of the text with nothing between, unless the text has its own
    /// `<|image|>` places: then those are theirs. The frames of a video are pictures, in order.
    ///
    /// # Errors
    ///
    /// If the text has places, but not as many as pictures, or the question before has no reply yet. The
    /// conversation is then as before.
    pub fn ask(&mut self, text: &str, num_images: usize) -> Result<()> {
        if self.turns.last().is_some_and(|turn| turn.reply.is_none()) {
            return Err(Error::Prompt(
                "the last question has no reply yet; give it before asking the next".into(),
            ));
        }
        let user = if text.contains(IMAGE_TOKEN) {
            check_images(text, num_images)?;
            text.to_owned()
        } else {
            IMAGE_TOKEN.repeat(num_images) + text
        };
        self.turns.push(Turn { user, reply: None });
        Ok(())
    }

    /// Gives the last question its reply.
    ///
    /// White space around it and any `</s>` at its end are taken off (the authors' chat keeps `</s>` and
    /// writes it twice), and so is every `<|image|>` in it, which would ask for a picture.
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
                turn.reply = Some(without_images(text));
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

    /// The prompt, up to where the answer begins: `… ASSISTANT:` without a space at the end.
    ///
    /// The evaluation scripts add that space, which is one more token (29871 in LLaMA's vocabulary).
    pub fn prompt(&self) -> String {
        let (user, assistant) = match self.template {
            Template::MplugOwl2 | Template::VicunaV1 => ("USER: ", "ASSISTANT:"),
            Template::Plain => ("", ""),
        };
        let mut prompt = String::new();
        if self.template == Template::VicunaV1 {
            prompt = format!("{VICUNA_SYSTEM} ");
        }
        for turn in &self.turns {
            prompt += user;
            prompt += &turn.user;
            match (&turn.reply, assistant) {
                (Some(reply), "") => prompt += &format!(" {reply}{END}"),
                (Some(reply), _) => prompt += &format!(" {assistant} {reply}{END}"),
                (None, "") => {}
                (None, _) => prompt += &format!(" {assistant}"),
            }
        }
        prompt
    }

    /// Number of pictures that [`prompt`](Self::prompt) asks for.
    pub fn num_images(&self) -> usize {
        self.turns.iter().map(|turn| count_images(&turn.user)).sum()
    }
}

/// Removing one may join the halves of another, hence the loop.
fn without_images(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains(IMAGE_TOKEN) {
        text = text.replace(IMAGE_TOKEN, "");
    }
    text
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
    let places = count_images(prompt);
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
mod tests {
    use super::*;

    fn chat(turns: &[(&str, usize, Option<&str>)]) -> Conversation {
        let mut chat = Conversation::default();
        for &(text, images, reply) in turns {
            chat.ask(text, images).unwrap();
            if let Some(reply) = reply {
                chat.reply(reply).unwrap();
            }
        }
        chat
    }

    #[test]
    fn one_turn_is_as_trained() {
        let chat = chat(&[("What is this?", 1, None)]);
        assert_eq!(chat.prompt(), "USER: <|image|>What is this? ASSISTANT:");
    }

    #[test]
    fn two_turns_have_nothing_between_the_end_and_the_next_question() {
        let chat = chat(&[("q1", 1, Some("a1")), ("q2", 0, None)]);
        assert_eq!(chat.prompt(), "USER: <|image|>q1 ASSISTANT: a1</s>USER: q2 ASSISTANT:");
    }

    #[test]
    fn golden_dialogs_are_rendered() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tokenizer/tokenizer_golden.json");
        let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let dialogs = golden["dialogs"].as_array().unwrap();
        assert_eq!(dialogs.len(), 3);
        for dialog in dialogs {
            let mut chat = Conversation::default();
            for turn in dialog["turns"].as_array().unwrap() {
                match (turn[0].as_str().unwrap(), turn[1].as_str()) {
                    ("USER", Some(text)) => chat.ask(text, count_images(text)).unwrap(),
                    (_, Some(text)) => chat.reply(text).unwrap(),
                    (_, None) => {}
                }
            }
            // The authors' chat writes the end of a reply twice; we do not.
            let want = dialog["prompt"].as_str().unwrap().replace("</s></s>", "</s>");
            assert_eq!(chat.prompt(), want);
        }
    }

    #[test]
    fn replies_lose_their_end_their_space_and_their_image_places() {
        for reply in ["Hello.", " Hello. </s></s>\n", "Hello.</s> </s>", "Hel<|im<|image|>age|>lo."] {
            let chat = chat(&[("hi", 0, Some(reply)), ("more", 0, None)]);
            assert_eq!(chat.prompt(), "USER: hi ASSISTANT: Hello.</s>USER: more ASSISTANT:", "{reply:?}");
        }
    }

    #[test]
    fn pictures_go_in_front_of_the_turn_that_brings_them() {
        let chat = chat(&[("q1", 2, Some("a1")), ("q2", 1, None)]);
        let want = "USER: <|image|><|image|>q1 ASSISTANT: a1</s>USER: <|image|>q2 ASSISTANT:";
        assert_eq!(chat.prompt(), want);
        assert_eq!((chat.num_images(), count_images(want)), (3, 3));
    }

    #[test]
    fn places_in_the_text_are_kept() {
        let chat = chat(&[("first <|image|> then <|image|>", 2, None)]);
        assert_eq!(chat.prompt(), "USER: first <|image|> then <|image|> ASSISTANT:");
    }

    #[test]
    fn places_and_pictures_that_differ_are_an_error_with_both_numbers() {
        let mut chat = Conversation::default();
        let error = chat.ask("a <|image|> b <|image|>", 1).unwrap_err().to_string();
        assert!(error.starts_with("2 <|image|> places in the text for 1 picture; give a picture"), "{error}");
        let error = chat.ask("a <|image|>", 0).unwrap_err().to_string();
        assert!(error.starts_with("1 <|image|> place in the text for 0 pictures"), "{error}");
        assert!(chat.turns().is_empty());
        let error = check_images("no place", 1).unwrap_err().to_string();
        assert!(error.ends_with("write <|image|> where the picture goes"), "{error}");
    }

    #[test]
    fn questions_and_replies_take_turns() {
        let mut chat = Conversation::default();
        assert!(chat.reply("too early").is_err());
        chat.ask("q", 0).unwrap();
        assert!(chat.ask("q again", 0).is_err());
        chat.reply("a").unwrap();
        assert!(chat.reply("a again").is_err());
        assert_eq!(chat.undo().unwrap().user, "q");
        assert_eq!(chat.prompt(), "");
    }

    #[test]
    fn other_templates_differ_in_what_surrounds_the_texts() {
        let prompt = |template| {
            let mut chat = Conversation::new(template);
            chat.ask("q1", 1).unwrap();
            chat.reply("a1").unwrap();
            chat.ask("q2", 0).unwrap();
            chat.prompt()
        };
        assert_eq!(prompt(Template::Plain), "<|image|>q1 a1</s>q2");
        let vicuna = prompt(Template::VicunaV1);
        assert!(
            vicuna.starts_with("A chat between a curious user and an artificial intelligence assistant. The")
        );
        assert!(
            vicuna
                .ends_with("to the user's questions. USER: <|image|>q1 ASSISTANT: a1</s>USER: q2 ASSISTANT:")
        );
    }

    #[test]
    fn templates_are_found_by_name() {
        for template in [Template::MplugOwl2, Template::VicunaV1, Template::Plain] {
            assert_eq!(template.name().parse::<Template>().unwrap(), template);
        }
        let error = "llama".parse::<Template>().unwrap_err().to_string();
        assert!(error.contains("\"llama\"") && error.contains("mplug_owl2"), "{error}");
    }

    #[test]
    fn choices_are_lettered() {
        let want =
            "Which?\nA. cat\nB. dog\nAnswer with the option\u{2019}s letter from the given choices directly.";
        assert_eq!(multiple_choice("Which?", &["cat", "dog"]).unwrap(), want);
        assert!(multiple_choice("Which?", &["cat"]).is_err());
        assert!(multiple_choice("Which?", &["cat"; 27]).is_err());
    }
}
