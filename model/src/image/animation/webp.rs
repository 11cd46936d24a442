//! Animated WebP, frame by frame, as libwebp's `WebPAnimDecoder` composes it, which is Pillow's.
//!
//! Each frame is given to the decoder as a picture of its own. The decoder's own composition (`image-webp` 0.2.4)
//! leaves frames standing that are disposed to the background.

use std::borrow::Cow;

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, RgbImage, RgbaImage};

use super::super::limits::{check_size, image_error, limits};
use super::super::opened::Decoded;
use super::super::still;
use super::compose::{Compose, Counted, Rect, bad_frame, zeroed};
use crate::{Error, Result};

/// Flags of the extended header.
const ANIMATION: u8 = 0x02;
const EXIF: u8 = 0x08;
const ALPHA: u8 = 0x10;
const XMP: u8 = 0x04;
const PROFILE: u8 = 0x20;

/// Header of the file, before its frames.
struct Header<'a> {
    flags: u8,
    width: usize,
    height: usize,
    chunks: Chunks<'a>,
}

impl<'a> Header<'a> {
    /// The header of an animation; none of a still picture.
    fn read(name: &str, bytes: &'a [u8]) -> Result<Option<Self>> {
        let (Some(b"VP8X"), Some(riff)) = (bytes.get(12..16), bytes.get(4..8)) else { return Ok(None) };
        let end = 8 + little_endian(riff) as usize;
        let whole = bytes.get(12..end);
        let mut chunks = Chunks(whole.unwrap_or(&bytes[12..]));
        let first = chunks.next_of(name)?.map(|(_, payload)| payload);
        let Some(&[flags, _, _, _, w0, w1, w2, h0, h1, h2]) = first.and_then(<[u8]>::first_chunk) else {
            return Err(damaged(name));
        };
        if flags & ANIMATION == 0 {
            return Ok(None);
        }
        if whole.is_none() {
            let reason = format!("is cut short: it has {} of {end} bytes; copy it again", bytes.len());
            return Err(image_error(name, reason));
        }
        let [width, height] = [[w0, w1, w2], [h0, h1, h2]].map(|side| 1 + little_endian(&side) as usize);
        check_size(name, (width as u32, height as u32))?;
        Ok(Some(Self { flags, width, height, chunks }))
    }
}

/// Counts the frames of an animation; none of a still picture.
pub(super) fn count(name: &str, bytes: &[u8]) -> Result<Option<Counted>> {
    let Some(Header { width, height, mut chunks, .. }) = Header::read(name, bytes)? else { return Ok(None) };
    let mut num_frames = 0;
    while let Some((kind, payload)) = chunks.next_of(name)? {
        if kind == b"ANMF" && Stored::read(name, payload)?.is_some() {
            num_frames += 1;
        }
    }
    Ok(Some(Counted { num_frames, size: (width as u32, height as u32) }))
}

/// Its frames; none of a still picture.
pub(super) fn compose<'a>(name: &'a str, bytes: &'a [u8]) -> Result<Option<Box<dyn Compose + 'a>>> {
    Ok(WebP::new(name, bytes)?.map(|frames| Box::new(frames) as _))
}

/// Decodes a picture without frames. As libwebp it does without parts that the header promises and that are missing.
pub(super) fn still(name: &str, bytes: &[u8]) -> Result<Decoded> {
    const FLAGS_AT: usize = 20;
    let mut bytes = Cow::Borrowed(bytes);
    if let (Some(b"VP8X"), Some(&flags)) = (bytes.get(12..16), bytes.get(FLAGS_AT)) {
        let mut missing = ALPHA | EXIF | XMP | PROFILE;
        let mut chunks = Chunks(&bytes[12..]);
        while let Ok(Some((kind, _))) = chunks.next_of(name) {
            missing &= !match kind {
                b"ALPH" | b"VP8L" => ALPHA,
                b"EXIF" => EXIF,
                b"XMP " => XMP,
                b"ICCP" => PROFILE,
                _ => 0,
            };
        }
        if flags & missing != 0 {
            bytes.to_mut()[FLAGS_AT] &= !missing;
        }
    }
    still::decode(name, &bytes, ImageFormat::WebP)
}

/// A frame as it is stored.
struct Stored<'a> {
    left: usize,
    top: usize,
    blend: bool,
    dispose: bool,
    alpha: Option<&'a [u8]>,
    lossless: bool,
    /// The bit stream.
    data: &'a [u8],
}

impl<'a> Stored<'a> {
    /// The frame of an `ANMF` chunk; none if there is no picture in it, which libwebp passes over.
    fn read(name: &str, payload: &'a [u8]) -> Result<Option<Self>> {
        let Some((&[x0, x1, x2, y0, y1, y2, .., flags], chunks)) = payload.split_first_chunk::<16>() else {
            return Err(damaged(name));
        };
        let [left, top] = [[x0, x1, x2], [y0, y1, y2]].map(|at| 2 * little_endian(&at) as usize);
        let (blend, dispose) = (flags & 2 == 0, flags & 1 != 0);
        let (mut alpha, mut chunks) = (None, Chunks(chunks));
        loop {
            match chunks.next_of(name)? {
                Some((b"ALPH", payload)) if alpha.is_none() => alpha = Some(payload),
                Some((kind @ (b"VP8 " | b"VP8L"), data)) => {
                    let lossless = kind == b"VP8L";
                    return Ok(Some(Self { left, top, blend, dispose, alpha, lossless, data }));
                }
                _ if alpha.is_none() => return Ok(None),
                _ => return Err(damaged(name)),
            }
        }
    }

    /// The frame as a file of its own.
    fn file(&self, name: &str) -> Result<Vec<u8>> {
        let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
        if let Some(alpha) = self.alpha {
            let Some(&[w0, w1, h0, h1]) = self.data.get(6..).and_then(<[u8]>::first_chunk) else {
                return Err(damaged(name));
            };
            // The upper two bits are a scale that nobody applies.
            let [width, height] =
                [[w0, w1], [h0, h1]].map(|side| u32::from(u16::from_le_bytes(side) & 0x3fff).wrapping_sub(1));
            let mut header = [0; 10];
            header[0] = ALPHA;
            header[4..7].copy_from_slice(&width.to_le_bytes()[..3]);
            header[7..10].copy_from_slice(&height.to_le_bytes()[..3]);
            push_chunk(&mut file, b"VP8X", &header);
            push_chunk(&mut file, b"ALPH", alpha);
        }
        push_chunk(&mut file, if self.lossless { b"VP8L" } else { b"VP8 " }, self.data);
        let len = (file.len() - 8) as u32;
        file[4..8].copy_from_slice(&len.to_le_bytes());
        Ok(file)
    }
}

/// The frame before the one at hand.
struct Earlier {
    rect: Rect,
    dispose: bool,
    /// Whether nothing was left of the frames before it.
    key: bool,
}

struct WebP<'a> {
    name: &'a str,
    chunks: Chunks<'a>,
    width: usize,
    height: usize,
    has_alpha: bool,
    orientation: Orientation,
    canvas: Vec<[u8; 4]>,
    earlier: Option<Earlier>,
    num_drawn: usize,
}

impl<'a> WebP<'a> {
    /// The frames of an animation; none of a still picture.
    fn new(name: &'a str, bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(header) = Header::read(name, bytes)? else { return Ok(None) };
        let Header { flags, width, height, chunks } = header;
        let mut orientation = Orientation::NoTransforms;
        let mut rest = Chunks(chunks.0);
        while flags & EXIF != 0
            && let Some((kind, payload)) = rest.next_of(name)?
        {
            if kind == b"EXIF" {
                orientation = Orientation::from_exif_chunk(payload).unwrap_or(orientation);
                break;
            }
        }
        Ok(Some(Self {
            name,
            chunks,
            width,
            height,
            has_alpha: flags & ALPHA != 0,
            orientation,
            canvas: zeroed(name, width * height)?,
            earlier: None,
            num_drawn: 0,
        }))
    }

    fn with_alpha(&self, pixels: Vec<[u8; 4]>) -> Decoded {
        let picture = RgbaImage::from_raw(self.width as u32, self.height as u32, pixels.into_flattened());
        let picture = picture.expect("as many pixels as the canvas").into();
        Decoded { picture, orientation: self.orientation }
    }

    /// Decodes a frame: whether it can have transparent areas, and its pixels.
    fn decode(&self, stored: &Stored) -> Result<(bool, RgbaImage)> {
        let file = stored.file(self.name)?;
        let unreadable = |error| bad_frame(self.name, self.num_drawn, format!("is damaged: {error}"));
        let mut decoder = WebPDecoder::new(std::io::Cursor::new(file.as_slice())).map_err(unreadable)?;
        let (width, height) = decoder.dimensions();
        if stored.left + width as usize > self.width || stored.top + height as usize > self.height {
            let reason = format!(
                "is {width} x {height} at {}, {}, which is not inside {} x {}",
                stored.left, stored.top, self.width, self.height
            );
            return Err(bad_frame(self.name, self.num_drawn, reason));
        }
        decoder.set_limits(limits()).map_err(unreadable)?;
        let has_alpha = decoder.color_type().has_alpha();
        Ok((has_alpha, DynamicImage::from_decoder(decoder).map_err(unreadable)?.into_rgba8()))
    }
}

impl Compose for WebP<'_> {
    fn advance(&mut self) -> Result<bool> {
        let stored = loop {
            match self.chunks.next_of(self.name)? {
                None => return Ok(false),
                Some((b"ANMF", payload)) => {
                    if let Some(stored) = Stored::read(self.name, payload)? {
                        break stored;
                    }
                }
                Some(_) => {}
            }
        };
        let (has_alpha, picture) = self.decode(&stored)?;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let rect = Rect { left: stored.left, top: stored.top, width, height };
        let full = |rect: &Rect| [rect.width, rect.height] == [self.width, self.height];

        let disposed = self.earlier.as_ref().filter(|earlier| earlier.dispose);
        let key = self.earlier.is_none()
            || (!has_alpha || !stored.blend) && full(&rect)
            || disposed.is_some_and(|earlier| full(&earlier.rect) || earlier.key);
        if key {
            self.canvas.fill([0; 4]);
        } else if let Some(earlier) = disposed {
            earlier.rect.rows(self.width).for_each(|row| self.canvas[row].fill([0; 4]));
        }
        // Where nothing is left to blend with, the frame stands as it is, its hidden colours too.
        let empty = disposed.map(|earlier| earlier.rect);
        let (pixels, _) = picture.as_raw().as_chunks::<4>();
        for (y, (row, pixels)) in rect.rows(self.width).zip(pixels.chunks_exact(width)).enumerate() {
            let empty = empty.filter(|empty| (empty.top..empty.bottom()).contains(&(rect.top + y)));
            let empty = empty.map_or(0..0, |empty| empty.left..empty.right());
            for (x, (under, &over)) in self.canvas[row].iter_mut().zip(pixels).enumerate() {
                let blended = stored.blend && !key && !empty.contains(&(rect.left + x));
                *under = if blended { blend(over, *under) } else { over };
            }
        }
        self.earlier = Some(Earlier { rect, dispose: stored.dispose, key });
        self.num_drawn += 1;
        Ok(true)
    }

    fn picture(&self) -> Result<Decoded> {
        if self.has_alpha {
            let mut pixels = zeroed(self.name, self.canvas.len())?;
            pixels.copy_from_slice(&self.canvas);
            return Ok(self.with_alpha(pixels));
        }
        let mut pixels = zeroed(self.name, self.canvas.len())?;
        for (pixel, &[r, g, b, _]) in pixels.iter_mut().zip(&self.canvas) {
            *pixel = [r, g, b];
        }
        let picture = RgbImage::from_raw(self.width as u32, self.height as u32, pixels.into_flattened());
        let picture = picture.expect("as many pixels as the canvas").into();
        Ok(Decoded { picture, orientation: self.orientation })
    }

    fn into_picture(mut self: Box<Self>) -> Result<Decoded> {
        if !self.has_alpha {
            return self.picture();
        }
        let pixels = std::mem::take(&mut self.canvas);
        Ok(self.with_alpha(pixels))
    }
}

/// libwebp's blending of colours that are not multiplied with their alpha, in its integers.
fn blend(over: [u8; 4], under: [u8; 4]) -> [u8; 4] {
    let (over_alpha, under_alpha) = (u32::from(over[3]), u32::from(under[3]));
    match over_alpha {
        0 => return under,
        255 => return over,
        _ => {}
    }
    let under_alpha = (under_alpha * (256 - over_alpha)) >> 8;
    let alpha = over_alpha + under_alpha;
    let scale = (1 << 24) / alpha;
    let channel = |i: usize| {
        let sum = u32::from(over[i]) * over_alpha + u32::from(under[i]) * under_alpha;
        (sum.wrapping_mul(scale) >> 24) as u8
    };
    [channel(0), channel(1), channel(2), alpha as u8]
}

/// Chunks of a RIFF file.
struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    fn next_of(&mut self, name: &str) -> Result<Option<(&'a [u8; 4], &'a [u8])>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let Some((kind, rest)) = self.0.split_first_chunk::<4>() else { return Err(damaged(name)) };
        let Some((len, rest)) = rest.split_first_chunk::<4>() else { return Err(damaged(name)) };
        let len = u32::from_le_bytes(*len) as usize;
        let Some(payload) = rest.get(..len) else { return Err(damaged(name)) };
        // Padded to an even length, at the end of a frame or a file perhaps not.
        self.0 = &rest[(len + len % 2).min(rest.len())..];
        Ok(Some((kind, payload)))
    }
}

fn push_chunk(file: &mut Vec<u8>, kind: &[u8; 4], payload: &[u8]) {
    file.extend_from_slice(kind);
    file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(payload);
    file.extend_from_slice(&[0][..payload.len() % 2]);
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn damaged(name: &str) -> Error {
    image_error(name, "is damaged: its chunks do not fit into each other".into())
}
