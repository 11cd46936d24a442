//! How weights are stored.

use std::fmt;

use crate::Value;
use crate::generated::variants::Weights;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// The upper half of 32-bit floats, rounded to nearest even.
    Bf16,
    /// Symmetric 8-bit integers, the largest magnitude of a scale's weights at 127.
    Int8 {
        /// Columns that share a scale, a power of two from 32 on; `None`: the whole row.
        group: Option<u32>,
    },
}

impl Format {
    /// Columns in 16 bytes.
    pub fn chunk(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 8,
            Self::Int8 { .. } => 16,
        }
    }

    /// What projections are specialised by.
    pub(crate) fn weights(self) -> Weights {
        match self {
            Self::F32 => Weights::F32,
            Self::Bf16 => Weights::Bf16,
            Self::Int8 { group: None } => Weights::Int8,
            Self::Int8 { group: Some(_) } => Weights::Int8Group,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int8 { group: Some(group) } => write!(f, "int8 group {group}"),
            other => Value::from(other.weights()).fmt(f),
        }
    }
}
