//! Tells the kind of a file by its bytes.

use std::fmt;

use super::foreign::{self, Foreign};
use super::limits::image_error;
use crate::{Error, Result};

/// A kind of picture that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    Png,
    Jpeg,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        })
    }
}

impl FileFormat {
    /// The feature of this crate that reads it, and whether the crate was built with that.
    pub(super) fn feature(self) -> (&'static str, bool) {
        match self {
            Self::Png => ("png", cfg!(feature = "png")),
            Self::Jpeg => ("jpeg", cfg!(feature = "jpeg")),
            Self::WebP => ("webp", cfg!(feature = "webp")),
            Self::Gif => ("gif", cfg!(feature = "gif")),
            Self::Bmp => ("bmp", cfg!(feature = "bmp")),
            Self::Tiff => ("tiff", cfg!(feature = "tiff")),
        }
    }

    /// The kind that the first bytes tell; the error names what else it is, or the feature that would read it.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Result<Self> {
        let kind = Self::known(name, bytes)?;
        match kind.feature() {
            (_, true) => Ok(kind),
            (feature, false) => Err(Error::LeftOut { name: name.into(), what: kind.to_string(), feature }),
        }
    }

    fn known(name: &str, bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| {
            let read = "PNG, JPEG, WebP, GIF, BMP and TIFF are read";
            let reason = match foreign::name(bytes) {
                _ if bytes.is_empty() => "is empty: copy or download it again".into(),
                Some(Foreign { what, advice }) => format!("is {what}, which is not read: {advice} ({read})"),
                None => format!("is not a picture of a known kind; {read}"),
            };
            image_error(name, reason)
        })
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::WebP,
            // The second number is 43 in a BigTIFF.
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            // Two letters are too few to tell it from a text: the length of its header must be a known one.
            [b'B', b'M', rest @ ..]
                if rest.len() < 16
                    || matches!(rest[12..16], [12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0]) =>
            {
                Self::Bmp
            }
            _ => return None,
        })
    }
}

/// An error that names the format, too.
pub(super) fn of_kind(error: Error, kind: FileFormat) -> Error {
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
