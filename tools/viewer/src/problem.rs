//! What went wrong, in words, and what can be done about it.

use strix_engine::Error as Engine;
use strix_model::{Error, Remedy};

/// Something that went wrong. It is shown where it happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Problem {
    /// What is wrong, with names and numbers.
    pub(crate) what: String,
    /// What to do, as a sentence; empty where `what` says it.
    pub(crate) advice: String,
    /// Changes of settings that would help, each behind a button.
    pub(crate) fixes: Vec<Fix>,
    /// Whether the device is lost: nothing runs on it any more.
    pub(crate) is_lost: bool,
    /// Whether it is of what the user gave: a path, a file, a question. The same again would fail again.
    pub(crate) is_input: bool,
}

/// A change of the settings with which a model fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// A context of so many positions.
    Ctx(u32),
    /// Keys and values of f16.
    KvF16,
    /// Weights as the files have them.
    DtypeAuto,
}

impl Fix {
    /// Words on its button.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Ctx(positions) => format!("Use a context of {positions}"),
            Self::KvF16 => "Keep keys and values as f16".into(),
            Self::DtypeAuto => "Keep the weights as they are".into(),
        }
    }
}

impl Problem {
    /// A problem without a fix.
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into(), fixes: vec![], is_lost: false, is_input: false }
    }

    /// A problem of what the user gave.
    pub(crate) fn input(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { is_input: true, ..Self::new(what, advice) }
    }

    /// A picture could not be read.
    pub(crate) fn of_picture(error: &Error) -> Self {
        let problem = Self::from(error);
        match error {
            Error::Io { .. } => {
                Self { advice: "Check the path, or drop the picture here.".into(), ..problem }
            }
            _ => problem,
        }
    }

    /// The device is lost; `reason` is what the driver said.
    pub(crate) fn lost(reason: &str) -> Self {
        let what = match reason.trim() {
            "" => "The device stopped answering.".to_owned(),
            reason => format!("The device stopped answering: {reason}"),
        };
        Self {
            is_lost: true,
            ..Self::new(what, "Load the model again to go on. The pictures and the text are still here.")
        }
    }

    /// Text to copy or to log.
    pub(crate) fn text(&self) -> String {
        let Self { what, advice, .. } = self;
        match advice.as_str() {
            "" => what.clone(),
            _ if what.ends_with(['.', '!', '?']) => format!("{what} {advice}"),
            _ => format!("{what}. {advice}"),
        }
    }

    /// What the program ends with where nobody sees the window: 2 for what the user can mend, as in `strix`.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.is_input { 2 } else { 1 }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let sentence = capitalised(&error.to_string());
        let fixes = fixes(error);
        let advice = match error {
            Error::Shared(error) => return (&**error).into(),
            Error::Engine(Engine::Lost(reason)) => return Self::lost(reason),
            Error::Engine(Engine::OutOfMemory { .. }) => {
                "Choose a smaller context or a converted (int8) model, or close what else uses the device."
            }
            Error::PromptTooLong(length) => {
                let what = capitalised(&length.to_string());
                let advice = "Shorten the question, use fewer pictures, begin a new conversation, or load the model with a \
                              larger context.";
                return Self::input(what, advice);
            }
            Error::ContextFull { needed, limit } => {
                let what = format!("The context of {limit} positions is full, and {needed} are needed.");
                return Self::input(
                    what,
                    "Begin a new conversation, or load the model with a larger context.",
                );
            }
            Error::PoolFull { .. } => {
                "Lower the longest answer in the settings, or begin a new conversation."
            }
            Error::Image { .. } => "Save it as PNG or JPEG and open that.",
            Error::NoTokenizer => "It is needed to ask in words.",
            Error::Io { .. } => "Choose the folder that holds config.json, the tokenizer and the weights.",
            _ => "",
        };
        Self { fixes, is_input: !error.is_fault(), ..Self::new(sentence, advice) }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        (&error).into()
    }
}

fn fixes(error: &Error) -> Vec<Fix> {
    if matches!(error, Error::Converted { .. }) {
        return vec![Fix::DtypeAuto];
    }
    let fix = |remedy| match remedy {
        Remedy::Ctx(positions) => Some(Fix::Ctx(positions)),
        Remedy::KvF16 => Some(Fix::KvF16),
        _ => None,
    };
    error.remedies().into_iter().filter_map(fix).collect()
}

/// With a capital letter, unless it begins with a file's name.
fn capitalised(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or("");
    let is_name = word.contains(['/', '\\', '.', '_', ':']);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !is_name => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_is_told_apart_even_where_answers_share_the_error() {
        let lost = || Error::Engine(Engine::Lost("it is gone".into()));
        let problem = Problem::from(lost());
        assert!(problem.is_lost && problem.what.contains("it is gone"), "{problem:?}");
        assert!(Problem::from(Error::Shared(lost().into())).is_lost);
        assert!(!Problem::from(Error::EmptyPrompt).is_lost);
    }

    #[test]
    fn sentences_are_apart_and_pictures_have_their_own_advice() {
        let missing = || Error::Io { path: "x.png".into(), source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(Problem::new("No.", "Why not?").text(), "No. Why not?");
        let [model, picture] = [Problem::from(missing()), Problem::of_picture(&missing())];
        assert_eq!(model.text(), format!("{}. {}", model.what, model.advice));
        assert!(model.advice.contains("config.json"), "{model:?}");
        assert_eq!(picture.advice, "Check the path, or drop the picture here.");
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_is() {
        assert_eq!(Problem::from(Error::EmptyPrompt).exit_code(), 2);
        assert_eq!(Problem::from(Error::Engine(Engine::Lost("gone".into()))).exit_code(), 1);
        assert_eq!(Problem::from(Error::Stopped).exit_code(), 1);
        assert_eq!(Problem::new("This is a bug in Strix: it", "").exit_code(), 1);
    }

    #[test]
    fn what_a_setting_would_mend_has_a_button() {
        let converted = Error::Converted { stored: "int8 group 32".into(), wanted: "bf16".into() };
        assert_eq!(Problem::from(converted).fixes, [Fix::DtypeAuto]);
        assert_eq!(Problem::from(Error::EmptyPrompt).fixes, []);
    }

    #[test]
    fn sentences_begin_with_a_capital_and_names_stay_as_they_are() {
        assert_eq!(capitalised("the prompt is empty"), "The prompt is empty");
        assert_eq!(capitalised("decoder.3.k_proj: expected"), "decoder.3.k_proj: expected");
        assert_eq!(capitalised("/tmp/x: no such file"), "/tmp/x: no such file");
    }
}
