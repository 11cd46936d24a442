//! Errors of benches.

use std::io;
use std::path::PathBuf;

/// Errors of benches. The user can mend all of them but those of the device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape that no kernel can run.
    #[error("shape {shape:?}: {reason}")]
    Shape {
        /// The shape as the user gave it.
        shape: String,
        /// What is wrong with it, and what would do.
        reason: String,
    },
    /// Options that contradict each other or the device.
    #[error("{0}")]
    Option(String),
    /// A text that is no WGSL.
    #[error("{place}: {message}")]
    Wgsl {
        /// The file, the line and the column, and what stands there.
        place: String,
        /// What naga said.
        message: String,
    },
    /// A kernel, or an array for it, that cannot be benched so.
    #[error("{}: {reason}", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what would do.
        reason: String,
    },
    /// A stored run that cannot be read.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An error of the device.
    #[error(transparent)]
    Engine(#[from] strix_engine::Error),
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] strix_model::Error),
}

/// Result with the benches' [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
