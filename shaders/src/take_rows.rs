//! Some rows of a tensor, in any order.

use strix_engine::{Graph, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;
use crate::kernel::width;

pub use crate::generated::take_rows::{KERNEL, Params, Variants};

/// `y[i] = x[index[i]]`.
///
/// The caller checks the indices; one that is too large takes the last row.
///
/// | name    | shape          | dtype |
/// |---------|----------------|-------|
/// | `x`     | `[rows, dim]`  | f32   |
/// | `index` | `[taken]`      | u32   |
/// | result  | `[taken, dim]` | f32   |
pub fn take_rows(g: &mut Graph, name: &str, x: Tensor<f32, 2>, index: Tensor<u32, 1>) -> Tensor<f32, 2> {
    let [rows, dim] = x.shape();
    let [taken] = index.shape();

    let y = g.activation(name, [taken, dim]);
    let width = width(dim);
    let grid = Variants { width }.over([(dim / width).div_ceil(256), taken, 1]);
    dispatch!(g, grid, Params { rows, dim, taken }, [x, index => y], reference);
    y
}

/// [`take_rows`] in the plainest code that is right.
pub fn reference(p: &Params, x: &[f32], index: &[u32], y: &mut [f32]) {
    let dim = p.dim as usize;
    for (y, &row) in y.chunks_exact_mut(dim).zip(&index[..p.taken as usize]) {
        y.copy_from_slice(&x[row.min(p.rows - 1) as usize * dim..][..dim]);
    }
}
