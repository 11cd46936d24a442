//! GIF, WebP and APNG: their first picture, and their frames.

mod absent;
#[cfg(feature = "png")]
mod apng;
#[cfg(feature = "gif")]
mod blocks;
mod compose;
mod frames;
#[cfg(feature = "gif")]
mod gif;
mod kinds;
#[cfg(feature = "webp")]
mod webp;

#[cfg(not(feature = "png"))]
use absent as apng;
#[cfg(not(feature = "gif"))]
use absent as gif;
#[cfg(not(feature = "webp"))]
use absent as webp;

pub use frames::{Frames, MAX_DECODED_PIXELS, MAX_SAMPLED_PIXELS, frames, open_video, sample, sample_frames};
pub(super) use kinds::{first, gif_dimensions};

#[cfg(all(test, feature = "default"))]
mod tests;
