//! Attention of many rows at once on a GPU: queries, keys and values in workgroup memory.

use crate::generated::variants;
use crate::kernel::Dispatch;
use crate::{HeadShape, Mask, Variants as _};

pub use crate::generated::attention_tiled::{KERNEL, Params, Variants};

/// [`attention()`](crate::attention()) of `rows` rows over such heads, by this family.
///
/// Same tensors, same [`reference`](crate::attention::reference()).
pub(crate) fn specialise(shape: HeadShape, heads: variants::Heads, mask: Mask, rows: u32) -> Dispatch {
    let dims = shape.dims();
    // RowClass of a workgroup: as many queries as 8 KiB hold, at most 32.
    let queries = (2048 / dims).min(32);
    let variants = Variants { dims, heads, mask: mask.kind() };
    variants.over([mask.tiles(rows, queries), shape.num_heads, 1])
}
