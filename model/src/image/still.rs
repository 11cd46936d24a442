//! Still pictures that the `image` crate decodes: PNG, rare kinds of BMP, and WebP without frames.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::limits::{check_size, limits, unreadable};
use super::opened::Decoded;
use crate::Result;

/// Decodes a still picture and its EXIF orientation.
pub(super) fn decode(name: &str, bytes: &[u8], format: ImageFormat) -> Result<Decoded> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(unreadable(name))?;
    check_size(name, decoder.dimensions())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable(name))?;
    Ok(Decoded { picture, orientation })
}

/// Width and height, as they are stored.
pub(super) fn dimensions(name: &str, bytes: &[u8], format: ImageFormat) -> Result<(u32, u32)> {
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.into_dimensions().map_err(unreadable(name))
}
