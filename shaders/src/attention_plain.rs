//! Attention of many rows at once without subgroups.

use crate::generated::variants;
use crate::kernel::Dispatch;
use crate::{HeadShape, Mask, Variants as _};

pub use crate::generated::attention_plain::{KERNEL, Params, Variants};

/// Rows of a workgroup.
const QUERIES: u32 = 8;

/// [`attention()`](crate::attention()) of `rows` rows over such heads, by this family.
///
/// Same tensors, same [`reference`](crate::attention::reference()).
pub(crate) fn specialise(shape: HeadShape, heads: variants::Heads, mask: Mask, rows: u32) -> Dispatch {
    let variants = Variants { dims: shape.dims(), heads, mask: mask.kind() };
    variants.over([mask.tiles(rows, QUERIES), shape.num_heads, 1])
}
