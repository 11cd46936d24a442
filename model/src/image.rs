//! Pictures: decoding to RGB as Pillow's `convert("RGB")`, and the vision tower's input from them.

mod absent;
mod animation;
#[cfg(feature = "bmp")]
mod bmp;
mod cmyk;
mod decode;
mod foreign;
mod guard;
mod input;
#[cfg(feature = "jpeg")]
mod jpeg;
mod kind;
mod limits;
mod opened;
mod pixels;
#[cfg(feature = "png")]
mod png_file;
mod preprocess;
mod rgb;
mod still;
#[cfg(feature = "tiff")]
mod tiff;

#[cfg(not(feature = "bmp"))]
use absent as bmp;
#[cfg(not(feature = "jpeg"))]
use absent as jpeg;
#[cfg(not(feature = "png"))]
use absent as png_file;
#[cfg(not(feature = "tiff"))]
use absent as tiff;

pub use animation::{
    Frames, MAX_DECODED_PIXELS, MAX_SAMPLED_PIXELS, frames, open_video, sample, sample_frames,
};
pub use decode::{decode, decode_with, dimensions, open, open_with};
pub use guard::num_decoder_panics;
pub use image::RgbImage;
pub use input::ImageInput;
pub(crate) use limits::check_size;
pub use limits::{MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE, read};
pub use opened::{Exif, Note, Opened, Options};
pub use pixels::{PixelOrder, Pixels, open_pixels};
pub(crate) use preprocess::values;
pub use preprocess::{Preprocess, normalize, preprocess, resize};

pub use crate::texture::preprocess_texture;

#[cfg(all(test, feature = "default"))]
mod tests;
