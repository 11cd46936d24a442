//! `tokenizer_config.json`: what of it changes ids.

use super::fields::Fields;
use super::keys::{Notes, Section};
use crate::json::object;

/// Whether a text after a special token begins with a space, as the older tokenizers of transformers have it.
///
/// # Errors
///
/// If the text is no JSON object, or asks for other ids than the tokenizer gives.
pub(crate) fn legacy_of(json: &[u8]) -> Result<bool, String> {
    let root = object("tokenizer_config.json", json)?;
    Notes::default().judge(Section::Tokenizer, "", &root)?;
    Fields { section: "", map: Some(&root) }.get("legacy", true)
}
