//! Written by `cargo xtask kernels` from `gemm_tiled.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Columns of x.
    pub k: u32,
    /// Columns this dispatch writes.
    pub n: u32,
    /// Column of y that the first of them is.
    pub first: u32,
    /// Columns of y and of the residual.
    pub stride: u32,
    /// Blocks of 16 packed rows in a weight set.
    pub blocks: u32,
    /// Weight sets: 1 for all rows, or 2 of which a row's modality picks one.
    pub sets: u32,
    /// First blocks that the sets share.
    pub shared_blocks: u32,
    /// Whether only rows of images are projected, all with the one set.
    pub image_only: u32,
    /// Steps of 32 columns that share a scale; for groups only.
    pub group_steps: u32,
    /// 0 none, 1 quick-GELU, 2 SwiGLU over alternate blocks of gate and up.
    pub activation: u32,
    /// Added to the mean square of a row that is normalised.
    pub eps: f32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub weights: super::variants::Weights,
    pub rows: u32,
    pub cols: u32,
    pub arithmetic: super::variants::Arithmetic,
    pub x: super::variants::X,
    pub bias: bool,
    pub residual: bool,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![
            self.weights.into(),
            self.rows.into(),
            self.cols.into(),
            self.arithmetic.into(),
            self.x.into(),
            self.bias.into(),
            self.residual.into(),
        ]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "gemm_tiled",
    template: concat!(
        include_str!("../gemm_tiled.wgsl"),
        include_str!("../common/projection.wgsl"),
        include_str!("../common/fours.wgsl")
    ),
    variants: &[
        (
            "weights",
            &[Value::Word("f32"), Value::Word("bf16"), Value::Word("int8"), Value::Word("int8_group")],
        ),
        ("rows", &[Value::Number(32), Value::Number(64), Value::Number(128)]),
        ("cols", &[Value::Number(64), Value::Number(128)]),
        ("arithmetic", &[Value::Word("f32"), Value::Word("f16")]),
        ("x", &[Value::Word("whole"), Value::Word("vec4"), Value::Word("scalar")]),
        ("bias", &[Value::Word("no"), Value::Word("yes")]),
        ("residual", &[Value::Word("no"), Value::Word("yes")]),
    ],
    fields: &[
        ("k", true),
        ("n", true),
        ("first", true),
        ("stride", true),
        ("blocks", true),
        ("sets", true),
        ("shared_blocks", true),
        ("image_only", true),
        ("group_steps", true),
        ("activation", true),
        ("eps", false),
    ],
};
