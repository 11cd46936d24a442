//! Pictures that an app has as rows of pixels.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage, RgbaImage};

use super::limits::{check_size, image_error};
use super::opened::{Decoded, Opened, Options};
use super::rgb;
use crate::Result;

/// The order of a pixel's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelOrder {
    /// Red, green, blue: 3 bytes.
    Rgb,
    /// Red, green, blue, alpha: 4 bytes.
    Rgba,
    /// Blue, green, red, alpha: 4 bytes, as screens and Windows have it.
    Bgra,
}

impl PixelOrder {
    /// Bytes of a pixel.
    pub fn num_bytes(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba | Self::Bgra => 4,
        }
    }
}

/// A picture in an app's memory: rows of pixels of 8 bits a colour, in sRGB, from the top.
///
/// Alpha is straight, not premultiplied. [`open_pixels`] treats it as that of a file: it is dropped without blending, as the
/// original does, unless [`Options::background`] names a colour that shows through.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// The rows, the last of which may end with its last pixel.
    pub bytes: &'a [u8],
    /// Pixels of a row.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// Bytes from the beginning of a row to that of the next: at least `width` pixels.
    pub stride: usize,
    /// The order of a pixel's bytes.
    pub order: PixelOrder,
}

impl<'a> Pixels<'a> {
    /// Rows that follow each other without a gap.
    pub fn packed(bytes: &'a [u8], [width, height]: [u32; 2], order: PixelOrder) -> Self {
        Self { bytes, width, height, stride: width as usize * order.num_bytes(), order }
    }
}

/// Makes a picture of rows of pixels. EXIF, of which there is none, turns nothing.
///
/// ```
/// use strix_model::image::{Options, PixelOrder, Pixels, open_pixels};
///
/// // Two rows of two pixels; a row takes 8 bytes, of which the last 2 are no pixel's.
/// let bytes = [255, 0, 0, 0, 255, 0, 9, 9, 0, 0, 255, 255, 255, 255, 9, 9];
/// let pixels = Pixels { bytes: &bytes, width: 2, height: 2, stride: 8, order: PixelOrder::Rgb };
/// let picture = open_pixels(&pixels, &Options::default())?.pixels;
/// assert_eq!(picture.get_pixel(0, 1).0, [0, 0, 255]);
/// # Ok::<(), strix_model::Error>(())
/// ```
///
/// # Errors
///
/// If a side is 0, `stride` is less than a row, there are fewer bytes than the rows take, or the picture exceeds
/// [`MAX_PIXELS`](super::MAX_PIXELS) or [`MAX_SIDE`](super::MAX_SIDE); [`Error::Image`](crate::Error::Image) of the name
/// "image".
pub fn open_pixels(pixels: &Pixels<'_>, options: &Options) -> Result<Opened> {
    let Pixels { bytes, width, height, stride, order } = *pixels;
    let wrong = |reason| image_error("image", reason);
    check_size("image", (width, height))?;
    let row_bytes = width as usize * order.num_bytes();
    if stride < row_bytes {
        return Err(wrong(format!(
            "has a stride of {stride} bytes, and a row of {width} pixels takes {row_bytes}"
        )));
    }
    let needed = stride.checked_mul(height as usize - 1).and_then(|rows| rows.checked_add(row_bytes));
    if needed.is_none_or(|needed| bytes.len() < needed) {
        let needed = needed.map_or("more than there can be".into(), |needed| needed.to_string());
        return Err(wrong(format!(
            "has {} bytes, and {height} rows of {width} pixels with a stride of {stride} take {needed}",
            bytes.len()
        )));
    }
    let rows = || bytes.chunks(stride).take(height as usize).map(|row| &row[..row_bytes]);
    let whole = "as many bytes as the size says";
    let picture: DynamicImage = match order {
        PixelOrder::Rgb => {
            RgbImage::from_raw(width, height, rows().flatten().copied().collect()).expect(whole).into()
        }
        PixelOrder::Rgba => {
            RgbaImage::from_raw(width, height, rows().flatten().copied().collect()).expect(whole).into()
        }
        PixelOrder::Bgra => {
            let turned =
                rows().flat_map(|row| row.as_chunks().0.iter().flat_map(|&[b, g, r, a]| [r, g, b, a]));
            RgbaImage::from_raw(width, height, turned.collect()).expect(whole).into()
        }
    };
    rgb::opened("image", Decoded { picture, orientation: Orientation::NoTransforms }, options)
}

#[cfg(test)]
mod tests {
    use super::super::Note;
    use super::*;

    fn open(pixels: Pixels<'_>, options: &Options) -> Result<Opened> {
        open_pixels(&pixels, options)
    }

    #[test]
    fn rows_with_a_gap_are_the_pixels_without_it() {
        let rgba: Vec<u8> = (0..2 * 3 * 4).map(|i| if i % 4 == 3 { 255 } else { i }).collect();
        let want: Vec<u8> = rgba.chunks(4).flat_map(|pixel| &pixel[..3]).copied().collect();
        let with_gap = |row_bytes: usize, gap: usize, bytes: &[u8]| -> Vec<u8> {
            bytes.chunks(row_bytes).flat_map(|row| [row, &vec![7; gap]].concat()).collect()
        };
        for gap in [0, 1, 5, 244] {
            for (order, bytes) in [
                (PixelOrder::Rgb, want.clone()),
                (PixelOrder::Rgba, rgba.clone()),
                (PixelOrder::Bgra, rgba.chunks(4).flat_map(|p| [p[2], p[1], p[0], p[3]]).collect()),
            ] {
                let row_bytes = 2 * order.num_bytes();
                let bytes = with_gap(row_bytes, gap, &bytes);
                // The gap behind the last row need not be there.
                let bytes = &bytes[..bytes.len() - gap];
                let pixels = Pixels { bytes, width: 2, height: 3, stride: row_bytes + gap, order };
                let opened = open(pixels, &Options::default()).unwrap();
                assert_eq!((opened.pixels.as_raw(), opened.notes.len()), (&want, 0), "{order:?} and {gap}");
            }
        }
    }

    #[test]
    fn alpha_is_that_of_a_file() {
        let pixels = Pixels::packed(&[10, 20, 30, 128, 1, 2, 3, 255], [2, 1], PixelOrder::Rgba);
        let dropped = open(pixels, &Options::default()).unwrap();
        assert_eq!(
            (&dropped.pixels.as_raw()[..3], dropped.notes),
            (&[10, 20, 30][..], vec![Note::Transparent])
        );
        let blended =
            open(pixels, &Options { background: Some([255, 0, 100]), ..Options::default() }).unwrap();
        assert_eq!(blended.pixels.as_raw()[..], [132, 10, 65, 1, 2, 3]);
    }

    #[test]
    fn rows_that_cannot_be_are_refused_with_the_numbers() {
        let bytes = [0; 24];
        let rgb = Pixels::packed(&bytes, [2, 4], PixelOrder::Rgb);
        assert!(open(rgb, &Options::default()).is_ok());
        for (pixels, words) in [
            (Pixels { height: 5, ..rgb }, "has 24 bytes, and 5 rows of 2 pixels with a stride of 6 take 30"),
            (Pixels { stride: 5, ..rgb }, "has a stride of 5 bytes, and a row of 2 pixels takes 6"),
            (Pixels { stride: usize::MAX, ..rgb }, "more than there can be"),
            (Pixels { width: 0, ..rgb }, "0 x 4"),
            (Pixels { height: 0, ..rgb }, "2 x 0"),
            (Pixels { width: 70_000, ..rgb }, "70000 x 4"),
        ] {
            let error = open(pixels, &Options::default()).unwrap_err().to_string();
            assert!(error.starts_with("image: ") && error.contains(words), "{words}: {error}");
        }
    }
}
