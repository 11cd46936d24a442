//! Unpacks the bytes of a strip or tile to samples of 8 bits.

use std::convert::Infallible;
use std::io::Read;

use fax::decoder::{DecodeStatus, Group4Decoder};
use fax::{BitReader, Color, maps};
use flate2::read::ZlibDecoder;
use weezl::{BitOrder, decode::Decoder as LzwDecoder};

use super::layout::{Colour, Compression, Format, Layout};

/// Unpacks up to `len` bytes; fewer where the data ends or is damaged.
pub(super) fn unpack(layout: &Layout, packed: &[u8], [width, rows]: [usize; 2], len: usize) -> Vec<u8> {
    let reversed;
    let packed = if layout.reversed {
        reversed = packed.iter().map(|byte| byte.reverse_bits()).collect::<Vec<_>>();
        &reversed
    } else {
        packed
    };
    match layout.compression {
        Compression::None | Compression::Jpeg => packed[..len.min(packed.len())].to_vec(),
        Compression::PackBits => pack_bits(packed, len),
        Compression::Lzw => lzw(packed, len),
        Compression::Deflate => read_up_to(ZlibDecoder::new(packed), len),
        Compression::Zstd => ruzstd::decoding::StreamingDecoder::new(packed)
            .map_or_else(|_| vec![], |decoder| read_up_to(decoder, len)),
        Compression::Runs | Compression::Group3 | Compression::Group4 => fax(layout, packed, [width, rows]),
    }
}

fn read_up_to(reader: impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![];
    // Bytes read before an error are kept. The caller compares the length.
    let _ = reader.take(len as u64).read_to_end(&mut bytes);
    bytes
}

fn pack_bits(packed: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = packed;
    while let [head, tail @ ..] = rest
        && bytes.len() < len
    {
        rest = match (*head as i8, tail) {
            (-128, _) => tail,
            (literal @ 0.., _) => {
                let count = (literal as usize + 1).min(tail.len());
                bytes.extend_from_slice(&tail[..count]);
                &tail[count..]
            }
            (repeat, [byte, tail @ ..]) => {
                bytes.resize(bytes.len() + 1 + usize::from(repeat.unsigned_abs()), *byte);
                tail
            }
            (_, []) => tail,
        };
    }
    bytes.truncate(len);
    bytes
}

fn lzw(packed: &[u8], len: usize) -> Vec<u8> {
    let mut decoder = LzwDecoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut bytes = vec![0; len];
    let (mut read, mut written) = (0, 0);
    while written < len {
        let step = decoder.decode_bytes(&packed[read..], &mut bytes[written..]);
        (read, written) = (read + step.consumed_in, written + step.consumed_out);
        match step.status {
            Ok(weezl::LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => (),
            _ => break,
        }
    }
    bytes.truncate(written);
    bytes
}

/// Rows of bits, of which 1 is black: as the samples of a picture whose white is zero.
fn fax(layout: &Layout, packed: &[u8], [width, rows]: [usize; 2]) -> Vec<u8> {
    let stride = width.div_ceil(8);
    let mut bytes = Vec::with_capacity(stride * rows);
    let mut line = |changes: &[u16]| {
        let start = bytes.len();
        bytes.resize(start + stride, 0);
        for (x, pel) in fax::decoder::pels(changes, width as u16).enumerate() {
            bytes[start + x / 8] |= u8::from(pel == Color::Black) << (7 - x % 8);
        }
    };
    if layout.compression == Compression::Group4 {
        let packed = packed.iter().map(|&byte| Ok::<_, Infallible>(byte));
        let Ok(mut decoder) = Group4Decoder::new(packed, width as u16);
        for _ in 0..rows {
            // Rows that are missing are not taken for white ones.
            let Ok(DecodeStatus::Incomplete) = decoder.advance() else { break };
            line(decoder.transition());
        }
        return bytes;
    }
    // The longest code is looked at where the last one is short.
    let packed = [packed, &[0; 2]].concat();
    let mut bits = fax::slice_reader(&packed);
    for _ in 0..rows {
        if layout.compression == Compression::Group3 {
            skip_mark(&mut bits);
        }
        let Some(changes) = runs(&mut bits, width) else { break };
        line(&changes);
        if layout.compression == Compression::Runs {
            let _ = bits.consume(bits.bits_to_byte_boundary());
        }
    }
    bytes
}

/// Passes over the mark before a row: eleven zeros or more, and a one.
fn skip_mark(bits: &mut impl BitReader) {
    if bits.peek(9) == Some(0) {
        while bits.peek(1) == Some(0) {
            let _ = bits.consume(1);
        }
        let _ = bits.consume(1);
    }
}

/// Positions at which a row changes colour, beginning with white.
fn runs(bits: &mut impl BitReader, width: usize) -> Option<Vec<u16>> {
    let (mut changes, mut at, mut colour) = (vec![], 0u16, Color::White);
    while usize::from(at) < width {
        // Long runs have several codes. The last of them is below 64.
        loop {
            let length = match colour {
                Color::White => maps::white::decode(bits),
                Color::Black => maps::black::decode(bits),
            }?;
            at = at.checked_add(length)?;
            if length < 64 {
                break;
            }
        }
        changes.push(at);
        colour = !colour;
    }
    // A longer row is damaged; libtiff mends it in its own way.
    (usize::from(at) == width).then_some(changes)
}

/// Undoes the predictor in a row of samples, `step` of which make a pixel.
pub(super) fn unpredict(layout: &Layout, row: &mut [u8], step: usize) {
    let size = layout.bits / 8;
    match (layout.predictor, layout.bits) {
        (2, 8) => {
            for at in step..row.len() {
                row[at] = row[at].wrapping_add(row[at - step]);
            }
        }
        (2, 16 | 32) => {
            for at in (step * size..row.len()).step_by(size) {
                let [left, here] = [at - step * size, at].map(|at| word(layout, &row[at..][..size]));
                let sum = left.wrapping_add(here).to_be_bytes();
                let sum = &sum[4 - size..];
                for (to, i) in row[at..][..size].iter_mut().zip(0..) {
                    *to = sum[if layout.big_endian { i } else { size - 1 - i }];
                }
            }
        }
        // Bytes of like weight stand together, the highest first, each as its difference.
        (3, 32) => {
            for at in step..row.len() {
                row[at] = row[at].wrapping_add(row[at - step]);
            }
            let planes = row.to_vec();
            let values = planes.len() / size;
            for (i, to) in row.chunks_exact_mut(size).enumerate() {
                for (place, byte) in to.iter_mut().enumerate() {
                    let plane = if layout.big_endian { place } else { size - 1 - place };
                    *byte = planes[plane * values + i];
                }
            }
        }
        _ => (),
    }
}

/// A sample of 2 or 4 bytes.
fn word(layout: &Layout, bytes: &[u8]) -> u32 {
    let fold = |word: u32, byte: &u8| word << 8 | u32::from(*byte);
    if layout.big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

/// The samples of a row in 8 bits: of colours of 16 bits the upper byte.
pub(super) fn samples(layout: &Layout, row: &[u8], to: &mut Vec<u8>, count: usize) {
    let white_is_zero = layout.colour == Colour::Gray { white_is_zero: true };
    let gray = matches!(layout.colour, Colour::Gray { .. });
    match layout.bits {
        8 if white_is_zero => to.extend(row[..count].iter().map(|byte| 255 - byte)),
        8 => to.extend_from_slice(&row[..count]),
        16 => to.extend(words(layout, row).take(count).map(|word| (word >> 8) as u8)),
        bits if gray => {
            let most = (1 << bits) - 1;
            to.extend((0..count).map(|i| {
                let value = packed(row, bits, i);
                let value = if white_is_zero { most - value } else { value };
                (value * 255 / most) as u8
            }));
        }
        bits => to.extend((0..count).map(|i| packed(row, bits, i) as u8)),
    }
}

/// The gray of a row, of more than 8 bits: whole, from 0 to 65535. Not inverted where white is zero, as Pillow has it.
pub(super) fn deep_gray(layout: &Layout, row: &[u8], to: &mut Vec<u16>, count: usize) {
    let cut = |word: i32| word.clamp(0, 65_535) as u16;
    match (layout.format, layout.bits) {
        (_, bits @ 12) => to.extend((0..count).map(|i| packed(row, bits, i) as u16)),
        (Format::Signed, 16) => {
            to.extend(words(layout, row).take(count).map(|word| cut(i32::from(word as u16 as i16))));
        }
        (Format::Float, _) => {
            to.extend(words(layout, row).take(count).map(|word| f32::from_bits(word) as u16));
        }
        // Pillow takes unsigned ones of 32 bits for signed, too.
        _ => to.extend(words(layout, row).take(count).map(|word| cut(word as i32))),
    }
}

fn words(layout: &Layout, row: &[u8]) -> impl Iterator<Item = u32> {
    row.chunks_exact(layout.bits / 8).map(|bytes| word(layout, bytes))
}

/// Value `i` of a row of values with fewer than 8 bits, or 12.
fn packed(row: &[u8], bits: usize, i: usize) -> u32 {
    let at = i * bits;
    let bytes = [at / 8, at / 8 + 1].map(|at| u32::from(row.get(at).copied().unwrap_or(0)));
    ((bytes[0] << 8 | bytes[1]) >> (16 - bits - at % 8)) & ((1 << bits) - 1)
}
