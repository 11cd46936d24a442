//! What a user of the model can cause, with the names and numbers that explain it.

use std::path::PathBuf;

/// Errors of loading, prompting and generating.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, mapped or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and is not what it should be.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// `config.json` asks for something contradictory or unsupported.
    #[error("config.json: {0}")]
    Config(String),
    /// A tensor is missing, or has another shape or dtype than the config says.
    #[error("{name}: {reason}")]
    Tensor {
        /// Name in the checkpoint.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture could not be decoded or is of no use.
    #[error("{name}: {reason}")]
    Image {
        /// File name, or "image" for bytes in memory.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt cannot be run: too long, or its places do not match its pictures.
    #[error("{0}")]
    Prompt(String),
    /// The device, its memory or its driver.
    #[error(transparent)]
    Engine(#[from] strix_engine::Error),
    /// A sampling, loading or converting option out of its range.
    #[error("{0}")]
    Option(String),
    /// The caller broke off. What was being written is kept: running it again continues.
    #[error("interrupted")]
    Interrupted,
}

/// Result with the model's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
