//! The frames of an animation, one after the other, or some of them.

use std::path::Path;

use super::super::decode::decode_still;
use super::super::guard::guarded;
use super::super::kind::{FileFormat, of_kind};
use super::super::limits::{image_error, read};
use super::super::opened::{Opened, Options};
use super::super::rgb::opened;
use super::compose::{Compose, Counted};
use super::kinds::composed;
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
/// As [`decode`](crate::image::decode), of the file here and of a frame when it is reached; nothing follows a frame that
/// failed. Also if the file has no frames, or when the frames decoded come to more than [`MAX_DECODED_PIXELS`].
pub fn frames<'a>(name: &'a str, bytes: &'a [u8], options: &Options) -> Result<Frames<'a>> {
    let (kind, options) = (FileFormat::of(name, bytes)?, *options);
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

/// Frames of a file, one after the other: see [`frames`].
pub struct Frames<'a> {
    source: FrameSource<'a>,
    name: &'a str,
    kind: FileFormat,
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
