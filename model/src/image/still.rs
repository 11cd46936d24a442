//! Still pictures that the `image` crate decodes.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{Decoded, check_size, limits, unreadable};
use crate::Result;

/// Decodes a picture that has one, with what EXIF says of its orientation.
pub(super) fn decode(name: &str, bytes: &[u8], format: ImageFormat) -> Result<Decoded> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(unreadable(name))?;
    check_size(name, decoder.dimensions())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable(name))?;
    Ok(Decoded { picture, orientation })
}
