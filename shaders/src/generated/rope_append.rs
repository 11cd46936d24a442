//! Written by `cargo xtask kernels` from `rope_append.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `qkv`.
    pub rows: u32,
    /// Heads of q.
    pub num_heads: u32,
    /// Heads of k, and of v.
    pub num_kv_heads: u32,
    /// Elements in a head.
    pub head_dim: u32,
    /// Positions the cache has room for: whole pages of 16.
    pub slots: u32,
    /// Pages of a sequence.
    pub sequence_pages: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    pub k_row: u32,
    /// Elements from one key to the next of a block.
    pub k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    pub k_chunk: u32,
    /// Heads of q that share a head of k and v.
    pub heads_per_kv: u32,
    /// The first of the heads of keys and values that `k` and `v` hold.
    pub first_kv_head: u32,
    /// Number of the heads that they hold. Heads of `q` that share them are rotated.
    pub part_kv_heads: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub stored: super::variants::Stored,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.stored.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "rope_append",
    template: concat!(
        include_str!("../rope_append.wgsl"),
        include_str!("../common/wide.wgsl"),
        include_str!("../common/halves.wgsl"),
        include_str!("../common/keys.wgsl"),
        include_str!("../common/pages.wgsl")
    ),
    variants: &[(
        "stored",
        &[Value::Word("f32x1"), Value::Word("f32x4"), Value::Word("f16x2"), Value::Word("f16x4")],
    )],
    fields: &[
        ("rows", true),
        ("num_heads", true),
        ("num_kv_heads", true),
        ("head_dim", true),
        ("slots", true),
        ("sequence_pages", true),
        ("k_row", true),
        ("k_key", true),
        ("k_chunk", true),
        ("heads_per_kv", true),
        ("first_kv_head", true),
        ("part_kv_heads", true),
    ],
};
