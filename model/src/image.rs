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
use crate::{Error, Result};

/// Most pixels of a picture, refused before they are allocated: where Pillow sees a decompression bomb.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// Longest side of a picture, in pixels.
pub const MAX_SIDE: u32 = 65_535;

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
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
    decode(&path.display().to_string(), &bytes, exif)
}

/// Decodes a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF.
///
/// Gray is replicated, palettes are expanded, alpha is dropped without blending, and of 16 bits the upper 8 are
/// kept. `name` is for error messages.
///
/// # Errors
///
/// If it is none of these, is damaged or cut short, or exceeds [`MAX_PIXELS`] or [`MAX_SIDE`].
pub fn decode(name: &str, bytes: &[u8], exif: Exif) -> Result<RgbImage> {
    let unreadable = |e| image_error(name, format!("{e}; is the file whole?"));
    let format = format(name, bytes)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    check_size(name, decoder.dimensions())?;
    if format == ImageFormat::Jpeg && !has_jpeg_end(bytes) {
        return Err(image_error(name, format!("is cut short after {} bytes; copy it again", bytes.len())));
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

/// Whether an end-of-image marker follows the header. The decoder fills what is missing with grey and says nothing.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    // Segments up to the pixels are skipped: the preview among them has an end of its own.
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        match marker {
            0xda => break,
            0xff => at += 1, // padding
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    bytes.get(at..).is_some_and(|rest| rest.windows(2).any(|pair| pair == [0xff, 0xd9]))
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
mod tests {
    use super::*;
    use crate::Weights;
    use image::codecs::gif::GifEncoder;
    use image::{Frame, GrayImage, ImageBuffer, Luma, Rgba, RgbaImage};
    use serde_json::Value;
    use sha2::{Digest, Sha256};

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

    fn load(path: &str) -> RgbImage {
        open(format!("{GOLDEN}/{path}").as_ref(), Exif::Ignore).unwrap()
    }

    fn manifest() -> serde_json::Map<String, Value> {
        let json = std::fs::read(format!("{GOLDEN}/preproc/manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&json).unwrap();
        manifest["images"].as_object().unwrap().clone()
    }

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Pillow's pixels of a golden picture: of JPEGs, the copy that Pillow decoded.
    fn pillow(stem: &str, entry: &Value) -> RgbImage {
        let file = entry["file"].as_str().unwrap();
        let file = if file.ends_with("jpg") { &format!("{stem}.decoded.png") } else { file };
        load(&format!("preproc/images/{file}"))
    }

    #[test]
    fn decoded_pictures_are_pillows() {
        for (stem, entry) in manifest() {
            assert_eq!(hex(pillow(&stem, &entry).as_raw()), entry["decoded_rgb_sha256"], "{stem}");
        }
    }

    // libjpeg and the decoder here round the inverse cosine transform and the chroma differently; on the last row of
    // one picture, where chroma is extrapolated, by 6 levels.
    #[test]
    fn decoded_jpegs_differ_from_pillows_by_little() {
        for (stem, entry) in manifest() {
            let file = entry["file"].as_str().unwrap();
            if file.ends_with("jpg") {
                let (got, want) = (load(&format!("preproc/images/{file}")), pillow(&stem, &entry));
                let levels = || got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b));
                let mean = levels().map(f64::from).sum::<f64>() / want.len() as f64;
                let worst = levels().max().unwrap();
                println!(
                    "{file}: mean {mean:.4}, worst {worst}, above 2: {}",
                    levels().filter(|&d| d > 2).count()
                );
                assert!(worst <= 6 && mean < 0.35, "{file}: mean {mean}, worst {worst} levels");
            }
        }
    }

    #[test]
    fn inputs_are_the_originals_bit_for_bit() {
        let stored = Weights::open(format!("{GOLDEN}/preproc/preproc.safetensors").as_ref()).unwrap();
        let mut checked = 0;
        for (stem, entry) in manifest() {
            // The original takes a picture of 3 pixels for one of 3 channels, and turns it over.
            if stem.starts_with("three") {
                continue;
            }
            let picture = pillow(&stem, &entry);
            for (mode, path) in [(Preprocess::Resize, "resize"), (Preprocess::Pad, "pad")] {
                for size in [448, 56] {
                    let case = format!("{path}{size}");
                    let Some(sha) = entry[&case].get("f32_le_sha256") else { continue };
                    let config = PreprocessorConfig::new(size);
                    let got = resize(&picture, mode, &config).unwrap();
                    if size == 448 {
                        let png = entry[&case]["u8_png"].as_str().unwrap();
                        assert_eq!(got, load(&format!("preproc/{png}")), "{stem} {case}");
                    } else {
                        let planes = stored.get(&format!("{stem}/{case}.u8")).unwrap().bytes;
                        let got_planes: Vec<u8> =
                            (0..3).flat_map(|c| got.iter().skip(c).step_by(3).copied()).collect();
                        assert_eq!(got_planes, planes, "{stem} {case}");
                        let want = stored.get(&format!("{stem}/{case}")).unwrap().to_f32().unwrap();
                        assert!(normalize(&got, &config) == want, "{stem} {case}");
                    }
                    let input = preprocess(&picture, mode, &config).unwrap();
                    assert_eq!(hex(bytemuck::cast_slice::<f32, u8>(&input)), *sha, "{stem} {case}");
                    checked += 1;
                }
            }
        }
        assert_eq!(checked, 34);
    }

    #[test]
    fn the_crop_is_the_middle_of_the_resized_picture() {
        let picture = load("preproc/images/tall_300x500.png");
        let config = PreprocessorConfig::new(56);
        let got = resize(&picture, Preprocess::Crop, &config).unwrap();

        // transformers 4.31: 56 x int(56 * 500 / 300) = 93, then 18 rows off the top.
        let row = |y: usize, row: &mut [u8]| row.copy_from_slice(&picture.as_raw()[900 * y..][..900]);
        let whole = bicubic::resize([300, 500], row, [56, 93], 0..56, 0..93);
        assert_eq!(got.as_raw()[..], whole[3 * 56 * 18..][..3 * 56 * 56]);
    }

    #[test]
    fn any_shape_becomes_a_full_input() {
        let config = PreprocessorConfig::new(56);
        for (width, height) in [(1, 1), (3, 3), (3, 2), (1, 3000), (3000, 1), (56, 56)] {
            let picture = RgbImage::from_pixel(width, height, image::Rgb([9, 99, 199]));
            for mode in [Preprocess::Resize, Preprocess::Crop] {
                let got = resize(&picture, mode, &config).unwrap();
                assert!(got.pixels().all(|pixel| pixel.0 == [9, 99, 199]), "{width} x {height} {mode:?}");
            }
            assert_eq!(preprocess(&picture, Preprocess::Pad, &config).unwrap().len(), 3 * 56 * 56);
        }
        let error = resize(&RgbImage::new(0, 7), Preprocess::Resize, &config).unwrap_err().to_string();
        assert!(error.contains("0 x 7"), "{error}");
    }

    #[test]
    fn padding_is_wider_after_the_picture_by_an_odd_pixel() {
        for (width, height) in [(2, 5), (5, 2)] {
            let picture = RgbImage::from_pixel(width, height, image::Rgb([1, 2, 3]));
            let got = resize(&picture, Preprocess::Pad, &PreprocessorConfig::new(5)).unwrap();
            for (x, y, pixel) in got.enumerate_pixels() {
                let inside = if width < height { (1..3).contains(&x) } else { (1..3).contains(&y) };
                assert_eq!(
                    pixel.0,
                    if inside { [1, 2, 3] } else { [122, 116, 104] },
                    "{width} x {height} at {x}, {y}"
                );
            }
        }
    }

    #[test]
    fn a_larger_size_than_crop_loses_its_borders() {
        let picture = load("preproc/images/square_448.png");
        let config = PreprocessorConfig { size: 448, ..PreprocessorConfig::new(112) };
        let got = resize(&picture, Preprocess::Resize, &config).unwrap();
        assert_eq!(got.get_pixel(0, 5), picture.get_pixel(168, 173));
    }

    #[test]
    fn alpha_is_dropped_and_sixteen_bits_are_cut() {
        let rgba = RgbaImage::from_pixel(2, 1, Rgba([1, 2, 3, 0]));
        let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_raw(2, 1, vec![0x12ff, 0xff00]).unwrap();
        let gray = GrayImage::from_raw(2, 1, vec![7, 8]).unwrap();
        for (picture, want) in [
            (DynamicImage::from(rgba), [1, 2, 3, 1, 2, 3]),
            (deep.into(), [0x12, 0x12, 0x12, 0xff, 0xff, 0xff]),
            (gray.into(), [7, 7, 7, 8, 8, 8]),
        ] {
            let got = decode("x.png", &encode(&picture, ImageFormat::Png), Exif::Ignore).unwrap();
            assert_eq!(got.as_raw()[..], want);
        }
    }

    #[test]
    fn every_lossless_format_gives_the_same_pixels() {
        let picture = load("preproc/images/tiny_5x4.png");
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            let bytes = encode(&picture.clone().into(), format);
            assert_eq!(decode("x", &bytes, Exif::Ignore).unwrap(), picture, "{format:?}");
        }
    }

    #[test]
    fn cmyk_jpegs_are_converted_as_pillow_does() {
        let (got, want) = (load("decode/cmyk_32x24.jpg"), load("decode/cmyk_32x24.pillow.png"));
        let worst = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 3, "{worst} levels");
    }

    #[test]
    fn exif_turns_the_picture_only_when_asked() {
        let path = format!("{GOLDEN}/decode/exif6_32x24.jpg");
        let stored = open(path.as_ref(), Exif::Ignore).unwrap();
        let upright = open(path.as_ref(), Exif::Honour).unwrap();
        assert_eq!((stored.dimensions(), upright.dimensions()), ((32, 24), (24, 32)));
        assert_eq!(stored.get_pixel(0, 0), upright.get_pixel(23, 0)); // a quarter turn clockwise
    }

    #[test]
    fn frames_of_a_gif_come_one_by_one() {
        let mut bytes = Vec::new();
        let colours = [[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255]];
        let frames = colours.map(|colour| Frame::new(RgbaImage::from_pixel(4, 3, Rgba(colour))));
        GifEncoder::new(&mut bytes).encode_frames(frames).unwrap();

        let frames: Vec<RgbImage> = decode_frames("x.gif", &bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(frames.len(), 3);
        for (frame, colour) in frames.iter().zip(colours) {
            assert!(frame.pixels().all(|pixel| pixel.0 == colour[..3]));
        }
        assert_eq!(decode("x.gif", &bytes, Exif::Ignore).unwrap(), frames[0]);
        let png = encode(&frames[0].clone().into(), ImageFormat::Png);
        assert_eq!(decode_frames("x.png", &png).unwrap().count(), 1);
        for end in 0..bytes.len() {
            if let Ok(frames) = decode_frames("x.gif", &bytes[..end]) {
                assert!(frames.count() <= 4);
            }
        }
    }

    #[test]
    fn a_picture_that_would_not_fit_is_refused_with_its_size() {
        // The header of a PNG with other sizes; its checksum is the CRC-32 of type and data.
        let mut png = encode(&RgbImage::new(1, 1).into(), ImageFormat::Png);
        for (width, height, words) in [
            (20_000u32, 20_000u32, "is 20000 x 20000, 400000000 pixels, above 178956970"),
            (100_000, 2, "a side above 65535"),
        ] {
            png[16..20].copy_from_slice(&width.to_be_bytes());
            png[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&crc.to_be_bytes());
            let error = decode("big.png", &png, Exif::Ignore).unwrap_err().to_string();
            assert!(error.starts_with("big.png: ") && error.contains(words), "{error}");
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn what_is_no_picture_is_named() {
        for bytes in [&b""[..], b"hello", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0"] {
            let error = decode("cat.png", bytes, Exif::Ignore).unwrap_err().to_string();
            assert!(error.starts_with("cat.png: "), "{error}");
        }
        assert!(decode("x", b"", Exif::Ignore).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn pictures_cut_short_are_errors() {
        for path in ["preproc/images/tiny_5x4.png", "preproc/images/la_50x70.png", "decode/cmyk_32x24.jpg"] {
            let whole = std::fs::read(format!("{GOLDEN}/{path}")).unwrap();
            // The last bytes of a PNG are its end chunk, whose lack loses nothing.
            for end in 0..whole.len() - 16 {
                assert!(
                    decode(path, &whole[..end], Exif::Honour).is_err(),
                    "{path} at {end} of {}",
                    whole.len()
                );
            }
        }
    }

    #[test]
    fn mutated_pictures_do_not_panic() {
        let picture = load("preproc/images/tiny_5x4.png");
        let mut files: Vec<Vec<u8>> =
            [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Gif]
                .iter()
                .map(|&format| encode(&picture.clone().into(), format))
                .collect();
        files.push(std::fs::read(format!("{GOLDEN}/decode/cmyk_32x24.jpg")).unwrap());
        for whole in files {
            for at in 0..whole.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= flip;
                    let _ = decode("x", &bytes, Exif::Honour);
                    let _ = decode_frames("x", &bytes).map(|frames| frames.take(5).count());
                }
            }
        }
    }
}
