//! Written by `cargo xtask kernels` from `class_token.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`: the patches and one.
    pub rows: u32,
    /// Elements in a row.
    pub dim: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "class_token",
    template: include_str!("../class_token.wgsl"),
    variants: &[],
    fields: &[("rows", true), ("dim", true)],
};
