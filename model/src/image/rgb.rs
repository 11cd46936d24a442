//! From a decoder's pixels to RGB, as Pillow's `convert("RGB")`.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::{Decoded, Exif, Note, Opened, Options, image_error};
use crate::Result;

/// What a decoder made, turned and converted as the options say, with what is to be known of it.
pub(super) fn opened(name: &str, decoded: Decoded, options: &Options) -> Result<Opened> {
    let Decoded { mut picture, orientation } = decoded;
    let mut notes = vec![];
    match options.exif {
        Exif::Honour => picture.apply_orientation(orientation),
        Exif::Ignore if orientation != Orientation::NoTransforms => notes.push(Note::Turned),
        Exif::Ignore => (),
    }
    let pixels = to_rgb(name, picture, options.background, &mut notes)?;
    Ok(Opened { pixels, notes })
}

fn to_rgb(
    name: &str,
    picture: DynamicImage,
    background: Option<[u8; 3]>,
    notes: &mut Vec<Note>,
) -> Result<RgbImage> {
    let (width, height) = (picture.width(), picture.height());
    let high = |words: Vec<u16>| words.into_iter().map(|word| (word >> 8) as u8).collect();
    let (bytes, channels): (Vec<u8>, usize) = match picture {
        DynamicImage::ImageLuma8(p) => (p.into_raw(), 1),
        DynamicImage::ImageLumaA8(p) => (p.into_raw(), 2),
        DynamicImage::ImageRgb8(p) => (p.into_raw(), 3),
        DynamicImage::ImageRgba8(p) => (p.into_raw(), 4),
        DynamicImage::ImageLuma16(p) => {
            let words = p.into_raw();
            if words.iter().any(|&word| word > 255) {
                notes.push(Note::DeepGray);
            }
            (words.into_iter().map(|word| word.min(255) as u8).collect(), 1)
        }
        DynamicImage::ImageLumaA16(p) => (high(p.into_raw()), 2),
        DynamicImage::ImageRgb16(p) => (high(p.into_raw()), 3),
        DynamicImage::ImageRgba16(p) => (high(p.into_raw()), 4),
        other => {
            let reason =
                format!("has pixels of {:?}, which are not read: save it as an 8-bit PNG", other.color());
            return Err(image_error(name, reason));
        }
    };
    if background.is_none() && matches!(channels, 2 | 4) {
        let transparent = bytes.chunks_exact(channels).any(|pixel| pixel[channels - 1] < 255);
        notes.extend(transparent.then_some(Note::Transparent));
    }
    let over = |colour: u8, alpha: u8, part: usize| match background {
        None => colour,
        Some(below) => blend(colour, below[part], alpha),
    };
    let rgb = match channels {
        1 => bytes.into_iter().flat_map(|gray| [gray; 3]).collect(),
        2 => bytes
            .as_chunks()
            .0
            .iter()
            .flat_map(|&[gray, alpha]| [0, 1, 2].map(|i| over(gray, alpha, i)))
            .collect(),
        4 => {
            let pixels = bytes.as_chunks().0.iter();
            pixels
                .flat_map(|&[r, g, b, alpha]| [over(r, alpha, 0), over(g, alpha, 1), over(b, alpha, 2)])
                .collect()
        }
        _ => bytes,
    };
    Ok(RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel"))
}

/// A colour over another, rounded as Pillow's `paste` with a mask does.
fn blend(above: u8, below: u8, alpha: u8) -> u8 {
    let [above, below, alpha] = [above, below, alpha].map(u32::from);
    let sum = above * alpha + below * (255 - alpha) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}
