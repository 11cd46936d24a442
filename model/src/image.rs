//! Pictures: decoding to RGB as Pillow's `convert("RGB")`, and the vision tower's input from them.

mod animation;
mod bmp;
mod cmyk;
mod foreign;
mod guard;
mod jpeg;
mod kind;
mod png_file;
mod preprocess;
mod rgb;
mod still;
mod tiff;

use std::io;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageError, ImageFormat, Limits};

pub use animation::{
    Frames, MAX_DECODED_PIXELS, MAX_SAMPLED_PIXELS, frames, open_video, sample, sample_frames,
};
pub use guard::num_decoder_panics;
pub use image::RgbImage;
pub use preprocess::{Preprocess, normalize, preprocess, resize};

use crate::read::read_file;
use crate::{Error, Result};
use guard::guarded;
use kind::Kind;

/// Most pixels of a picture, refused before they are allocated: where Pillow sees a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// Longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 65_535;

/// Longest file of a picture or an animation, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Whether the orientation that cameras note in EXIF turns the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exif {
    /// Pixels as they are stored, as the original does.
    #[default]
    Ignore,
    /// Upright, as viewers show it.
    Honour,
}

/// How a file becomes a picture. The default is what the original does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether EXIF turns it.
    pub exif: Exif,
    /// Colour that shows through where it is transparent; without one, alpha is dropped.
    pub background: Option<[u8; 3]>,
}

/// A picture, with what its user may want to know of it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its pixels.
    pub pixels: RgbImage,
    /// Each at most once.
    pub notes: Vec<Note>,
}

/// What a picture holds that does not show in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// It is transparent in places, and no [`background`](Options::background) was given: the colours that are hidden
    /// there show.
    Transparent,
    /// EXIF says that it is to be turned, and was [ignored](Exif::Ignore).
    Turned,
    /// Its gray has more than 8 bits, and values above 255, which are white, as Pillow has them.
    DeepGray,
}

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

/// Reads a picture file, for [`decode`], [`frames`] or [`sample`].
///
/// # Errors
///
/// If it cannot be read, is a folder, a device or a pipe, or is longer than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_file(path, MAX_FILE_BYTES)
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
/// refuses too), or exceeds [`MAX_PIXELS`] or [`MAX_SIDE`].
pub fn decode(name: &str, bytes: &[u8], exif: Exif) -> Result<RgbImage> {
    Ok(decode_with(name, bytes, &Options { exif, ..Options::default() })?.pixels)
}

/// As [`decode`], with what is to be known of the picture.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_with(name: &str, bytes: &[u8], options: &Options) -> Result<Opened> {
    rgb::opened(name, decode_still(name, bytes, Kind::of(name, bytes)?)?, options)
}

/// Width and height of a picture as its file says, without decoding it: before EXIF turns it. Of a GIF, those of its largest
/// frame.
///
/// # Errors
///
/// If it is of no kind that is read, or its header is damaged or cut short.
pub fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    let kind = Kind::of(name, bytes)?;
    let read = || match kind {
        Kind::Jpeg => jpeg::dimensions(name, bytes),
        Kind::Tiff => tiff::dimensions(name, bytes),
        Kind::Png => png_file::Header::read(name, bytes).map(|header| header.size()),
        Kind::Bmp => bmp::dimensions(name, bytes),
        Kind::Gif => animation::gif_dimensions(name, bytes),
        Kind::WebP => still::dimensions(name, bytes, ImageFormat::WebP),
    };
    guarded(name, kind, read).map_err(|error| of_kind(error, kind))
}

/// What a decoder made of a file.
struct Decoded {
    picture: DynamicImage,
    /// How EXIF says that it is turned upright.
    orientation: Orientation,
}

/// The one picture of a file, of an animation the first.
fn decode_still(name: &str, bytes: &[u8], kind: Kind) -> Result<Decoded> {
    let decode = || match kind {
        Kind::Bmp => bmp::decode(name, bytes),
        Kind::Jpeg => jpeg::decode(name, bytes),
        Kind::Tiff => tiff::decode(name, bytes),
        Kind::Png | Kind::Gif | Kind::WebP => animation::first(name, bytes, kind),
    };
    guarded(name, kind, decode)
        .and_then(|decoded| match (decoded.picture.width(), decoded.picture.height()) {
            (1, 1) => Err(image_error(name, "is 1 x 1: there is nothing to see in one pixel".into())),
            _ => Ok(decoded),
        })
        .map_err(|error| of_kind(error, kind))
}

/// An error that names the format, too.
fn of_kind(error: Error, kind: Kind) -> Error {
    match error {
        // What follows a colon is a decoder's own words.
        Error::Image { name, reason }
            if reason.split(':').next().is_some_and(|ours| !ours.contains(&kind.to_string())) =>
        {
            Error::Image { name, reason: format!("is a {kind} that {reason}") }
        }
        named => named,
    }
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8); // four channels of 16 bits
    limits
}

fn check_size(name: &str, (width, height): (u32, u32)) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    let reason = match () {
        () if pixels == 0 => format!("has no pixels: it is {width} x {height}"),
        () if pixels > MAX_PIXELS => {
            format!("is {width} x {height}, {pixels} pixels, above {MAX_PIXELS}: make it smaller")
        }
        () if width.max(height) > MAX_SIDE => {
            format!("is {width} x {height}, a side above {MAX_SIDE}: make it smaller")
        }
        () => return Ok(()),
    };
    Err(image_error(name, reason))
}

fn image_error(name: &str, reason: String) -> Error {
    Error::Image { name: name.into(), reason }
}

fn cut_short(name: &str, bytes: &[u8]) -> Error {
    let reason =
        format!("is cut short: it ends after {} bytes; is the file whole? copy it again", bytes.len());
    image_error(name, reason)
}

fn unreadable(name: &str) -> impl Fn(ImageError) -> Error {
    move |error| {
        let reason = match error {
            ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "is cut short; is the file whole? copy it again".into()
            }
            ImageError::Limits(_) => "needs more memory than a picture may: make it smaller".into(),
            error => format!("is damaged or of an unusual kind: {error}"),
        };
        image_error(name, reason)
    }
}

#[cfg(test)]
mod tests;
