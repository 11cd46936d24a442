//! What drivers of GPUs make of WGSL kernels, without the GPUs.
//!
//! Mesa's drivers compile for hardware that is not there: its drm-shim answers in place of the kernel's driver, and
//! nothing computes. [`fetch`] gets them, [`gpus`] lists what they can be told to be, [`environment`] runs a program on
//! one, [`worker`] is that program: it compiles kernels as wgpu would ([`compile`], [`vulkan`]) and sends what the driver
//! said. [`statistics`] and [`listing`] read it, [`run`] gathers it, [`report`] and [`compare`] show it. [`roofline`]
//! says what speed of the whole model it allows.

mod clock;
pub mod compare;
pub mod compile;
pub mod environment;
pub mod fetch;
pub mod gpus;
pub mod listing;
pub mod machine;
pub mod metrics;
pub mod peaks;
pub mod report;
pub mod roofline;
pub mod run;
pub mod select;
pub mod statistics;
pub mod vulkan;
pub mod work;
pub mod worker;
