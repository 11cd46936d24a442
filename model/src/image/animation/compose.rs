//! Frames that are composed on a canvas, one after the other.

use std::fmt::Display;
use std::ops::Range;

use super::super::limits::image_error;
use super::super::opened::Decoded;
use crate::{Error, Result};

/// Number and size of a file's frames, by its structure.
pub(super) struct Counted {
    pub(super) num_frames: usize,
    /// Width and height of the canvas, at its largest.
    pub(super) size: (u32, u32),
}

/// An animation whose frames are composed one after the other.
pub(super) trait Compose {
    /// Composes the next frame; false if there is none.
    fn advance(&mut self) -> Result<bool>;

    /// A copy of the frame composed last.
    fn picture(&self) -> Result<Decoded>;

    /// The frame composed last, its canvas given away: large ones are not held twice.
    fn into_picture(self: Box<Self>) -> Result<Decoded>;
}

/// Part of a canvas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Rect {
    pub(super) fn right(&self) -> usize {
        self.left + self.width
    }

    pub(super) fn bottom(&self) -> usize {
        self.top + self.height
    }

    /// Its rows on a canvas of that width, as ranges of pixels.
    pub(super) fn rows(self, width: usize) -> impl Iterator<Item = Range<usize>> {
        (self.top..self.bottom()).map(move |y| width * y + self.left..width * y + self.right())
    }

    /// Lays its pixels over a canvas of that width.
    pub(super) fn paste<T: Copy>(self, pixels: &[T], canvas: &mut [T], width: usize) {
        for (row, pixels) in self.rows(width).zip(pixels.chunks_exact(self.width)) {
            canvas[row].copy_from_slice(pixels);
        }
    }

    /// Its pixels of a canvas; zeros beyond.
    pub(super) fn crop<T: Copy + bytemuck::Zeroable>(
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
pub(super) fn zeroed<T: Copy + bytemuck::Zeroable>(name: &str, len: usize) -> Result<Vec<T>> {
    filled(name, len, T::zeroed())
}

pub(super) fn filled<T: Copy>(name: &str, len: usize, value: T) -> Result<Vec<T>> {
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(len).map_err(|_| {
        let megabytes = (len * size_of::<T>()).div_ceil(1 << 20);
        image_error(name, format!("needs {megabytes} MiB of memory that is not there: make it smaller"))
    })?;
    pixels.resize(len, value);
    Ok(pixels)
}

pub(super) fn no_frames(name: &str) -> Error {
    image_error(name, "has no frames: there is nothing to see".into())
}

pub(super) fn bad_frame(name: &str, frame: usize, reason: impl Display) -> Error {
    image_error(name, format!("cannot be read from frame {frame} on: it {reason}"))
}
