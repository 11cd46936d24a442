//! In place of the reader of `tokenizer.json`, which this crate was built without.

use super::vocabulary::Tokenizer;

pub(super) fn read(_: &[u8], _: bool, _: usize) -> Result<Tokenizer, String> {
    Err("this program was built without the feature `tokenizer-json` of strix-model, which reads it".into())
}
