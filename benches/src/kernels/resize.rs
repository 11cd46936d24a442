//! Resizes of a texture to what the vision tower takes: across, stretched to a square on the way, and down.

use strix_engine::{Gpu, Resident};
use strix_model::Config;
use strix_shaders::resize_across::{Filter, Placed, Stretched};
use strix_shaders::{resize_across, resize_down};

use super::bench::{Bench, Operands, Record};
use crate::{Result, Shape, Work};

/// Most weights of a pixel that is stretched.
const STRETCH_TAPS: u32 = 4;

pub(super) fn bench(shape: Shape) -> Result<Bench> {
    let [a, b, side] = [0, 1, 2].map(|i| shape.sizes[i]);
    Ok(match shape.kernel.as_str() {
        "resize_across" => Bench::new(shape, across_work(a, b, side), move |o| across(o, [a, b], side)),
        _ => Bench::new(shape, down_work(a, b, side), move |o| down(o, [a, b], side)),
    })
}

/// Weights of an output of a bicubic.
fn taps(from: u32, to: u32) -> u32 {
    (4 * from.max(to)).div_ceil(to).min(from)
}

/// The picture once, the result once; three channels of each weight, of a pixel that is stretched as often as it is used.
fn across_work(width: u32, height: u32, side: u32) -> Work {
    let [width, height, side] = [width, height, side].map(u64::from);
    let square = width.max(height);
    let stretch = if width == height { 0 } else { u64::from(STRETCH_TAPS) };
    let rows = if width < height { height } else { square };
    let weights = u64::from(taps(square as u32, side as u32));
    Work { bytes: 4 * (width * height + rows * side), flops: 6 * rows * side * weights * (1 + stretch) }
}

fn down_work(rows: u32, columns: u32, side: u32) -> Work {
    let weights = u64::from(taps(rows, side));
    let [rows, columns, side] = [rows, columns, side].map(u64::from);
    Work { bytes: 4 * (rows * columns + 3 * side * columns), flops: 6 * side * columns * weights }
}

/// A filter with as many weights as a bicubic has, all of them equal.
fn filter(gpu: &Gpu, from: u32, to: u32, most: u32) -> Result<Filter> {
    let count = taps(from, to).min(most);
    let weights = vec![(1 << 22) / count.cast_signed(); count as usize];
    let first = |at: u32| (u64::from(at) * u64::from(from - count) / u64::from(to)) as usize;
    Ok(Filter::new(gpu, "filter", (0..to).map(|at| (first(at), weights.as_slice())))?)
}

/// Words of pixels.
fn pixels(rows: u32, columns: u32) -> Resident<u32, 2> {
    let words: Vec<u32> = (0..rows * columns).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    Resident::from_slice("pixels", [rows, columns], &words)
}

fn across(o: &mut Operands, [width, height]: [u32; 2], side: u32) -> Result<Record> {
    let square = width.max(height);
    let picture = pixels(height, width.next_multiple_of(64));
    let stretched = match () {
        () if width < height => Stretched::Width,
        () if height < width => Stretched::Height,
        () => Stretched::No,
    };
    let (size, offset, colour) = ([width, height], [0, 0], [0; 3]);
    let placed = Placed { size, first_row: 0, is_bgr: false, offset, colour, stretched };
    let across = filter(o.gpu(), square, side, u32::MAX)?;
    let stretch = filter(o.gpu(), width.min(height), square, STRETCH_TAPS)?;
    let y = Resident::zeros("y", [square, side]);
    Ok(Box::new(move |g, quickly| {
        let rows = if quickly { square.min(5) } else { square };
        resize_across(g, &picture, placed, [&across, &stretch], (&y, 0), 0..rows);
    }))
}

fn down(o: &mut Operands, [rows, columns]: [u32; 2], side: u32) -> Result<Record> {
    let x = pixels(rows, columns);
    let down = filter(o.gpu(), rows, side, u32::MAX)?;
    let table = o.tensor("table", [3, 256])?;
    let y = Resident::zeros("y", [3, side, columns]);
    Ok(Box::new(move |g, _| resize_down(g, (&x, 0), &down, &table, &y)))
}

pub(super) fn list(config: &Config, list: &mut Vec<(Shape, bool)>) {
    let side = config.vision.image_size as u32;
    for [width, height] in [[1920, 1080], [1080, 1920], [1024, 1024]] {
        list.push((Shape::new("resize_across", "vision", &[width, height, side], ""), false));
    }
    for rows in [1920, 1024] {
        list.push((Shape::new("resize_down", "vision", &[rows, side, side], ""), false));
    }
}
