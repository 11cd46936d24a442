//! Written by `cargo xtask kernels` from `resize_across.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Pixels of a row of the picture.
    pub width: u32,
    /// Rows of the picture.
    pub height: u32,
    /// Words from one of its rows to the next.
    pub pitch: u32,
    /// The picture's row that `picture` begins with.
    pub picture_row: u32,
    /// Whether its pixels are blue, green, red; else red, green, blue.
    pub is_bgr: u32,
    /// Pixels of the square to the left of the picture.
    pub left: u32,
    /// Pixels of the square above the picture.
    pub top: u32,
    /// What is beside the picture: red, green, blue, from the lowest byte.
    pub colour: u32,
    /// Which side is stretched: 0 none, 1 the width, 2 the height.
    pub stretched: u32,
    /// Most weights of an output.
    pub taps: u32,
    /// Most weights of a pixel that is stretched.
    pub stretch_taps: u32,
    /// Pixels of a row of the result.
    pub columns: u32,
    /// The square's row that the first row of workgroups is.
    pub row: u32,
    /// Rows that are computed.
    pub rows: u32,
    /// The square's row that `y` begins with.
    pub first_row: u32,
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
    name: "resize_across",
    template: include_str!("../resize_across.wgsl"),
    variants: &[],
    fields: &[
        ("width", true),
        ("height", true),
        ("pitch", true),
        ("picture_row", true),
        ("is_bgr", true),
        ("left", true),
        ("top", true),
        ("colour", true),
        ("stretched", true),
        ("taps", true),
        ("stretch_taps", true),
        ("columns", true),
        ("row", true),
        ("rows", true),
        ("first_row", true),
    ],
};
