//! Written by `cargo xtask kernels` from `embedding.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`.
    pub rows: u32,
    /// Elements in a row.
    pub dim: u32,
    /// Token whose embedding is the part's first row.
    pub first: u32,
    /// Rows of the part.
    pub count: u32,
    /// 1 where this dispatch also writes the image's rows, else 0.
    pub images: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub table: super::variants::Table,
    pub images: bool,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.table.into(), self.images.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "embedding",
    template: include_str!("../embedding.wgsl"),
    variants: &[
        ("table", &[Value::Word("f32"), Value::Word("bf16")]),
        ("images", &[Value::Word("no"), Value::Word("yes")]),
    ],
    fields: &[("rows", true), ("dim", true), ("first", true), ("count", true), ("images", true)],
};
