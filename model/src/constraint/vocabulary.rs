//! The bytes of every token, as a trie.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};

use crate::tokenizer::{Detokenizer, Tokenizer};

/// A special token, as a grammar can name it; llguidance wants one at least.
const SPECIAL: &[u8] = b"\xff<s>";

/// The vocabulary of a model, made when the first answer is constrained.
#[derive(Default)]
pub(crate) struct Vocabulary(OnceLock<Arc<Tokens>>);

/// The tokens of a vocabulary.
pub(super) struct Tokens {
    pub(super) parsers: ParserFactory,
    /// Number of the tokenizer's tokens. Beyond them come those of `bare`.
    pub(super) len: u32,
    /// Tokens that begin with a space, and what they are where the text begins: there the detokenizer drops it.
    pub(super) bare: HashMap<u32, Bare>,
    /// The token that the parsers know as the end.
    pub(super) eos: u32,
}

/// A token without the space that it begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bare {
    /// It is no text then.
    Nothing,
    /// The parsers know it by this id, as a token of its own.
    Id(u32),
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vocabulary").field(&self.0.get().map(|tokens| tokens.len)).finish()
    }
}

impl Vocabulary {
    pub(super) fn tokens(&self, tokenizer: &Tokenizer) -> Arc<Tokens> {
        self.0.get_or_init(|| Tokens::new(tokenizer).into()).clone()
    }
}

impl Tokens {
    fn new(tokenizer: &Tokenizer) -> Self {
        let len = tokenizer.vocab_size() as u32;
        let drops_space = Detokenizer::default().drops_next_space(tokenizer);
        // What has no text cannot be a part of one, and neither can the end: no bytes.
        let (mut words, mut bare) = (vec![vec![]; len as usize], HashMap::new());
        for id in 0..len {
            let Some((bytes, is_byte)) = tokenizer.bytes(id) else { continue };
            match bytes.strip_prefix(b" ").filter(|_| drops_space && !is_byte) {
                None => {}
                Some([]) => drop(bare.insert(id, Bare::Nothing)),
                Some(rest) => {
                    bare.insert(id, Bare::Id(words.len() as u32));
                    words.push(rest.to_vec());
                }
            }
            words[id as usize] = bytes;
        }
        let eos = tokenizer.eos();
        words[tokenizer.bos() as usize] = SPECIAL.into();
        let parsers = factory(TokTrie::from(&TokRxInfo::new(words.len() as u32, eos), &words));
        Self { parsers, len, bare, eos }
    }

    /// A vocabulary of single bytes, to check a constraint with.
    pub(super) fn of_bytes() -> ParserFactory {
        let mut words: Vec<_> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        words.extend([vec![], SPECIAL.into()]);
        factory(TokTrie::from(&TokRxInfo::new(words.len() as u32, 256), &words))
    }
}

/// Any cut of the text into tokens is allowed: which one comes, the model chooses.
fn factory(trie: TokTrie) -> ParserFactory {
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let mut parsers = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
        .expect("the slices are llguidance's own");
    parsers.quiet();
    parsers.limits_mut().verbose_errors = false;
    parsers
}
