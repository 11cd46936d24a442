//! Reads a picture of any kind.

use std::path::Path;

use image::{ImageFormat, RgbImage};

use super::guard::guarded;
use super::kind::{FileFormat, of_kind};
use super::limits::{image_error, read};
use super::opened::{Decoded, Exif, Opened, Options};
use super::{animation, bmp, jpeg, png_file, rgb, still, tiff};
use crate::Result;

/// Reads and decodes a picture file. As [`decode`], with the file's path as name.
///
/// # Errors
///
/// If the file cannot be read, or as [`decode`].
pub fn open(path: &Path, exif: Exif) -> Result<RgbImage> {
    Ok(open_with(path, &Options { exif, ..Options::default() })?.pixels)
}

/// Reads and decodes a picture file. As [`decode_with`], with the file's path as name.
///
/// # Errors
///
/// As [`open`].
pub fn open_with(path: &Path, options: &Options) -> Result<Opened> {
    decode_with(&path.display().to_string(), &read(path)?, options)
}

/// Decodes a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF, to the pixels of Pillow's `convert("RGB")`.
///
/// Gray is replicated, palettes are expanded, CMYK is converted without a profile, and alpha is dropped without
/// blending. Of 16 bits a colour the upper 8 are kept; gray deeper than 8 bits is cut at 255. `name` is for error
/// messages. `PICTURES.md` says more of each format.
///
/// # Errors
///
/// If it is none of these, in a form that is not read, is damaged or cut short, is a single pixel (which the original
/// refuses too), or exceeds [`MAX_PIXELS`](super::MAX_PIXELS) or [`MAX_SIDE`](super::MAX_SIDE).
pub fn decode(name: &str, bytes: &[u8], exif: Exif) -> Result<RgbImage> {
    Ok(decode_with(name, bytes, &Options { exif, ..Options::default() })?.pixels)
}

/// As [`decode`], with what is to be known of the picture.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_with(name: &str, bytes: &[u8], options: &Options) -> Result<Opened> {
    rgb::opened(name, decode_still(name, bytes, FileFormat::of(name, bytes)?)?, options)
}

/// Width and height of a picture as its file says, without decoding it: before EXIF turns it. Of a GIF, those of its largest
/// frame.
///
/// # Errors
///
/// If it is of no kind that is read, or its header is damaged or cut short.
pub fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    let kind = FileFormat::of(name, bytes)?;
    let read = || match kind {
        FileFormat::Jpeg => jpeg::dimensions(name, bytes),
        FileFormat::Tiff => tiff::dimensions(name, bytes),
        FileFormat::Png => png_file::dimensions(name, bytes),
        FileFormat::Bmp => bmp::dimensions(name, bytes),
        FileFormat::Gif => animation::gif_dimensions(name, bytes),
        FileFormat::WebP => still::dimensions(name, bytes, ImageFormat::WebP),
    };
    guarded(name, kind, read).map_err(|error| of_kind(error, kind))
}

/// The one picture of a file, of an animation the first.
pub(super) fn decode_still(name: &str, bytes: &[u8], kind: FileFormat) -> Result<Decoded> {
    let decode = || match kind {
        FileFormat::Bmp => bmp::decode(name, bytes),
        FileFormat::Jpeg => jpeg::decode(name, bytes),
        FileFormat::Tiff => tiff::decode(name, bytes),
        FileFormat::Png | FileFormat::Gif | FileFormat::WebP => animation::first(name, bytes, kind),
    };
    guarded(name, kind, decode)
        .and_then(|decoded| match (decoded.picture.width(), decoded.picture.height()) {
            (1, 1) => Err(image_error(name, "is 1 x 1: there is nothing to see in one pixel".into())),
            _ => Ok(decoded),
        })
        .map_err(|error| of_kind(error, kind))
}
