//! A picture that was read, and how it was to be read.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

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

/// What a decoder made of a file.
pub(super) struct Decoded {
    pub(super) picture: DynamicImage,
    /// How EXIF says that it is turned upright.
    pub(super) orientation: Orientation,
}
