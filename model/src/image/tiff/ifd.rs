//! The tags of a TIFF's first picture.

use std::collections::BTreeMap;
use std::ops::Range;

/// A tag by its number in the TIFF 6.0 specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Tag {
    ImageWidth = 256,
    ImageLength = 257,
    BitsPerSample = 258,
    Compression = 259,
    Photometric = 262,
    FillOrder = 266,
    StripOffsets = 273,
    Orientation = 274,
    SamplesPerPixel = 277,
    RowsPerStrip = 278,
    StripByteCounts = 279,
    PlanarConfiguration = 284,
    T4Options = 292,
    Predictor = 317,
    ColorMap = 320,
    TileWidth = 322,
    TileLength = 323,
    TileOffsets = 324,
    TileByteCounts = 325,
    ExtraSamples = 338,
    SampleFormat = 339,
    JpegTables = 347,
    YCbCrCoefficients = 529,
    YCbCrSubSampling = 530,
    ReferenceBlackWhite = 532,
}

/// The first directory of a file: where each tag's values lie.
pub(super) struct Ifd<'a> {
    bytes: &'a [u8],
    pub(super) big_endian: bool,
    /// Type of a tag's values, and their bytes in the file.
    entries: BTreeMap<u16, (u16, Range<usize>)>,
}

impl<'a> Ifd<'a> {
    /// Reads the directory; `None` where the file ends before it or any of its values does.
    pub(super) fn first(bytes: &'a [u8]) -> Option<Self> {
        let big_endian = bytes.first() == Some(&b'M');
        let uint = |at: usize, len: usize| uint(bytes.get(at..at.checked_add(len)?)?, big_endian);
        // BigTIFF has the version 43, and offsets and counts of 8 bytes.
        let wide = uint(2, 2)? == 43;
        let (word, entry_len) = if wide { (8, 20) } else { (4, 12) };
        let at = usize::try_from(uint(if wide { 8 } else { 4 }, word)?).ok()?;
        let count_len = if wide { 8 } else { 2 };
        let count = usize::try_from(uint(at, count_len)?).ok()?;
        let table = at.checked_add(count_len)?;
        let table = bytes.get(table..table.checked_add(count.checked_mul(entry_len)?)?)?;
        let mut entries = BTreeMap::new();
        for entry in 0..count {
            let at = at + count_len + entry * entry_len;
            let (tag, kind) = (uint(at, 2)? as u16, uint(at + 2, 2)? as u16);
            let Some(size) = size(kind) else { continue };
            let len = usize::try_from(uint(at + 4, word)?).ok()?.checked_mul(size)?;
            let field = at + 4 + word;
            let start = if len <= word { field } else { usize::try_from(uint(field, word)?).ok()? };
            let range = start..start.checked_add(len)?;
            // Only values that are asked for must be there.
            entries.entry(tag).or_insert((kind, range));
        }
        debug_assert_eq!(table.len(), count * entry_len);
        Some(Self { bytes, big_endian, entries })
    }

    /// The values of a tag: integers, and of fractions their quotients.
    pub(super) fn numbers(&self, tag: Tag) -> Option<Vec<f64>> {
        let (kind, range) = self.entries.get(&(tag as u16))?;
        let bytes = self.bytes.get(range.clone())?;
        let word = |bytes: &[u8]| uint(bytes, self.big_endian).unwrap_or_default();
        let value = |bytes: &[u8]| match kind {
            5 => word(&bytes[..4]) as f64 / word(&bytes[4..]) as f64,
            6 => f64::from(word(bytes) as i8),
            8 => f64::from(word(bytes) as i16),
            9 => f64::from(word(bytes) as i32),
            10 => f64::from(word(&bytes[..4]) as i32) / f64::from(word(&bytes[4..]) as i32),
            11 => f64::from(f32::from_bits(word(bytes) as u32)),
            12 => f64::from_bits(word(bytes)),
            16..=18 => word(bytes) as f64,
            _ => word(bytes) as f64,
        };
        Some(bytes.chunks_exact(size(*kind)?).map(value).collect())
    }

    /// The values of a tag that holds whole numbers; what is none becomes 0.
    pub(super) fn uints(&self, tag: Tag) -> Option<Vec<usize>> {
        Some(self.numbers(tag)?.into_iter().map(|value| value as usize).collect())
    }

    /// The first value of a tag that holds whole numbers.
    pub(super) fn uint(&self, tag: Tag) -> Option<usize> {
        self.uints(tag)?.first().copied()
    }

    /// The bytes of a tag.
    pub(super) fn data(&self, tag: Tag) -> Option<&'a [u8]> {
        self.bytes.get(self.entries.get(&(tag as u16))?.1.clone())
    }
}

/// Bytes of a value of a type, if it is a known one.
fn size(kind: u16) -> Option<usize> {
    Some(match kind {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16..=18 => 8,
        _ => return None,
    })
}

fn uint(bytes: &[u8], big_endian: bool) -> Option<u64> {
    let mut word = [0; 8];
    let low = word.len().checked_sub(bytes.len())?;
    word[low..].copy_from_slice(bytes);
    if !big_endian {
        word[low..].reverse();
    }
    Some(u64::from_be_bytes(word))
}
