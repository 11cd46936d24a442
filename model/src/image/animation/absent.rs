//! In place of a codec that this crate was built without: it knows no frames, and [`FileFormat::of`] refuses its files before
//! they come here.
//!
//! [`FileFormat::of`]: super::super::kind::FileFormat::of

#![allow(dead_code, reason = "where every codec is there, none is absent")]

use super::super::absent;
use super::super::opened::Decoded;
use super::compose::{Compose, Counted};
use crate::Result;

pub(super) fn count(_: &str, _: &[u8]) -> Result<Option<Counted>> {
    Ok(None)
}

pub(super) fn compose<'a>(_: &'a str, _: &'a [u8]) -> Result<Option<Box<dyn Compose + 'a>>> {
    Ok(None)
}

pub(super) fn still(name: &str, bytes: &[u8]) -> Result<Decoded> {
    absent::decode(name, bytes)
}
