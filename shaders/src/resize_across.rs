//! The first pass of a resize: rows of a picture to rows of fewer or more pixels.

use std::ops::Range;

use strix_engine::{Gpu, Graph, Resident, Result};

use crate::Variants as _;
use crate::dispatch::dispatch;

pub use crate::generated::resize_across::{KERNEL, Params, Variants};

/// Weights of one axis, as the kernels take them.
#[derive(Clone, Debug)]
pub struct Filter {
    /// For each output its first input, the number of its weights and where they begin; then all weights, with 22 bits
    /// behind the point.
    pub words: Resident<i32, 1>,
    /// Number of outputs.
    pub outputs: u32,
    /// Most weights of an output.
    pub taps: u32,
}

impl Filter {
    /// A filter of outputs, each with its first input and its weights.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn new<'a>(
        gpu: &Gpu,
        name: &str,
        outputs: impl Iterator<Item = (usize, &'a [i32])> + Clone,
    ) -> Result<Self> {
        let count = outputs.clone().count();
        let (mut words, mut weights) = (Vec::<i32>::with_capacity(3 * count), Vec::<i32>::new());
        let mut taps = 0;
        for (first, of) in outputs {
            words.extend([first, of.len(), 3 * count + weights.len()].map(|word| word as i32));
            weights.extend(of);
            taps = taps.max(of.len());
        }
        words.extend(weights);
        let words = Resident::little(gpu, name, [words.len() as u32], &words)?;
        Ok(Self { words, outputs: count as u32, taps: taps as u32 })
    }
}

/// The side of a square that a picture is stretched along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretched {
    /// The picture is as wide and as high as the square, or lies within it.
    No,
    /// Its width.
    Width,
    /// Its height.
    Height,
}

/// A picture within a square, of which some rows are there.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Pixels of a row, and rows of the whole picture.
    pub size: [u32; 2],
    /// Its row that comes first.
    pub first_row: u32,
    /// Whether its pixels are blue, green, red.
    pub is_bgr: bool,
    /// Pixels of the square to its left, and above it.
    pub offset: [u32; 2],
    /// What is beside it: red, green, blue.
    pub colour: [u8; 3],
    /// The side that is stretched.
    pub stretched: Stretched,
}

/// `rows` of a square that a picture makes, resized across by Pillow's bicubic, into those of `y`, which begins with row
/// `first_row` of the square. `stretch` is of the side that is stretched, or any other filter.
///
/// | name      | shape             | dtype |
/// |-----------|-------------------|-------|
/// | `picture` | `[.., pitch]`     | u32, 8 bits a channel |
/// | `y`       | `[.., columns]`   | u32, 8 bits a channel |
///
/// # Panics
///
/// If `y` is not as wide as `across` has outputs.
pub fn resize_across(
    g: &mut Graph,
    picture: &Resident<u32, 2>,
    placed: Placed,
    [across, stretch]: [&Filter; 2],
    (y, first_row): (&Resident<u32, 2>, u32),
    rows: Range<u32>,
) {
    let [_, columns] = y.shape();
    assert_eq!(columns, across.outputs, "resize_across: y {:?} against its filter", y.shape());
    let [width, height] = placed.size;
    let [left, top] = placed.offset;
    let params = Params {
        width,
        height,
        pitch: picture.shape()[1],
        picture_row: placed.first_row,
        is_bgr: u32::from(placed.is_bgr),
        left,
        top,
        colour: u32::from_le_bytes([placed.colour[0], placed.colour[1], placed.colour[2], 0]),
        stretched: placed.stretched as u32,
        taps: across.taps,
        stretch_taps: if placed.stretched == Stretched::No { 0 } else { stretch.taps },
        columns,
        row: rows.start,
        rows: rows.len() as u32,
        first_row,
    };
    let [picture, y] = [picture, y].map(|of| g.bind(of));
    let [across, stretch] = [across, stretch].map(|filter| g.bind(&filter.words));
    let grid = Variants {}.over([columns.div_ceil(64), rows.len() as u32, 1]);
    dispatch!(g, grid, params, [picture, across, stretch => y], reference);
}

/// [`resize_across`] in the plainest code that is right.
pub fn reference(p: &Params, picture: &[u32], across: &[i32], stretch: &[i32], y: &mut [u32]) {
    let byte = |sum: i64| ((sum + (1 << 21)) >> 22).clamp(0, 255);
    let channel = |word: u32, c: u32| i64::from(word >> (8 * c) & 255);
    let texel = |x: u32, row: u32, c: u32| {
        let word = picture[((row - p.picture_row) * p.pitch + x) as usize];
        channel(word, if p.is_bgr != 0 { 2 - c } else { c })
    };
    let filtered = |filter: &[i32], at: u32, value: &dyn Fn(u32) -> i64| {
        let [first, count, weights] = [0, 1, 2].map(|i| filter[3 * at as usize + i] as u32);
        byte((0..count).map(|i| i64::from(filter[(weights + i) as usize]) * value(first + i)).sum())
    };
    let pixel = |x: u32, row: u32, c: u32| match p.stretched {
        1 => filtered(stretch, x, &|x| texel(x, row, c)),
        2 => filtered(stretch, row, &|row| texel(x, row, c)),
        _ if (p.left..p.left + p.width).contains(&x) && (p.top..p.top + p.height).contains(&row) => {
            texel(x - p.left, row - p.top, c)
        }
        _ => channel(p.colour, c),
    };
    for row in p.row..p.row + p.rows {
        for column in 0..p.columns {
            let bytes = [0, 1, 2].map(|c| filtered(across, column, &|x| pixel(x, row, c)) as u32);
            y[((row - p.first_row) * p.columns + column) as usize] =
                bytes[0] | bytes[1] << 8 | bytes[2] << 16;
        }
    }
}
