//! Strings and characters with a meaning of their own.

/// The text that stands for a picture in a prompt.
pub const IMAGE_TOKEN: &str = "<|image|>";

/// The id that [`Tokenizer::encode_prompt`](super::Tokenizer::encode_prompt) writes where a picture goes. No token has a negative id.
pub const IMAGE_PLACEHOLDER: i32 = -200;

/// SentencePiece's visible space, U+2581.
pub(super) const SPACE: char = '\u{2581}';

/// The byte of a piece such as `<0x0A>`.
pub(super) fn byte_of(piece: &str) -> Option<u8> {
    let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}
