//! A table added to a tensor of the same shape: positions to tokens.

use strix_engine::{Graph, Resident, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;

pub use crate::generated::add::{KERNEL, Params, Variants};

/// `y = x + table`.
///
/// | name    | shape         | dtype |
/// |---------|---------------|-------|
/// | `x`     | `[rows, dim]` | f32   |
/// | `table` | `[rows, dim]` | f32   |
/// | result  | `[rows, dim]` | f32   |
///
/// # Panics
///
/// If the shapes differ.
pub fn add(g: &mut Graph, name: &str, x: Tensor<f32, 2>, table: &Resident<f32, 2>) -> Tensor<f32, 2> {
    assert_eq!(table.shape(), x.shape(), "add: table against x");
    let len = x.len() as u32;

    let table = g.bind(table);
    let y = g.activation(name, x.shape());
    let grid = Variants {}.over([len.div_ceil(1024), 1, 1]);
    dispatch!(g, grid, Params { len }, [x, table => y], reference);
    y
}

/// [`add`] in the plainest code that is right.
pub fn reference(p: &Params, x: &[f32], table: &[f32], y: &mut [f32]) {
    for ((y, x), table) in y.iter_mut().zip(x).zip(table).take(p.len as usize) {
        *y = x + table;
    }
}
