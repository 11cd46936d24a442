//! What a user says.

use std::fmt;

use crate::tokenizer::IMAGE_TOKEN;

/// A question: text, and perhaps the places of pictures in it. All of the text is data: what looks like a control token or
/// a picture's place is neither.
///
/// ```
/// use strix_model::prompt::Question;
///
/// assert_eq!(Question::from("What is <|image|>?").num_images(), 0);
/// assert_eq!(Question::placed("Is <|image|> like <|image|>?").num_images(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Texts before, between and behind the pictures: one more than there are pictures.
    texts: Vec<String>,
}

impl Question {
    /// A question whose every `<|image|>` is the place of a picture.
    pub fn placed(text: &str) -> Self {
        Self { texts: text.split(IMAGE_TOKEN).map(ToOwned::to_owned).collect() }
    }

    /// Its texts before, between and behind its pictures.
    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The question of these texts, of which there is at least one.
    pub(crate) fn of_texts(texts: Vec<String>) -> Option<Self> {
        (!texts.is_empty()).then_some(Self { texts })
    }

    /// The same behind so many pictures.
    pub(super) fn behind(mut self, num_images: usize) -> Self {
        self.texts.splice(0..0, std::iter::repeat_n(String::new(), num_images));
        self
    }

    /// Its text without the pictures.
    pub fn text(&self) -> String {
        self.texts.concat()
    }

    /// Number of its pictures.
    pub fn num_images(&self) -> usize {
        self.texts.len() - 1
    }

    /// Its texts, with `None` for each picture between them.
    pub(super) fn parts(&self) -> impl Iterator<Item = Option<&str>> {
        let behind = self.texts[1..].iter().flat_map(|text| [None, Some(text.as_str())]);
        std::iter::once(Some(self.texts[0].as_str())).chain(behind)
    }
}

impl From<&str> for Question {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Question {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self { texts: vec![text] }
    }
}

impl fmt::Display for Question {
    /// Its text, with `<|image|>` for each picture.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().try_for_each(|part| f.write_str(part.unwrap_or(IMAGE_TOKEN)))
    }
}
