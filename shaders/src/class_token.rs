//! The first rows of a vision transformer: class token and patches, each with its position.

use strix_engine::{Graph, Resident, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;

pub use crate::generated::class_token::{KERNEL, Params, Variants};

/// `y[0] = class + position[0]`, `y[1 + p] = patches[p] + position[1 + p]`.
///
/// Dosovitskiy et al. 2021, eq. 1, without the projection of the patches.
///
/// | name       | shape                    | dtype |
/// |------------|--------------------------|-------|
/// | `patches`  | `[num_patches, dim]`     | f32   |
/// | `class`    | `[dim]`                  | f32   |
/// | `position` | `[num_patches + 1, dim]` | f32   |
/// | result     | `[num_patches + 1, dim]` | f32   |
///
/// # Panics
///
/// If `class` or `position` does not fit `patches`.
pub fn class_token(
    g: &mut Graph,
    name: &str,
    patches: Tensor<f32, 2>,
    class: &Resident<f32, 1>,
    position: &Resident<f32, 2>,
) -> Tensor<f32, 2> {
    let [num_patches, dim] = patches.shape();
    let rows = num_patches + 1;
    assert_eq!(class.shape(), [dim], "class_token: class against patches {:?}", patches.shape());
    assert_eq!(position.shape(), [rows, dim], "class_token: position against patches {:?}", patches.shape());

    let (class, position) = (g.bind(class), g.bind(position));
    let y = g.activation(name, [rows, dim]);
    let grid = Variants {}.over([dim.div_ceil(512), rows, 1]);
    dispatch!(g, grid, Params { rows, dim }, [patches, class, position => y], reference);
    y
}

/// [`class_token`] in the plainest code that is right.
pub fn reference(p: &Params, patches: &[f32], class: &[f32], position: &[f32], y: &mut [f32]) {
    let (rows, dim) = (p.rows as usize, p.dim as usize);
    let x = class[..dim].iter().chain(patches);
    for ((y, x), position) in y.iter_mut().zip(x).zip(position).take(rows * dim) {
        *y = x + position;
    }
}
