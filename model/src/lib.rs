//! mPLUG-Owl2 inference: from a checkpoint and a picture to a streamed answer.

mod error;
mod sentencepiece;
pub mod tokenizer;

pub use error::{Error, Result};
