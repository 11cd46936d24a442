//! GIF, WebP and APNG: their first picture, and their frames.

mod apng;
mod blocks;
mod gif;
mod webp;

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use super::guard::guarded;
use super::kind::Kind;
use super::rgb::opened;
use super::{Decoded, Opened, Options, check_size, decode_still, image_error, of_kind, read, still};
use crate::{Error, Result};

/// Most pixels of an animation's frames that are decoded, up to the last frame wanted: 2,071 frames of 1920 x 1080.
pub const MAX_DECODED_PIXELS: u64 = 1 << 32;

/// Most pixels of the frames that [`sample`] keeps: 129 of 1920 x 1080, 805 MB.
pub const MAX_SAMPLED_PIXELS: u64 = 1 << 28;

/// Reads the file of an animation and decodes some of its frames: [`sample`] with the file's path as name.
///
/// # Errors
///
/// If the file cannot be read, or as [`sample`].
pub fn open_video(path: &Path, num_frames: usize, options: &Options) -> Result<Vec<Opened>> {
    sample(&path.display().to_string(), &read(path)?, num_frames, options)
}

/// Decodes the frames of an animation that [`sample_frames`] chooses; of a still picture, the only one.
///
/// Only the frames chosen and one canvas are held, and nothing behind the last of them is decoded.
///
/// # Errors
///
/// As [`frames`], and if the frames chosen have more than [`MAX_SAMPLED_PIXELS`].
pub fn sample(name: &str, bytes: &[u8], num_frames: usize, options: &Options) -> Result<Vec<Opened>> {
    let mut frames = frames(name, bytes, options)?;
    let kept = num_frames.min(frames.num_frames());
    frames.check_sampled(kept).map_err(|error| of_kind(error, frames.kind))?;
    let chosen = sample_frames(frames.num_frames(), kept);
    let Some((&last, others)) = chosen.split_last() else { return Ok(Vec::new()) };
    frames.check_decoded(last + 1).map_err(|error| of_kind(error, frames.kind))?;
    let mut pictures = Vec::new();
    for &frame in others {
        pictures.push(frames.seek(frame)?);
    }
    pictures.push(frames.into_frame(last)?);
    Ok(pictures)
}

/// Decodes the frames of a GIF, WebP or PNG animation, one at a time, each composed over those before it as Pillow
/// composes them; of a still picture, the only one.
///
/// # Errors
///
/// As [`decode`](super::decode), of the file here and of a frame when it is reached; nothing follows a frame that
/// failed. Also if the file has no frames, or when the frames decoded come to more than [`MAX_DECODED_PIXELS`].
pub fn frames<'a>(name: &'a str, bytes: &'a [u8], options: &Options) -> Result<Frames<'a>> {
    let (kind, options) = (Kind::of(name, bytes)?, *options);
    let composed = guarded(name, kind, || composed(name, bytes, kind));
    let (source, counted) = match composed.map_err(|error| of_kind(error, kind))? {
        Some((frames, counted)) => (FrameSource::Composed(frames), counted),
        None => {
            let only = opened(name, decode_still(name, bytes, kind)?, &options)?;
            let counted = Counted { num_frames: 1, size: only.pixels.dimensions() };
            (FrameSource::Still(Some(only)), counted)
        }
    };
    Ok(Frames { source, name, kind, counted, next: 0, options })
}

/// The first picture of a GIF, a WebP or a PNG, animated or not.
pub(super) fn first(name: &str, bytes: &[u8], kind: Kind) -> Result<Decoded> {
    let first = guarded(name, kind, || {
        let Some(mut frames) = compose(name, bytes, kind)? else { return Ok(None) };
        match frames.advance()? {
            true => frames.into_picture().map(Some),
            false => Err(no_frames(name)),
        }
    })?;
    match (first, kind) {
        (Some(first), _) => Ok(first),
        (None, Kind::WebP) => webp::still(name, bytes),
        (None, _) => still::png(name, bytes),
    }
}

/// Width and height of the largest frame of a GIF: frames may lie outside of its screen.
pub(super) fn gif_dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    Ok(gif::count(name, bytes)?.size)
}

/// The frames of an animation, with their number; none of a still picture.
fn composed<'a>(
    name: &'a str,
    bytes: &'a [u8],
    kind: Kind,
) -> Result<Option<(Box<dyn Compose + 'a>, Counted)>> {
    let counted = match kind {
        Kind::Gif => Some(gif::count(name, bytes)?),
        Kind::WebP => webp::count(name, bytes)?,
        Kind::Png => apng::count(name, bytes),
        Kind::Jpeg | Kind::Bmp | Kind::Tiff => None,
    };
    let Some(counted) = counted else { return Ok(None) };
    if counted.num_frames == 0 {
        return Err(no_frames(name));
    }
    check_size(name, counted.size)?;
    if counted.size == (1, 1) {
        return Err(image_error(name, "is 1 x 1: there is nothing to see in one pixel".into()));
    }
    Ok(compose(name, bytes, kind)?.map(|frames| (frames, counted)))
}

fn compose<'a>(name: &'a str, bytes: &'a [u8], kind: Kind) -> Result<Option<Box<dyn Compose + 'a>>> {
    Ok(match kind {
        Kind::Gif => Some(Box::new(gif::Gif::new(name, bytes)?)),
        Kind::WebP => webp::WebP::new(name, bytes)?.map(|frames| Box::new(frames) as _),
        Kind::Png => apng::Apng::new(name, bytes)?.map(|frames| Box::new(frames) as _),
        Kind::Jpeg | Kind::Bmp | Kind::Tiff => None,
    })
}

fn no_frames(name: &str) -> Error {
    image_error(name, "has no frames: there is nothing to see".into())
}

fn bad_frame(name: &str, frame: usize, reason: impl Display) -> Error {
    image_error(name, format!("cannot be read from frame {frame} on: it {reason}"))
}

/// Frames of a file, one after the other: see [`frames`].
pub struct Frames<'a> {
    source: FrameSource<'a>,
    name: &'a str,
    kind: Kind,
    counted: Counted,
    /// Frame that follows.
    next: usize,
    options: Options,
}

enum FrameSource<'a> {
    Still(Option<Opened>),
    Composed(Box<dyn Compose + 'a>),
    Failed,
}

impl Frames<'_> {
    /// Number of frames in the file, counted without decoding them.
    pub fn num_frames(&self) -> usize {
        self.counted.num_frames
    }

    /// Width and height of the largest frame, as it is stored.
    pub fn size(&self) -> (u32, u32) {
        self.counted.size
    }

    /// The frame of that index, which is not before the next one.
    fn seek(&mut self, frame: usize) -> Result<Opened> {
        let picture = self.advance_to(frame).and_then(|()| match &mut self.source {
            FrameSource::Still(picture) => picture.take().ok_or_else(|| self.ends_before(frame)),
            FrameSource::Composed(frames) => opened(self.name, frames.picture()?, &self.options),
            FrameSource::Failed => Err(self.ends_before(frame)),
        });
        picture.map_err(|error| {
            self.source = FrameSource::Failed;
            of_kind(error, self.kind)
        })
    }

    /// The same as `seek`, for the last frame wanted.
    fn into_frame(mut self, frame: usize) -> Result<Opened> {
        let kind = self.kind;
        self.advance_to(frame).map_err(|error| of_kind(error, kind))?;
        match self.source {
            FrameSource::Composed(frames) => {
                let picture = frames.into_picture().map_err(|error| of_kind(error, kind))?;
                opened(self.name, picture, &self.options)
            }
            _ => self.seek(frame),
        }
    }

    /// Composes the frames up to that one.
    fn advance_to(&mut self, frame: usize) -> Result<()> {
        self.check_decoded(frame + 1)?;
        while self.next <= frame {
            if let FrameSource::Composed(frames) = &mut self.source
                && !guarded(self.name, self.kind, || frames.advance())?
            {
                return Err(self.ends_before(self.next));
            }
            self.next += 1;
        }
        Ok(())
    }

    fn ends_before(&self, frame: usize) -> Error {
        let reason = format!("ends before frame {frame} of {}; copy it again", self.counted.num_frames);
        image_error(self.name, reason)
    }

    /// Refuses to decode so many frames where they have too many pixels.
    fn check_decoded(&self, num_frames: usize) -> Result<()> {
        self.check_pixels(num_frames, MAX_DECODED_PIXELS, "decoded", "make it smaller or shorter")
    }

    /// Refuses to keep so many frames where they have too many pixels.
    fn check_sampled(&self, num_frames: usize) -> Result<()> {
        self.check_pixels(num_frames, MAX_SAMPLED_PIXELS, "kept", "take fewer, or make it smaller")
    }

    fn check_pixels(&self, num_frames: usize, max: u64, what: &str, advice: &str) -> Result<()> {
        let (width, height) = self.counted.size;
        let pixels = (u64::from(width) * u64::from(height)).saturating_mul(num_frames as u64);
        if pixels <= max {
            return Ok(());
        }
        let reason = format!(
            "has frames of {width} x {height}: {num_frames} of them {what} are {pixels} pixels, above {max}; {advice}"
        );
        Err(image_error(self.name, reason))
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Opened>;

    fn next(&mut self) -> Option<Self::Item> {
        let ended = matches!(self.source, FrameSource::Failed) || self.next >= self.counted.num_frames;
        (!ended).then(|| self.seek(self.next))
    }
}

/// Which `num_samples` frames of a video of `num_frames` to show: evenly spaced, the first and the last
/// included, the middle one if it is one. All frames if there are no more than that.
///
/// Neither the paper nor the code of mPLUG-Owl2 says how frames are chosen; this is our choice, and 8 frames
/// are common.
pub fn sample_frames(num_frames: usize, num_samples: usize) -> Vec<usize> {
    match num_samples {
        _ if num_samples >= num_frames => (0..num_frames).collect(),
        0 => Vec::new(),
        1 => vec![num_frames / 2],
        // u128: the product of two sizes.
        _ => (0..num_samples)
            .map(|i| (i as u128 * (num_frames - 1) as u128 / (num_samples - 1) as u128) as usize)
            .collect(),
    }
}

/// Number and size of a file's frames, by its structure.
struct Counted {
    num_frames: usize,
    /// Width and height of the canvas, at its largest.
    size: (u32, u32),
}

/// An animation whose frames are composed one after the other.
trait Compose {
    /// Composes the next frame; false if there is none.
    fn advance(&mut self) -> Result<bool>;

    /// A copy of the frame composed last.
    fn picture(&self) -> Result<Decoded>;

    /// The frame composed last, its canvas given away: large ones are not held twice.
    fn into_picture(self: Box<Self>) -> Result<Decoded>;
}

/// Part of a canvas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rect {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Rect {
    fn right(&self) -> usize {
        self.left + self.width
    }

    fn bottom(&self) -> usize {
        self.top + self.height
    }

    /// Its rows on a canvas of that width, as ranges of pixels.
    fn rows(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (self.top..self.bottom()).map(move |y| width * y + self.left..width * y + self.right())
    }

    /// Lays its pixels over a canvas of that width.
    fn paste<T: Copy>(self, pixels: &[T], canvas: &mut [T], width: usize) {
        for (row, pixels) in self.rows(width).zip(pixels.chunks_exact(self.width)) {
            canvas[row].copy_from_slice(pixels);
        }
    }

    /// Its pixels of a canvas; zeros beyond.
    fn crop<T: Copy + bytemuck::Zeroable>(
        self,
        name: &str,
        canvas: &[T],
        [width, height]: [usize; 2],
    ) -> Result<Vec<T>> {
        let mut pixels = zeroed(name, self.width * self.height)?;
        let inside = self.left.min(width)..self.right().min(width);
        let rows = canvas.chunks_exact(width).take(height).skip(self.top);
        for (row, pixels) in rows.zip(pixels.chunks_exact_mut(self.width)) {
            pixels[..inside.len()].copy_from_slice(&row[inside.clone()]);
        }
        Ok(pixels)
    }
}

/// Room for so many pixels, or an error where the memory is not there.
fn zeroed<T: Copy + bytemuck::Zeroable>(name: &str, len: usize) -> Result<Vec<T>> {
    filled(name, len, T::zeroed())
}

fn filled<T: Copy>(name: &str, len: usize, value: T) -> Result<Vec<T>> {
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(len).map_err(|_| {
        let megabytes = (len * size_of::<T>()).div_ceil(1 << 20);
        image_error(name, format!("needs {megabytes} MiB of memory that is not there: make it smaller"))
    })?;
    pixels.resize(len, value);
    Ok(pixels)
}

#[cfg(test)]
mod tests;
