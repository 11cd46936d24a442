//! A kernel's text, as the engine needs it.

use std::sync::Arc;

/// Loop iterations one invocation may run, over all its loops together.
///
/// Mesa 22.3's lavapipe runs no more than 65,535 and skips the rest without a word. It also counts the test
/// that ends a loop, once each time the loop is entered, so a loop entered for one iteration costs two: half
/// its cap is what is always safe. [`Graph::push`](crate::Graph::push) refuses a step whose bound is above it.
pub const MAX_TRIPS: u64 = 65_535 / 2;

/// Workgroups a side of a grid, as every device allows.
pub const MAX_GROUPS: u32 = 65_535;

/// Texels of 16 bytes in a row of a tensor that is read as such; a power of two.
pub const TEXEL_ROW: u32 = 1024;

/// One specialisation of a kernel: complete, validated WGSL.
#[derive(Debug)]
pub struct Shader {
    /// Name of the kernel, of its file and of its entry point.
    pub name: &'static str,
    /// Kernel and variants, e.g. `gemm[weights=int8, lanes=8]`; the label of the pipeline.
    pub label: String,
    /// Variants of the kernel, each with its value, as they are printed.
    pub variants: Vec<(&'static str, String)>,
    /// The text.
    pub wgsl: Arc<str>,
    /// Bindings of group 0, by rising numbers. What a specialisation does without is not bound.
    pub bindings: Vec<Binding>,
}

/// One binding of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its number.
    pub number: u32,
    /// Name of the variable.
    pub name: &'static str,
    /// How the kernel uses it.
    pub access: Access,
}

/// How a kernel uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The kernel's `Params`.
    Uniform,
    /// Reads only.
    Read,
    /// Reads only, as an image: a `texture_storage_2d<rgba32uint, read>` over the same bytes, 16 of them a texel and
    /// [`TEXEL_ROW`] texels a row. (Not a sampled texture, for which llvmpipe works out a level of detail at every
    /// load.)
    Texels,
    /// Reads only, a picture of an app's: a `texture_2d<f32>`. The engine's own kernels alone have such.
    Picture,
    /// Writes, and possibly reads.
    ReadWrite,
}
