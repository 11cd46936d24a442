//! GIF, WebP and APNG: their first picture, and their frames.

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{AnimationDecoder, Frames, ImageDecoder, ImageFormat};

use super::kind::Kind;
use super::rgb::finish;
use super::{Decoded, FrameIter, Options, check_size, decode_still, limits, still, unreadable};
use crate::Result;

/// The first picture of a GIF or a WebP.
pub(super) fn first(name: &str, bytes: &[u8], kind: Kind) -> Result<Decoded> {
    let format = if kind == Kind::Gif { ImageFormat::Gif } else { ImageFormat::WebP };
    still::decode(name, bytes, format)
}

/// The frames of an animation, one at a time; of a still picture, the only one.
pub(super) fn frames<'a>(
    name: &'a str,
    bytes: &'a [u8],
    kind: Kind,
    options: &Options,
) -> Result<FrameIter<'a>> {
    let options = *options;
    let frames: Frames = match kind {
        Kind::Gif => {
            let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(unreadable(name))?;
            check_size(name, decoder.dimensions())?;
            decoder.set_limits(limits()).map_err(unreadable(name))?;
            decoder.into_frames()
        }
        Kind::WebP if WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|decoder| decoder.has_animation()) => {
            let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(unreadable(name))?;
            check_size(name, decoder.dimensions())?;
            decoder.set_limits(limits()).map_err(unreadable(name))?;
            decoder.into_frames()
        }
        _ => {
            let only = finish(name, decode_still(name, bytes, kind)?, &options)?;
            return Ok(Box::new(std::iter::once(Ok(only))));
        }
    };
    let mut failed = false;
    Ok(Box::new(frames.map_while(move |frame| {
        if failed {
            return None;
        }
        failed = frame.is_err();
        let composed = |frame: image::Frame| Decoded {
            picture: frame.into_buffer().into(),
            orientation: Orientation::NoTransforms,
        };
        Some(frame.map_err(unreadable(name)).and_then(|frame| finish(name, composed(frame), &options)))
    })))
}
