//! GIF, WebP and APNG: their first picture, and their frames.

mod apng;
mod blocks;
mod compose;
mod frames;
mod gif;
mod kinds;
mod webp;

pub use frames::{Frames, MAX_DECODED_PIXELS, MAX_SAMPLED_PIXELS, frames, open_video, sample, sample_frames};
pub(super) use kinds::{first, gif_dimensions};

#[cfg(test)]
mod tests;
