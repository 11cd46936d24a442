//! The kernels of Strix, hand-written in WGSL: each is one `.wgsl` file and one `.rs` file of the same name,
//! which holds its recording function and its plain CPU reference.
//!
//! Specialisations are rendered from templates (see `template.rs`) and all of them are validated by naga when
//! this crate is built.

mod kernel;
mod template;

pub mod attention;
pub mod attention_probs;
pub mod decode_attention;
pub mod gemm;
pub mod packing;
pub mod rms_norm;

pub use attention::{HeadShape, Heads, Mask, attention};
pub use attention_probs::attention_probs;
pub use decode_attention::decode_attention;
pub use gemm::{Routing, linear, linear_add, linear_quick_gelu, swiglu};
pub use kernel::{Kernel, lanes};
pub use packing::{Format, Layout, Linear};
pub use rms_norm::rms_norm;

/// What `build.rs` read out of the WGSL: a `KERNEL` and a `Params` for each kernel.
pub mod generated {
    #![allow(missing_docs, reason = "one module a kernel; the kernels' own modules are the documentation")]
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}
