//! Bytes and FLOPs of a model's tasks, from its config.

use strix_model::Config;

use crate::Work;

/// FLOPs of the projections of one row of text through all layers.
fn row_flops(c: &Config) -> u64 {
    let t = &c.text;
    let [dim, wide, kv] = [t.hidden_size, t.intermediate_size, t.kv_dim()].map(|n| n as u64);
    2 * t.num_hidden_layers as u64 * (2 * dim * dim + 2 * kv * dim + 3 * wide * dim)
}

/// FLOPs of `lm_head` for one row.
fn head_flops(c: &Config) -> u64 {
    2 * c.text.vocab_size as u64 * c.text.hidden_size as u64
}

/// FLOPs of attention over `seen` pairs of a query and a key, in all layers.
fn attention_flops(c: &Config, seen: u64) -> u64 {
    4 * seen * (c.text.num_attention_heads * c.text.head_dim() * c.text.num_hidden_layers) as u64
}

/// Bytes of the keys and values of so many positions.
pub(crate) fn kv_bytes(c: &Config, positions: u64, element: u64) -> u64 {
    2 * element * positions * (c.text.kv_dim() * c.text.num_hidden_layers) as u64
}

/// A token each at the end of the contexts of so many sequences: every weight that they read, and each one's cache, once.
pub(super) fn decode(c: &Config, weight_bytes: u64, context: u32, together: u32, element: u64) -> Work {
    let (context, together) = (u64::from(context), u64::from(together));
    Work {
        bytes: weight_bytes + together * kv_bytes(c, context, element),
        flops: together * (row_flops(c) + head_flops(c) + attention_flops(c, context)),
    }
}

/// A prompt of text in chunks: the weights once a chunk, and of the cache what each chunk sees.
pub(super) fn prefill(c: &Config, weight_bytes: u64, chunk: u32, length: u32, element: u64) -> Work {
    let (chunk, length) = (u64::from(chunk.max(1)), u64::from(length));
    let ends = (1..=length.div_ceil(chunk)).map(|i| (i * chunk).min(length));
    Work {
        bytes: weight_bytes * length.div_ceil(chunk) + kv_bytes(c, ends.sum(), element),
        flops: length * row_flops(c) + head_flops(c) + attention_flops(c, length * (length + 1) / 2),
    }
}

/// A picture through the vision tower and the abstractor: their weights, as bf16, and the activations of each layer
/// once.
pub(super) fn image(c: &Config) -> Work {
    let (v, a) = (&c.vision, &c.abstractor);
    let [rows, dim, wide, patches, patch] =
        [v.num_tokens(), v.hidden_size, v.intermediate_size, v.num_patches(), v.patch_dim()]
            .map(|n| n as u64);
    let layer = 2 * rows * (4 * dim * dim + 2 * dim * wide) + 4 * rows * rows * dim;
    let tower = 2 * patches * patch * dim + v.num_hidden_layers as u64 * layer;
    let [queries, a_dim, a_wide, encoder] =
        [a.num_learnable_queries, a.hidden_size, a.intermediate_size, a.encoder_hidden_size]
            .map(|n| n as u64);
    let keys = queries + rows;
    let reader = 2 * queries * (2 * a_dim * a_dim + 3 * a_dim * a_wide)
        + 4 * keys * encoder * a_dim
        + 4 * queries * keys * a_dim;
    let out = 2 * queries * a_dim * c.text.hidden_size as u64;
    let weights = v.num_hidden_layers as u64 * (4 * dim * dim + 2 * dim * wide)
        + a.num_hidden_layers as u64 * (2 * a_dim * a_dim + 2 * encoder * a_dim + 3 * a_dim * a_wide);
    Work {
        bytes: 2 * weights + 4 * rows * dim * v.num_hidden_layers as u64,
        flops: tower + a.num_hidden_layers as u64 * reader + out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_8b_models_work_is_what_its_size_says() {
        let c = Config::from_json(b"{}").unwrap();
        // 32 layers of 202 million weights of text each and 131 million of lm_head.
        let flops = decode(&c, 0, 1, 1, 4).flops as f64;
        assert!((flops / (2.0 * 6.6e9) - 1.0).abs() < 0.02, "{flops}");
        // A cache of f32: 4,096 keys and as many values a layer and position.
        assert_eq!(decode(&c, 7, 100, 1, 4).bytes, 7 + 100 * 32 * 2 * 4096 * 4);
        assert_eq!(prefill(&c, 7, 64, 100, 2).bytes, 2 * 7 + (64 + 100) * 32 * 2 * 4096 * 2);
        assert_eq!(prefill(&c, 7, 64, 1, 4), decode(&c, 7, 1, 1, 4));
        // ViT-L/14 on 1,025 rows: about 0.7 TFLOP.
        let image = image(&c).flops as f64;
        assert!((0.6e12..0.9e12).contains(&image), "{image}");
    }
}
