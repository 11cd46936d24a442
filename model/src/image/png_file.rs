//! The chunks of a PNG as Pillow takes them, put into a file that keeps the specification.
//!
//! Pillow passes over unknown chunks, takes the last of several headers and palettes, and checks no sum of pixels. The decoder
//! refuses such files, and panics on a palette that is no whole number of colours.

use image::metadata::Orientation;
use image::{DynamicImage, GrayAlphaImage, ImageFormat};

use super::limits::{check_size, cut_short, image_error};
use super::opened::Decoded;
use super::still;
use crate::Result;

/// First bytes of a PNG.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

const INDEXED: u8 = 3;

/// Width and height, as they are stored.
pub(super) fn dimensions(name: &str, bytes: &[u8]) -> Result<(u32, u32)> {
    Header::read(name, bytes).map(|header| header.size())
}

/// Decodes a PNG. An animated one gives its default picture.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Decoded> {
    let header = Header::read(name, bytes)?;
    check_size(name, header.size())?;
    let plain = header.plain(name, bytes)?;
    let decoded = still::decode(name, &plain.bytes, ImageFormat::Png);
    let mut picture =
        decoded.map_err(|error| if plain.ended { cut_short(name, bytes) } else { error })?.picture;
    // Gray of 16 bits with one of its values transparent: cut as gray is, not as the gray of an alpha channel.
    if let (true, DynamicImage::ImageLumaA16(deep)) = (header.is_deep_gray(), &mut picture) {
        let pixels = deep.as_chunks().0.iter();
        let pixels = pixels.flat_map(|&[gray, alpha]| [gray.min(255) as u8, (alpha >> 8) as u8]).collect();
        let (width, height) = deep.dimensions();
        let whole = "two samples a pixel";
        picture = GrayAlphaImage::from_raw(width, height, pixels).expect(whole).into();
    }
    Ok(Decoded { picture, orientation: plain.orientation })
}

/// Header of a file, before its pixels.
pub(super) struct Header<'a> {
    /// Width, height, bits, colours, compression, filter, interlacing.
    pub(super) ihdr: [u8; 13],
    palette: Option<&'a [u8]>,
    transparency: Option<&'a [u8]>,
    orientation: Option<Orientation>,
    /// Offset of the first chunk of pixels.
    pixels_at: usize,
}

/// A chunk: its kind, its content as far as the file goes, and whether that and its sum are whole.
struct Chunk<'a> {
    kind: &'a [u8; 4],
    content: &'a [u8],
    /// Offset of the next chunk; `None` if the file ends before the sum does.
    next: Option<usize>,
}

/// The chunk there; none where the file ends within its head.
fn chunk(bytes: &[u8], at: usize) -> Option<Chunk<'_>> {
    let (len, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let whole = rest.len() >= len.saturating_add(4);
    Some(Chunk { kind, content: &rest[..len.min(rest.len())], next: whole.then_some(at + 12 + len) })
}

/// A new file with the pixels of the one given, and how EXIF says that they are turned.
pub(super) struct Plain {
    pub(super) bytes: Vec<u8>,
    pub(super) orientation: Orientation,
    /// Whether the file ends within its pixels or behind them, before another chunk.
    pub(super) ended: bool,
}

impl<'a> Header<'a> {
    /// # Errors
    ///
    /// If the file ends before its pixels, or a sum before them is wrong.
    pub(super) fn read(name: &str, bytes: &'a [u8]) -> Result<Self> {
        let cut = || cut_short(name, bytes);
        let damaged = |reason: String| image_error(name, format!("is a damaged PNG: {reason}"));
        let (mut ihdr, mut palette, mut transparency, mut orientation) = (None::<[u8; 13]>, None, None, None);
        let mut at = SIGNATURE.len();
        loop {
            let Chunk { kind, content, next } = chunk(bytes, at).ok_or_else(cut)?;
            let shown = String::from_utf8_lossy(kind).escape_debug().to_string();
            if !kind.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(damaged(format!("a chunk is named {shown:?}")));
            }
            if kind == b"IDAT" {
                break;
            }
            let Some(next) = next else { return Err(cut()) };
            if bytes[next - 4..next] != sum(kind, content) {
                return Err(damaged(format!("the sum of its chunk {shown} is wrong")));
            }
            match kind {
                b"IHDR" => {
                    let content =
                        content.first_chunk().ok_or_else(|| damaged("its header is too short".into()))?;
                    ihdr = Some(ihdr.map_or(*content, |last| last_of(last, *content)));
                }
                // Before the header it is none, nor of colours that are no indices.
                b"PLTE" if ihdr.is_some_and(|ihdr| ihdr[9] == INDEXED) => palette = Some(content),
                b"tRNS" => transparency = Some(content),
                b"eXIf" => orientation = Orientation::from_exif_chunk(content),
                b"CgBI" => {
                    let reason =
                        "is a PNG in Apple's own form (CgBI), which is not read: save it as a usual PNG";
                    return Err(image_error(name, reason.into()));
                }
                b"IEND" => return Err(damaged("it has no pixels".into())),
                _ => (),
            }
            at = next;
        }
        let mut ihdr = ihdr.ok_or_else(|| damaged("it has no header".into()))?;
        // There is but one compression, and one way to interlace.
        ihdr[10] = 0;
        ihdr[12] = ihdr[12].min(1);
        Ok(Self { ihdr, palette, transparency, orientation, pixels_at: at })
    }

    pub(super) fn size(&self) -> (u32, u32) {
        let [w0, w1, w2, w3, h0, h1, h2, h3, ..] = self.ihdr;
        (u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3]))
    }

    /// Whether it is gray of 16 bits.
    pub(super) fn is_deep_gray(&self) -> bool {
        self.ihdr[8..10] == [16, 0]
    }

    /// # Errors
    ///
    /// If the colours that pixels name are missing, or too many.
    pub(super) fn plain(&self, name: &str, bytes: &'a [u8]) -> Result<Plain> {
        let mut file = SIGNATURE.to_vec();
        push(&mut file, b"IHDR", &self.ihdr);
        let (bits, kind) = (self.ihdr[8], self.ihdr[9]);
        let mut colours = &[][..];
        if kind == INDEXED {
            let whole = self.palette.unwrap_or_default().as_chunks::<3>().0;
            if !(1..=256).contains(&whole.len()) {
                let reason = format!("has a palette of {} colours before its pixels", whole.len());
                return Err(image_error(name, reason));
            }
            colours = &whole[..whole.len().min(1usize.checked_shl(bits.into()).unwrap_or(256))];
            push(&mut file, b"PLTE", colours.as_flattened());
        }
        let transparency = self.transparency.unwrap_or_default();
        let transparency = match kind {
            0 => transparency.get(..2),
            2 => transparency.get(..6),
            INDEXED => Some(&transparency[..transparency.len().min(colours.len())]),
            _ => None,
        };
        if let Some(transparency @ [_, ..]) = transparency {
            push(&mut file, b"tRNS", transparency);
        }
        let mut next = Some(self.pixels_at);
        let mut orientation = self.orientation;
        let mut ended = true;
        let mut behind = false;
        while let Some(Chunk { kind, content, next: after }) = next.and_then(|at| chunk(bytes, at)) {
            behind |= kind != b"IDAT";
            if !behind {
                push(&mut file, kind, content);
                next = after;
                continue;
            }
            ended = false;
            if kind == b"eXIf" {
                orientation = orientation.or_else(|| Orientation::from_exif_chunk(content));
            }
            next = after.filter(|_| kind != b"IEND");
        }
        push(&mut file, b"IEND", &[]);
        Ok(Plain { bytes: file, orientation: orientation.unwrap_or(Orientation::NoTransforms), ended })
    }
}

/// Of two headers what Pillow keeps: interlacing of either.
fn last_of(first: [u8; 13], mut last: [u8; 13]) -> [u8; 13] {
    last[12] |= first[12];
    last
}

fn push(file: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    file.extend((content.len() as u32).to_be_bytes());
    file.extend(kind);
    file.extend(content);
    file.extend(sum(kind, content));
}

fn sum(kind: &[u8; 4], content: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(content);
    crc.sum().to_be_bytes()
}
