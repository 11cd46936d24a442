//! TIFF, as Pillow reads it: turned as its orientation says, and without associated alpha's darkening.

mod ifd;
mod layout;
mod unpack;
mod ycbcr;

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, Luma, RgbImage, RgbaImage};

use super::cmyk::cmyk_to_rgb;
use super::jpeg;
use super::kind::FileFormat;
use super::limits::{MAX_PIXELS, check_size, cut_short, image_error};
use super::opened::Decoded;
use crate::{Error, Result};
use ifd::{Ifd, Tag};
use layout::{Alpha, Colour, Compression, Layout};

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let cut = || cut_short(name, bytes);
    let wrong = |reason| image_error(name, reason);
    let ifd = Ifd::first(bytes).ok_or_else(cut)?;
    let sides = size(&ifd);
    check_size(name, sides)?;
    let [width, height] = [sides.0 as usize, sides.1 as usize];
    let layout = Layout::read(&ifd, [width, height]).map_err(wrong)?;
    if layout.compression == Compression::Jpeg
        && let (feature, false) = FileFormat::Jpeg.feature()
    {
        return Err(Error::LeftOut { name: name.into(), what: "TIFF packed with JPEG".into(), feature });
    }
    // Tiles reach beyond the picture's edges.
    let padded = layout.chunk[0].saturating_mul(width.div_ceil(layout.chunk[0])).saturating_mul(height);
    if padded as u64 > MAX_PIXELS {
        return Err(wrong(format!(
            "is a TIFF of {width} x {height} in tiles of {:?}, {padded} pixels in all, above {MAX_PIXELS}",
            layout.chunk
        )));
    }
    let turn = ifd.uint(Tag::Orientation).and_then(|o| Orientation::from_exif(u8::try_from(o).ok()?));
    let on_its_side = matches!(
        turn,
        Some(
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        )
    );
    if on_its_side && width != height && layout.is_mapped() {
        return Err(wrong(
            "is an uncompressed TIFF that is to be turned on its side, of which Pillow makes noise: save it as PNG".into(),
        ));
    }
    let fault = |fault| match fault {
        Fault::Cut => cut(),
        Fault::Damaged(reason) => wrong(format!("is a damaged TIFF: {reason}")),
    };
    let mut picture = if layout.is_deep_gray() {
        let words = read(&layout, &ifd, bytes, unpack::deep_gray).map_err(fault)?;
        let whole = ImageBuffer::<Luma<u16>, _>::from_raw(sides.0, sides.1, words);
        whole.expect("as many samples as its size says").into()
    } else {
        let samples = read(&layout, &ifd, bytes, unpack::samples).map_err(fault)?;
        picture(&layout, &ifd, samples).map_err(wrong)?
    };
    // Not left to the option: Pillow turns it when it loads it.
    picture.apply_orientation(turn.unwrap_or(Orientation::NoTransforms));
    Ok(Decoded { picture, orientation: Orientation::NoTransforms })
}

/// Width and height, as they are stored.
pub(super) fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    Ok(size(&Ifd::first(bytes).ok_or_else(|| cut_short(name, bytes))?))
}

fn size(ifd: &Ifd<'_>) -> (u32, u32) {
    let side = |tag| ifd.uint(tag).map_or(0, |len| u32::try_from(len).unwrap_or(u32::MAX));
    (side(Tag::ImageWidth), side(Tag::ImageLength))
}

enum Fault {
    Cut,
    Damaged(String),
}

/// The samples that are kept, pixel by pixel; `unpack` appends those of a row.
fn read<T: Copy + Default>(
    layout: &Layout,
    ifd: &Ifd<'_>,
    bytes: &[u8],
    unpack: fn(&Layout, &[u8], &mut Vec<T>, usize),
) -> Result<Vec<T>, Fault> {
    let [width, height] = [layout.width, layout.height];
    let [wide, high] = layout.chunk;
    let (across, down) = (width.div_ceil(wide), height.div_ceil(high));
    let kept = layout.kept();
    let mut pixels = vec![T::default(); width * height * kept];
    let in_chunk = if layout.planar { 1 } else { layout.samples };
    let mut row = vec![];
    for plane in 0..layout.planes().min(kept) {
        for part in 0..across * down {
            let (left, top) = (part % across * wide, part / across * high);
            let rows = high.min(height - top);
            let index = plane * across * down + part;
            let start = layout.offsets[index];
            let len = layout.counts.get(index).copied().unwrap_or(usize::MAX);
            let packed = bytes.get(start..start.saturating_add(len).min(bytes.len())).ok_or(Fault::Cut)?;
            let chunk = chunk(layout, ifd, packed, [wide, rows], in_chunk)?;
            for (y, chunk) in chunk.chunks_exact(chunk.len() / rows).enumerate() {
                row.clear();
                let columns = wide.min(width - left);
                unpack(layout, chunk, &mut row, columns * in_chunk);
                let to = &mut pixels[((top + y) * width + left) * kept..][..columns * kept];
                for (to, from) in to.chunks_exact_mut(kept).zip(row.chunks_exact(in_chunk)) {
                    match layout.planar {
                        true => to[plane] = from[0],
                        false => to.copy_from_slice(&from[..kept]),
                    }
                }
            }
        }
    }
    Ok(pixels)
}

/// The rows of a strip or tile, unpacked, of samples as they are stored.
fn chunk(
    layout: &Layout,
    ifd: &Ifd<'_>,
    packed: &[u8],
    [wide, rows]: [usize; 2],
    samples: usize,
) -> Result<Vec<u8>, Fault> {
    if layout.compression == Compression::Jpeg {
        let tables = ifd.data(Tag::JpegTables).unwrap_or_default();
        let to_rgb = layout.colour == Colour::YCbCr && samples == 3;
        let (size, mut samples_of) = jpeg::decode_part(tables, packed, to_rgb)
            .map_err(|error| Fault::Damaged(format!("a JPEG in it: {error}")))?;
        if size[0] != wide || size[1] < rows || samples_of.len() != size[0] * size[1] * samples {
            return Err(Fault::Damaged(format!("a JPEG in it is {size:?}, its part {wide} x {rows}")));
        }
        samples_of.truncate(wide * rows * samples);
        return Ok(samples_of);
    }
    let [h, v] = layout.subsampling;
    let len = if layout.shares_chroma() {
        wide.div_ceil(h) * rows.div_ceil(v) * (h * v + 2)
    } else {
        (wide * samples * layout.bits).div_ceil(8) * rows
    };
    let mut unpacked = unpack::unpack(layout, packed, [wide, rows], len);
    if unpacked.len() < len {
        return Err(Fault::Cut);
    }
    if layout.shares_chroma() {
        return Ok(ycbcr::spread(layout, &unpacked, [wide, rows]));
    }
    for row in unpacked.chunks_exact_mut(len / rows) {
        unpack::unpredict(layout, row, samples);
    }
    Ok(unpacked)
}

fn picture(layout: &Layout, ifd: &Ifd<'_>, mut pixels: Vec<u8>) -> Result<DynamicImage, String> {
    let (width, height) = (layout.width as u32, layout.height as u32);
    let whole = "as many samples as its size says";
    if layout.alpha == Alpha::Associated {
        divide(&mut pixels, layout.kept());
    }
    let rgb = |pixels| RgbImage::from_raw(width, height, pixels).expect(whole).into();
    let rgba = |pixels| RgbaImage::from_raw(width, height, pixels).expect(whole).into();
    let alpha = layout.alpha != Alpha::None;
    Ok(match layout.colour {
        Colour::Gray { .. } if alpha => GrayAlphaImage::from_raw(width, height, pixels).expect(whole).into(),
        Colour::Gray { .. } => GrayImage::from_raw(width, height, pixels).expect(whole).into(),
        Colour::Cmyk => rgb(cmyk_to_rgb(&pixels, |ink| ink)),
        Colour::YCbCr if layout.compression != Compression::Jpeg => {
            // Pillow reads what is packed through libtiff, and the rest on its own.
            let table = ycbcr::ToRgb::new(ifd);
            let alone = layout.compression == Compression::None && !layout.shares_chroma();
            for pixel in pixels.as_chunks_mut().0 {
                *pixel = if alone { ycbcr::pillow(*pixel) } else { table.convert(*pixel) };
            }
            rgb(pixels)
        }
        Colour::Rgb | Colour::YCbCr if alpha => rgba(pixels),
        Colour::Rgb | Colour::YCbCr => rgb(pixels),
        Colour::Palette => {
            let map = ifd.uints(Tag::ColorMap).ok_or("is a damaged TIFF: it has no palette")?;
            let colours = map.len() / 3;
            // Reds, then greens, then blues, of 16 bits each.
            let colour = |index: u8| {
                [0, 1, 2].map(|part| match usize::from(index) < colours {
                    true => (map[part * colours + usize::from(index)] / 256) as u8,
                    false => 0,
                })
            };
            match alpha {
                true => rgba(
                    pixels
                        .as_chunks()
                        .0
                        .iter()
                        .flat_map(|&[i, a]| colour(i).into_iter().chain([a]))
                        .collect(),
                ),
                false => rgb(pixels.iter().flat_map(|&i| colour(i)).collect()),
            }
        }
    })
}

/// Divides colours by the alpha that they were multiplied by, as Pillow does: where it is 0 they are black.
fn divide(pixels: &mut [u8], samples: usize) {
    for pixel in pixels.chunks_exact_mut(samples) {
        let (alpha, colours) = pixel.split_last_mut().expect("a sample or more");
        let alpha = u32::from(*alpha);
        for colour in colours {
            let whole = (u32::from(*colour) * 255).checked_div(alpha).unwrap_or(0);
            *colour = whole.min(255) as u8;
        }
    }
}
