//! The layout in which the kernels stream weights, and the rounding into it.
//!
//! A matrix `[n, k]` is cut into blocks of 16 rows; a block is a run of chunks, each 16 bytes of every one of
//! its rows: `[block][chunk][16 rows][16 bytes]`. Adjacent lanes take adjacent rows, so that they read
//! adjacent 16 bytes, and a workgroup reads one contiguous range. A chunk holds 4 columns of f32, 8 of bf16 or
//! 16 of int8. Rows are padded with zeros to a multiple of 16, columns to a multiple of 32. Scales are
//! `[block][16 rows]`, those of groups `[block][groups / 4][16 rows][4 groups]`, so that one load has four; biases are
//! `[block][16 rows]`.
//!
//! Blocks come first, so that any run of output columns is one contiguous range: a matrix is packed, written to a
//! file, mapped and split over bindings piece by piece. Of two weight sets the first is followed by the blocks of
//! the second; the first blocks may be shared by both, and are there once. So what text reads lies together.
//!
//! A gated matrix (SwiGLU) alternates blocks of gate and of up, so that the lane that has the one has the other.

mod format;
mod layout;
mod linear;
mod pack;
mod strip;

pub use format::Format;
pub use layout::Layout;
pub use linear::{Activations, Bias, Linear, LinearStrip};
pub use pack::{Packed, pack, pack_blocks};
pub use strip::Strip;

/// Rows of a block.
pub const BLOCK: u32 = 16;
/// Columns that one step of the gemm takes; columns are padded to a multiple of it.
pub const STEP: u32 = 32;
