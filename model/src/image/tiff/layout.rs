//! The layout of a TIFF's samples in its file, and the kinds that are not read.

use super::ifd::{Ifd, Tag};

/// Most samples a pixel may have: Pillow's bound.
const MAX_SAMPLES: usize = 6;

/// Meaning of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Unsigned,
    Signed,
    Float,
}

/// Colours of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// Gray, of 1 to 8 bits inverted where `white_is_zero`.
    Gray {
        white_is_zero: bool,
    },
    Rgb,
    Palette,
    Cmyk,
    YCbCr,
}

impl Colour {
    fn words(self) -> &'static str {
        match self {
            Self::Gray { .. } => "gray",
            Self::Rgb => "RGB",
            Self::Palette => "a palette",
            Self::Cmyk => "CMYK",
            Self::YCbCr => "YCbCr",
        }
    }
}

/// Meaning of the sample after the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    /// The colours are multiplied by it.
    Associated,
    Unassociated,
}

/// Compression of a strip or tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    PackBits,
    Lzw,
    Deflate,
    Zstd,
    Jpeg,
    /// Fax: runs of white and black.
    Runs,
    /// The same, with a mark before each row.
    Group3,
    Group4,
}

/// The layout that the tags describe together.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) bits: usize,
    pub(super) format: Format,
    pub(super) colour: Colour,
    pub(super) alpha: Alpha,
    /// Samples of a pixel in the file.
    pub(super) samples: usize,
    /// Whether each sample is in separate chunks.
    pub(super) planar: bool,
    pub(super) compression: Compression,
    pub(super) predictor: usize,
    pub(super) big_endian: bool,
    /// Whether the first pixel of a byte is in its lowest bit.
    pub(super) reversed: bool,
    /// Pixels that share a sample of chroma, across and down.
    pub(super) subsampling: [usize; 2],
    /// Size of a tile, or of a strip.
    pub(super) chunk: [usize; 2],
    pub(super) offsets: Vec<usize>,
    /// Bytes of each chunk. Without a tag, a chunk goes on to the end of the file.
    pub(super) counts: Vec<usize>,
}

impl Layout {
    /// Colours of a pixel, and its alpha if it has one.
    pub(super) fn kept(&self) -> usize {
        self.colours() + usize::from(self.alpha != Alpha::None)
    }

    /// Whether it is gray of more than 8 bits.
    pub(super) fn is_deep_gray(&self) -> bool {
        matches!(self.colour, Colour::Gray { .. }) && self.bits > 8
    }

    /// Whether chroma is stored once for several pixels.
    pub(super) fn shares_chroma(&self) -> bool {
        self.subsampling != [1, 1]
    }

    /// Whether Pillow, which takes such planes for ones of 8 bits or forgets how they are stored, makes noise or a negative
    /// of them, and so the original.
    fn is_noise_in_planes(&self) -> bool {
        let gray = matches!(self.colour, Colour::Gray { .. });
        match self.bits {
            8 => self.reversed || self.colour == Colour::Gray { white_is_zero: true },
            1 => self.reversed || self.colour != Colour::Gray { white_is_zero: false },
            2 | 4 => true,
            16 => !gray || self.format == Format::Signed,
            32 => self.big_endian && self.format != Format::Unsigned,
            _ => false,
        }
    }

    /// Whether Pillow, given a path, takes the pixels as they lie in the file's memory. It then makes noise of those that are
    /// to be turned on their side, as it has their sides exchanged by then.
    pub(super) fn is_mapped(&self) -> bool {
        let kind = match (self.colour, self.bits, self.samples) {
            (Colour::Gray { white_is_zero: false } | Colour::Palette, 8, 1) | (Colour::Cmyk, 8, 4) => true,
            (Colour::Gray { .. }, 16, 1) => self.format == Format::Unsigned,
            (Colour::Rgb, 8, 4) => self.alpha == Alpha::Unassociated,
            _ => false,
        };
        let one = self.chunk[0] >= self.width && self.chunk[1] >= self.height;
        kind && one && self.compression == Compression::None && !self.reversed
    }

    fn colours(&self) -> usize {
        match self.colour {
            Colour::Gray { .. } | Colour::Palette => 1,
            Colour::Rgb | Colour::YCbCr => 3,
            Colour::Cmyk => 4,
        }
    }

    /// Reads the tags; the error says what the file is, or is wrong with it.
    pub(super) fn read(ifd: &Ifd<'_>, [width, height]: [usize; 2]) -> Result<Self, String> {
        let number = |tag, default| ifd.uint(tag).unwrap_or(default);
        let not_read = |what: String| format!("is a TIFF {what}, which is not read: save it as PNG");
        let compression = match number(Tag::Compression, 1) {
            1 => Compression::None,
            2 => Compression::Runs,
            3 if number(Tag::T4Options, 0) & 1 == 0 => Compression::Group3,
            4 => Compression::Group4,
            5 => Compression::Lzw,
            7 => Compression::Jpeg,
            8 | 32_946 => Compression::Deflate,
            32_773 => Compression::PackBits,
            50_000 => Compression::Zstd,
            other => return Err(not_read(format!("with {} compression", compression_name(other)))),
        };
        let photometric = number(Tag::Photometric, 0);
        let colour = match photometric {
            0 | 1 => Colour::Gray { white_is_zero: photometric == 0 },
            2 => Colour::Rgb,
            3 => Colour::Palette,
            5 => Colour::Cmyk,
            6 => Colour::YCbCr,
            other => return Err(not_read(format!("of {}", photometric_name(other)))),
        };
        let mut layout = Self {
            width,
            height,
            bits: 1,
            format: Format::Unsigned,
            colour,
            alpha: Alpha::None,
            samples: 1,
            planar: number(Tag::PlanarConfiguration, 1) == 2,
            compression,
            // The tag is of the compressions that take differences; with others it says nothing, as in libtiff.
            predictor: match compression {
                Compression::Lzw | Compression::Deflate | Compression::Zstd => number(Tag::Predictor, 1),
                _ => 1,
            },
            big_endian: ifd.big_endian,
            reversed: number(Tag::FillOrder, 1) == 2,
            subsampling: [1, 1],
            chunk: [width, height],
            offsets: vec![],
            counts: vec![],
        };
        layout.read_samples(ifd).map_err(not_read)?;
        layout.read_chunks(ifd)?;
        Ok(layout)
    }

    fn read_samples(&mut self, ifd: &Ifd<'_>) -> Result<(), String> {
        let compressed_colour =
            self.compression == Compression::Jpeg && matches!(self.colour, Colour::Rgb | Colour::YCbCr);
        self.samples = ifd.uint(Tag::SamplesPerPixel).unwrap_or(if compressed_colour { 3 } else { 1 });
        let colours = self.colours();
        if self.samples < colours || self.samples > MAX_SAMPLES {
            return Err(format!(
                "with {} samples a pixel where {colours} to {MAX_SAMPLES} fit",
                self.samples
            ));
        }
        let mut bits = ifd.uints(Tag::BitsPerSample).unwrap_or_else(|| vec![1]);
        bits.truncate(self.samples);
        self.bits = bits.first().copied().unwrap_or(1);
        if bits.iter().any(|&bits| bits != self.bits) {
            return Err(format!("whose samples have {bits:?} bits"));
        }
        let formats = ifd.uints(Tag::SampleFormat).unwrap_or_else(|| vec![1]);
        self.format = match formats.first() {
            Some(2) => Format::Signed,
            Some(3) => Format::Float,
            Some(1 | 4) | None => Format::Unsigned,
            Some(_) => return Err("of complex numbers".into()),
        };
        let extra = ifd.uints(Tag::ExtraSamples).unwrap_or_default();
        // Planes behind the colours that stand for nothing are passed over.
        let ignored = if self.planar && extra.iter().all(|&kind| kind == 0) { extra.len() } else { 0 };
        self.alpha = match (self.samples > colours, self.colour, extra.first()) {
            (false, ..) | (_, _, Some(0)) => Alpha::None,
            (_, _, Some(1)) => Alpha::Associated,
            (_, _, Some(_)) => Alpha::Unassociated,
            // Pillow's guess for four samples.
            (_, Colour::Rgb, None) if self.samples == 4 => Alpha::Unassociated,
            (_, _, None) => Alpha::None,
        };
        if self.colour == Colour::Cmyk {
            self.alpha = Alpha::None;
        }
        let alone = self.samples.saturating_sub(ignored) == 1;
        let gray = matches!(self.colour, Colour::Gray { .. }) && alone;
        let known = match (self.format, self.bits) {
            (Format::Unsigned, 8) => true,
            (Format::Unsigned, 1 | 2 | 4) => gray || self.colour == Colour::Palette && alone,
            (Format::Unsigned, 16) => gray || matches!(self.colour, Colour::Rgb | Colour::Cmyk),
            (Format::Unsigned, 12 | 32) | (Format::Signed, 8 | 16 | 32) | (Format::Float, 32) => gray,
            _ => false,
        };
        let format = match self.format {
            Format::Unsigned => "bits",
            Format::Signed => "signed bits",
            Format::Float => "bits of floating point",
        };
        if !known {
            return Err(format!("of {} with {} {format} a sample", self.colour.words(), self.bits));
        }
        if self.planar && self.compression == Compression::None && self.is_noise_in_planes() {
            let colour = self.colour.words();
            return Err(format!("of {colour} in uncompressed planes of {} {format} a sample", self.bits));
        }
        // What Pillow reads with the bytes of its numbers swapped, and so the original: neither that nor another picture.
        let swapped = self.format != Format::Unsigned && matches!(self.bits, 16 | 32);
        if swapped && self.big_endian && self.compression != Compression::None {
            return Err(format!("of big-endian gray with {} {format} a sample, packed", self.bits));
        }
        if !(self.predictor <= 2 || self.predictor == 3 && self.format == Format::Float) {
            return Err(format!("with predictor {}", self.predictor));
        }
        if self.predictor == 2 && !matches!(self.bits, 8 | 16 | 32) {
            return Err(format!("with a predictor over {} bits", self.bits));
        }
        if self.colour == Colour::YCbCr && self.compression != Compression::Jpeg {
            let factors = ifd.uints(Tag::YCbCrSubSampling).unwrap_or_else(|| vec![2, 2]);
            self.subsampling = match factors[..] {
                [h @ (1 | 2 | 4), v @ (1 | 2 | 4)] => [h, v],
                _ => return Err(format!("with chroma shared by {factors:?} pixels")),
            };
            if self.samples != 3 || (self.planar && self.subsampling != [1, 1]) {
                return Err("of YCbCr in planes, or with more samples".into());
            }
        }
        if self.compression == Compression::Jpeg && (self.bits != 8 || self.samples > 4) {
            return Err(format!("of JPEGs with {} samples of {} bits", self.samples, self.bits));
        }
        if matches!(self.compression, Compression::Runs | Compression::Group3 | Compression::Group4)
            && (self.bits, self.samples) != (1, 1)
        {
            return Err("of fax compression with more than one bit a pixel".into());
        }
        Ok(())
    }

    fn read_chunks(&mut self, ifd: &Ifd<'_>) -> Result<(), String> {
        let tiled = ifd.uint(Tag::TileWidth).is_some() && ifd.uint(Tag::StripOffsets).is_none();
        let (offsets, counts) = if tiled {
            let side = |tag| ifd.uint(tag).unwrap_or(0);
            self.chunk = [side(Tag::TileWidth), side(Tag::TileLength)];
            (Tag::TileOffsets, Tag::TileByteCounts)
        } else {
            let rows = ifd.uint(Tag::RowsPerStrip).unwrap_or(self.height);
            self.chunk = [self.width, rows.min(self.height)];
            (Tag::StripOffsets, Tag::StripByteCounts)
        };
        let [wide, high] = self.chunk;
        if wide == 0 || high == 0 {
            return Err(format!("is a damaged TIFF: its parts are {wide} x {high}"));
        }
        self.offsets = ifd.uints(offsets).unwrap_or_default();
        self.counts = ifd.uints(counts).unwrap_or_default();
        // What Pillow writes: three samples a pixel, whatever the tag says of chroma. It reads all uncompressed ones so.
        let stored = self.counts.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
        if self.compression == Compression::None && stored >= 3 * self.width * self.height {
            self.subsampling = [1, 1];
        }
        if self.compression == Compression::None && self.shares_chroma() {
            return Err("is a TIFF of uncompressed YCbCr whose pixels share chroma, which is not read: save it as PNG".into());
        }
        let parts = self.width.div_ceil(wide) * self.height.div_ceil(high) * self.planes();
        if self.offsets.len() < parts {
            return Err(format!("is a damaged TIFF: it lists {} of its {parts} parts", self.offsets.len()));
        }
        if self.compression == Compression::None && !self.planar && self.offsets.len() > parts {
            self.take_last(parts);
        }
        Ok(())
    }

    /// Of more uncompressed parts than there is room for, Pillow draws each round over the one before: in the order of the list
    /// where a part is the whole picture, and otherwise in that of the file.
    fn take_last(&mut self, parts: usize) {
        let whole = self.chunk == [self.width, self.height];
        let last = |part: usize| {
            let rounds = (part..self.offsets.len()).step_by(parts);
            rounds.max_by_key(|&round| if whole { round } else { self.offsets[round] }).unwrap_or(part)
        };
        let order: Vec<usize> = (0..parts).map(last).collect();
        let picked = |list: &[usize]| order.iter().filter_map(|&part| list.get(part).copied()).collect();
        (self.offsets, self.counts) = (picked(&self.offsets), picked(&self.counts));
    }

    /// Times that the picture is stored: once for all samples, or for each.
    pub(super) fn planes(&self) -> usize {
        if self.planar { self.samples } else { 1 }
    }
}

fn compression_name(number: usize) -> String {
    match number {
        3 => "two-dimensional fax (G3)".into(),
        6 => "old-style JPEG".into(),
        34_661 => "JBIG".into(),
        34_712 | 33_003 | 33_005 => "JPEG 2000".into(),
        34_887 => "LERC".into(),
        34_925 => "LZMA".into(),
        50_001 => "WebP".into(),
        50_002 | 52_546 => "JPEG XL".into(),
        34_676 | 34_677 => "SGI LogLuv".into(),
        other => format!("unknown ({other})"),
    }
}

fn photometric_name(number: usize) -> String {
    match number {
        4 => "a transparency mask".into(),
        8..=10 => "L*a*b* colours".into(),
        32_803 | 34_892 => "a camera's raw pixels".into(),
        32_844 | 32_845 => "LogLuv colours".into(),
        other => format!("unknown colours ({other})"),
    }
}
