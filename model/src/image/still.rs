//! Still pictures that the `image` crate decodes: PNG and BMP, and WebP without frames.

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

/// Decodes a BMP.
pub(super) fn bmp(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let header = BmpHeader::read(bytes);
    // What pads the last row may be left out.
    let padding = header.as_ref().map_or(0, BmpHeader::padding);
    let mut decoded = decode(name, &[bytes, &[0; 3][..padding]].concat(), ImageFormat::Bmp)?;
    if let (Some(header), DynamicImage::ImageRgb8(picture)) = (header, &mut decoded.picture)
        && header.bits == 16
    {
        // The decoder rounds 5 and 6 bits to 8; Pillow cuts.
        let cut = |byte: &mut u8, most: u32| {
            let value = (u32::from(*byte) * most + 127) / 255;
            *byte = (value * 255 / most) as u8;
        };
        for [red, green, blue] in picture.as_chunks_mut().0 {
            cut(red, 31);
            cut(green, if header.green == 0x7e0 { 63 } else { 31 });
            cut(blue, 31);
        }
    }
    Ok(decoded)
}

/// What a BMP says of its rows.
struct BmpHeader {
    width: u32,
    bits: u16,
    packed: bool,
    /// Bits of green in a pixel of 16.
    green: u32,
}

impl BmpHeader {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        // Shorter headers are OS/2's, whose sides have 16 bits.
        if word(14)? < 40 {
            return None;
        }
        let compression = word(30)?;
        let bits = (word(28)? & 0xffff) as u16;
        let green = if compression == 3 { word(58)? } else { 0 };
        Some(Self { width: word(18)?, bits, packed: matches!(compression, 1 | 2), green })
    }

    fn padding(&self) -> usize {
        let row = (u64::from(self.width) * u64::from(self.bits)).div_ceil(8);
        if self.packed { 0 } else { ((4 - row % 4) % 4) as usize }
    }
}
