//! The projection of many rows on a GPU: tiles of activations and weights in workgroup memory.

use strix_engine::Family;

use crate::choose::{self, Way};
use crate::kernel::Specialised;
use crate::packing::Layout;

pub use crate::generated::gemm_tiled::{KERNEL, Params};

/// Rows and columns of the tiles, the likeliest first for `rows` rows.
pub(crate) fn ways(rows: u32) -> Vec<Way> {
    let sizes = match rows {
        0..=32 => [("32", "64"), ("64", "64"), ("64", "128"), ("128", "64"), ("128", "128")],
        33..=511 => [("64", "64"), ("32", "64"), ("64", "128"), ("128", "64"), ("128", "128")],
        _ => [("128", "128"), ("64", "64"), ("64", "128"), ("128", "64"), ("32", "64")],
    };
    let way = |(rows, cols)| vec![("family", Family::Tiled.name()), ("rows", rows), ("cols", cols)];
    sizes.map(way).to_vec()
}

/// [`gemm()`](crate::gemm::gemm()) of up to `rows` rows with a matrix of this layout, in one of the [`ways`].
///
/// Same tensors, same [`reference`](crate::gemm::reference()).
pub(crate) fn specialise(way: &Way, rows: u32, layout: &Layout) -> Specialised {
    let [tile_rows, tile_cols] = ["rows", "cols"].map(|name| choose::value(way, name));
    let size = |text: &str| text.parse::<u32>().expect("a number of rows or columns");
    let chosen = vec![
        ("weights", layout.format.variant()),
        ("rows", tile_rows),
        ("cols", tile_cols),
        ("x", layout.x_variant()),
    ];
    let tiles = rows.div_ceil(size(tile_rows)) + layout.sets - 1;
    Specialised {
        kernel: &KERNEL,
        chosen,
        groups: [tiles, layout.packed_rows().div_ceil(size(tile_cols)), 1],
    }
}
