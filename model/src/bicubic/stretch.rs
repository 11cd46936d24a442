//! Resizing of a picture that was stretched to a square first, without computing every pixel of that square.
//!
//! A stretched row of a narrow picture has long runs of equal pixels. Weights are whole numbers, so that a run's part of
//! a sum is its value times the sum of its weights, exactly: the results are those of a square that is computed whole.

use std::ops::Range;

use image::RgbImage;
use rayon::prelude::*;

use super::{BITS, Filter, shrink_columns};

/// Longest range of pixels that a tree begins with.
const ROOT: usize = 256;
/// Longest range that is no longer halved.
const LEAF: usize = 4;
/// Most weights of a pixel that is stretched.
const TAPS: usize = 5;

/// A stretch along one axis, with trees that bound its weights.
struct Stretch {
    filter: Filter,
    /// Trees of ranges, one after the other, each range before its halves.
    nodes: Vec<Node>,
    /// For each tree, its nodes and its pixels.
    roots: Vec<(Range<usize>, Range<usize>)>,
}

/// A range of stretched pixels that are made from the same pixels.
struct Node {
    pixels: Range<usize>,
    /// The pixels that they are made from.
    from: Range<usize>,
    /// The least and the largest weight of each of those, and of their sum.
    weights: [[i32; 2]; TAPS],
    sum: [i32; 2],
    /// The node after all that lie in this range.
    next: usize,
}

impl Stretch {
    fn new(from: usize, to: usize) -> Self {
        let mut stretch = Self { filter: Filter::new(from, to, 0..to), nodes: vec![], roots: vec![] };
        let mut start = 0;
        while start < to {
            let source = stretch.source(start);
            let same = (start..to.min(start + ROOT)).take_while(|&pixel| stretch.source(pixel) == source);
            let end = start + same.count();
            let node = stretch.nodes.len();
            stretch.add(start..end, source);
            stretch.roots.push((node..stretch.nodes.len(), start..end));
            start = end;
        }
        stretch
    }

    /// The pixels that one is made from.
    fn source(&self, pixel: usize) -> Range<usize> {
        let (first, weights) = &self.filter.taps[pixel];
        *first..first + weights.len()
    }

    fn add(&mut self, pixels: Range<usize>, from: Range<usize>) {
        let mut node = Node {
            pixels: pixels.clone(),
            from: from.clone(),
            weights: [[i32::MAX, i32::MIN]; TAPS],
            sum: [i32::MAX, i32::MIN],
            next: 0,
        };
        let widen = |[low, high]: &mut [i32; 2], value: i32| {
            *low = value.min(*low);
            *high = value.max(*high);
        };
        for pixel in pixels.clone() {
            let weights = &self.filter.weights[self.filter.taps[pixel].1.clone()];
            node.weights.iter_mut().zip(weights).for_each(|(bounds, &weight)| widen(bounds, weight));
            widen(&mut node.sum, weights.iter().sum());
        }
        let at = self.nodes.len();
        self.nodes.push(node);
        if pixels.len() > LEAF {
            let middle = pixels.start + pixels.len() / 2;
            self.add(pixels.start..middle, from.clone());
            self.add(middle..pixels.end, from);
        }
        self.nodes[at].next = self.nodes.len();
    }

    /// Calls `emit` with the stretched pixels of some nodes and their value, range by range; equal neighbours may come
    /// apart. `value` gives a pixel before it is stretched.
    fn runs(&self, nodes: Range<usize>, value: impl Fn(usize) -> u8, mut emit: impl FnMut(Range<usize>, u8)) {
        let mut at = nodes.start;
        while at < nodes.end {
            let node = &self.nodes[at];
            // Values relative to the first: of like pixels, little remains to be bounded.
            let base = i64::from(value(node.from.start));
            let [mut low, mut high] = node.sum.map(|sum| base * i64::from(sum) + (1 << (BITS - 1)));
            for (pixel, [least, most]) in node.from.clone().zip(&node.weights).skip(1) {
                let step = i64::from(value(pixel)) - base;
                let [a, b] = [step * i64::from(*least), step * i64::from(*most)];
                low += a.min(b);
                high += a.max(b);
            }
            let [low, high] = [low, high].map(|sum| (sum >> BITS).clamp(0, 255) as u8);
            if low == high {
                emit(node.pixels.clone(), low);
                at = node.next;
                continue;
            }
            if node.next == at + 1 {
                for pixel in node.pixels.clone() {
                    let weights = &self.filter.weights[self.filter.taps[pixel].1.clone()];
                    let sum: i32 = node.from.clone().zip(weights).map(|(i, w)| w * i32::from(value(i))).sum();
                    emit(pixel..pixel + 1, super::byte(sum + (1 << (BITS - 1))));
                }
            }
            at += 1;
        }
    }
}

/// Whether [`stretched`] is quicker than [`whole`](super::whole): where a picture is so narrow or so smooth that most stretched
/// pixels are like their neighbours. Between two pixels there are about as many runs as levels.
pub(crate) fn has_runs(image: &RgbImage) -> bool {
    /// Cost of a stored pixel and of a level, in pixels of the square, measured on noise, waves and flat pictures.
    const PIXEL: u64 = 60;
    const LEVEL: u64 = 600;
    let (width, height) = (u64::from(image.width()), u64::from(image.height()));
    let (short, side) = (width.min(height), width.max(height));
    let (stored, square) = (PIXEL * 3 * short * side, 3 * side * side);
    // A picture with many pixels for its longer side is not even looked at.
    if stored >= square {
        return false;
    }
    let bytes = image.as_raw();
    let row = 3 * width as usize;
    let steps = |a: &[u8], b: &[u8]| -> u64 { a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum() };
    let levels: u64 = if width < height {
        bytes.chunks_exact(row).map(|row| steps(&row[3..], row)).sum()
    } else {
        steps(&bytes[row..], bytes)
    };
    stored + LEVEL * levels < square
}

/// The square of a picture's longer side that it is stretched to, resized to `size` a side, of which the part
/// `window × window` is computed and returned.
pub(crate) fn stretched(image: &RgbImage, size: usize, window: Range<usize>) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let side = width.max(height);
    let filter = Filter::new(side, size, window.clone());
    let narrow = if width < height { narrow_tall(image, &filter) } else { narrow_wide(image, &filter) };
    shrink_columns(&narrow, 3 * window.len(), 0, &filter)
}

/// Rows of a picture that is narrower than high, stretched and resized.
fn narrow_tall(image: &RgbImage, filter: &Filter) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let stretch = Stretch::new(width, height);
    // Sums of the weights of each pixel, up to each of those it is made from.
    let mut sums = vec![];
    let starts: Vec<usize> = filter
        .taps
        .iter()
        .map(|(_, range)| {
            let start = sums.len();
            sums.push(0);
            sums.extend(filter.weights[range.clone()].iter().scan(0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            }));
            start
        })
        .collect();
    let mut narrow = vec![0; 3 * filter.taps.len() * height];
    narrow
        .par_chunks_exact_mut(3 * filter.taps.len())
        .zip(image.as_raw().par_chunks_exact(3 * width))
        .for_each(|(narrow, row)| {
            for channel in 0..3 {
                let mut totals = vec![1 << (BITS - 1); filter.taps.len()];
                let mut leftmost = 0;
                let mut add = |run: Range<usize>, value: u8| {
                    let end = |i: usize| filter.taps[i].0 + filter.taps[i].1.len();
                    while leftmost < totals.len() && end(leftmost) <= run.start {
                        leftmost += 1;
                    }
                    for i in leftmost..totals.len() {
                        let first = filter.taps[i].0;
                        if first >= run.end {
                            break;
                        }
                        let [from, to] = [run.start.max(first), run.end.min(end(i))].map(|at| at - first);
                        totals[i] += (sums[starts[i] + to] - sums[starts[i] + from]) * i32::from(value);
                    }
                };
                let mut open = (0..0, 0);
                stretch.runs(
                    0..stretch.nodes.len(),
                    |i| row[3 * i + channel],
                    |run, value| match value == open.1 {
                        true => open.0.end = run.end,
                        false => {
                            let (run, value) = std::mem::replace(&mut open, (run, value));
                            add(run, value);
                        }
                    },
                );
                add(open.0, open.1);
                for (to, total) in narrow.iter_mut().skip(channel).step_by(3).zip(totals) {
                    *to = super::byte(total);
                }
            }
        });
    narrow
}

/// Rows of a picture that is lower than wide, stretched in height and then resized in width.
fn narrow_wide(image: &RgbImage, filter: &Filter) -> Vec<u8> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let stretch = Stretch::new(height, width);
    // The pixels of the resized row that each stretched pixel adds to, and their weights.
    let mut adds = vec![vec![]; width];
    for (to, (first, range)) in filter.taps.iter().enumerate() {
        for (i, &weight) in filter.weights[range.clone()].iter().enumerate() {
            adds[first + i].push((3 * to, weight));
        }
    }
    let len = 3 * filter.taps.len();
    let mut narrow = vec![0; len * width];
    let mut rest = &mut narrow[..];
    let mut parts = vec![];
    for (nodes, rows) in &stretch.roots {
        let (part, tail) = rest.split_at_mut(len * rows.len());
        rest = tail;
        parts.push((nodes.clone(), rows.clone(), part));
    }
    parts.into_par_iter().for_each(|(nodes, rows, narrow)| {
        // Changes of the sums from each row to the next.
        let mut changes = vec![0; len * rows.len()];
        for (x, adds) in adds.iter().enumerate() {
            for channel in 0..3 {
                let mut before = 0;
                let value = |y: usize| image.as_raw()[3 * (y * width + x) + channel];
                stretch.runs(nodes.clone(), value, |run, value| {
                    let step = i32::from(value) - before;
                    before = i32::from(value);
                    if step != 0 {
                        let changes = &mut changes[len * (run.start - rows.start) + channel..];
                        for (to, weight) in adds {
                            changes[*to] += step * weight;
                        }
                    }
                });
            }
        }
        let mut sums = vec![1 << (BITS - 1); len];
        for (narrow, changes) in narrow.chunks_exact_mut(len).zip(changes.chunks_exact(len)) {
            for ((to, sum), change) in narrow.iter_mut().zip(&mut sums).zip(changes) {
                *sum += change;
                *to = super::byte(*sum);
            }
        }
    });
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of noise, or of noise in black and white, or of slow waves.
    fn picture(width: u32, height: u32, kind: u32) -> RgbImage {
        let mut state = width * 31 + height + kind;
        let byte = |i: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match kind {
                0 => (state >> 24) as u8,
                1 => (state >> 31) as u8 * 255,
                _ => (i / 97) as u8,
            }
        };
        let bytes = (0..3 * width * height).map(byte).collect();
        RgbImage::from_raw(width, height, bytes).unwrap()
    }

    /// The square, computed whole, sum by sum.
    fn plain(image: &RgbImage, size: usize, window: Range<usize>) -> Vec<u8> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let side = width.max(height);
        let filter = Filter::new(width.min(height), side, 0..side);
        let row = |y: usize, row: &mut [u8]| match width < height {
            true => filter.row(&image.as_raw()[3 * width * y..][..3 * width], row),
            false => filter.column(image.as_raw(), 0, y, row),
        };
        super::super::resize([side, side], row, [size, size], window.clone(), window)
    }

    #[test]
    fn a_stretched_picture_is_that_of_the_whole_square() {
        for (short, long) in
            [(1, 2), (1, 40), (1, 700), (2, 35), (2, 601), (3, 50), (4, 333), (7, 130), (20, 333)]
        {
            for (width, height) in [(short, long), (long, short)] {
                for kind in 0..3 {
                    let picture = picture(width, height, kind);
                    for (size, window) in [(28, 0..28), (56, 7..49)] {
                        let want = plain(&picture, size, window.clone());
                        let name = format!("{width} x {height}, {kind}, {size}");
                        assert!(super::super::whole(&picture, size, window.clone()) == want, "{name}");
                        assert!(stretched(&picture, size, window) == want, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_padded_picture_is_that_of_the_whole_square() {
        let colour = [1, 200, 99];
        for (width, height) in [(1, 40), (40, 1), (7, 30), (30, 29), (31, 8), (12, 12)] {
            let picture = picture(width, height, 0);
            let (width, height) = (width as usize, height as usize);
            let side = width.max(height);
            let (left, top) = ((side - width) / 2, (side - height) / 2);
            let row = |y: usize, row: &mut [u8]| {
                row.as_chunks_mut().0.fill(colour);
                if (top..top + height).contains(&y) {
                    row[3 * left..][..3 * width]
                        .copy_from_slice(&picture.as_raw()[3 * width * (y - top)..][..3 * width]);
                }
            };
            let want = super::super::resize([side, side], row, [28, 28], 3..25, 3..25);
            assert!(super::super::padded(&picture, colour, 28, 3..25) == want, "{width} x {height}");
        }
    }
}
