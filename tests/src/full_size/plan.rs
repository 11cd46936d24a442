//! What is measured, and where.

use std::path::PathBuf;

use strix_model::Dtype;

/// What is measured, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Points 1 to 5.
    pub points: Vec<u8>,
    /// Folder for the models.
    pub dir: PathBuf,
    /// Positions of the KV cache of answers.
    pub ctx: u32,
    /// Whether the source of the conversion stays.
    pub keep: bool,
    /// The `strix` binary.
    pub strix: PathBuf,
    /// Arguments that every `strix ask` takes.
    pub ask: Vec<String>,
    /// Weights of point 5.
    pub dtypes: Vec<Dtype>,
}
