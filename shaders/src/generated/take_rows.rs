//! Written by `cargo xtask kernels` from `take_rows.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x`.
    pub rows: u32,
    /// Elements in a row.
    pub dim: u32,
    /// Rows of `y`.
    pub taken: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub width: u32,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.width.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "take_rows",
    template: concat!(include_str!("../take_rows.wgsl"), include_str!("../common/wide.wgsl")),
    variants: &[("width", &[Value::Number(1), Value::Number(4)])],
    fields: &[("rows", true), ("dim", true), ("taken", true)],
};
