//! Written by `cargo xtask kernels` from `resize_down.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Pixels of a row.
    pub columns: u32,
    /// Rows of the result.
    pub rows: u32,
    /// The row that `x` begins with.
    pub first_row: u32,
    /// Most weights of an output.
    pub taps: u32,
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
    name: "resize_down",
    template: include_str!("../resize_down.wgsl"),
    variants: &[],
    fields: &[("columns", true), ("rows", true), ("first_row", true), ("taps", true)],
};
