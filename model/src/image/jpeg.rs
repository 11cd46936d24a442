//! JPEG, by libjpeg-turbo's decoder in MozJPEG: the bits of Pillow, which decodes with libjpeg-turbo too.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::cmyk::cmyk_to_rgb;
use super::{Decoded, MAX_PIXELS, check_size, cut_short, image_error};
use crate::{Error, Result};

/// Most samples that all scans together may fill, over those of the largest picture: a progressive file of a few
/// kilobytes can ask for thousands of passes over all of it.
const MAX_PASSES: u64 = 64;

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let header = Header::read(bytes);
    if header.process == 0 {
        return Err(cut_short(name, bytes));
    }
    if let Some(kind) = header.unread() {
        return Err(image_error(
            name,
            format!("is {kind}, which is not decoded: save it as a usual JPEG or as PNG"),
        ));
    }
    check_size(name, (header.width, header.height))?;
    let scans = bytes.windows(2).filter(|pair| pair == b"\xff\xda").count() as u64;
    let pixels = u64::from(header.width) * u64::from(header.height);
    if scans * pixels > MAX_PASSES * MAX_PIXELS {
        let reason = format!(
            "asks for {scans} passes over {pixels} pixels, {} in all, above {}: save it anew",
            scans * pixels,
            MAX_PASSES * MAX_PIXELS
        );
        return Err(image_error(name, reason));
    }
    let ended = Cell::new(false);
    let source = Source { bytes, ended: &ended };
    // libjpeg's errors come as unwinding with a text.
    match catch_unwind(AssertUnwindSafe(|| read(source, &header))) {
        Err(payload) if libjpeg_error(payload.as_ref()).is_none() => resume_unwind(payload),
        Ok(Ok((decoded, false))) => Ok(decoded),
        // What is missing would be grey.
        Ok(Ok((_, true))) => Err(cut_short(name, bytes)),
        _ if ended.get() => Err(cut_short(name, bytes)),
        Ok(Err(error)) => Err(damaged(name, &error.to_string())),
        Err(payload) => Err(damaged(name, libjpeg_error(payload.as_ref()).unwrap_or_default())),
    }
}

fn damaged(name: &str, reason: &str) -> Error {
    image_error(name, format!("is a damaged JPEG: {reason}"))
}

/// Width and height, as they are stored.
pub(super) fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    let header = Header::read(bytes);
    match header.process {
        0 => Err(cut_short(name, bytes)),
        _ => Ok((header.width, header.height)),
    }
}

/// The picture, and whether the file ended before its last row.
fn read(source: Source<'_>, header: &Header) -> io::Result<(Decoded, bool)> {
    let ended = source.ended;
    let decoder = Decompress::builder().with_markers(&[Marker::APP(1)]).from_reader(source)?;
    if decoder.size() != (header.width as usize, header.height as usize) {
        return Err(io::Error::other("two headers, of different sizes"));
    }
    let exif = decoder.markers().find_map(|marker| marker.data.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec));
    let orientation =
        exif.and_then(|exif| Orientation::from_exif_chunk(&exif)).unwrap_or(Orientation::NoTransforms);
    let space = match decoder.components().len() {
        1 => ColorSpace::JCS_GRAYSCALE,
        4 => ColorSpace::JCS_CMYK,
        _ => ColorSpace::JCS_RGB,
    };
    let mut decoder = decoder.to_colorspace(space)?;
    let (width, height) = (decoder.width() as u32, decoder.height() as u32);
    let rows = decoder.read_scanlines::<u8>()?;
    let cut = ended.get();
    let whole = "as many rows as the header says";
    let picture: DynamicImage = match space {
        ColorSpace::JCS_GRAYSCALE => GrayImage::from_raw(width, height, rows).expect(whole).into(),
        ColorSpace::JCS_CMYK => {
            // Stored inverted, as Adobe's programs do; Pillow takes all for such.
            let rgb = cmyk_to_rgb(&rows, |ink| 255 - ink);
            RgbImage::from_raw(width, height, rgb).expect(whole).into()
        }
        _ => RgbImage::from_raw(width, height, rows).expect(whole).into(),
    };
    Ok((Decoded { picture, orientation }, cut))
}

/// Decodes a strip or tile of a TIFF, whose tables stand apart: its size, and its samples, which are converted to RGB or
/// left as they are stored.
pub(super) fn decode_part(
    tables: &[u8],
    bytes: &[u8],
    to_rgb: bool,
) -> Result<([usize; 2], Vec<u8>), String> {
    let body = bytes.strip_prefix(b"\xff\xd8").unwrap_or(bytes);
    let tables = tables.strip_suffix(b"\xff\xd9").unwrap_or(tables);
    let whole = if tables.is_empty() { bytes.to_vec() } else { [tables, body].concat() };
    let header = Header::read(&whole);
    let pixels = u64::from(header.width) * u64::from(header.height);
    let scans = whole.windows(2).filter(|pair| pair == b"\xff\xda").count() as u64;
    if pixels * scans > MAX_PIXELS {
        return Err(format!("{pixels} pixels in {scans} passes"));
    }
    let ended = Cell::new(false);
    let read = || -> io::Result<_> {
        let decoder = Decompress::builder().from_reader(Source { bytes: &whole, ended: &ended })?;
        if decoder.size() != (header.width as usize, header.height as usize) {
            return Err(io::Error::other("two headers, of different sizes"));
        }
        let stored = decoder.color_space();
        let space = if to_rgb { ColorSpace::JCS_RGB } else { stored };
        let mut decoder = decoder.to_colorspace(space)?;
        let size = [decoder.width(), decoder.height()];
        Ok((size, decoder.read_scanlines::<u8>()?))
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(_)) if ended.get() => Err("it ends early".into()),
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(payload) => match libjpeg_error(payload.as_ref()) {
            Some(error) => Err(error.into()),
            None => resume_unwind(payload),
        },
    }
}

fn libjpeg_error(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>()?.strip_prefix("libjpeg fatal error: ")
}

/// The file's bytes; notes when more are asked for than there are.
struct Source<'a> {
    bytes: &'a [u8],
    ended: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(to)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.ended.set(self.ended.get() || self.bytes.is_empty());
        Ok(self.bytes)
    }

    fn consume(&mut self, amount: usize) {
        self.bytes = &self.bytes[amount..];
    }
}

/// What the frame's header says, to refuse it by name before memory is taken.
#[derive(Debug, Default)]
struct Header {
    /// Its marker, which tells the process; 0 where the file ends before it.
    process: u8,
    bits: u8,
    width: u32,
    height: u32,
    components: u8,
}

impl Header {
    fn read(bytes: &[u8]) -> Self {
        let mut at = 2;
        while let Some(&[first, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            match (first, marker) {
                // A scan without a frame: nothing to see.
                (0xff, 0xda) => return Self { process: 0xc0, bits: 8, components: 1, ..Self::default() },
                // Start of frame (0xf7: of JPEG-LS); the others of this range are tables.
                (0xff, 0xc0..=0xcf | 0xf7) if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    let Some(&[bits, h1, h0, w1, w0, components]) =
                        bytes.get(at + 4..).and_then(|rest| rest.first_chunk())
                    else {
                        break;
                    };
                    let side = |high, low| u32::from(u16::from_be_bytes([high, low]));
                    let (width, height) = (side(w1, w0), side(h1, h0));
                    return Self { process: marker, bits, width, height, components };
                }
                // Segments are skipped whole: the preview among them has frames of its own.
                (0xff, 0x02..=0xcf | 0xd8..=0xfe) => {
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
                // Padding, or stray bytes, which libjpeg passes over too.
                _ => at += 1,
            }
        }
        Self::default()
    }

    /// What kind of JPEG it is, if one that is not decoded.
    fn unread(&self) -> Option<String> {
        Some(match (self.process, self.bits, self.components) {
            (0xc3, ..) => "a lossless JPEG".into(),
            (0xc5..=0xc7 | 0xcd..=0xcf, ..) => "a hierarchical JPEG".into(),
            (0xcb, ..) => "a lossless JPEG with arithmetic coding".into(),
            (0xf7, ..) => "a JPEG-LS".into(),
            (_, bits, _) if bits != 8 => format!("a JPEG of {bits} bits a sample"),
            (_, _, parts) if !matches!(parts, 1 | 3 | 4) => format!("a JPEG of {parts} components"),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::picture_bytes;

    /// A JPEG with other bytes in its frame's header, counted from the marker.
    fn patched(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut bytes = picture_bytes("decode/exif6_32x24.jpg");
        let frame = bytes.windows(4).position(|four| four == [0xff, 0xc0, 0, 17]).unwrap();
        for (at, byte) in changes {
            bytes[frame + at] = *byte;
        }
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        decode("x.jpg", bytes).err().unwrap().to_string()
    }

    #[test]
    fn what_is_not_decoded_is_named() {
        assert!(decode("x.jpg", &patched(&[])).is_ok());
        for (changes, word) in [
            ([(1, 0xc3)], "lossless"),
            ([(1, 0xc5)], "hierarchical"),
            ([(1, 0xf7)], "JPEG-LS"),
            ([(4, 12)], "12 bits"),
            ([(9, 2)], "2 components"),
        ] {
            let error = refusal(&patched(&changes));
            assert!(error.contains(word) && !error.contains("whole"), "{error}");
        }
    }

    #[test]
    fn passes_over_the_picture_are_bounded() {
        // 10,000 x 10,000.
        let mut bytes = patched(&[(5, 0x27), (6, 0x10), (7, 0x27), (8, 0x10)]);
        bytes.extend(b"\xff\xda".repeat(200));
        let error = refusal(&bytes);
        assert!(error.contains("passes over 100000000 pixels"), "{error}");
    }
}
