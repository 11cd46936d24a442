//! mPLUG-Owl2 inference: from a checkpoint and a picture to a streamed answer.

mod error;
pub mod prompt;
pub mod sampler;
mod sentencepiece;
pub mod stop;
pub mod tokenizer;

pub use error::{Error, Result};
