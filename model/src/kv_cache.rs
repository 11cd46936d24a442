//! Keys and values of all positions so far, one pair of tensors a layer.

use strix_shaders::KvCache;

use crate::config::TextConfig;
use crate::decoder::heads;

/// Declares the caches of all layers for `ctx` positions; allocated with the first program that uses them.
pub(crate) fn allocate(c: &TextConfig, ctx: u32) -> Vec<KvCache> {
    (0..c.num_hidden_layers).map(|i| KvCache::new(&format!("decoder.{i}"), ctx, heads(c))).collect()
}
