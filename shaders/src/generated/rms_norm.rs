//! Written by `cargo xtask kernels` from `rms_norm.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Elements in a row.
    pub dim: u32,
    /// Added to the mean square, so that a row of zeros stays zero.
    pub eps: f32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub lanes: super::variants::Lanes,
    pub rows: super::variants::Rows,
    pub width: u32,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.lanes.into(), self.rows.into(), self.width.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "rms_norm",
    template: concat!(
        include_str!("../rms_norm.wgsl"),
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
        ("rows", &[Value::Word("alike"), Value::Word("mixed")]),
        ("width", &[Value::Number(1), Value::Number(4)]),
    ],
    fields: &[("rows", true), ("dim", true), ("eps", false)],
};
