//! JPEG, by libjpeg-turbo's decoder in MozJPEG: the bits of Pillow, which decodes with libjpeg-turbo too.

mod idct;
mod libjpeg;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use mozjpeg_sys::J_COLOR_SPACE;

use super::cmyk::cmyk_to_rgb;
use super::limits::{MAX_PIXELS, check_size, cut_short, image_error};
use super::opened::Decoded;
use crate::{Error, Result};
use libjpeg::{Failed, Jpeg};

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
    let failed = |failed: Failed| match failed.ended {
        true => cut_short(name, bytes),
        false => damaged(name, &failed.reason),
    };
    let mut jpeg = Jpeg::new(bytes).map_err(failed)?;
    if jpeg.size() != [header.width as usize, header.height as usize] {
        return Err(damaged(name, TWO_HEADERS));
    }
    let exif = jpeg.app1().into_iter().find_map(|app1| Some(app1.strip_prefix(b"Exif\0\0")?.to_vec()));
    let orientation =
        exif.and_then(|exif| Orientation::from_exif_chunk(&exif)).unwrap_or(Orientation::NoTransforms);
    let (colours, samples) = match jpeg.num_components() {
        1 => (J_COLOR_SPACE::JCS_GRAYSCALE, 1),
        4 => (J_COLOR_SPACE::JCS_CMYK, 4),
        _ => (J_COLOR_SPACE::JCS_RGB, 3),
    };
    let rows = jpeg.decode(colours, samples).map_err(failed)?;
    if jpeg.ended() {
        // The missing part would be grey.
        return Err(cut_short(name, bytes));
    }
    let (width, height) = (header.width, header.height);
    let whole = "as many rows as the header says";
    let picture: DynamicImage = match samples {
        1 => GrayImage::from_raw(width, height, rows).expect(whole).into(),
        4 => {
            // Stored inverted, as Adobe's programs do; Pillow takes all for such.
            let rgb = cmyk_to_rgb(&rows, |ink| 255 - ink);
            RgbImage::from_raw(width, height, rgb).expect(whole).into()
        }
        _ => RgbImage::from_raw(width, height, rows).expect(whole).into(),
    };
    Ok(Decoded { picture, orientation })
}

const TWO_HEADERS: &str = "two headers, of different sizes";

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
    let failed = |failed: Failed| if failed.ended { ENDS.into() } else { failed.reason };
    let mut jpeg = Jpeg::new(&whole).map_err(failed)?;
    if jpeg.size() != [header.width as usize, header.height as usize] {
        return Err(TWO_HEADERS.into());
    }
    let colours = if to_rgb { J_COLOR_SPACE::JCS_RGB } else { jpeg.colours() };
    let samples = jpeg.num_components();
    let pixels = jpeg.decode(colours, samples).map_err(failed)?;
    if jpeg.ended() { Err(ENDS.into()) } else { Ok((jpeg.size(), pixels)) }
}

const ENDS: &str = "it ends early";

/// The frame's header, so that a kind can be refused by name before memory is taken.
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
                // Segments are skipped whole. A preview among them has frames too.
                (0xff, 0x02..=0xcf | 0xd8..=0xfe) => {
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
                // Padding, or stray bytes, which libjpeg passes over too.
                _ => at += 1,
            }
        }
        Self::default()
    }

    /// The kind of a JPEG that is not decoded.
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
