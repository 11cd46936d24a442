//! The largest pictures that are read, and errors of pictures.

use std::io;
use std::path::Path;

use image::{ImageError, Limits};

use crate::read::read_file;
use crate::{Error, Result};

/// Most pixels of a picture, refused before they are allocated: where Pillow sees a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// Longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 65_535;

/// Longest file of a picture or an animation, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Reads a picture file, for [`decode`](super::decode), [`frames`](super::frames) or [`sample`](super::sample).
///
/// # Errors
///
/// If it cannot be read, is a folder, a device or a pipe, or is longer than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_file(path, MAX_FILE_BYTES)
}

pub(super) fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8); // four channels of 16 bits
    limits
}

pub(crate) fn check_size(name: &str, (width, height): (u32, u32)) -> Result<()> {
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

pub(super) fn image_error(name: &str, reason: String) -> Error {
    Error::Image { name: name.into(), reason }
}

pub(super) fn cut_short(name: &str, bytes: &[u8]) -> Error {
    let reason =
        format!("is cut short: it ends after {} bytes; is the file whole? copy it again", bytes.len());
    image_error(name, reason)
}

pub(super) fn unreadable(name: &str) -> impl Fn(ImageError) -> Error {
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
