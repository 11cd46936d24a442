//! Merges that a `tokenizer.json` lists, as tokenizers does them.

use std::collections::HashMap;

use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use super::marks::Special;

/// Merges in the order in which they are done.
#[derive(Debug)]
pub(super) struct Listed(Box<BPE>);

impl Listed {
    /// Merges of these pieces, the first of them first. Each must give a piece, and `unk` be one.
    ///
    /// # Errors
    ///
    /// If tokenizers refuses them.
    pub(super) fn new(
        known: &HashMap<String, u32>,
        merges: Vec<(String, String)>,
        unk: &str,
        byte_fallback: bool,
    ) -> Result<Self, String> {
        let vocab: Vocab = known.iter().map(|(text, id)| (text.clone(), *id)).collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .unk_token(unk.into())
            .fuse_unk(true)
            .byte_fallback(byte_fallback)
            // It caches words. Without a pre-tokenizer every prompt is one word.
            .cache_capacity(0)
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self(bpe.into()))
    }

    /// Ids of normalised text, by merges alone.
    pub(super) fn encode(&self, text: &str, special: Special, ids: &mut Vec<u32>) {
        // The one error of this call is an <unk> missing from the vocabulary, and loading looks for it.
        for token in self.0.tokenize(text).unwrap_or_default() {
            let first = token.value.chars().next().map_or(0, char::len_utf8);
            // Merges may lead to the text of a control token, which is not that token here.
            if [special.bos, special.eos].contains(&token.id) && first < token.value.len() {
                self.encode(&token.value[..first], special, ids);
                self.encode(&token.value[first..], special, ids);
            } else {
                ids.push(token.id);
            }
        }
    }
}
