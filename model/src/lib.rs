//! mPLUG-Owl2 inference: from a checkpoint and a picture to a streamed answer.

mod bicubic;
pub mod config;
mod error;
pub mod image;
pub mod position;
pub mod weights;

pub use config::Config;
pub use error::{Error, Result};
pub use weights::Weights;
