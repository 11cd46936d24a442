//! From a decoder's pixels to RGB, as Pillow's `convert("RGB")`.

use image::{DynamicImage, RgbImage};

use super::{Decoded, Exif, Options, image_error};
use crate::Result;

/// What a decoder made, turned and converted as the options say.
pub(super) fn finish(name: &str, decoded: Decoded, options: &Options) -> Result<RgbImage> {
    let Decoded { mut picture, orientation } = decoded;
    if options.exif == Exif::Honour {
        picture.apply_orientation(orientation);
    }
    to_rgb(name, picture)
}

fn to_rgb(name: &str, picture: DynamicImage) -> Result<RgbImage> {
    let (width, height) = (picture.width(), picture.height());
    let high = |words: Vec<u16>| words.into_iter().map(|word| (word >> 8) as u8).collect();
    let (bytes, channels): (Vec<u8>, usize) = match picture {
        DynamicImage::ImageLuma8(p) => (p.into_raw(), 1),
        DynamicImage::ImageLumaA8(p) => (p.into_raw(), 2),
        DynamicImage::ImageRgb8(p) => (p.into_raw(), 3),
        DynamicImage::ImageRgba8(p) => (p.into_raw(), 4),
        DynamicImage::ImageLuma16(p) => (high(p.into_raw()), 1),
        DynamicImage::ImageLumaA16(p) => (high(p.into_raw()), 2),
        DynamicImage::ImageRgb16(p) => (high(p.into_raw()), 3),
        DynamicImage::ImageRgba16(p) => (high(p.into_raw()), 4),
        other => {
            let reason =
                format!("has pixels of {:?}, which are not read: save it as an 8-bit PNG", other.color());
            return Err(image_error(name, reason));
        }
    };
    let rgb = match channels {
        1 | 2 => bytes.chunks_exact(channels).flat_map(|p| [p[0]; 3]).collect(),
        4 => bytes.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        _ => bytes,
    };
    Ok(RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel"))
}
