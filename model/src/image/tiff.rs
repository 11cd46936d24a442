//! TIFF.

use image::ImageFormat;

use super::{Decoded, still};
use crate::Result;

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    still::decode(name, bytes, ImageFormat::Tiff)
}
