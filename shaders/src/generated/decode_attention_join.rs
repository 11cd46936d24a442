//! Written by `cargo xtask kernels` from `decode_attention_join.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`.
    pub rows: u32,
    /// Splits that there is room for.
    pub splits: u32,
    /// Positions that a sequence has room for.
    pub positions: u32,
    /// Heads of y.
    pub num_heads: u32,
    /// Dimensions of a head.
    pub head_dim: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub dims: u32,
    pub heads: super::variants::Heads,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.dims.into(), self.heads.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "decode_attention_join",
    template: concat!(
        include_str!("../decode_attention_join.wgsl"),
        include_str!("../common/heads.wgsl"),
        include_str!("../common/result.wgsl"),
        include_str!("../common/splits.wgsl")
    ),
    variants: &[
        ("dims", &[Value::Number(32), Value::Number(64), Value::Number(128), Value::Number(256)]),
        ("heads", &[Value::Word("vec4"), Value::Word("scalar")]),
    ],
    fields: &[("rows", true), ("splits", true), ("positions", true), ("num_heads", true), ("head_dim", true)],
};
