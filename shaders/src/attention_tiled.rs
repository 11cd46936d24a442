//! Attention of many rows at once on a GPU: queries, keys and values in workgroup memory.

use strix_engine::{Maker, Target};

use crate::generated::variants::{self, Unroll};
use crate::kernel::Dispatch;
use crate::{HeadShape, Mask, Variants as _};

pub use crate::generated::attention_tiled::{KERNEL, Params, Variants};

/// [`attention()`](crate::attention()) of `rows` rows over such heads, by this family.
///
/// Same tensors, same [`reference`](crate::attention::reference()).
pub(crate) fn specialise(
    target: &Target,
    shape: HeadShape,
    heads: variants::Heads,
    mask: Mask,
    rows: u32,
) -> Dispatch {
    let dims = shape.dims();
    // Rows of a workgroup: four for each of its 128 threads, of which 16 have the same, or 8.
    let queries = if dims == 32 { 64 } else { 32 };
    // Whole, the loops need more registers than an Adreno 660 has; a software device would compile them for long.
    let unroll = match target.maker {
        Maker::Qualcomm => Unroll::Part,
        _ if target.is_cpu => Unroll::Part,
        _ => Unroll::All,
    };
    let variants = Variants { dims, heads, mask: mask.kind(), unroll };
    variants.over([mask.tiles(rows, queries), shape.num_heads, 1])
}
