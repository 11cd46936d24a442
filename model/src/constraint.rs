//! What the text of an answer must be: JSON, JSON of a schema, a regex, or a grammar.
//!
//! The tokens that may follow are known before each token is chosen (`llguidance`: Earley's parser over derivatives of
//! regular expressions, walked along a trie of the vocabulary).

#[cfg(not(feature = "constraint"))]
mod absent;
#[cfg(feature = "constraint")]
mod grammar;
#[cfg(feature = "constraint")]
mod guide;
#[cfg(feature = "constraint")]
mod vocabulary;

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(not(feature = "constraint"))]
pub(crate) use absent::{Guide, Vocabulary, check};
#[cfg(feature = "constraint")]
pub(crate) use guide::{Guide, check};
#[cfg(feature = "constraint")]
pub(crate) use vocabulary::Vocabulary;

/// What the text of an answer must be.
///
/// An answer that ends by itself, with [`Eos`](crate::FinishReason::Eos) or
/// [`Complete`](crate::FinishReason::Complete), fits whole. One that is cut short, by `max_tokens`, by a stop text, by a
/// full context or by being cancelled, is the beginning of one that fits. White space at its ends is part of it.
///
/// Of what may follow, the model's probabilities and the sampling options choose. The end token may be chosen where the
/// text so far fits, if `min_new_tokens` lets it be; where nothing but the end can follow, the answer ends whatever
/// `min_new_tokens` says.
///
/// It takes the crate's feature `constraint`; without it, asking for one is an error.
///
/// ```
/// use strix_model::{Constraint, GenerateOptions, LoadOptions, Model};
///
/// # if !cfg!(feature = "constraint") { return Ok(()); }
/// let constraint = Constraint::JsonSchema(r#"{"type": "integer"}"#.into());
/// constraint.validate()?;
/// assert!(Constraint::Regex("[0-9".into()).validate().is_err());
///
/// let options = GenerateOptions { constraint: Some(constraint), ..GenerateOptions::default() };
/// let mut session = Model::nano(&LoadOptions::default())?.session()?;
/// assert_eq!(session.ask("What is 3 + 4?", &options)?.finish()?.text, "7");
/// # Ok::<(), strix_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Constraint {
    /// Any JSON value. A schema of `{"type": "object"}` asks for an object.
    Json,
    /// JSON of the schema whose JSON text this is. Properties come in the schema's order.
    ///
    /// What of JSON Schema cannot be kept to is refused, and not passed over. The key `x-guidance` sets how the JSON is
    /// written, as llguidance has it; without it, between two parts comes nothing, a space, or a line's end and up to 40
    /// spaces: a model cannot go on with white space for ever.
    JsonSchema(String),
    /// Text that the regex matches from its first character to its last, in the syntax of the crate `regex`, without
    /// anchors, look-around and lazy repeats.
    Regex(String),
    /// Text of the grammar, in llguidance's dialect of Lark's notation; it begins with the rule `start`.
    Lark(String),
}

impl Constraint {
    /// Checks that it can be kept to, as far as that does not depend on a model's vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Constraint`](crate::Error::Constraint) says what is wrong with it, and where.
    pub fn validate(&self) -> crate::Result<()> {
        check(self)
    }
}

/// Tokens that may come next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed<'a> {
    /// A bit a token.
    words: &'a [u32],
    /// Number of tokens; there may be more bits.
    len: u32,
}

impl Allowed<'_> {
    pub(crate) fn has(&self, id: u32) -> bool {
        id < self.len && self.words[id as usize / 32] >> (id % 32) & 1 == 1
    }
}

/// What it is called in a message.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::JsonSchema(_) => "JSON schema",
            Self::Regex(_) => "regex",
            Self::Lark(_) => "grammar",
        })
    }
}

#[cfg(all(test, feature = "constraint"))]
mod tests;
