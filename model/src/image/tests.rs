//! Pictures against Pillow's, and broken ones.

use std::io::Cursor;

use super::*;
use crate::config::PreprocessorConfig;
use crate::{Weights, bicubic};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, GrayImage, ImageBuffer, ImageFormat, Luma, Rgba, RgbaImage};
use serde_json::Value;
use sha2::{Digest, Sha256};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");

fn load(path: &str) -> RgbImage {
    open(format!("{GOLDEN}/{path}").as_ref(), Exif::Ignore).unwrap()
}

/// The bytes of a golden file.
pub(super) fn picture_bytes(path: &str) -> Vec<u8> {
    std::fs::read(format!("{GOLDEN}/{path}")).unwrap()
}

/// The golden pictures, without the single pixel.
fn manifest() -> serde_json::Map<String, Value> {
    let json = std::fs::read(format!("{GOLDEN}/preproc/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&json).unwrap();
    let mut pictures = manifest["images"].as_object().unwrap().clone();
    pictures.remove("one_1x1").unwrap();
    pictures
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

// Pillow decodes with libjpeg-turbo. The copies that it decoded have the same bits.
#[test]
fn decoded_jpegs_are_pillows() {
    for (stem, entry) in manifest() {
        let file = entry["file"].as_str().unwrap();
        if file.ends_with("jpg") {
            assert_eq!(load(&format!("preproc/images/{file}")), pillow(&stem, &entry), "{file}");
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
                    let planes = stored.get(&format!("{stem}/{case}.u8")).unwrap().contiguous().unwrap();
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
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_raw(2, 1, vec![0x0012, 0xff00]).unwrap();
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
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
        let bytes = encode(&picture.clone().into(), format);
        assert_eq!(decode("x", &bytes, Exif::Ignore).unwrap(), picture, "{format:?}");
    }
}

#[test]
fn dimensions_are_those_of_the_picture() {
    for path in ["preproc/images/tiny_5x4.png", "decode/cmyk_32x24.jpg", "decode/exif6_32x24.jpg"] {
        let size = dimensions(path, &picture_bytes(path)).unwrap();
        assert_eq!(size, load(path).dimensions(), "{path}");
    }
    assert!(dimensions("x.png", b"hello").is_err());
}

#[test]
fn a_single_pixel_is_refused() {
    let path = format!("{GOLDEN}/preproc/images/one_1x1.png");
    let error = open(path.as_ref(), Exif::Ignore).unwrap_err().to_string();
    assert!(error.contains(&path) && error.contains("1 x 1"), "{error}");
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

    let frames: Vec<_> =
        super::frames("x.gif", &bytes, &Options::default()).unwrap().map(|f| f.unwrap().pixels).collect();
    assert_eq!(frames.len(), 3);
    for (frame, colour) in frames.iter().zip(colours) {
        assert!(frame.pixels().all(|pixel| pixel.0 == colour[..3]));
    }
    assert_eq!(decode("x.gif", &bytes, Exif::Ignore).unwrap(), frames[0]);
    let png = encode(&frames[0].clone().into(), ImageFormat::Png);
    assert_eq!(super::frames("x.png", &png, &Options::default()).unwrap().count(), 1);
    for end in 0..bytes.len() {
        if let Ok(frames) = super::frames("x.gif", &bytes[..end], &Options::default()) {
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
        // The last bytes of a PNG are sums and its end chunk, whose lack loses nothing.
        for end in 0..whole.len() - 24 {
            assert!(decode(path, &whole[..end], Exif::Honour).is_err(), "{path} at {end} of {}", whole.len());
        }
    }
}

#[test]
fn mutated_pictures_do_not_panic() {
    let picture = load("preproc/images/tiny_5x4.png");
    let mut files: Vec<Vec<u8>> = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif]
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
                let _ = super::frames("x", &bytes, &Options::default()).map(|frames| frames.take(5).count());
            }
        }
    }
}

/// A picture that a review made up.
fn made(file: &str) -> Vec<u8> {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/issue_13_made");
    std::fs::read(format!("{cases}/{file}")).unwrap()
}

// The others of that folder have Pillow's pixels, as `pictures_are_pillows_or_refused_by_what_they_are` finds.
#[test]
fn what_pillow_makes_noise_of_is_refused_by_what_it_is() {
    for (file, words) in [
        ("tiff_rgba_16_in_planes.tif", "RGB in uncompressed planes of 16 bits"),
        ("tiff_cmyk_16_in_planes.tif", "CMYK in uncompressed planes of 16 bits"),
        ("tiff_negative_in_planes.tif", "gray in uncompressed planes of 8 bits"),
        ("tiff_gray_on_its_side.tif", "uncompressed TIFF that is to be turned on its side"),
        ("tiff_shared_chroma.tif", "uncompressed YCbCr whose pixels share chroma"),
        ("png_without_palette.png", "PNG that has a palette of 0 colours"),
        ("png_palette_behind.png", "PNG that has a palette of 0 colours"),
        ("png_of_an_iphone.png", "PNG in Apple's own form"),
    ] {
        let error = decode(file, &made(file), Exif::Ignore).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
