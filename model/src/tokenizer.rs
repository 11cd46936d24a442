//! Text to token ids and back, exactly as the slow `LlamaTokenizer` of transformers 4.31 does it (SPEC §6).
//!
//! Two sources, one behaviour: `tokenizer.model` (SentencePiece), whose pieces have scores, and `tokenizer.json`
//! (tokenizers), which lists merges. Splitting at special strings, the space in front and decoding are the same.

mod detokenizer;
mod encode;
#[cfg(feature = "tokenizer-json")]
mod json;
#[cfg(not(feature = "tokenizer-json"))]
#[path = "tokenizer/json/absent.rs"]
mod json;
#[cfg(feature = "tokenizer-json")]
mod listed;
mod load;
mod marks;
mod normalizer;
mod scores;
mod spans;
mod vocabulary;

pub use detokenizer::{DecodeStream, Detokenizer};
pub use marks::{IMAGE_TOKEN, PromptId};
pub use spans::Span;
pub use vocabulary::Tokenizer;

#[cfg(all(test, feature = "default", feature = "tokenizer-json"))]
mod tests;
