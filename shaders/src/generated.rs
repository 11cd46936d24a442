//! What `cargo xtask kernels` read out of the WGSL: a `KERNEL`, a `Params` and a `Variants` for each kernel.

#![allow(missing_docs, reason = "one module a kernel; the kernels' own modules are the documentation")]
#![allow(rustdoc::broken_intra_doc_links, reason = "WGSL comments name array elements: `wanted[0]`")]

pub mod add;
pub mod attention;
pub mod attention_plain;
pub mod attention_probs;
pub mod attention_tiled;
pub mod class_token;
pub mod decode_attention;
pub mod decode_attention_join;
pub mod decode_attention_plain;
pub mod decode_attention_split;
pub mod embedding;
pub mod gemm;
pub mod gemm_coop;
pub mod gemm_dot;
pub mod gemm_tiled;
pub mod gemv_tiled;
pub mod layer_norm;
pub mod patches;
pub mod quantise_rows;
pub mod resize_across;
pub mod resize_down;
pub mod rms_norm;
pub mod rope_append;
pub mod take_rows;
pub mod top_k;
pub mod variants;

/// Every kernel.
pub static KERNELS: &[&crate::Kernel] = &[
    &add::KERNEL,
    &attention::KERNEL,
    &attention_plain::KERNEL,
    &attention_probs::KERNEL,
    &attention_tiled::KERNEL,
    &class_token::KERNEL,
    &decode_attention::KERNEL,
    &decode_attention_join::KERNEL,
    &decode_attention_plain::KERNEL,
    &decode_attention_split::KERNEL,
    &embedding::KERNEL,
    &gemm::KERNEL,
    &gemm_coop::KERNEL,
    &gemm_dot::KERNEL,
    &gemm_tiled::KERNEL,
    &gemv_tiled::KERNEL,
    &layer_norm::KERNEL,
    &patches::KERNEL,
    &quantise_rows::KERNEL,
    &resize_across::KERNEL,
    &resize_down::KERNEL,
    &rms_norm::KERNEL,
    &rope_append::KERNEL,
    &take_rows::KERNEL,
    &top_k::KERNEL,
];
