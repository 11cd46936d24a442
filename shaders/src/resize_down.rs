//! The second pass of a resize: columns of a picture to columns of fewer or more pixels, as the vision tower takes them.

use strix_engine::{Graph, Resident};

use crate::Variants as _;
use crate::dispatch::dispatch;
use crate::resize_across::Filter;

pub use crate::generated::resize_down::{KERNEL, Params, Variants};

/// A picture that was resized across, resized down by Pillow's bicubic, with the value of each byte from a table. `x`
/// begins with row `first_row` of what the filter's inputs are rows of.
///
/// | name    | shape                | dtype |
/// |---------|----------------------|-------|
/// | `x`     | `[.., columns]`      | u32, 8 bits a channel |
/// | `table` | `[3, 256]`           | f32   |
/// | `y`     | `[3, rows, columns]` | f32   |
///
/// # Panics
///
/// If `y` is not as wide as `x` and as high as `down` has outputs, with three channels.
pub fn resize_down(
    g: &mut Graph,
    (x, first_row): (&Resident<u32, 2>, u32),
    down: &Filter,
    table: &Resident<f32, 2>,
    y: &Resident<f32, 3>,
) {
    let [_, columns] = x.shape();
    assert_eq!(y.shape(), [3, down.outputs, columns], "resize_down: y against x {:?}", x.shape());
    let params = Params { columns, rows: down.outputs, first_row, taps: down.taps };
    let grid = Variants {}.over([columns.div_ceil(64), down.outputs, 1]);
    let (x, down) = (g.bind(x), g.bind(&down.words));
    let (table, y) = (g.bind(table), g.bind(y));
    dispatch!(g, grid, params, [x, down, table => y], reference);
}

/// [`resize_down`] in the plainest code that is right.
pub fn reference(p: &Params, x: &[u32], down: &[i32], table: &[f32], y: &mut [f32]) {
    let [rows, columns] = [p.rows as usize, p.columns as usize];
    for row in 0..rows {
        let [first, count, weights] = [0, 1, 2].map(|i| down[3 * row + i] as usize);
        for column in 0..columns {
            for channel in 0..3 {
                let value = |i: usize| {
                    let word = x[(first - p.first_row as usize + i) * columns + column];
                    i64::from(word >> (8 * channel) & 255) * i64::from(down[weights + i])
                };
                let sum: i64 = (0..count).map(value).sum();
                let byte = ((sum + (1 << 21)) >> 22).clamp(0, 255) as usize;
                y[(channel * rows + row) * columns + column] = table[256 * channel + byte];
            }
        }
    }
}
