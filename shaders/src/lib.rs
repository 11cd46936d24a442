//! The kernels of Strix, hand-written in WGSL: each is one `.wgsl` file and one `.rs` file of the same name,
//! which holds its recording function and its plain CPU reference.
//!
//! Specialisations are rendered from templates (see `template.rs`). Tests validate all of them by naga.
//! `generated` is written by `cargo xtask kernels`.

#![deny(missing_docs)]

mod bound;
mod choose;
mod defaults;
mod dispatch;
mod kernel;
mod template;

pub mod add;
pub mod attention;
pub mod attention_plain;
pub mod attention_probs;
pub mod attention_tiled;
pub mod class_token;
pub mod cursors;
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
pub mod generated;
mod heads;
pub mod kv_cache;
pub mod layer_norm;
pub mod packing;
pub mod patches;
pub mod quantise_rows;
pub mod resize_across;
pub mod resize_down;
pub mod rms_norm;
pub mod rope_append;
mod rope_tables;
pub mod take_rows;
pub mod top_k;
pub mod unpacking;

pub use add::add;
pub use attention::{attention, cached_attention};
pub use attention_probs::{attention_probs, cached_attention_probs};
pub use class_token::class_token;
pub use cursors::Cursors;
pub use decode_attention::decode_attention;
pub use embedding::{EmbeddingStrip, Table, embedding};
pub use gemm::{Input, Routing, linear, linear_add, linear_quick_gelu, swiglu};
pub use heads::{HeadShape, Heads, KvElement, Mask};
pub use kernel::{Dispatch, Kernel, Specialisation, Value, Variants, lanes};
pub use kv_cache::{KvCache, KvPart};
pub use layer_norm::{layer_norm, layer_norm_into};
pub use packing::{Activations, Format, Layout, Linear};
pub use patches::patches;
pub use quantise_rows::quantise_rows;
pub use resize_across::resize_across;
pub use resize_down::resize_down;
pub use rms_norm::rms_norm;
pub use rope_append::rope_append;
pub use rope_tables::RopeTables;
pub use take_rows::take_rows;
pub use top_k::{arg_max, top_k};
