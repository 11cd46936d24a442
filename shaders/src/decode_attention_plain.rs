//! Attention of the rows of a decode step without subgroups: [`decode_attention()`](crate::decode_attention()) by another
//! kernel. Same tensors, same [`reference`](crate::decode_attention::reference()).

pub use crate::generated::decode_attention_plain::{KERNEL, Params, Variants};
