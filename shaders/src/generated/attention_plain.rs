//! Written by `cargo xtask kernels` from `attention_plain.wgsl`.

use crate::{Kernel, Value};

/// The kernel's parameters, as its WGSL declares them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `y`.
    pub rows: u32,
    /// Most keys any row sees; all of them where the mask is not causal.
    pub keys: u32,
    /// Sequences that have pages; if causal.
    pub sequences: u32,
    /// Pages of a sequence; if causal.
    pub sequence_pages: u32,
    /// Heads of `y`.
    pub num_heads: u32,
    /// Heads that share a key and value head.
    pub heads_per_kv: u32,
    /// Dimensions of a head.
    pub head_dim: u32,
    /// Elements from one row of `q` to the next.
    pub q_row: u32,
    /// Element of head 0 in a row of `q`.
    pub q_offset: u32,
    /// Elements from one head of `q` to the next.
    pub q_stride: u32,
    /// Elements of a key: a 16th of those of 16 keys.
    pub k_row: u32,
    /// Elements from one key to the next of the same 16.
    pub k_key: u32,
    /// Elements from one 16 bytes of a key to its next.
    pub k_chunk: u32,
    /// Element of head 0 in a row of `k`.
    pub k_offset: u32,
    /// Elements from one head of `k` to the next.
    pub k_stride: u32,
    /// Elements from one row of `v` to the next.
    pub v_row: u32,
    /// Element of head 0 in a row of `v`.
    pub v_offset: u32,
    /// Elements from one head of `v` to the next.
    pub v_stride: u32,
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
    pub mask: super::variants::Mask,
}

impl crate::Variants for Variants {
    const KERNEL: &'static Kernel = &KERNEL;

    fn values(&self) -> Vec<Value> {
        vec![self.dims.into(), self.heads.into(), self.mask.into()]
    }
}

pub static KERNEL: Kernel = Kernel {
    name: "attention_plain",
    template: concat!(
        include_str!("../attention_plain.wgsl"),
        include_str!("../common/heads.wgsl"),
        include_str!("../common/queries.wgsl"),
        include_str!("../common/key_fours.wgsl"),
        include_str!("../common/value_fours.wgsl"),
        include_str!("../common/result.wgsl"),
        include_str!("../common/keys.wgsl"),
        include_str!("../common/flash.wgsl"),
        include_str!("../common/seen.wgsl"),
        include_str!("../common/pages.wgsl")
    ),
    variants: &[
        ("dims", &[Value::Number(32), Value::Number(64), Value::Number(128), Value::Number(256)]),
        ("heads", &[Value::Word("vec4"), Value::Word("scalar"), Value::Word("f16")]),
        ("mask", &[Value::Word("full"), Value::Word("causal")]),
    ],
    fields: &[
        ("rows", true),
        ("keys", true),
        ("sequences", true),
        ("sequence_pages", true),
        ("num_heads", true),
        ("heads_per_kv", true),
        ("head_dim", true),
        ("q_row", true),
        ("q_offset", true),
        ("q_stride", true),
        ("k_row", true),
        ("k_key", true),
        ("k_chunk", true),
        ("k_offset", true),
        ("k_stride", true),
        ("v_row", true),
        ("v_offset", true),
        ("v_stride", true),
        ("first_kv_head", true),
        ("part_kv_heads", true),
    ],
};
