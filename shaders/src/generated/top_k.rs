//! Written by `cargo xtask kernels` from `top_k.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of logits.
    pub rows: u32,
    /// Logits in a row.
    pub vocab: u32,
    /// How many to take at most.
    pub k: u32,
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
    name: "top_k",
    template: include_str!("../top_k.wgsl"),
    variants: &[],
    fields: &[("rows", true), ("vocab", true), ("k", true)],
};
