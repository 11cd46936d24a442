//! APNG, frame by frame, as Pillow's `PngImagePlugin` composes it.
//!
//! Pillow composes what is stored, palette indices too, and so does this.

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, RgbImage, RgbaImage};
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::super::limits::{MAX_PIXELS, check_size, image_error};
use super::super::opened::Decoded;
use super::super::png_file;
use super::compose::{Compose, Counted, Rect, bad_frame, zeroed};
use crate::{Error, Result};

/// Disposal of a frame's area before the next frame is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dispose {
    Keep,
    Background,
    Previous,
}

/// Position and blending of a frame.
#[derive(Clone, Copy)]
struct Control {
    rect: Rect,
    dispose: Dispose,
    /// Drawn over what is there, or in its place.
    over: bool,
}

/// A walk over the chunks.
struct Chunks<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Chunks<'a> {
    /// The next chunk, kind and content; none at the end of the file.
    fn next(&mut self) -> Result<Option<(&'a [u8; 4], &'a [u8])>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let cut = || {
            let reason = format!("is cut short after {} bytes; copy it again", self.bytes.len());
            image_error(self.name, reason)
        };
        let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (kind, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let len = u32::from_be_bytes(*len) as usize;
        let content = rest.get(..len).ok_or_else(cut)?;
        // Pillow does not check the sums of pixel chunks. The last chunk's sum may be missing.
        self.at = (self.at + 12 + len).min(self.bytes.len());
        Ok(Some((kind, content)))
    }
}

/// Chunks before the pixels.
struct Header<'a> {
    chunks: Chunks<'a>,
    /// `IHDR`: size, depth, colours, interlacing.
    ihdr: &'a [u8; 13],
    palette: Option<&'a [u8]>,
    transparency: Option<&'a [u8]>,
    orientation: Orientation,
    num_frames: usize,
    /// Of the first picture; without one, it is no frame of the animation, and Pillow's first one all the same.
    control: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The header of an animation; none of a still picture.
    fn read(name: &'a str, bytes: &'a [u8]) -> Option<Self> {
        let mut chunks = Chunks { name, bytes, at: 8.min(bytes.len()) };
        let (mut ihdr, mut palette, mut transparency, mut control) = (None, None, None, None);
        let (mut orientation, mut num_frames) = (Orientation::NoTransforms, None);
        loop {
            let at = chunks.at;
            // A still picture is left to its decoder, even if it is damaged.
            let Ok(Some((kind, content))) = chunks.next() else { return None };
            match kind {
                b"IHDR" => ihdr = content.try_into().ok(),
                // Bytes behind the last whole colour make the decoder panic.
                b"PLTE" => palette = Some(&content[..content.len() - content.len() % 3]),
                b"tRNS" => transparency = Some(content),
                b"eXIf" => orientation = Orientation::from_exif_chunk(content).unwrap_or(orientation),
                b"acTL" => num_frames = content.first_chunk().map(|n| u32::from_be_bytes(*n)),
                b"fcTL" => control = Some(content),
                b"IDAT" => {
                    chunks.at = at;
                    break;
                }
                b"IEND" => return None,
                _ => {}
            }
        }
        let (Some(ihdr), Some(num_frames @ 1..=0x8000_0000)) = (ihdr, num_frames) else { return None };
        let num_frames = num_frames as usize + usize::from(control.is_none());
        Some(Self { chunks, ihdr, palette, transparency, orientation, num_frames, control })
    }

    fn size(&self) -> [u32; 2] {
        let &[w0, w1, w2, w3, h0, h1, h2, h3, ..] = self.ihdr;
        [[w0, w1, w2, w3], [h0, h1, h2, h3]].map(u32::from_be_bytes)
    }
}

/// Counts the frames of an animation; none of a still picture.
pub(super) fn count(name: &str, bytes: &[u8]) -> Result<Option<Counted>> {
    let header = Header::read(name, bytes);
    Ok(header.map(|header| Counted { num_frames: header.num_frames, size: header.size().into() }))
}

/// Its frames; none of a still picture.
pub(super) fn compose<'a>(name: &'a str, bytes: &'a [u8]) -> Result<Option<Box<dyn Compose + 'a>>> {
    Ok(Apng::new(name, bytes)?.map(|frames| Box::new(frames) as _))
}

/// Decodes a picture without frames, or the default picture of an animation.
pub(super) fn still(name: &str, bytes: &[u8]) -> Result<Decoded> {
    png_file::decode(name, bytes)
}

struct Apng<'a> {
    header: Header<'a>,
    width: usize,
    height: usize,
    color: ColorType,
    /// Bytes of a pixel: 8 bits a channel, and 16 of grays that have 16.
    pixel_bytes: usize,
    canvas: Vec<u8>,
    /// Area of the last frame and what is there next.
    disposal: Option<(Rect, Option<Vec<u8>>)>,
    /// Number that follows, of the chunks that are counted.
    sequence: u32,
    num_drawn: usize,
}

impl<'a> Apng<'a> {
    /// The frames of an animation; none of a still picture.
    fn new(name: &'a str, bytes: &'a [u8]) -> Result<Option<Self>> {
        let Some(header) = Header::read(name, bytes) else { return Ok(None) };
        let [width, height] = header.size();
        check_size(name, (width, height))?;
        let (width, height) = (width as usize, height as usize);
        let color = ColorType::from_u8(header.ihdr[9]).ok_or_else(|| {
            image_error(name, format!("has colours of type {}, which PNG has not", header.ihdr[9]))
        })?;
        let wide = color == ColorType::Grayscale && header.ihdr[8] == 16;
        let pixel_bytes = if wide { 2 } else { color.samples() };
        let canvas = zeroed(name, width * height * pixel_bytes)?;
        Ok(Some(Self {
            header,
            width,
            height,
            color,
            pixel_bytes,
            canvas,
            disposal: None,
            sequence: 0,
            num_drawn: 0,
        }))
    }

    fn bad(&self, reason: impl std::fmt::Display) -> Error {
        bad_frame(self.header.chunks.name, self.num_drawn, reason)
    }

    fn check_sequence(&mut self, content: &[u8]) -> Result<()> {
        let number = content.first_chunk().map(|n| u32::from_be_bytes(*n));
        if number != Some(self.sequence) {
            return Err(
                self.bad(format!("is out of order: part {number:?}, where part {} should be", self.sequence))
            );
        }
        self.sequence += 1;
        Ok(())
    }

    fn control(&mut self, content: &[u8]) -> Result<Control> {
        self.check_sequence(content)?;
        let Some(content) = content.first_chunk::<26>() else { return Err(self.bad("is damaged")) };
        let field = |i: usize| u32::from_be_bytes([0, 1, 2, 3].map(|k| content[i + k])) as usize;
        let rect = Rect { width: field(4), height: field(8), left: field(12), top: field(16) };
        if rect.width == 0 || rect.height == 0 || rect.right() > self.width || rect.bottom() > self.height {
            let Rect { width, height, left, top } = rect;
            let [w, h] = self.header.size();
            let reason = format!("is {width} x {height} at {left}, {top}, which is not inside {w} x {h}");
            return Err(self.bad(reason));
        }
        let dispose = match content[24] {
            1 => Dispose::Background,
            2 => Dispose::Previous,
            _ => Dispose::Keep,
        };
        Ok(Control { rect, dispose, over: content[25] == 1 })
    }

    /// The next frame as a file of its own, and where it goes; none at the end.
    fn next_file(&mut self) -> Result<Option<(Control, Vec<u8>)>> {
        let whole = Rect { left: 0, top: 0, width: self.width, height: self.height };
        let mut control = match (self.num_drawn, self.header.control) {
            (0, Some(content)) => Some(self.control(content)?),
            (0, None) => Some(Control { rect: whole, dispose: Dispose::Keep, over: false }),
            _ => None,
        };
        let mut data = Vec::new();
        loop {
            let at = self.header.chunks.at;
            let (kind, content) = match self.header.chunks.next() {
                Ok(Some(chunk)) => chunk,
                // Damage behind a frame does not harm it.
                Err(_) if !data.is_empty() => break,
                Ok(None) => break,
                Err(cut) => return Err(cut),
            };
            match kind {
                b"IDAT" if self.num_drawn == 0 => data.push(content),
                b"fdAT" if control.is_some() && self.num_drawn > 0 => {
                    self.check_sequence(content)?;
                    data.push(&content[4..]);
                }
                b"fcTL" if control.is_none() => control = Some(self.control(content)?),
                b"fcTL" | b"IEND" => {
                    self.header.chunks.at = at;
                    break;
                }
                _ => {}
            }
        }
        let Some(control) = control else { return Ok(None) };
        if data.is_empty() {
            return Err(self.bad("has no pixels; is the file whole? copy it again"));
        }
        let mut ihdr = *self.header.ihdr;
        ihdr[..4].copy_from_slice(&(control.rect.width as u32).to_be_bytes());
        ihdr[4..8].copy_from_slice(&(control.rect.height as u32).to_be_bytes());
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        push_chunk(&mut file, b"IHDR", &[&ihdr]);
        if let Some(palette) = self.header.palette {
            push_chunk(&mut file, b"PLTE", &[palette]);
        }
        push_chunk(&mut file, b"IDAT", &data);
        push_chunk(&mut file, b"IEND", &[]);
        Ok(Some((control, file)))
    }

    /// Pixels of a frame, unpacked to the canvas's.
    fn decode(&self, rect: Rect, file: &[u8]) -> Result<Vec<u8>> {
        let mut decoder = Decoder::new(std::io::Cursor::new(file));
        decoder.set_limits(png::Limits { bytes: MAX_PIXELS as usize * 8 });
        decoder.ignore_checksums(true);
        decoder.set_transformations(match self.pixel_bytes {
            2 if self.color == ColorType::Grayscale => Transformations::IDENTITY,
            _ => Transformations::STRIP_16,
        });
        let mut reader = decoder.read_info().map_err(|error| self.bad(format!("is damaged: {error}")))?;
        let row_bytes = reader.output_line_size(rect.width as u32);
        let row_bytes = row_bytes.ok_or_else(|| self.bad("is too large"))?;
        let mut packed = zeroed(self.header.chunks.name, row_bytes * rect.height)?;
        let info =
            reader.next_frame(&mut packed).map_err(|error| self.bad(format!("is damaged: {error}")))?;
        let bits = match info.bit_depth {
            BitDepth::One => 1,
            BitDepth::Two => 2,
            BitDepth::Four => 4,
            _ => return Ok(packed),
        };
        let scale = if self.color == ColorType::Grayscale { 255 / ((1 << bits) - 1) } else { 1 };
        let mut pixels = zeroed(self.header.chunks.name, rect.width * rect.height)?;
        for (row, packed) in pixels.chunks_exact_mut(rect.width).zip(packed.chunks_exact(row_bytes)) {
            for (x, pixel) in row.iter_mut().enumerate() {
                let shift = 8 - bits - x * bits % 8;
                *pixel = (packed[x * bits / 8] >> shift & ((1 << bits) - 1) as u8) * scale as u8;
            }
        }
        Ok(pixels)
    }

    /// A canvas as a picture.
    fn unpacked(&self, canvas: Vec<u8>) -> Result<Decoded> {
        let (width, height, name) = (self.width as u32, self.height as u32, self.header.chunks.name);
        let num_pixels = self.width * self.height;
        let picture = match self.color {
            ColorType::Grayscale if self.pixel_bytes == 2 => {
                let mut pixels = zeroed(name, num_pixels)?;
                for (pixel, stored) in pixels.iter_mut().zip(canvas.as_chunks().0) {
                    *pixel = u16::from_be_bytes(*stored);
                }
                ImageBuffer::from_raw(width, height, pixels).map(DynamicImage::ImageLuma16)
            }
            ColorType::Grayscale => GrayImage::from_raw(width, height, canvas).map(Into::into),
            ColorType::GrayscaleAlpha => GrayAlphaImage::from_raw(width, height, canvas).map(Into::into),
            ColorType::Rgba => RgbaImage::from_raw(width, height, canvas).map(Into::into),
            ColorType::Rgb if self.header.transparency.is_none() => {
                RgbImage::from_raw(width, height, canvas).map(Into::into)
            }
            ColorType::Rgb | ColorType::Indexed => {
                let (palette, _) = self.header.palette.unwrap_or_default().as_chunks::<3>();
                let mut pixels = zeroed::<[u8; 4]>(name, num_pixels)?;
                for (pixel, stored) in pixels.iter_mut().zip(canvas.chunks_exact(self.pixel_bytes)) {
                    let [r, g, b] = match *stored {
                        [r, g, b] => [r, g, b],
                        _ => palette.get(usize::from(stored[0])).copied().unwrap_or([0; 3]),
                    };
                    *pixel = [r, g, b, self.alpha(stored)];
                }
                RgbaImage::from_raw(width, height, pixels.into_flattened()).map(Into::into)
            }
        };
        let picture = picture.expect("as many pixels as the canvas");
        Ok(Decoded { picture, orientation: self.header.orientation })
    }

    /// Opacity of a stored pixel. Pillow takes grays as opaque.
    fn alpha(&self, pixel: &[u8]) -> u8 {
        match (self.color, self.header.transparency) {
            (ColorType::GrayscaleAlpha | ColorType::Rgba, _) => pixel[pixel.len() - 1],
            (ColorType::Indexed, Some(alphas)) => alphas.get(usize::from(pixel[0])).copied().unwrap_or(255),
            (ColorType::Rgb, Some(&[_, r, _, g, _, b, ..])) if pixel == [r, g, b] => 0,
            _ => 255,
        }
    }
}

impl Compose for Apng<'_> {
    fn advance(&mut self) -> Result<bool> {
        if self.num_drawn == self.header.num_frames {
            return Ok(false);
        }
        let Some((Control { rect, dispose, over }, file)) = self.next_file()? else { return Ok(false) };
        let mut pixels = self.decode(rect, &file)?;
        let n = self.pixel_bytes;
        let bytes = |rect: Rect| Rect { left: rect.left * n, width: rect.width * n, ..rect };
        match self.disposal.take() {
            Some((rect, Some(saved))) => bytes(rect).paste(&saved, &mut self.canvas, self.width * n),
            Some((rect, None)) => {
                bytes(rect).rows(self.width * n).for_each(|row| self.canvas[row].fill(0));
            }
            None => {}
        }
        self.disposal = match dispose {
            Dispose::Keep => None,
            // Asked for one frame after the other, Pillow has by then drawn over what it saved.
            Dispose::Previous if self.num_drawn > 0 && over => None,
            Dispose::Previous if self.num_drawn > 0 => {
                let size = [self.width * n, self.height];
                Some((rect, Some(bytes(rect).crop(self.header.chunks.name, &self.canvas, size)?)))
            }
            Dispose::Background | Dispose::Previous => Some((rect, None)),
        };
        if over && self.num_drawn > 0 {
            let rows = bytes(rect).rows(self.width * n);
            for (row, pixels) in rows.zip(pixels.chunks_exact_mut(rect.width * n)) {
                for (under, pixel) in self.canvas[row].chunks_exact(n).zip(pixels.chunks_exact_mut(n)) {
                    let alpha = self.alpha(pixel);
                    pixel.iter_mut().zip(under).for_each(|(over, &under)| *over = mix(alpha, under, *over));
                }
            }
        }
        bytes(rect).paste(&pixels, &mut self.canvas, self.width * n);
        self.num_drawn += 1;
        Ok(true)
    }

    fn picture(&self) -> Result<Decoded> {
        let mut canvas = zeroed(self.header.chunks.name, self.canvas.len())?;
        canvas.copy_from_slice(&self.canvas);
        self.unpacked(canvas)
    }

    fn into_picture(mut self: Box<Self>) -> Result<Decoded> {
        self.disposal = None;
        let canvas = std::mem::take(&mut self.canvas);
        self.unpacked(canvas)
    }
}

/// Pillow's mean of two channels, in its integers.
fn mix(alpha: u8, under: u8, over: u8) -> u8 {
    let [alpha, under, over] = [alpha, under, over].map(u32::from);
    let sum = under * (255 - alpha) + over * alpha + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// A chunk; its sum is not checked and not made.
fn push_chunk(file: &mut Vec<u8>, kind: &[u8; 4], content: &[&[u8]]) {
    let len = content.iter().map(|part| part.len() as u32).sum::<u32>();
    file.extend_from_slice(&len.to_be_bytes());
    file.extend_from_slice(kind);
    content.iter().for_each(|part| file.extend_from_slice(part));
    file.extend_from_slice(&[0; 4]);
}
