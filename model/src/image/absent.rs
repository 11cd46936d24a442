//! In place of a codec that this crate was built without. [`FileFormat::of`](super::kind::FileFormat::of) refuses its files
//! before they come here.

#![allow(dead_code, reason = "where every codec is there, none is absent")]

use super::limits::image_error;
use super::opened::Decoded;
use crate::{Error, Result};

fn refused(name: &str) -> Error {
    image_error(name, "is of a kind that this program was built without".into())
}

pub(super) fn decode(name: &str, _: &[u8]) -> Result<Decoded> {
    Err(refused(name))
}

pub(super) fn dimensions(name: &str, _: &[u8]) -> Result<(u32, u32)> {
    Err(refused(name))
}

/// As that of a JPEG in a TIFF.
pub(super) fn decode_part(_: &[u8], _: &[u8], _: bool) -> Result<([usize; 2], Vec<u8>), String> {
    Err("this program was built without what reads it".into())
}
