//! mPLUG-Owl2 inference: from a checkpoint and a picture to a streamed answer, on any GPU.
//!
//! ```no_run
//! use strix_model::image::{self, Exif};
//! use strix_model::{GenerateOptions, LoadOptions, Model};
//!
//! let model = Model::load("mplug-owl2-llama2-7b", &LoadOptions::default())?;
//! let mut session = model.session()?;
//! session.add_image(&image::open("owl.jpg".as_ref(), Exif::Ignore)?)?;
//! for token in session.ask("What is in the picture?", &GenerateOptions::default())? {
//!     print!("{}", token?.text);
//! }
//! # Ok::<(), strix_model::Error>(())
//! ```
//!
//! The architecture is Ye et al. 2023 (arXiv:2311.04257) as its original code has it: a ViT, an abstractor of
//! learnable queries, and a LLaMA decoder whose norms, keys and values have weights for each modality. `SPEC.md` beside
//! this crate's manifest has the equations; comments cite its sections, as SPEC §5.

// What only a part that was left out uses is dead code. With every feature, none is.
#![cfg_attr(not(feature = "default"), allow(dead_code, unreachable_pub, unused_imports))]
#![deny(missing_docs)]

mod abstractor;
mod batch;
mod bicubic;
pub mod cache;
mod checkpoint;
pub mod config;
mod constraint;
mod context;
#[cfg(feature = "convert")]
pub mod convert;
mod decoder;
mod encoder;
mod error;
mod feed;
mod files;
mod generate;
mod generation;
mod held;
pub mod image;
mod inner;
mod json;
mod kv_cache;
mod kv_pool;
mod layers;
#[cfg(all(test, not(feature = "default")))]
mod left_out;
mod loaded;
mod matrix;
mod memory;
mod model;
#[cfg(feature = "nano")]
mod nano;
mod options;
mod packed;
mod parts;
mod picture;
mod pictures;
mod place;
mod plan;
pub mod position;
mod progress;
pub mod prompt;
mod queue;
pub mod read;
mod request;
mod rows;
mod runner;
pub mod sampler;
mod scheduler;
mod sentencepiece;
mod session;
mod shown;
pub mod stop;
mod talk;
mod texture;
pub mod tokenizer;
mod trace;
#[cfg(feature = "tune")]
pub mod tune;
mod vision;
pub mod weights;
mod written;

pub use cache::DeviceCache;
pub use checkpoint::{Checkpoint, Source};
pub use config::Config;
pub use constraint::Constraint;
pub use error::{ContextLimit, Error, MemoryShort, PromptLength, Remedy, Result};
pub use files::{FileContent, Files};
pub use generate::{FinishReason, GenerateOptions, Timing, Token};
#[cfg(feature = "stream")]
pub use generation::Tokens;
pub use generation::{Answer, Canceller, Event, Generation};
pub use kv_cache::KvDtype;
pub use memory::{Home, MemoryPart, MemoryPlan, Room};
pub use model::Model;
#[cfg(feature = "nano")]
pub use nano::nano_files;
pub use options::LoadOptions;
pub use packed::{Dtype, Rounding};
pub use plan::{Dispatch, Phase, PlanReport, WeightPlan, decisions, dispatches, plan, shaders};
pub use progress::{OnProgress, Progress, unwatched};
pub use sampler::{CustomSampler, LogProbs, SamplingParams};
pub use scheduler::Activity;
pub use session::{Inspect, SaveOptions, Session, Usage};
pub use shown::{Shown, is_acted_on, shown, shown_list};
/// The engine, whose types this crate's functions take and give: an app needs no other crate of Strix.
pub use strix_engine as engine;
/// The wgpu that an app's devices and textures have to be of.
pub use strix_engine::wgpu;
pub use strix_engine::{
    Error as EngineError, Frames, Gpu, GpuOptions, Missing, Polling, Shared, Sharing, Streamed,
    TextureRegion, Wanted, adapters, request_device,
};
pub use strix_shaders::Activations;
pub use trace::{Trace, trace_dir};
pub use weights::{Located, Weights};
