//! From a checkpoint to files that a device streams as they lie, and back. Of the feature `convert`.
//!
//! [`convert`] packs a checkpoint, [`export`] unpacks one, [`synthesize`] makes one up, [`verify`] reads one
//! again, [`inspect`] lists what is in one. `model/FORMAT.md` describes the files.

mod disk;
mod export;
mod folder;
mod inspect;
mod jobs;
mod manifest;
mod memory;
mod output;
mod own;
mod packing;
mod report;
mod run;
mod shards;
mod source;
mod synth;
mod verify;

pub use crate::packed::LAYOUT_VERSION;
pub use crate::written::MANIFEST;
pub use disk::free_bytes;
pub use export::export;
pub use inspect::{Inspection, RoundingError, TensorInfo, inspect, rounding_errors};
pub use manifest::{Arrangement, FileEntry, Manifest, TensorEntry};
pub use packing::convert;
pub use report::{Report, SHARD_BYTES, WriteOptions};
pub use source::source_difference;
pub use synth::{PRESETS, Synthesis, preset, synthesize};
pub use verify::{Problem, Verified, verify};
