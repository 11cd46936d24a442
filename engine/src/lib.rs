//! Static compute graphs on wgpu. Knows devices, buffers, pipelines, recording and replay; knows no
//! kernel, no tensor name and no file format.
//!
//! A [`Graph`] is recorded once per shape. [`Graph::plan`] says how many bytes it needs before any is
//! allocated; [`Program::compile`] allocates them and builds every pipeline and bind group. After that a
//! run is one submit: inputs in, one compute pass, outputs out, and nothing is created. Weights may take turns on the
//! device ([`Stream`]): then it is one submit a group of them.
//!
//! ```no_run
//! use strix_engine::{Gpu, Graph, Program};
//!
//! let gpu = Gpu::new()?;
//! let mut g = Graph::new(gpu.target());
//! let x = g.input::<f32, 1>("x", [4]);
//! // … kernels of strix-shaders turn `x` into `y` …
//! # let y = x;
//! let y = g.output(y);
//! let mut program = Program::compile(&gpu, g)?;
//! program.write(x, &[1.0, 2.0, 3.0, 4.0]);
//! program.run(&[y.id()])?;
//! println!("{:?}", program.read(y)?);
//! # Ok::<(), strix_engine::Error>(())
//! ```

#![deny(missing_docs)]

mod adapters;
mod buffers;
mod choices;
mod coop;
mod copies;
mod error;
mod gpu;
mod graph;
mod host;
#[cfg_attr(
    any(target_vendor = "apple", target_family = "wasm", not(feature = "vulkan-import")),
    path = "import_none.rs"
)]
mod import;
mod kernels;
mod logged;
mod lost;
mod maker;
mod memory;
mod open;
mod pipelines;
mod plan;
mod probe;
mod profile;
mod program;
mod region;
mod resident;
mod ring;
mod segments;
mod shader;
mod shared;
mod sharing;
mod slots;
mod software;
mod staging;
mod storage;
mod stream;
mod submission;
mod target;
mod tensor;
mod texture;
mod upload;
#[cfg_attr(
    any(target_vendor = "apple", target_family = "wasm", not(feature = "vulkan-import")),
    path = "vulkan_none.rs"
)]
mod vulkan;
mod waiting;
mod wanted;

pub use adapters::{AdapterReport, GpuOptions, adapters, driver, unlisted};
pub use choices::{Choices, Decision, Specialisation};
pub use coop::Coop;
pub use copies::Copied;
pub use error::{Error, NoAdapter, Result};
pub use gpu::{Created, Gpu};
pub use graph::{Arg, Graph, RANGE_ALIGNMENT, Reference, ReferenceArgs, Step};
pub use host::{HostBytes, ReadAt};
pub use logged::logged;
pub use lost::{is_guarded, panic_text};
pub use maker::Maker;
pub use pipelines::Compiling;
pub use plan::{Plan, Usage};
pub use profile::StepTime;
pub use program::Program;
pub use program::inspect::{Captured, CapturedTensor, Deviation, Difference, Traced};
pub use resident::{Resident, ResidentBytes};
pub use shader::{Access, Binding, MAX_GROUPS, MAX_TRIPS, Shader, TEXEL_ROW};
pub use shared::Shared;
pub use sharing::{Frames, Polling, Sharing};
pub use slots::Streamed;
pub use software::use_wide_vectors;
pub use staging::STAGING_BYTES;
pub use stream::Stream;
pub use target::{Family, Target};
pub use tensor::{Tensor, TensorId};
pub use texture::{TextureRegion, TextureRows};
pub use wanted::{Missing, Wanted, request_device, wanted_features, wanted_limits};

/// Version of the naga that translates the kernels.
pub const NAGA_VERSION: &str = env!("STRIX_NAGA_VERSION");

pub use wgpu;
