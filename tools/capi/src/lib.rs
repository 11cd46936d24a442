//! `strix.h`: Strix for C, C++ and whatever calls C. The functions are those of `strix-model`; what each does is said there
//! at length, and here in C's words.
//!
//! Rules of this crate. Every function that C sees goes through [`guard`]: nothing unwinds into the caller. A handle comes
//! as `Option<&T>` or `Option<Box<T>>`, a place for a result as `Option<&mut MaybeUninit<T>>`: `NULL` is an error, and all
//! other pointers are what the header asks for. Raw memory is looked at in [`raw`] alone.

// Exported names, and memory of the caller's: that is what the crate is for.
#![allow(unsafe_code)]
// C reaches what Rust does not.
#![allow(unreachable_pub)]
#![warn(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

// In this order they are in the header.
mod error;
mod failure;
mod remedy;
mod status;
mod version;

mod log;

mod device;
mod image;

mod checkpoint;
mod files;
mod load_options;

mod model;
mod plan;

mod ask_options;
mod session;
mod session_file;
mod talk;

mod answer;
mod canceller;
mod generation;
mod listen;
mod tokens;

mod calls;
mod guard;
mod raw;
mod shared;
mod text;
