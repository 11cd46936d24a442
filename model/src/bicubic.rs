//! Pillow's bicubic resize of 8-bit RGB, bit for bit (SPEC §7).
//!
//! Separable: rows first, then columns, rounded to 8 bits after each pass. Weights (Keys 1981, a = -0.5) are
//! normalised in f64 and rounded to 22 fractional bits; downwards the kernel widens with the scale. Written after
//! Pillow's `Resample.c`, whose results the tests hold.

mod lanes;
mod stretch;

use std::ops::Range;

use image::RgbImage;
use rayon::prelude::*;

pub(crate) use lanes::whole;
pub(crate) use stretch::{has_runs, stretched};

/// Fractional bits of a weight.
const BITS: u32 = 22;

/// The weights of one axis: what each output pixel takes from which input pixels.
pub(crate) struct Filter {
    /// For each output pixel, its first input pixel and its place in `weights`.
    taps: Vec<(usize, Range<usize>)>,
    weights: Vec<i32>,
}

impl Filter {
    /// Weights from `from` pixels to the pixels `window` of `to`.
    pub(crate) fn new(from: usize, to: usize, window: Range<usize>) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = 2.0 * stretch;
        let (mut taps, mut weights) = (Vec::with_capacity(window.len()), Vec::new());
        let mut raw = Vec::new();
        for out in window {
            let centre = (out as f64 + 0.5) * scale;
            // `as` cuts towards zero, and a negative start to 0, as the original does.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            raw.clear();
            raw.extend((first..end).map(|i| cubic((i as f64 - centre + 0.5) * (1.0 / stretch))));
            let sum: f64 = raw.iter().sum();
            let start = weights.len();
            weights.extend(raw.iter().map(|w| {
                let fixed = w / sum * f64::from(1 << BITS);
                (fixed + 0.5f64.copysign(fixed)) as i32
            }));
            taps.push((first, start..weights.len()));
        }
        Self { taps, weights }
    }

    /// Resizes a row of RGB pixels.
    pub(crate) fn row(&self, from: &[u8], to: &mut [u8]) {
        for (to, (first, range)) in to.chunks_exact_mut(3).zip(&self.taps) {
            let mut sum = [1 << (BITS - 1); 3];
            for (pixel, weight) in from[3 * first..].chunks_exact(3).zip(&self.weights[range.clone()]) {
                for (sum, &byte) in sum.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(byte);
                }
            }
            to.copy_from_slice(&sum.map(byte));
        }
    }

    /// The input pixels that any output is made from.
    pub(crate) fn needed(&self) -> Range<usize> {
        self.needed_by(0..self.taps.len())
    }

    /// The input pixels that some of the outputs are made from.
    pub(crate) fn needed_by(&self, outputs: Range<usize>) -> Range<usize> {
        let taps = &self.taps[outputs];
        let start = taps.iter().map(|(first, _)| *first).min().unwrap_or(0);
        start..taps.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(start)
    }

    /// Of each output the first input pixel, and the weights of those from there on.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (usize, &[i32])> + Clone {
        self.taps.iter().map(|(first, range)| (*first, &self.weights[range.clone()]))
    }

    /// Output row `y` of a picture resized in height, from its rows of `to.len()` bytes, beginning with row `start`.
    pub(crate) fn column(&self, from: &[u8], start: usize, y: usize, to: &mut [u8]) {
        const BLOCK: usize = 1024;
        let (first, range) = &self.taps[y];
        let len = to.len();
        for (block, to) in to.chunks_mut(BLOCK).enumerate() {
            let mut sums = [1 << (BITS - 1); BLOCK];
            for (row, weight) in from.chunks_exact(len).skip(first - start).zip(&self.weights[range.clone()])
            {
                for (sum, &byte) in sums.iter_mut().zip(&row[block * BLOCK..][..to.len()]) {
                    *sum += weight * i32::from(byte);
                }
            }
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = byte(sum);
            }
        }
    }
}

/// Resizes a picture of `width × height` to `to`. Only the part `x × y` of the result is computed and returned.
///
/// The picture is asked for row by row, `row(y, bytes)`, and so need not be in memory as a whole.
pub(crate) fn resize(
    [width, height]: [usize; 2],
    row: impl Fn(usize, &mut [u8]) + Sync,
    to: [usize; 2],
    x: Range<usize>,
    y: Range<usize>,
) -> Vec<u8> {
    let rows = Filter::new(width, to[0], x.clone());
    let columns = Filter::new(height, to[1], y);

    // Rows that none of the columns takes from are not asked for.
    let needed = columns.needed();
    let mut narrow = vec![0; 3 * x.len() * needed.len()];
    narrow.par_chunks_exact_mut(3 * x.len()).zip(needed.clone()).for_each_init(
        || vec![0; 3 * width],
        |bytes, (narrow, y)| {
            row(y, bytes);
            rows.row(bytes, narrow);
        },
    );
    shrink_columns(&narrow, 3 * x.len(), needed.start, &columns)
}

/// A picture in the middle of a square of a colour, resized to `size` a side, of which the part `window × window` is
/// computed and returned.
pub(crate) fn padded(image: &RgbImage, colour: [u8; 3], size: usize, window: Range<usize>) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = width.max(height);
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    let filter = Filter::new(side, size, window);
    // Sums of the colour, beside the picture and in rows without it.
    let sums = |columns: &dyn Fn(usize) -> bool| -> Vec<i32> {
        let sum = |(first, range): &(usize, Range<usize>)| {
            let weights = filter.weights[range.clone()].iter().zip(*first..);
            weights.filter(|(_, x)| columns(*x)).map(|(weight, _)| weight).sum()
        };
        filter.taps.iter().map(sum).collect()
    };
    let (beside, all) = (sums(&|x| !(left..left + width).contains(&x)), sums(&|_| true));
    let len = 3 * filter.taps.len();
    let mut narrow = vec![0; len * side];
    narrow.par_chunks_exact_mut(len).enumerate().for_each(|(y, narrow)| {
        let row =
            (top..top + height).contains(&y).then(|| &image.as_raw()[3 * width * (y - top)..][..3 * width]);
        let sums = if row.is_some() { &beside } else { &all };
        for ((to, (first, range)), sum) in narrow.as_chunks_mut().0.iter_mut().zip(&filter.taps).zip(sums) {
            let mut totals = colour.map(|part| (1 << (BITS - 1)) + sum * i32::from(part));
            if let Some(row) = row {
                let [from, end] = [*first, first + range.len()].map(|x| x.clamp(left, left + width));
                for x in from..end {
                    let weight = filter.weights[range.start + x - first];
                    for (total, &byte) in totals.iter_mut().zip(&row[3 * (x - left)..]) {
                        *total += weight * i32::from(byte);
                    }
                }
            }
            *to = totals.map(byte);
        }
    });
    shrink_columns(&narrow, len, 0, &filter)
}

/// The second pass: resizes rows of `len` bytes, of which the first is the picture's row `start`, in height.
fn shrink_columns(narrow: &[u8], len: usize, start: usize, columns: &Filter) -> Vec<u8> {
    let mut small = vec![0; len * columns.taps.len()];
    small
        .par_chunks_exact_mut(len)
        .enumerate()
        .for_each(|(y, small)| columns.column(narrow, start, y, small));
    small
}

/// Keys' cubic with a = -0.5, in the original's order of operations.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        _ if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        _ if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn resize_all(picture: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
        let row =
            |y: usize, bytes: &mut [u8]| bytes.copy_from_slice(&picture[3 * from[0] * y..][..3 * from[0]]);
        resize(from, row, to, 0..to[0], 0..to[1])
    }

    // Pillow skips a pass whose size does not change; here it runs, and must be a copy.
    #[test]
    fn the_same_size_is_a_copy() {
        for [width, height] in [[1, 1], [3, 2], [17, 23]] {
            let picture = noise(3 * width * height);
            assert_eq!(resize_all(&picture, [width, height], [width, height]), picture);
        }
    }

    #[test]
    fn one_pixel_fills_any_size() {
        let big = resize_all(&[10, 200, 255], [1, 1], [33, 7]);
        assert!(big.chunks_exact(3).all(|pixel| pixel == [10, 200, 255]));
    }

    #[test]
    fn a_window_is_a_part_of_the_whole() {
        let (from, to) = ([31, 20], [12, 47]);
        let picture = noise(3 * from[0] * from[1]);
        let whole = resize_all(&picture, from, to);
        let row =
            |y: usize, bytes: &mut [u8]| bytes.copy_from_slice(&picture[3 * from[0] * y..][..3 * from[0]]);
        let part = resize(from, row, to, 3..9, 10..40);
        for (y, row) in part.chunks_exact(3 * 6).enumerate() {
            assert_eq!(row, &whole[3 * (12 * (y + 10) + 3)..][..3 * 6]);
        }
    }

    // The sums are i32: the worst row of black and white must fit.
    #[test]
    fn no_weights_overflow_their_sum() {
        for (from, to) in
            [(2, 448), (5, 448), (448, 449), (449, 448), (3, 2), (7, 5), (4000, 448), (65535, 448)]
        {
            let filter = Filter::new(from, to, 0..to);
            for (_, range) in &filter.taps {
                let sum: i64 = filter.weights[range.clone()].iter().map(|&w| i64::from(w.abs()) * 255).sum();
                assert!(sum + (1 << (BITS - 1)) <= i64::from(i32::MAX), "{from} to {to}: {sum}");
            }
        }
    }
}
