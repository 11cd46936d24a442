//! A picture stretched to a square and resized, eight sums at a time, with the bits of plain ones.
//!
//! Vectors multiply 16 bits, a weight has 24: it is halved, `(high << 16) + low`, and so are the sums, which are put together
//! at the end. In between they wrap at 32 bits, which the whole sum fits in.

use std::array::from_fn;
use std::ops::Range;

use image::RgbImage;
use rayon::prelude::*;
use wide::{i16x8, i32x4, i32x8, u8x16};

use super::{BITS, Filter, byte, shrink_columns};

/// Bits of the lower half of a weight.
const LOW_BITS: u32 = 16;
const LANES: usize = 8;
/// Most pairs of weights of a pixel that is stretched.
const PAIRS: usize = 3;
/// Most rows that are stretched with the same copies of those they are made from.
const ROWS: usize = 256;

/// The lower and the higher half of a weight, both signed.
fn halves(weight: i32) -> [i16; 2] {
    let low = weight as i16;
    [low, ((weight - i32::from(low)) >> LOW_BITS) as i16]
}

/// Sums of two halves: whole, and rounded to a byte.
fn bytes(low: [i32x4; 2], high: [i32x4; 2]) -> i16x8 {
    let half = i32x4::splat(1 << (BITS - 1));
    let whole = from_fn::<_, 2, _>(|i| (half + low[i] + (high[i] << LOW_BITS)) >> BITS);
    let zero = i16x8::splat(0);
    i16x8::from_i32x8_saturate(bytemuck::cast::<[i32x4; 2], i32x8>(whole)).max(zero).min(i16x8::splat(255))
}

/// The channels of a row, with room behind for a vector that ends there.
type Planes = [Vec<i16>; 3];

fn planes(width: usize) -> Planes {
    from_fn(|_| vec![0; width + LANES])
}

/// A filter for rows, whose weights are many for each pixel.
struct Shrink {
    /// For each output pixel, its first input pixel and its vectors of weights, filled up with zeros.
    taps: Vec<(usize, Range<usize>)>,
    low: Vec<i16x8>,
    /// Empty where all are zero, as where weights are small: of 128 pixels and more for one.
    high: Vec<i16x8>,
}

impl Shrink {
    fn new(filter: &Filter) -> Self {
        let mut shrink = Self { taps: vec![], low: vec![], high: vec![] };
        for (first, range) in &filter.taps {
            let start = shrink.low.len();
            for weights in filter.weights[range.clone()].chunks(LANES) {
                let half =
                    |i: usize| i16x8::new(from_fn(|lane| weights.get(lane).map_or(0, |&w| halves(w)[i])));
                shrink.low.push(half(0));
                shrink.high.push(half(1));
            }
            shrink.taps.push((*first, start..shrink.low.len()));
        }
        if shrink.high.iter().all(|high| *high == i16x8::splat(0)) {
            shrink.high.clear();
        }
        shrink
    }

    fn row(&self, from: &Planes, to: &mut [u8]) {
        for (to, (first, range)) in to.as_chunks_mut().0.iter_mut().zip(&self.taps) {
            let dots = |weights: &[i16x8]| {
                let mut sums = [i32x4::splat(0); 3];
                for (i, weights) in weights.iter().enumerate() {
                    for (plane, sum) in from.iter().zip(&mut sums) {
                        *sum += i16x8::from_slice_unaligned(&plane[first + LANES * i..]).dot(*weights);
                    }
                }
                sums
            };
            let mut sums = dots(&self.low[range.clone()]);
            if let Some(high) = self.high.get(range.clone()) {
                sums.iter_mut().zip(dots(high)).for_each(|(sum, high)| *sum += high << LOW_BITS);
            }
            *to = sums.map(|sum| byte(sum.to_array().into_iter().fold(1 << (BITS - 1), i32::wrapping_add)));
        }
    }
}

/// Stretched pixels that are made from the same pixels.
struct Run {
    pixels: Range<usize>,
    /// The pixels that they are made from.
    from: Range<usize>,
}

/// The runs of a filter that stretches, none longer than `most`.
fn runs(filter: &Filter, most: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (pixel, (first, weights)) in filter.taps.iter().enumerate() {
        let from = *first..first + weights.len();
        match runs.last_mut() {
            Some(run) if run.from == from && run.pixels.len() < most => run.pixels.end += 1,
            _ => runs.push(Run { pixels: pixel..pixel + 1, from }),
        }
    }
    runs
}

/// A pair of weights of eight pixels: the lower halves of four and of four, and the higher ones.
type Pair = [i16x8; 4];

/// A filter that stretches rows.
struct Spread {
    /// With the index of its weights: those of eight pixels each, one pair after the other.
    runs: Vec<(Run, Range<usize>)>,
    weights: Vec<Pair>,
}

impl Spread {
    fn new(filter: &Filter) -> Self {
        let mut spread = Self { runs: vec![], weights: vec![] };
        for run in runs(filter, usize::MAX) {
            let start = spread.weights.len();
            for pixel in run.pixels.clone().step_by(LANES) {
                for pair in 0..run.from.len().div_ceil(2) {
                    let weight = |pixel: usize, tap: usize| {
                        let taps = filter.taps.get(pixel).filter(|_| pixel < run.pixels.end);
                        let weights = taps.map_or(&[][..], |(_, range)| &filter.weights[range.clone()]);
                        weights.get(tap).copied().unwrap_or(0)
                    };
                    let four = |from: usize, half: usize| {
                        i16x8::new(from_fn(|i| halves(weight(from + i / 2, 2 * pair + i % 2))[half]))
                    };
                    spread.weights.push([
                        four(pixel, 0),
                        four(pixel + 4, 0),
                        four(pixel, 1),
                        four(pixel + 4, 1),
                    ]);
                }
            }
            let weights = start..spread.weights.len();
            spread.runs.push((run, weights));
        }
        spread
    }

    /// Stretches a row of RGB pixels.
    fn row(&self, from: &[u8], to: &mut Planes) {
        for (run, range) in &self.runs {
            let weights = &self.weights[range.clone()];
            match run.from.len().div_ceil(2) {
                1 => stretch_run::<1>(run, weights, from, to),
                2 => stretch_run::<2>(run, weights, from, to),
                _ => stretch_run::<PAIRS>(run, weights, from, to),
            }
        }
    }
}

fn stretch_run<const N: usize>(run: &Run, weights: &[Pair], from: &[u8], to: &mut Planes) {
    let value = |tap: usize, channel: usize| match tap < run.from.len() {
        true => i16::from(from[3 * (run.from.start + tap) + channel]),
        false => 0,
    };
    for (channel, to) in to.iter_mut().enumerate() {
        let values: [i16x8; N] = from_fn(|pair| i16x8::new(from_fn(|i| value(2 * pair + i % 2, channel))));
        let pixels = to[run.pixels.start..].chunks_exact_mut(LANES);
        for (to, weights) in pixels.zip(weights.as_chunks::<N>().0) {
            let (mut low, mut high) = ([i32x4::splat(0); 2], [i32x4::splat(0); 2]);
            for (values, weights) in values.iter().zip(weights) {
                for i in 0..2 {
                    low[i] += values.dot(weights[i]);
                    high[i] += values.dot(weights[i + 2]);
                }
            }
            // What reaches beyond the run is overwritten by the next one, or padding.
            to.copy_from_slice(bytes(low, high).as_array());
        }
    }
}

/// The rows that a run of stretched rows is made from: of each channel the pairs of rows, and of these eight pixels at a time,
/// a byte of either row after the other.
fn paired(image: &RgbImage, rows: &Range<usize>) -> [Vec<Vec<u8x16>>; 3] {
    let width = image.width() as usize;
    let value = |row: usize, x: usize, channel: usize| match row < rows.end && x < width {
        true => image.as_raw()[3 * (width * row + x) + channel],
        false => 0,
    };
    from_fn(|channel| {
        let pair = |row: usize| {
            let eight = |x: usize| u8x16::new(from_fn(|i| value(row + i % 2, x + i / 2, channel)));
            (0..width).step_by(LANES).map(eight).collect()
        };
        rows.clone().step_by(2).map(pair).collect()
    })
}

/// A stretched row of a channel, from pairs of rows and their weights.
fn stretch_column<const N: usize>(pairs: &[Vec<u8x16>], weights: &[i32], to: &mut [i16]) {
    let weight = |tap: usize| halves(weights.get(tap).copied().unwrap_or(0));
    let weights: [[i16x8; 2]; N] =
        from_fn(|pair| from_fn(|half| i16x8::new(from_fn(|i| weight(2 * pair + i % 2)[half]))));
    let pairs: [&[u8x16]; N] = from_fn(|pair| &pairs[pair][..]);
    for (at, to) in to.chunks_exact_mut(LANES).enumerate().take(pairs[0].len()) {
        let (mut low, mut high) = ([i32x4::splat(0); 2], [i32x4::splat(0); 2]);
        for (pair, weights) in pairs.iter().zip(&weights) {
            let values = [i16x8::from_u8x16_low(pair[at]), i16x8::from_u8x16_high(pair[at])];
            for i in 0..2 {
                low[i] += values[i].dot(weights[0]);
                high[i] += values[i].dot(weights[1]);
            }
        }
        to.copy_from_slice(bytes(low, high).as_array());
    }
}

/// The same as [`stretched`](super::stretched), but every pixel of the square is computed.
pub(crate) fn whole(image: &RgbImage, size: usize, window: Range<usize>) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = width.max(height);
    let filter = Filter::new(side, size, window);
    let (shrink, needed) = (Shrink::new(&filter), filter.needed());
    let len = 3 * filter.taps.len();
    let mut narrow = vec![0; len * needed.len()];
    let new_planes = || planes(side);
    if width < height {
        let spread = Spread::new(&Filter::new(width, side, 0..side));
        narrow.par_chunks_exact_mut(len).zip(needed.clone()).for_each_init(
            new_planes,
            |planes, (narrow, y)| {
                spread.row(&image.as_raw()[3 * width * y..][..3 * width], planes);
                shrink.row(planes, narrow);
            },
        );
    } else {
        let stretch = Filter::new(height, side, needed.clone());
        let mut rest = &mut narrow[..];
        let mut parts = vec![];
        for run in runs(&stretch, ROWS) {
            let (part, tail) = rest.split_at_mut(len * run.pixels.len());
            rest = tail;
            parts.push((run, part));
        }
        parts.into_par_iter().for_each_init(new_planes, |planes, (run, narrow)| {
            let pairs = paired(image, &run.from);
            for (y, narrow) in run.pixels.zip(narrow.chunks_exact_mut(len)) {
                let weights = &stretch.weights[stretch.taps[y].1.clone()];
                for (pairs, plane) in pairs.iter().zip(&mut *planes) {
                    match pairs.len() {
                        1 => stretch_column::<1>(pairs, weights, plane),
                        2 => stretch_column::<2>(pairs, weights, plane),
                        _ => stretch_column::<PAIRS>(pairs, weights, plane),
                    }
                }
                shrink.row(planes, narrow);
            }
        });
    }
    shrink_columns(&narrow, len, needed.start, &filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    // With the widest weights of a filter, and wider.
    #[test]
    fn sums_of_halves_are_the_whole_sums() {
        let mut state = 5u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        for _ in 0..10_000 {
            let weights: [i32; 8] = from_fn(|_| next() as i32 >> (7 + next() % 9));
            let values: [i16; 8] = from_fn(|_| (next() >> 24) as i16);
            let whole = weights
                .iter()
                .zip(values)
                .fold(0i32, |sum, (w, v)| sum.wrapping_add(w.wrapping_mul(v.into())));
            let half = |i: usize| i16x8::new(weights.map(|weight| halves(weight)[i]));
            let [low, high] = [0, 1].map(|i| i16x8::new(values).dot(half(i)));
            let lanes = (low + (high << LOW_BITS)).to_array();
            assert_eq!(lanes.into_iter().fold(0, i32::wrapping_add), whole, "{weights:?} {values:?}");
        }
    }
}
