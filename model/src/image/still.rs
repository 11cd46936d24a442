//! Still pictures that the `image` crate decodes: PNG, rare kinds of BMP, and WebP without frames.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, ImageDecoder, ImageFormat, ImageReader};

use super::limits::{check_size, cut_short, limits, unreadable};
use super::opened::Decoded;
use super::png_file;
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

/// Decodes a PNG. An animated one gives its default picture.
pub(super) fn png(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let header = png_file::Header::read(name, bytes)?;
    check_size(name, header.size())?;
    let plain = header.plain(name, bytes)?;
    let decoded = decode(name, &plain.bytes, ImageFormat::Png);
    let mut picture =
        decoded.map_err(|error| if plain.ended { cut_short(name, bytes) } else { error })?.picture;
    // Gray of 16 bits with one of its values transparent: cut as gray is, not as the gray of an alpha channel.
    if let (true, DynamicImage::ImageLumaA16(deep)) = (header.is_deep_gray(), &mut picture) {
        let pixels = deep.as_chunks().0.iter();
        let pixels = pixels.flat_map(|&[gray, alpha]| [gray.min(255) as u8, (alpha >> 8) as u8]).collect();
        let (width, height) = deep.dimensions();
        let whole = "two samples a pixel";
        picture = GrayAlphaImage::from_raw(width, height, pixels).expect(whole).into();
    }
    Ok(Decoded { picture, orientation: plain.orientation })
}
