//! What the checking commands have in common.

use std::process::ExitCode;

use clap::ValueEnum;
use strix_model::{Activations, Dtype, KvDtype};

/// Weights to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// As they are, in 32 bits.
    F32,
    /// Rounded to bf16.
    Bf16,
    /// The decoder's rounded to int8.
    Int8,
}

impl Kind {
    /// The dtype to load; `group` is for int8.
    pub fn dtype(self, group: Option<u32>) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::Int8 => Dtype::Int8 { group },
        }
    }
}

/// KV cache to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kv {
    /// As computed, in 32 bits.
    F32,
    /// Rounded to f16.
    F16,
}

impl Kv {
    /// The dtype to load.
    pub fn dtype(self) -> KvDtype {
        match self {
            Self::F32 => KvDtype::F32,
            Self::F16 => KvDtype::F16,
        }
    }
}

/// RowDtype to check that projections are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowDtype {
    /// As they are, in 32 bits.
    F32,
    /// Rounded to f16, and multiplied in it, where rows are many and weights not f32.
    F16,
    /// Rounded to int8, row by row, where weights are.
    Int8,
}

impl RowDtype {
    /// The same as an option of loading.
    pub fn activations(self) -> Activations {
        match self {
            Self::F32 => Activations::F32,
            Self::F16 => Activations::F16,
            Self::Int8 => Activations::Int8,
        }
    }
}

/// 0 where all figures were reached, 1 where one fell short, 2 where something could not be checked.
pub fn exit_code(good: anyhow::Result<bool>) -> ExitCode {
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
