//! Written by `cargo xtask kernels` from `patches.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Colour channels.
    pub channels: u32,
    /// Pixels along a side of the image.
    pub size: u32,
    /// Pixels along a side of a patch.
    pub patch_size: u32,
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
    name: "patches",
    template: include_str!("../patches.wgsl"),
    variants: &[],
    fields: &[("channels", true), ("size", true), ("patch_size", true)],
};
