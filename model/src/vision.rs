//! The vision tower: ViT with pre-norm blocks (SPEC §3).

use strix_engine::{Graph, Resident, Tensor};
use strix_shaders::{
    HeadShape, Heads, Linear, Mask, Routing, attention, class_token, linear, linear_add, linear_quick_gelu,
    patches,
};

use crate::Result;
use crate::config::VisionConfig;
use crate::held::{Component, Projection};
use crate::layers::{Norm, all_rows};
use crate::parts::{ComponentParts, Declaring};

/// Weights of one block, named as in the checkpoint.
#[derive(Debug)]
struct Block {
    input_layernorm: Norm,
    query_key_value: Linear,
    dense: Linear,
    post_attention_layernorm: Norm,
    fc1: Linear,
    fc2: Linear,
}

/// The vision tower's weights.
#[derive(Debug)]
pub(crate) struct Vision {
    patch_embed: Linear,
    cls_token: Resident<f32, 1>,
    position_embedding: Resident<f32, 2>,
    pre_layernorm: Norm,
    layers: Vec<Block>,
    post_layernorm: Norm,
}

impl Vision {
    /// Pixels `[channels, image_size, image_size]` to `[patches + 1, hidden_size]`, class token first.
    pub(crate) fn record(&self, g: &mut Graph, c: &VisionConfig, pixels: Tensor<f32, 3>) -> Tensor<f32, 2> {
        let rows = all_rows(g, c.num_patches());
        let p = patches(g, "patches", pixels, c.patch_size as u32);
        let p = linear(g, p, &self.patch_embed, rows);
        let x = class_token(g, "embeddings", p, &self.cls_token, &self.position_embedding);
        let mut x = self.pre_layernorm.record(g, "pre_layernorm", x, c.layer_norm_eps);
        let rows = all_rows(g, c.num_tokens());
        for (i, block) in self.layers.iter().enumerate() {
            x = g.scoped(&format!("vision.{i}"), |g| vision_block(g, c, block, x, rows));
        }
        self.post_layernorm.record(g, "post_layernorm", x, c.layer_norm_eps)
    }

    /// Declares the vision tower.
    ///
    /// # Errors
    ///
    /// If a converted file holds another.
    pub(crate) fn declare(parts: &mut Declaring<'_>, c: &VisionConfig) -> Result<Self> {
        let at = "model.vision_model";
        let dim = c.hidden_size;
        let mut p = parts.section(Component::Vision);
        let patch_embed = p.linear(&Projection {
            name: "patch_embed",
            label: "vision.patch_embed".into(),
            n: dim,
            k: c.patch_dim(),
            modules: vec![vec![vec![format!("{at}.embeddings.patch_embed")]]],
            shared: 0,
            bias: false,
        })?;
        let (cls, positions) =
            (format!("{at}.embeddings.cls_token"), format!("{at}.embeddings.position_embedding"));
        let cls_token = p.tensor(&cls, "vision.cls_token", [dim as u32]);
        let shape = [c.num_tokens() as u32, dim as u32];
        let position_embedding = p.tensor(&positions, "vision.position_embedding", shape);
        let norm = |p: &mut ComponentParts<'_, '_>, module: &str, name: &str| {
            Norm::declare(p, &format!("{at}.{module}"), &format!("vision.{name}"), dim)
        };
        let pre_layernorm = norm(&mut p, "embeddings.pre_layernorm", "pre_layernorm");
        let layers = (0..c.num_hidden_layers).map(|i| Block::declare(parts, c, i)).collect::<Result<_>>()?;
        let post_layernorm = norm(&mut parts.section(Component::Vision), "post_layernorm", "post_layernorm");
        Ok(Self { patch_embed, cls_token, position_embedding, pre_layernorm, layers, post_layernorm })
    }
}

/// One pre-norm block with full attention.
fn vision_block(
    g: &mut Graph,
    c: &VisionConfig,
    w: &Block,
    x: Tensor<f32, 2>,
    rows: Routing,
) -> Tensor<f32, 2> {
    let h = w.input_layernorm.record(g, "input_layernorm", x, c.layer_norm_eps);
    let z = linear(g, h, &w.query_key_value, rows);
    // Columns are [head][q, k, v][head_dim], as Megatron lays them out.
    let hd = c.head_dim() as u32;
    let heads = |i: u32| Heads::in_rows(z, i * hd, 3 * hd);
    let n = c.num_attention_heads as u32;
    let shape = HeadShape { num_heads: n, num_kv_heads: n, head_dim: hd };
    let keys = x.shape()[0];
    let a = attention(g, "attention", heads(0), heads(1), heads(2), shape, keys, Mask::Full { keys });
    let x = linear_add(g, a, &w.dense, x, rows);

    let h = w.post_attention_layernorm.record(g, "post_attention_layernorm", x, c.layer_norm_eps);
    let f = linear_quick_gelu(g, h, &w.fc1, rows);
    linear_add(g, f, &w.fc2, x, rows)
}

impl Block {
    fn declare(parts: &mut Declaring<'_>, c: &VisionConfig, i: usize) -> Result<Self> {
        let (at, label) = (format!("model.vision_model.encoder.layers.{i}"), format!("vision.{i}"));
        let dim = c.hidden_size;
        let mut p = parts.layer(Component::Vision, i);
        let mut norm =
            |name: &str| Norm::declare(&mut p, &format!("{at}.{name}"), &format!("{label}.{name}"), dim);
        let input_layernorm = norm("input_layernorm");
        let post_attention_layernorm = norm("post_attention_layernorm");
        let mut linear = |name: &str, module: &str, n: usize, k: usize| {
            let modules = vec![vec![vec![format!("{at}.{module}.{name}")]]];
            p.linear(&Projection {
                name,
                label: format!("{label}.{name}"),
                n,
                k,
                modules,
                shared: 0,
                bias: true,
            })
        };
        Ok(Self {
            input_layernorm,
            query_key_value: linear("query_key_value", "self_attn", 3 * dim, dim)?,
            dense: linear("dense", "self_attn", dim, dim)?,
            post_attention_layernorm,
            fc1: linear("fc1", "mlp", c.intermediate_size, dim)?,
            fc2: linear("fc2", "mlp", dim, c.intermediate_size)?,
        })
    }
}
