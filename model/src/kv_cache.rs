//! Keys and values of all positions so far, one pair of tensors a layer.

use strix_engine::Resident;
use strix_shaders::rope_append::KvCache;

use crate::config::TextConfig;

/// Declares the caches of all layers for `ctx` positions; allocated with the first program that uses them.
pub(crate) fn allocate(c: &TextConfig, ctx: u32) -> Vec<KvCache> {
    let tensor = |label: String| Resident::zeros(&label, [ctx, c.kv_dim() as u32]);
    let layer = |i| KvCache { k: tensor(format!("decoder.{i}.k_cache")), v: tensor(format!("decoder.{i}.v_cache")) };
    (0..c.num_hidden_layers).map(layer).collect()
}
