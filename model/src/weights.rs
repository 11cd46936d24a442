//! Checkpoints: tensors by name, memory-mapped from their files.
//!
//! A file must stay as it is for as long as its checkpoint is open. All lengths are checked when it is opened, so that
//! nothing is ever read outside of it; but a file that is cut meanwhile ends the process (SIGBUS), and one that is
//! written to gives other numbers. [`Weights::check_unchanged`] tells of both, and loading a model ends with it.

mod check;
mod computed;
mod cursor;
mod entry;
mod files;
mod fingerprint;
mod folder;
mod globals;
mod index;
mod kinds;
mod names;
mod pickle;
mod safetensors;
mod synthetic;
mod tensors;
mod torch;
mod view;
mod zip;

pub use crate::files::SharedBytes;
pub use ::safetensors::Dtype as FileDtype;
pub use folder::Located;
pub(crate) use folder::{check_config, of_other_model};
pub(crate) use index::is_file_name;
pub(crate) use kinds::of_other_kind;
pub use tensors::Weights;
pub use view::View;

#[cfg(test)]
mod tests;
