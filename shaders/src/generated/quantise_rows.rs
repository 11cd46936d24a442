//! Written by `cargo xtask kernels` from `quantise_rows.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Columns of x.
    pub k: u32,
    /// Added to the mean square of a row that is normalised.
    pub eps: f32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub lanes: super::variants::Lanes,
    pub x: super::variants::X,
    pub norm: bool,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.lanes.into(), self.x.into(), self.norm.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "quantise_rows",
    template: concat!(include_str!("../quantise_rows.wgsl"), include_str!("../common/lanes.wgsl")),
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
        ("x", &[Value::Word("vec4"), Value::Word("scalar")]),
        ("norm", &[Value::Word("no"), Value::Word("yes")]),
    ],
    fields: &[("k", true), ("eps", false)],
};
