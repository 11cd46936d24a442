//! A picture as an app has it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::decode::{decode_with, open_with};
use super::opened::{Opened, Options};
use super::pixels::{Pixels, open_pixels};
use super::{Note, RgbImage};
use crate::Result;

/// A picture as an app has it: what [`Session::add_image`](crate::Session::add_image) takes, `into` it.
///
/// Strings and paths name a file, bytes are those of a file.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ImageInput<'a> {
    /// A file, of any kind that [`decode`](super::decode) reads.
    File(&'a Path),
    /// The bytes of such a file.
    Encoded(&'a [u8]),
    /// Rows of pixels.
    Pixels(Pixels<'a>),
    /// Pixels of 3 bytes without gaps.
    Rgb(&'a RgbImage),
}

impl<'a> ImageInput<'a> {
    /// Its pixels, and what is to be known of it.
    ///
    /// # Errors
    ///
    /// As [`open_with`], [`decode_with`] or [`open_pixels`]; bytes go by the name "image".
    pub fn open(self, options: &Options) -> Result<(Cow<'a, RgbImage>, Vec<Note>)> {
        let Opened { pixels, notes } = match self {
            Self::Rgb(picture) => return Ok((Cow::Borrowed(picture), vec![])),
            Self::File(path) => open_with(path, options)?,
            Self::Encoded(bytes) => decode_with("image", bytes, options)?,
            Self::Pixels(pixels) => open_pixels(&pixels, options)?,
        };
        Ok((Cow::Owned(pixels), notes))
    }
}

impl<'a> From<&'a RgbImage> for ImageInput<'a> {
    fn from(picture: &'a RgbImage) -> Self {
        Self::Rgb(picture)
    }
}

impl<'a> From<&'a Opened> for ImageInput<'a> {
    fn from(opened: &'a Opened) -> Self {
        Self::Rgb(&opened.pixels)
    }
}

impl<'a> From<Pixels<'a>> for ImageInput<'a> {
    fn from(pixels: Pixels<'a>) -> Self {
        Self::Pixels(pixels)
    }
}

impl<'a> From<&'a Path> for ImageInput<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for ImageInput<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a str> for ImageInput<'a> {
    fn from(path: &'a str) -> Self {
        Self::File(path.as_ref())
    }
}

impl<'a> From<&'a String> for ImageInput<'a> {
    fn from(path: &'a String) -> Self {
        Self::File(path.as_ref())
    }
}

impl<'a> From<&'a [u8]> for ImageInput<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Encoded(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for ImageInput<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Encoded(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for ImageInput<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Encoded(bytes)
    }
}
