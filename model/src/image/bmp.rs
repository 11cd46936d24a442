//! BMP, as Pillow's `BmpImagePlugin` reads it; what that refuses and the `image` crate can read is left to it.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};

use super::limits::{check_size, cut_short, image_error};
use super::opened::Decoded;
use super::still;
use crate::Result;

/// Bytes before the header that says the size.
const FILE_HEADER: usize = 14;

pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let cut = || cut_short(name, bytes);
    let header = Header::read(bytes).ok_or_else(cut)?;
    let (width, height) = (header.width, header.height);
    check_size(name, (width, height))?;
    let wrong = |reason| image_error(name, reason);
    let Some((layout, colours)) = header.layout(bytes).map_err(wrong)? else {
        return still::decode(name, bytes, ImageFormat::Bmp);
    };
    let stored = bytes.get(header.pixels_at(bytes)..).ok_or_else(cut)?;
    let mut pixels = match layout {
        Layout::Runs { nibbles } => {
            let wanted = width as usize * height as usize;
            let pixels = runs(stored, bytes.len() - stored.len(), width as usize, wanted, nibbles);
            if pixels.len() < wanted {
                return Err(wrong(format!(
                    "is a BMP whose runs end after {} of {wanted} pixels",
                    pixels.len()
                )));
            }
            pixels
        }
        Layout::Rows(unpack) => {
            let row = unpack.row_bytes(width);
            // More than the header's bits need where a palette of grays makes a byte of each pixel.
            let stride = header.stride().max(row);
            // The padding of the last row may be missing.
            if stored.len() < stride * (height as usize - 1) + row {
                return Err(cut());
            }
            let mut pixels = Vec::with_capacity(width as usize * height as usize * unpack.samples());
            for row in stored.chunks(stride).take(height as usize) {
                unpack.append(row, width as usize, &mut pixels);
            }
            pixels
        }
    };
    if !header.top_down {
        let row = pixels.len() / height as usize;
        let (above, below) = pixels.split_at_mut(height as usize / 2 * row);
        let from_end = below.chunks_exact_mut(row).rev();
        above.chunks_exact_mut(row).zip(from_end).for_each(|(a, b)| a.swap_with_slice(b));
    }
    let whole = "as many samples as the header says";
    let samples = pixels.len() / (width as usize * height as usize);
    let picture: DynamicImage = match colours {
        Colours::Palette(palette) => {
            let rgb = pixels.iter().flat_map(|&index| palette[usize::from(index)]).collect();
            RgbImage::from_raw(width, height, rgb).expect(whole).into()
        }
        Colours::BlackAndWhite => {
            let gray = pixels.into_iter().map(|pixel| if pixel == 0 { 0 } else { 255 }).collect();
            GrayImage::from_raw(width, height, gray).expect(whole).into()
        }
        Colours::Gray => GrayImage::from_raw(width, height, pixels).expect(whole).into(),
        Colours::Stored if samples == 4 => RgbaImage::from_raw(width, height, pixels).expect(whole).into(),
        Colours::Stored => RgbImage::from_raw(width, height, pixels).expect(whole).into(),
    };
    Ok(Decoded { picture, orientation: Orientation::NoTransforms })
}

/// Width and height.
pub(super) fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    let header = Header::read(bytes).ok_or_else(|| cut_short(name, bytes))?;
    Ok((header.width, header.height))
}

/// Storage of pixels.
enum Layout {
    Rows(Unpack),
    /// Run lengths: "RLE8", or "RLE4", whose pixels have four bits.
    Runs {
        nibbles: bool,
    },
}

/// A row's pixels from its bytes.
#[derive(Clone, Copy)]
enum Unpack {
    Bits,
    Nibbles,
    Bytes,
    /// Words of 5, 5 or 6, and 5 bits.
    Words {
        six: bool,
    },
    /// Bytes of a pixel, and the indices of red, green, blue and alpha among them.
    Bgr {
        bytes: usize,
        order: [usize; 3],
        alpha: Option<usize>,
    },
}

impl Unpack {
    fn row_bytes(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            Self::Bits => width.div_ceil(8),
            Self::Nibbles => width.div_ceil(2),
            Self::Bytes => width,
            Self::Words { .. } => 2 * width,
            Self::Bgr { bytes, .. } => bytes * width,
        }
    }

    fn samples(self) -> usize {
        match self {
            Self::Bits | Self::Nibbles | Self::Bytes => 1,
            Self::Words { .. } | Self::Bgr { alpha: None, .. } => 3,
            Self::Bgr { alpha: Some(_), .. } => 4,
        }
    }

    fn append(self, row: &[u8], width: usize, pixels: &mut Vec<u8>) {
        match self {
            Self::Bits => pixels.extend((0..width).map(|x| row[x / 8] >> (7 - x % 8) & 1)),
            Self::Nibbles => pixels.extend((0..width).map(|x| row[x / 2] >> (4 * (1 - x % 2)) & 15)),
            Self::Bytes => pixels.extend(&row[..width]),
            Self::Words { six } => {
                for word in row.as_chunks().0.iter().take(width).map(|&word| u16::from_le_bytes(word)) {
                    let part = |shift: u32, most: u16| ((word >> shift & most) * 255 / most) as u8;
                    pixels.extend(match six {
                        true => [part(11, 31), part(5, 63), part(0, 31)],
                        false => [part(10, 31), part(5, 31), part(0, 31)],
                    });
                }
            }
            Self::Bgr { bytes, order, alpha } => {
                for pixel in row.chunks_exact(bytes).take(width) {
                    pixels.extend(order.map(|at| pixel[at]));
                    pixels.extend(alpha.map(|at| pixel[at]));
                }
            }
        }
    }
}

/// Meaning of the pixels' numbers.
enum Colours {
    Palette(Box<[[u8; 3]; 256]>),
    Gray,
    /// Zero, and all else.
    BlackAndWhite,
    Stored,
}

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

struct Header {
    /// Offset of the pixels; 0 if they follow the header.
    offset: usize,
    /// Bytes of this header.
    len: usize,
    width: u32,
    height: u32,
    top_down: bool,
    bits: u16,
    compression: u32,
    /// Colours of the palette.
    num_colours: usize,
    /// Bits of red, green, blue and alpha.
    masks: [u32; 4],
}

impl Header {
    /// `None` if the file ends before it does.
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (offset, len) = (word(10)? as usize, word(14)? as usize);
        bytes.get(FILE_HEADER..FILE_HEADER + len)?;
        let mut header = Self {
            offset,
            len,
            width: 0,
            height: 0,
            top_down: false,
            bits: 0,
            compression: RAW,
            num_colours: 0,
            masks: [0; 4],
        };
        // The oldest header, of OS/2 1.x.
        if len == 12 {
            (header.width, header.height) = (half(18)?.into(), half(20)?.into());
            header.bits = half(24)?;
        } else {
            let height = word(22)?;
            header.top_down = height >> 24 == 0xff;
            header.width = word(18)?;
            header.height = if header.top_down { height.wrapping_neg() } else { height };
            header.bits = half(28)?;
            header.compression = word(30)?;
            header.num_colours = word(46)? as usize;
            if header.compression == BITFIELDS {
                // In the header if it is long enough, else behind it.
                header.masks = [word(54)?, word(58)?, word(62)?, if len >= 56 { word(66)? } else { 0 }];
            }
        }
        if header.num_colours == 0 {
            header.num_colours = 1usize.checked_shl(header.bits.into()).unwrap_or(0);
        }
        Some(header)
    }

    /// Bytes from one row to the next.
    fn stride(&self) -> usize {
        ((u64::from(self.width) * u64::from(self.bits) + 31) >> 3 & !3) as usize
    }

    /// Bytes of a colour of the palette.
    fn colour_bytes(&self) -> usize {
        if self.len == 12 { 3 } else { 4 }
    }

    fn palette_at(&self) -> usize {
        let masks = if self.compression == BITFIELDS && self.len < 52 { 12 } else { 0 };
        FILE_HEADER + self.len + masks
    }

    fn pixels_at(&self, bytes: &[u8]) -> usize {
        let palette = if self.bits <= 8 { self.colour_bytes().saturating_mul(self.num_colours) } else { 0 };
        match self.offset {
            0 => self.palette_at().saturating_add(palette).min(bytes.len()),
            // Some writers leave the palette out of the count.
            at if at == FILE_HEADER + self.len => at.saturating_add(palette),
            at => at,
        }
    }

    /// Storage and meaning of pixels; `None` for kinds that Pillow does not read.
    fn layout(&self, bytes: &[u8]) -> Result<Option<(Layout, Colours)>, String> {
        let bgr = |bytes, order, alpha| Unpack::Bgr { bytes, order, alpha };
        let unpack = match (self.bits, self.compression, self.masks) {
            (1 | 4 | 8, RAW | RLE8 | RLE4, _) => {
                let (unpack, colours) = self.indexed(bytes)?;
                return Ok(Some(match self.compression {
                    RAW => (Layout::Rows(unpack), colours),
                    packed => (Layout::Runs { nibbles: packed == RLE4 }, colours),
                }));
            }
            (16, RAW, _) | (16, BITFIELDS, [0x7c00, 0x3e0, 0x1f, _]) => Unpack::Words { six: false },
            (16, BITFIELDS, [0xf800, 0x7e0, 0x1f, _]) => Unpack::Words { six: true },
            (24, RAW, _) | (24, BITFIELDS, [0xff_0000, 0xff00, 0xff, _]) => bgr(3, [2, 1, 0], None),
            (32, RAW, _) => bgr(4, [2, 1, 0], None),
            (32, BITFIELDS, masks) => match masks {
                [0xff_0000, 0xff00, 0xff, 0] => bgr(4, [2, 1, 0], None),
                [0xff00_0000, 0xff_0000, 0xff00, 0] => bgr(4, [3, 2, 1], None),
                [0xff00_0000, 0xff00, 0xff, 0] => bgr(4, [3, 1, 0], None),
                [0xff00_0000, 0xff_0000, 0xff00, 0xff] => bgr(4, [3, 2, 1], Some(0)),
                [0xff, 0xff00, 0xff_0000, 0xff00_0000] => bgr(4, [0, 1, 2], Some(3)),
                [0xff_0000, 0xff00, 0xff, 0xff00_0000] | [0, 0, 0, 0] => bgr(4, [2, 1, 0], Some(3)),
                [0xff00_0000, 0xff00, 0xff, 0xff_0000] => bgr(4, [3, 1, 0], Some(2)),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some((Layout::Rows(unpack), Colours::Stored)))
    }

    /// How indices are stored, and their colours. A palette of only grays in their order is none to Pillow, which then reads
    /// a byte a pixel, or of two colours a bit.
    fn indexed(&self, bytes: &[u8]) -> Result<(Unpack, Colours), String> {
        const MOST: usize = 65_536;
        let num = self.num_colours;
        if !(1..=MOST).contains(&num) {
            return Err(format!("is a BMP with a palette of {num} colours"));
        }
        let stored = bytes.get(self.palette_at()..).unwrap_or_default();
        let stored = &stored[..stored.len().min(num * self.colour_bytes())];
        let colours = || stored.chunks(self.colour_bytes());
        let gray = |index: usize| if num == 2 { 255 * index as u8 } else { index as u8 };
        let ramp = |(index, colour): (usize, &[u8])| colour.iter().take(3).eq([&gray(index); 3]);
        if colours().len() == num && colours().enumerate().all(ramp) {
            return Ok(match num {
                1 | 2 => (Unpack::Bits, Colours::BlackAndWhite),
                _ => (Unpack::Bytes, Colours::Gray),
            });
        }
        let whole = stored.chunks_exact(self.colour_bytes());
        if whole.len() > 256 {
            return Err(format!("is a BMP with a palette of {} colours", whole.len()));
        }
        let mut palette = Box::new([[0; 3]; 256]);
        palette.iter_mut().zip(whole).for_each(|(to, colour)| *to = [colour[2], colour[1], colour[0]]);
        let unpack = match self.bits {
            1 => Unpack::Bits,
            4 => Unpack::Nibbles,
            _ => Unpack::Bytes,
        };
        Ok((unpack, Colours::Palette(palette)))
    }
}

/// Pixels of run lengths, no more than wanted; `start` is where they stand in the file. Fewer where they end.
fn runs(mut stored: &[u8], start: usize, width: usize, wanted: usize, nibbles: bool) -> Vec<u8> {
    let end = start + stored.len();
    let mut pixels = Vec::new();
    // Column of the next pixel, as far as runs tell.
    let mut x = 0;
    while pixels.len() < wanted {
        let Some((&[count, value], rest)) = stored.split_first_chunk() else { break };
        stored = rest;
        match (count, value) {
            // End of line.
            (0, 0) => {
                pixels.resize(pixels.len().next_multiple_of(width), 0);
                x = 0;
            }
            // End of the picture.
            (0, 1) => break,
            // To the right and up.
            (0, 2) => {
                let Some((&[right, up], rest)) = stored.split_first_chunk() else { break };
                stored = rest;
                let skipped = usize::from(right) + usize::from(up) * width;
                pixels.resize(wanted.min(pixels.len() + skipped), 0);
                x = pixels.len() % width;
            }
            // Pixels one by one.
            (0, count) => {
                let wanted_now = usize::from(count).min(wanted - pixels.len());
                let len = if nibbles { wanted_now.div_ceil(2) } else { wanted_now };
                let Some((values, rest)) = stored.split_at_checked(len) else { break };
                match nibbles {
                    true => pixels.extend(values.iter().flat_map(|v| [v >> 4, v & 15]).take(wanted_now)),
                    false => pixels.extend(values),
                }
                x += usize::from(count);
                // Padded to an even place of the file.
                let odd = (end - rest.len()) % 2;
                stored = rest.get(odd..).unwrap_or_default();
            }
            (count, value) => {
                let count = usize::from(count).min(width.saturating_sub(x));
                let pair = if nibbles { [value >> 4, value & 15] } else { [value; 2] };
                pixels.extend((0..count).map(|i| pair[i % 2]));
                x += count;
            }
        }
    }
    pixels.truncate(wanted);
    pixels
}
