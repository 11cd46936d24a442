//! JPEG.

use image::ImageFormat;

use super::{Decoded, image_error, still};
use crate::Result;

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let jpeg = JpegHeader::read(bytes);
    let decoded = still::decode(name, bytes, ImageFormat::Jpeg)?;
    if jpeg.components == 4 {
        return Err(image_error(name, "is CMYK, made for printing: save it as RGB".into()));
    }
    if !jpeg.has_end {
        return Err(image_error(name, format!("is cut short after {} bytes; copy it again", bytes.len())));
    }
    Ok(decoded)
}

/// What the decoder does not say of a JPEG: it converts CMYK, and fills what is missing with grey.
struct JpegHeader {
    /// Channels of its frame: 1 gray, 3 colour, 4 CMYK.
    components: u8,
    /// Whether an end-of-image marker follows the header.
    has_end: bool,
}

impl JpegHeader {
    fn read(bytes: &[u8]) -> Self {
        // Segments up to the pixels are skipped: the preview among them has an end of its own.
        let (mut at, mut components) = (2, 0);
        while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            match marker {
                0xda => break,
                0xff => at += 1, // padding
                _ => {
                    // Start of frame; the others of this range are tables.
                    if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                        components = bytes.get(at + 9).copied().unwrap_or(0);
                    }
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
            }
        }
        let has_end = bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]));
        Self { components, has_end }
    }
}
