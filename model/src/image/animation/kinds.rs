//! The kinds of files that hold animations.

use super::super::guard::guarded;
use super::super::kind::FileFormat;
use super::super::limits::{check_size, image_error};
use super::super::opened::Decoded;
use super::compose::{Compose, Counted, no_frames};
use super::{apng, gif, webp};
use crate::Result;

/// The first picture of a GIF, a WebP or a PNG, animated or not.
pub(in super::super) fn first(name: &str, bytes: &[u8], kind: FileFormat) -> Result<Decoded> {
    let first = guarded(name, kind, || {
        let Some(mut frames) = compose(name, bytes, kind)? else { return Ok(None) };
        match frames.advance()? {
            true => frames.into_picture().map(Some),
            false => Err(no_frames(name)),
        }
    })?;
    match (first, kind) {
        (Some(first), _) => Ok(first),
        (None, FileFormat::WebP) => webp::still(name, bytes),
        (None, _) => apng::still(name, bytes),
    }
}

/// Width and height of the largest frame of a GIF: frames may lie outside of its screen.
pub(in super::super) fn gif_dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    gif::count(name, bytes)?.map(|counted| counted.size).ok_or_else(|| no_frames(name))
}

/// The frames of an animation, with their number; none of a still picture.
pub(super) fn composed<'a>(
    name: &'a str,
    bytes: &'a [u8],
    kind: FileFormat,
) -> Result<Option<(Box<dyn Compose + 'a>, Counted)>> {
    let counted = match kind {
        FileFormat::Gif => gif::count(name, bytes),
        FileFormat::WebP => webp::count(name, bytes),
        FileFormat::Png => apng::count(name, bytes),
        FileFormat::Jpeg | FileFormat::Bmp | FileFormat::Tiff => Ok(None),
    }?;
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

fn compose<'a>(name: &'a str, bytes: &'a [u8], kind: FileFormat) -> Result<Option<Box<dyn Compose + 'a>>> {
    match kind {
        FileFormat::Gif => gif::compose(name, bytes),
        FileFormat::WebP => webp::compose(name, bytes),
        FileFormat::Png => apng::compose(name, bytes),
        FileFormat::Jpeg | FileFormat::Bmp | FileFormat::Tiff => Ok(None),
    }
}
