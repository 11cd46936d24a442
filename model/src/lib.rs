//! mPLUG-Owl2 inference: from a checkpoint and a picture to a streamed answer, on any GPU.
//!
//! ```
//! use strix_model::{GenerateOptions, LoadOptions, Model};
//!
//! // The small model of the feature `nano`; `Model::load("mplug-owl2-int8", ..)` loads a folder.
//! let model = Model::nano(&LoadOptions::default())?;
//! let mut session = model.session()?;
//! # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).expect("the folder");
//! session.add_image("shapes.png")?;
//! for token in session.ask("Describe the image.", &GenerateOptions::default())? {
//!     print!("{}", token?.text);
//! }
//! # assert_eq!(session.turns()[0].reply.as_deref(), Some("A red circle to the left of a blue triangle."));
//! # Ok::<(), strix_model::Error>(())
//! ```
//!
//! | to | there is |
//! |---|---|
//! | load a folder, bytes, readers, the built-in model; onto a device of the app's | [`Model::load`], [`Model::load_on`], [`Source`], [`Gpu`] |
//! | know what is wrong and what lives where before loading | [`Checkpoint`], [`Checkpoint::plan`] |
//! | talk about pictures: of paths, bytes, rows of pixels, textures | [`Session`], [`Session::add_image`], [`Session::add_texture`] |
//! | take tokens: by an iterator, a callback, a `futures::Stream` | [`Generation`], [`Generation::listen`], [`Generation::into_stream`] |
//! | break off, from any thread | [`Canceller`], [`OnProgress`], [`LoadOptions::cancel`] |
//! | choose tokens, hold an answer to a schema | [`SamplingParams`], [`CustomSampler`], [`Constraint`] |
//! | keep a conversation | [`Session::save`], [`Model::restore`] |
//!
//! A [`Model`] is freed, and its device memory with it, when the last of its clones, sessions and answers is dropped.
//! `FEATURES.md` beside this crate's manifest says what can be left out, and what each costs.
//!
//! The architecture is Ye et al. 2023 (arXiv:2311.04257) as its original code has it: a ViT, an abstractor of
//! learnable queries, and a LLaMA decoder whose norms, keys and values have weights for each modality. `SPEC.md` beside
//! this crate's manifest has the equations; comments cite its sections, as SPEC §5.

// What only a part that was left out uses is dead code. With every part, none is.
#![cfg_attr(
    not(all(feature = "default", feature = "tokenizer-json")),
    allow(dead_code, unreachable_pub, unused_imports)
)]
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
    TextureRegion, Wanted, adapters, request_device, wanted_features, wanted_limits,
};
pub use strix_shaders::Activations;
pub use trace::{Trace, trace_dir};
pub use weights::{Located, Weights};
