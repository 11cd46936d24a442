//! What a user of the model can cause, with the names and numbers that explain it.

use std::path::PathBuf;

use crate::shown::{shown, shown_list};

/// Errors of loading, prompting and generating.
///
/// A message is written as [`shown_list`](crate::shown_list) does, so that it can be printed to a terminal whatever a
/// file says. The fields are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, mapped or read.
    #[error("{}: {}", shown(path.display()), shown(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and is not what it should be.
    #[error("{}: {}", shown(path.display()), shown_list(reason))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// `config.json` asks for something contradictory or unsupported.
    #[error("config.json: {}", shown(_0))]
    Config(String),
    /// A tensor is missing, or has another shape or dtype than the config says.
    #[error("{}: {}", shown(name), shown(reason))]
    Tensor {
        /// Name in the checkpoint.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture could not be decoded or is of no use.
    #[error("{}: {}", shown(name), shown(reason))]
    Image {
        /// File name, or "image" for bytes in memory.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt cannot be run: too long, or its places do not match its pictures.
    #[error("{}", shown(_0))]
    Prompt(String),
    /// The KV cache has no room for a sequence beside those that run.
    #[error(
        "{positions} positions take {needed} pages of the KV cache beside what it holds of them, and {left} of {total} are \
         left: ask for fewer tokens, wait until another answer ends, or load the model with more kv_memory"
    )]
    PoolFull {
        /// Positions that the sequence may come to.
        positions: usize,
        /// Pages of 16 positions that it needs.
        needed: usize,
        /// Pages that are left for it.
        left: usize,
        /// Pages in all.
        total: usize,
    },
    /// The last question of a session is still being answered.
    #[error(
        "the last question is still being answered: take its tokens, or drop its answer, before the next is asked"
    )]
    Busy,
    /// Too many requests wait for a turn.
    #[error(
        "{limit} requests wait already: ask again when some have ended, or load the model with a longer queue"
    )]
    QueueFull {
        /// [`LoadOptions::queue`](crate::LoadOptions::queue).
        limit: usize,
    },
    /// An error of a run that several answers took part in.
    #[error("{0}")]
    Shared(std::sync::Arc<Error>),
    /// The device, its memory or its driver.
    #[error("{}", shown(_0))]
    Engine(#[from] strix_engine::Error),
    /// A sampling, loading or converting option out of its range.
    #[error("{}", shown(_0))]
    Option(String),
    /// What an answer is to be cannot be kept to.
    #[error("{what}: {}", shown_list(reason))]
    Constraint {
        /// What it is: JSON, a JSON schema, a regex or a grammar.
        what: String,
        /// What is wrong with it and where, or why no token can follow.
        reason: String,
    },
    /// The caller broke off, or the model was dropped. What was being written is kept: running it again continues.
    #[error("interrupted")]
    Interrupted,
}

/// Result with the model's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_holds_a_character_that_a_terminal_acts_on() {
        let text = || "a\x1b]0;owned\x07\u{202e}\nb".to_owned();
        let io = std::io::Error::other(text());
        for error in [
            Error::Io { path: text().into(), source: io },
            Error::File { path: text().into(), reason: text() },
            Error::Config(text()),
            Error::Tensor { name: text(), reason: text() },
            Error::Image { name: text(), reason: text() },
            Error::Prompt(text()),
            Error::Engine(strix_engine::Error::Lost(text())),
            Error::Option(text()),
            Error::Constraint { what: "regex".into(), reason: text() },
        ] {
            let message = error.to_string();
            assert!(message.contains(r"a\x1b]0;owned\x07\u{202e}\nb"), "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
