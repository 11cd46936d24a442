//! What the bytes of a file are.

use super::image_error;
use crate::Result;

/// A kind of picture that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Kind {
    /// The kind that the first bytes tell.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        use image::ImageFormat;
        if bytes.is_empty() {
            return Err(image_error(name, "is empty".into()));
        }
        if matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) {
            return Ok(Self::Tiff);
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            Ok(ImageFormat::Gif) => Ok(Self::Gif),
            Ok(ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(ImageFormat::Tiff) => Ok(Self::Tiff),
            _ => {
                let known = "is not a picture of a known kind; PNG, JPEG, WebP, GIF, BMP and TIFF are read";
                Err(image_error(name, known.into()))
            }
        }
    }
}
