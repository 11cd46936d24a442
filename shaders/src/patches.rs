//! An image as the rows of its patches.

use strix_engine::{Graph, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;

pub use crate::generated::patches::{KERNEL, Params, Variants};

/// The square patches of an image, row by row from the top left, each as (channel, y, x): the order of a
/// convolution's weights, so that the patch embedding is a matrix product.
///
/// Dosovitskiy et al. 2021, section 3.1. G = `size / patch` patches a side.
///
/// | name     | shape                            | dtype |
/// |----------|----------------------------------|-------|
/// | `pixels` | `[channels, size, size]`         | f32   |
/// | result   | `[G², channels · patch · patch]` | f32   |
///
/// # Panics
///
/// If the image is not square or not a whole number of patches wide.
pub fn patches(g: &mut Graph, name: &str, pixels: Tensor<f32, 3>, patch: u32) -> Tensor<f32, 2> {
    let [channels, size, width] = pixels.shape();
    assert_eq!(size, width, "patches: pixels {:?} are not square", pixels.shape());
    assert!(size.is_multiple_of(patch), "patches: {size} pixels in patches of {patch}");
    let num_patches = (size / patch).pow(2);
    let dim = channels * patch * patch;

    let y = g.activation(name, [num_patches, dim]);
    let params = Params { channels, size, patch_size: patch };
    dispatch!(g, Variants {}.over([dim.div_ceil(512), num_patches, 1]), params, [pixels => y], reference);
    y
}

/// [`patches`] in the plainest code that is right.
pub fn reference(p: &Params, pixels: &[f32], y: &mut [f32]) {
    let (channels, size, patch) = (p.channels as usize, p.size as usize, p.patch_size as usize);
    let mut y = y.iter_mut();
    for top in (0..size).step_by(patch) {
        for left in (0..size).step_by(patch) {
            for channel in 0..channels {
                for line in top..top + patch {
                    let row = &pixels[(channel * size + line) * size..][left..left + patch];
                    row.iter().zip(&mut y).for_each(|(pixel, y)| *y = *pixel);
                }
            }
        }
    }
}
