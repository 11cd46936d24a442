//! Attention of many rows at once on a GPU: queries, keys and values in workgroup memory.

use crate::kernel::Specialised;
use crate::{HeadShape, Mask};

pub use crate::generated::attention_tiled::{KERNEL, Params};

/// [`attention()`](crate::attention()) of `rows` rows over heads of the variant `heads`, by this family.
///
/// Same tensors, same [`reference`](crate::attention::reference()).
pub(crate) fn specialise(shape: HeadShape, heads: &'static str, mask: Mask, rows: u32) -> Specialised {
    let dims = shape.dims();
    // Rows of a workgroup: as many queries as 8 KiB hold, at most 32.
    let queries = match dims {
        "32" | "64" => 32,
        "128" => 16,
        _ => 8,
    };
    let chosen = vec![("dims", dims), ("heads", heads), ("mask", mask.name())];
    Specialised { kernel: &KERNEL, chosen, groups: [mask.tiles(rows, queries), shape.num_heads, 1] }
}
