//! Strings, characters and numbers with a meaning of their own.

use serde::{Deserialize, Serialize};

/// The text that stands for a picture in a prompt.
pub const IMAGE_TOKEN: &str = "<|image|>";

/// What the original code has in a prompt's ids where a picture goes. No token has a negative id.
const PICTURE: i64 = -200;

/// A part of a prompt as the tokenizer gives it. In JSON it is a number, as the original code has it: the id of a token,
/// or -200 for a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "i64", try_from = "i64")]
pub enum PromptId {
    /// A token, by its id: one position.
    Token(u32),
    /// A picture: a position for each row that the abstractor makes of it.
    Picture,
}

impl PromptId {
    /// The token's id; `None` for a picture.
    pub fn token(self) -> Option<u32> {
        match self {
            Self::Token(id) => Some(id),
            Self::Picture => None,
        }
    }
}

impl From<u32> for PromptId {
    fn from(token: u32) -> Self {
        Self::Token(token)
    }
}

impl From<PromptId> for i64 {
    fn from(id: PromptId) -> Self {
        match id {
            PromptId::Token(id) => id.into(),
            PromptId::Picture => PICTURE,
        }
    }
}

impl TryFrom<i64> for PromptId {
    type Error = String;

    /// Reads a number of the original code's.
    fn try_from(id: i64) -> Result<Self, String> {
        if id == PICTURE {
            return Ok(Self::Picture);
        }
        let token =
            u32::try_from(id).map_err(|_| format!("{id} is no token's id, nor {PICTURE}, a picture"))?;
        Ok(Self::Token(token))
    }
}

/// SentencePiece's visible space, U+2581.
pub(super) const SPACE: char = '\u{2581}';

/// The byte of a piece such as `<0x0A>`.
pub(super) fn byte_of(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

/// Ids whose strings are recognised in text and left out by `skip_special`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Special {
    pub(super) unk: u32,
    pub(super) bos: u32,
    pub(super) eos: u32,
}
