//! Written by `cargo xtask kernels` from `decode_attention_plain.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`.
    pub rows: u32,
    /// Positions the cache has room for: whole pages of 16.
    pub slots: u32,
    /// Pages of a sequence.
    pub sequence_pages: u32,
    /// Heads of q.
    pub num_heads: u32,
    /// Heads of k, and of v.
    pub num_kv_heads: u32,
    /// Heads that share a key and value head.
    pub heads_per_kv: u32,
    /// Dimensions of a head.
    pub head_dim: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    pub k_row: u32,
    /// Elements from one key to the next of the same 16.
    pub k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    pub k_chunk: u32,
    /// The first of the heads of keys and values that `k` and `v` hold.
    pub first_kv_head: u32,
    /// Number of the heads that they hold.
    pub part_kv_heads: u32,
}

/// What the kernel can be specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variants {
    pub dims: u32,
    pub heads: super::variants::Heads,
    pub width: u32,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.dims.into(), self.heads.into(), self.width.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "decode_attention_plain",
    template: concat!(
        include_str!("../decode_attention_plain.wgsl"),
        include_str!("../common/decode.wgsl"),
        include_str!("../common/teams.wgsl"),
        include_str!("../common/heads.wgsl"),
        include_str!("../common/key_fours.wgsl"),
        include_str!("../common/value_fours.wgsl"),
        include_str!("../common/result.wgsl"),
        include_str!("../common/keys.wgsl"),
        include_str!("../common/pages.wgsl"),
        include_str!("../common/halves.wgsl"),
        include_str!("../common/wide.wgsl")
    ),
    variants: &[
        ("dims", &[Value::Number(32), Value::Number(64), Value::Number(128), Value::Number(256)]),
        ("heads", &[Value::Word("vec4"), Value::Word("scalar"), Value::Word("f16")]),
        ("width", &[Value::Number(1), Value::Number(4)]),
    ],
    fields: &[
        ("rows", true),
        ("slots", true),
        ("sequence_pages", true),
        ("num_heads", true),
        ("num_kv_heads", true),
        ("heads_per_kv", true),
        ("head_dim", true),
        ("k_row", true),
        ("k_key", true),
        ("k_chunk", true),
        ("first_kv_head", true),
        ("part_kv_heads", true),
    ],
};
