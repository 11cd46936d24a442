//! Animations against Pillow's, the choice of their frames, and broken ones.

use std::fs;

use image::ImageFormat;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::{Exif, Note, Opened, Options, decode, decode_with, read};
use super::*;
use crate::Result;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/animations");

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn case(name: &str) -> Vec<u8> {
    fs::read(format!("{CASES}/{name}")).unwrap()
}

fn all(name: &str, bytes: &[u8]) -> Vec<Opened> {
    frames(name, bytes, &Options::default()).unwrap().collect::<Result<_>>().unwrap()
}

fn error<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// A GIF with a black and a white colour, whose frames are of one pixel each, white, at their number.
fn dots(width: u16, height: u16, num_frames: u16) -> Vec<u8> {
    let [[w0, w1], [h0, h1]] = [width, height].map(u16::to_le_bytes);
    let mut gif = b"GIF89a".to_vec();
    gif.extend([w0, w1, h0, h1, 0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
    for at in (0..num_frames).map(u16::to_le_bytes) {
        gif.extend([b',', at[0], at[1], 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x4c, 0x01, 0]);
    }
    gif.push(b';');
    gif
}

#[test]
fn frames_are_pillows() {
    let expected: Value = serde_json::from_slice(&case("expected.json")).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let bytes = case(name);
        let Some(hashes) = expected["frames_sha256"].as_array() else {
            assert!(decode(name, &bytes, Exif::Ignore).is_err(), "{name}");
            assert!(frames(name, &bytes, &Options::default()).is_err(), "{name}");
            continue;
        };
        let frames = all(name, &bytes);
        assert_eq!(frames.len(), hashes.len(), "{name}");
        for (i, (frame, hash)) in frames.iter().zip(hashes).enumerate() {
            assert_eq!(hex(frame.pixels.as_raw()), *hash, "{name}, frame {i}");
        }
        let first = decode(name, &bytes, Exif::Ignore).unwrap();
        assert_eq!(Value::from(vec![first.width(), first.height()]), expected["size"], "{name}");
        assert_eq!(hex(first.as_raw()), expected["sha256_rgb"], "{name}");
        // The last frame is given away where the others are copied.
        for (num_frames, frame) in [(1, frames.len() / 2), (frames.len(), frames.len() - 1)] {
            let sampled = sample(name, &bytes, num_frames, &Options::default()).unwrap();
            assert_eq!(sampled.last().unwrap().pixels, frames[frame].pixels, "{name}");
            assert_eq!(sampled.last().unwrap().notes, frames[frame].notes, "{name}");
        }
    }
}

#[test]
fn chosen_frames_are_those_of_all_frames() {
    let gif = dots(200, 3, 100);
    let frames = all("x.gif", &gif);
    for num_frames in [1, 2, 8, 100, 1000] {
        let chosen = sample_frames(100, num_frames).into_iter().map(|i| &frames[i].pixels);
        let sampled = sample("x.gif", &gif, num_frames, &Options::default()).unwrap();
        assert!(sampled.iter().map(|frame| &frame.pixels).eq(chosen), "{num_frames}");
    }
    assert!(sample("x.gif", &gif, 0, &Options::default()).unwrap().is_empty());
    // Where the white dots are.
    assert_eq!(frames[99].pixels.pixels().filter(|pixel| pixel.0 == [255; 3]).count(), 100);
}

#[test]
fn frames_behind_the_last_chosen_are_not_decoded() {
    let mut gif = dots(9, 3, 5);
    let codes = gif.len() - 4;
    assert_eq!(gif[codes..], [0x4c, 0x01, 0, b';']);
    gif[codes] = 0xff;
    assert_eq!(sample("x.gif", &gif, 1, &Options::default()).unwrap().len(), 1);
    let error = error(sample("x.gif", &gif, 2, &Options::default()));
    assert!(error.starts_with("x.gif: is a GIF that cannot be read from frame 4 on"), "{error}");
    // Those before it come, and nothing after it.
    let results: Vec<_> = frames("x.gif", &gif, &Options::default()).unwrap().map(|f| f.is_ok()).collect();
    assert_eq!(results, [true, true, true, true, false]);
}

#[test]
fn more_than_the_bounds_is_refused_with_the_numbers_before_it_is_decoded() {
    let gif = dots(65_535, 2_700, 30);
    let (decoded, sampled) = (
        error(sample("x.gif", &dots(65_535, 2_700, 100), 1, &Options::default())),
        error(sample("x.gif", &gif, 2, &Options::default())),
    );
    assert!(
        decoded.contains("65535 x 2700") && decoded.contains("51 of them decoded are 9024169500"),
        "{decoded}"
    );
    assert!(decoded.contains(&MAX_DECODED_PIXELS.to_string()), "{decoded}");
    assert!(
        sampled.contains("2 of them kept") && sampled.contains(&MAX_SAMPLED_PIXELS.to_string()),
        "{sampled}"
    );
    // A frame outside enlarges the canvas.
    let mut outside = dots(9, 3, 2);
    let right = outside.len() - 15;
    outside[right..][..4].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    for num_frames in [1, 2] {
        let error = error(sample("x.gif", &outside, num_frames, &Options::default()));
        assert!(error.contains("65536 x 65536"), "{error}");
    }
    assert!(decode("x.gif", &outside, Exif::Ignore).is_ok());
}

#[test]
fn a_file_without_frames_is_an_error_that_names_it() {
    let gif = dots(9, 3, 0);
    let webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x08\0\0\x02\0\0";
    for (name, bytes) in [("x.gif", gif.as_slice()), ("x.webp", webp)] {
        let message = error(sample(name, bytes, 8, &Options::default()));
        assert!(message.starts_with(name) && message.contains("no frames"), "{message}");
        assert_eq!(error(decode(name, bytes, Exif::Ignore)), message);
    }
}

#[test]
fn a_still_picture_is_a_video_of_one_frame() {
    let still = sample("x.gif", &dots(9, 3, 1), 8, &Options::default()).unwrap().remove(0).pixels;
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        still.write_to(&mut bytes, format).unwrap();
        let sampled = sample("x", bytes.get_ref(), 8, &Options::default()).unwrap();
        assert_eq!(sampled.len(), 1);
        assert_eq!(sampled[0].pixels, still);
    }
}

#[test]
fn exif_turns_every_frame() {
    let honour = Options { exif: Exif::Honour, ..Options::default() };
    for name in ["exif.webp", "exif.png"] {
        let bytes = case(name);
        let stored = all(name, &bytes);
        let turned = frames(name, &bytes, &honour).unwrap().collect::<Result<Vec<_>>>().unwrap();
        for (stored, turned) in stored.iter().zip(&turned) {
            assert!(stored.notes.contains(&Note::Turned) && !turned.notes.contains(&Note::Turned), "{name}");
            assert_eq!(image::imageops::rotate90(&stored.pixels), turned.pixels, "{name}");
        }
        assert_eq!(decode_with(name, &bytes, &honour).unwrap().pixels, turned[0].pixels);
    }
}

#[test]
fn a_background_shows_where_frames_are_transparent() {
    let options = Options { background: Some([1, 2, 3]), ..Options::default() };
    for name in
        ["transparent_first.gif", "blend.webp", "rgba_over.png", "disposal_background_transparent.gif"]
    {
        let bytes = case(name);
        for (i, frame) in frames(name, &bytes, &options).unwrap().enumerate() {
            let (with, without) = (frame.unwrap(), &all(name, &bytes)[i]);
            let transparent = without.notes.contains(&Note::Transparent);
            assert_eq!(transparent, with.pixels != without.pixels, "{name}, frame {i}");
            assert!(!with.notes.contains(&Note::Transparent), "{name}, frame {i}");
        }
        assert!(all(name, &bytes).iter().any(|frame| frame.notes.contains(&Note::Transparent)), "{name}");
    }
}

#[test]
fn a_cut_file_gives_the_frames_before_the_cut_or_an_error() {
    for name in ["local_palettes.gif", "gray.gif", "dispose.webp", "lossy_alpha.webp", "rgba_over.png"] {
        let bytes = case(name);
        let whole = all(name, &bytes);
        for end in 0..bytes.len() {
            let Ok(frames) = frames(name, &bytes[..end], &Options::default()) else { continue };
            for (frame, whole) in frames.map_while(Result::ok).zip(&whole) {
                assert_eq!(frame.pixels, whole.pixels, "{name} cut after {end}");
            }
        }
    }
}

#[test]
fn broken_files_are_pictures_or_errors() {
    for entry in fs::read_dir(CASES).unwrap() {
        let path = entry.unwrap().path();
        let Ok(whole) = read(&path) else { continue };
        for at in 0..whole.len().min(200) {
            for flip in [0x01, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                for result in [
                    decode("x", &bytes, Exif::Honour).map(drop),
                    sample("x", &bytes, 3, &Options::default()).map(drop),
                ] {
                    // A panic that was caught is one that happened.
                    let message = result.err().map(|error| error.to_string()).unwrap_or_default();
                    assert!(
                        !message.contains("broke off"),
                        "{}, byte {at} ^ {flip}: {message}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn frames_are_evenly_spaced_and_never_repeated() {
    assert_eq!(sample_frames(100, 8), [0, 14, 28, 42, 56, 70, 84, 99]);
    assert_eq!(sample_frames(9, 8), [0, 1, 2, 3, 4, 5, 6, 8]);
    assert_eq!(sample_frames(8, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(sample_frames(3, 8), [0, 1, 2]);
    assert_eq!(sample_frames(9, 1), [4]);
    assert_eq!(sample_frames(usize::MAX, 3), [0, usize::MAX / 2, usize::MAX - 1]);
    assert!(sample_frames(9, 0).is_empty() && sample_frames(0, 8).is_empty());
    for total in 1..60 {
        for samples in 1..12 {
            let frames = sample_frames(total, samples);
            assert_eq!(frames.len(), samples.min(total));
            assert!(frames.is_sorted_by(|a, b| a < b) && frames[frames.len() - 1] < total);
        }
    }
}
