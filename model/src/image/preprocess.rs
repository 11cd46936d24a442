//! Makes the vision tower's input of a picture, as the original's `CLIPImageProcessor` on Pillow does (SPEC §7-8).

use image::RgbImage;

use super::limits::check_size;
use crate::Result;
use crate::bicubic::{self, Filter};
use crate::config::PreprocessorConfig;

/// The way to make a square of a picture.
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
/// If it has no pixels, or more than [`decode`](super::decode) allows.
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
        Preprocess::Resize if bicubic::has_runs(image) => bicubic::stretched(image, size, middle(size)),
        // Where it pays to prepare the rows of the square.
        Preprocess::Resize if side >= 4 * width.min(height) => bicubic::whole(image, size, middle(size)),
        Preprocess::Resize if width < height => {
            let stretch = Filter::new(width, side, 0..side);
            squared(&|y, row| stretch.row(stored(y), row))
        }
        Preprocess::Resize if height < width => {
            let stretch = Filter::new(height, side, 0..side);
            squared(&|y, row| stretch.column(image, 0, y, row))
        }
        Preprocess::Resize => squared(&|y, row| row.copy_from_slice(stored(y))),
        Preprocess::Pad => bicubic::padded(image, c.padding(), size, middle(size)),
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
    for (channel, values) in values(c).iter().enumerate() {
        input.extend(image.as_raw().iter().skip(channel).step_by(3).map(|&byte| values[usize::from(byte)]));
    }
    input
}

/// What each byte of each channel becomes.
pub(crate) fn values(c: &PreprocessorConfig) -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        let (mean, std) = (c.image_mean[channel] as f32, c.image_std[channel] as f32);
        // Scaled in f64, the rest in f32: the original's roundings.
        std::array::from_fn(|v| ((v as f64 * (1.0 / 255.0)) as f32 - mean) / std)
    })
}

impl PreprocessorConfig {
    /// What a picture is padded with: the mean colour.
    pub(crate) fn padding(&self) -> [u8; 3] {
        self.image_mean.map(|mean| (mean * 255.0) as u8)
    }
}
