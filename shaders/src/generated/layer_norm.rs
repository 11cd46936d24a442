//! Written by `cargo xtask kernels` from `layer_norm.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Elements in a row.
    pub dim: u32,
    /// Row of `y` that takes the first row of `x`.
    pub first_row: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub lanes: super::variants::Lanes,
    pub width: u32,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.lanes.into(), self.width.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "layer_norm",
    template: concat!(
        include_str!("../layer_norm.wgsl"),
        include_str!("../common/lanes.wgsl"),
        include_str!("../common/wide.wgsl")
    ),
    variants: &[
        (
            "lanes",
            &[
                Value::Number(8),
                Value::Number(16),
                Value::Number(32),
                Value::Number(64),
                Value::Word("plain"),
                Value::Word("team"),
            ],
        ),
        ("width", &[Value::Number(1), Value::Number(4)]),
    ],
    fields: &[("rows", true), ("dim", true), ("first_row", true), ("eps", false)],
};
