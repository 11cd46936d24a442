//! Still pictures that the `image` crate decodes: PNG, rare kinds of BMP, and WebP without frames.

use std::borrow::Cow;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, ImageDecoder, ImageFormat, ImageReader};

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

/// Width and height, as they are stored.
pub(super) fn dimensions(name: &str, bytes: &[u8], format: ImageFormat) -> Result<(u32, u32)> {
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.into_dimensions().map_err(unreadable(name))
}

/// Decodes a PNG, of an animated one the default picture.
pub(super) fn png(name: &str, bytes: &[u8]) -> Result<Decoded> {
    // Without it the pixels are whole, but the decoder reads up to it.
    const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";
    let whole = match bytes.ends_with(END) {
        true => Cow::Borrowed(bytes),
        false => Cow::Owned([bytes, END].concat()),
    };
    let whole = whole_palette(&whole).map_or(whole, Cow::Owned);
    let mut decoded = decode(name, &whole, ImageFormat::Png)?;
    // Gray of 16 bits with one of its values transparent: cut as gray is, not as the gray of an alpha channel.
    let deep_gray = bytes.get(24..26) == Some(&[16, 0]);
    if let (true, DynamicImage::ImageLumaA16(picture)) = (deep_gray, &mut decoded.picture) {
        let pixels = picture.as_chunks().0.iter();
        let pixels = pixels.flat_map(|&[gray, alpha]| [gray.min(255) as u8, (alpha >> 8) as u8]).collect();
        let (width, height) = picture.dimensions();
        let whole = "two samples a pixel";
        decoded.picture = GrayAlphaImage::from_raw(width, height, pixels).expect(whole).into();
    }
    Ok(decoded)
}

/// The file without what is left over of its palette behind the last whole colour, on which the decoder panics; `None`
/// where nothing is.
fn whole_palette(bytes: &[u8]) -> Option<Vec<u8>> {
    const SIGNATURE: usize = 8;
    let mut at = SIGNATURE;
    // A chunk: length, kind, content, sum.
    while let Some((head, rest)) = bytes.get(at..)?.split_first_chunk::<8>() {
        let len = u32::from_be_bytes(*head.first_chunk()?) as usize;
        match &head[4..] {
            b"PLTE" => {
                let (colours, left) = (rest.get(..len - len % 3)?, len % 3);
                let sum = |content: &[u8]| {
                    let mut crc = flate2::Crc::new();
                    crc.update(b"PLTE");
                    crc.update(content);
                    crc.sum().to_be_bytes()
                };
                // A damaged one is refused as it is.
                if left == 0 || rest.get(len..len + 4)? != sum(&rest[..len]) {
                    return None;
                }
                let len = (colours.len() as u32).to_be_bytes();
                let end = &rest[colours.len() + left + 4..];
                return Some([&bytes[..at], &len, b"PLTE", colours, &sum(colours), end].concat());
            }
            b"IDAT" => return None,
            _ => at = at.checked_add(len)?.checked_add(12)?,
        }
    }
    None
}
