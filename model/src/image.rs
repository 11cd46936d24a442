//! Pictures: decoding to RGB as Pillow's `convert("RGB")`, and the vision tower's input from them.

use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageFormat, ImageReader, Limits};

pub use image::RgbImage;

use crate::bicubic::{self, Filter};
use crate::config::PreprocessorConfig;
use crate::read::read_file;
use crate::{Error, Result};

/// Most pixels of a picture, refused before they are allocated: where Pillow sees a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// Longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 65_535;

/// Longest file of a picture or an animation, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Whether the orientation that cameras note in EXIF turns the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exif {
    /// Pixels as they are stored, as the original does.
    #[default]
    Ignore,
    /// Upright, as viewers show it.
    Honour,
}

/// How a picture of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preprocess {
    /// Stretched: the path of the original's README and of all its evaluations.
    #[default]
    Resize,
    /// Centred on a square of the mean colour: the original's command line.
    Pad,
    /// Its middle square: plain CLIP.
    Crop,
}

/// Reads and decodes a picture file. As [`decode`], with the file's path as name.
///
/// # Errors
///
/// If the file cannot be read, or as [`decode`].
pub fn open(path: &Path, exif: Exif) -> Result<RgbImage> {
    decode(&path.display().to_string(), &read(path)?, exif)
}

/// Reads a picture file, for [`decode`] or [`decode_frames`].
///
/// # Errors
///
/// If it cannot be read, is a folder, a device or a pipe, or is longer than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_file(path, MAX_FILE_BYTES)
}

/// Decodes a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF.
///
/// Gray is replicated, palettes are expanded, alpha is dropped without blending, and of 16 bits the upper 8 are
/// kept. `name` is for error messages.
///
/// # Errors
///
/// If it is none of these, is damaged or cut short, is a single pixel (which the original refuses too) or CMYK
/// (whose colours only its press's profile tells), or exceeds [`MAX_PIXELS`] or [`MAX_SIDE`].
pub fn decode(name: &str, bytes: &[u8], exif: Exif) -> Result<RgbImage> {
    let unreadable = |e| image_error(name, format!("{e}; is the file whole?"));
    let format = format(name, bytes)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    check_size(name, decoder.dimensions())?;
    if decoder.dimensions() == (1, 1) {
        return Err(image_error(name, "is 1 x 1: there is nothing to see in one pixel".into()));
    }
    if format == ImageFormat::Jpeg {
        let jpeg = JpegHeader::read(bytes);
        if jpeg.components == 4 {
            return Err(image_error(name, "is CMYK, made for printing: save it as RGB".into()));
        }
        if !jpeg.has_end {
            return Err(image_error(
                name,
                format!("is cut short after {} bytes; copy it again", bytes.len()),
            ));
        }
    }
    let orientation = match exif {
        Exif::Ignore => Orientation::NoTransforms,
        Exif::Honour => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    picture.apply_orientation(orientation);
    to_rgb(name, picture)
}

/// Frames of an animation, one after the other, each composed over those before it.
pub type FrameIter<'a> = Box<dyn Iterator<Item = Result<RgbImage>> + 'a>;

/// Decodes the frames of a GIF or WebP animation, one at a time; of a still picture, the only one.
///
/// # Errors
///
/// As [`decode`], of the file here and of a frame when it is reached; nothing follows a frame that failed.
pub fn decode_frames<'a>(name: &'a str, bytes: &'a [u8]) -> Result<FrameIter<'a>> {
    let unreadable = move |e| image_error(name, format!("{e}; is the file whole?"));
    let frames: Frames = match format(name, bytes)? {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(unreadable)?;
            check_size(name, decoder.dimensions())?;
            decoder.set_limits(limits()).map_err(unreadable)?;
            decoder.into_frames()
        }
        ImageFormat::WebP
            if WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|decoder| decoder.has_animation()) =>
        {
            let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(unreadable)?;
            check_size(name, decoder.dimensions())?;
            decoder.set_limits(limits()).map_err(unreadable)?;
            decoder.into_frames()
        }
        _ => return Ok(Box::new(std::iter::once(decode(name, bytes, Exif::Ignore)?).map(Ok))),
    };
    let mut failed = false;
    Ok(Box::new(frames.map_while(move |frame| {
        if failed {
            return None;
        }
        failed = frame.is_err();
        Some(frame.map_err(unreadable).and_then(|frame| to_rgb(name, frame.into_buffer().into())))
    })))
}

fn format(name: &str, bytes: &[u8]) -> Result<ImageFormat> {
    if bytes.is_empty() {
        return Err(image_error(name, "is empty".into()));
    }
    let known = "is not a picture of a known kind; PNG, JPEG, WebP, GIF, BMP and TIFF are read";
    image::guess_format(bytes).map_err(|_| image_error(name, known.into()))
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * 8); // four channels of 16 bits
    limits
}

fn check_size(name: &str, (width, height): (u32, u32)) -> Result<()> {
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

/// What the decoder does not say of a JPEG: it converts CMYK, and fills what is missing with grey.
struct JpegHeader {
    /// Channels of its frame: 1 gray, 3 colour, 4 CMYK.
    components: u8,
    /// Whether an end-of-image marker follows the header.
    has_end: bool,
}

impl JpegHeader {
    fn read(bytes: &[u8]) -> Self {
        // Segments up to the pixels are skipped: the preview among them has an end of its own.
        let (mut at, mut components) = (2, 0);
        while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            match marker {
                0xda => break,
                0xff => at += 1, // padding
                _ => {
                    // Start of frame; the others of this range are tables.
                    if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                        components = bytes.get(at + 9).copied().unwrap_or(0);
                    }
                    at += 2 + usize::from(u16::from_be_bytes([high, low]));
                }
            }
        }
        let has_end = bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]));
        Self { components, has_end }
    }
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

fn image_error(name: &str, reason: String) -> Error {
    Error::Image { name: name.into(), reason }
}

/// The vision tower's input: `[3, crop_size, crop_size]`, channels first, normalized.
///
/// Bit for bit what the original's `CLIPImageProcessor` on Pillow gives.
///
/// # Errors
///
/// As [`resize`].
pub fn preprocess(image: &RgbImage, mode: Preprocess, c: &PreprocessorConfig) -> Result<Vec<f32>> {
    Ok(normalize(&resize(image, mode, c)?, c))
}

/// The picture as the vision tower sees it: `crop_size` a side, 8 bits.
///
/// # Errors
///
/// If it has no pixels, or more than [`decode`] allows.
pub fn resize(image: &RgbImage, mode: Preprocess, c: &PreprocessorConfig) -> Result<RgbImage> {
    check_size("image", image.dimensions())?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let stored = |y: usize| &image.as_raw()[3 * width * y..][..3 * width];

    let (size, crop) = (c.size, c.crop_size);
    let middle = |len: usize| (len - crop) / 2..(len - crop) / 2 + crop;
    let side = width.max(height);
    let squared = |row: &(dyn Fn(usize, &mut [u8]) + Sync)| {
        bicubic::resize([side, side], row, [size, size], middle(size), middle(size))
    };
    let bytes = match mode {
        // Two resizes, each rounded to 8 bits: first to a square, and that to `size`.
        Preprocess::Resize if width < height => {
            let stretch = Filter::new(width, side, 0..side);
            squared(&|y, row| stretch.row(stored(y), row))
        }
        Preprocess::Resize if height < width => {
            let stretch = Filter::new(height, side, 0..side);
            squared(&|y, row| stretch.column(image, y, row))
        }
        Preprocess::Resize => squared(&|y, row| row.copy_from_slice(stored(y))),
        Preprocess::Pad => {
            let colour = c.image_mean.map(|mean| (mean * 255.0) as u8);
            let (left, top) = ((side - width) / 2, (side - height) / 2);
            squared(&|y, row| {
                row.as_chunks_mut().0.fill(colour);
                if (top..top + height).contains(&y) {
                    row[3 * left..][..3 * width].copy_from_slice(stored(y - top));
                }
            })
        }
        Preprocess::Crop => {
            let short = width.min(height);
            let to = [width, height].map(|len| size * len / short);
            let row = |y, row: &mut [u8]| row.copy_from_slice(stored(y));
            bicubic::resize([width, height], row, to, middle(to[0]), middle(to[1]))
        }
    };
    Ok(RgbImage::from_raw(crop as u32, crop as u32, bytes).expect("three bytes a pixel"))
}

/// `(pixel / 255 - mean) / std`, channels first: `[3, height, width]`.
pub fn normalize(image: &RgbImage, c: &PreprocessorConfig) -> Vec<f32> {
    let mut input = Vec::with_capacity(image.as_raw().len());
    for channel in 0..3 {
        let (mean, std) = (c.image_mean[channel] as f32, c.image_std[channel] as f32);
        // Scaled in f64, the rest in f32: the original's roundings.
        let values: Vec<f32> =
            (0..256).map(|v| ((f64::from(v) * (1.0 / 255.0)) as f32 - mean) / std).collect();
        input.extend(image.as_raw().iter().skip(channel).step_by(3).map(|&byte| values[usize::from(byte)]));
    }
    input
}

#[cfg(test)]
mod tests;
