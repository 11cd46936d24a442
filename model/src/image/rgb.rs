//! Converts a decoder's pixels to RGB as Pillow's `convert("RGB")` does.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::limits::image_error;
use super::opened::{Decoded, Exif, Note, Opened, Options};
use crate::Result;

/// Turns and converts a decoded picture as the options ask, with notes for the user.
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

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, Rgba, RgbaImage};

    use super::*;

    fn open(picture: impl Into<DynamicImage>, orientation: Orientation, options: &Options) -> Opened {
        opened("x", Decoded { picture: picture.into(), orientation }, options).unwrap()
    }

    #[test]
    fn what_does_not_show_is_noted() {
        let still = Orientation::NoTransforms;
        let clear = RgbaImage::from_pixel(2, 1, Rgba([1, 2, 3, 254]));
        let opaque = RgbaImage::from_pixel(2, 1, Rgba([1, 2, 3, 255]));
        let options = Options::default();
        assert_eq!(open(clear.clone(), still, &options).notes, [Note::Transparent]);
        assert!(open(opaque.clone(), still, &options).notes.is_empty());
        assert_eq!(open(opaque.clone(), Orientation::Rotate90, &options).notes, [Note::Turned]);
        let upright = open(opaque, Orientation::Rotate90, &Options { exif: Exif::Honour, ..options });
        assert_eq!((upright.pixels.dimensions(), upright.notes.len()), ((1, 2), 0));
        let deep = |gray| ImageBuffer::<Luma<u16>, _>::from_raw(1, 1, vec![gray]).unwrap();
        let cut = open(deep(300), still, &options);
        assert_eq!((cut.pixels.as_raw()[0], cut.notes), (255, vec![Note::DeepGray]));
        assert!(open(deep(255), still, &options).notes.is_empty());
        assert!(open(clear, still, &Options { background: Some([0; 3]), ..options }).notes.is_empty());
    }

    // The same as `Image.new("RGBA", size, background).paste(picture, mask=picture)`.
    #[test]
    fn a_background_shows_through() {
        let pixels = vec![10, 20, 30, 0, 10, 20, 30, 255, 10, 20, 30, 128, 255, 0, 1, 1];
        let picture = RgbaImage::from_raw(4, 1, pixels).unwrap();
        let options = Options { background: Some([255, 0, 100]), ..Options::default() };
        let got = open(picture, Orientation::NoTransforms, &options).pixels;
        assert_eq!(got.as_raw()[..], [255, 0, 100, 10, 20, 30, 132, 10, 65, 255, 0, 100]);
    }
}
