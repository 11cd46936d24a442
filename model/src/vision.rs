//! The vision tower: ViT with pre-norm blocks (SPEC §3).

use strix_engine::{Graph, Resident, ResidentBytes, Tensor};
use strix_shaders::{
    HeadShape, Heads, Linear, Mask, Routing, attention, class_token, layer_norm, linear, linear_add,
    linear_quick_gelu, patches,
};

use crate::Result;
use crate::config::VisionConfig;
use crate::decoder::total_bytes;
use crate::loader::{Loader, Projection, Section};

/// Gain and bias of a LayerNorm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub weight: Resident<f32, 1>,
    pub bias: Resident<f32, 1>,
}

impl Norm {
    /// Reads `{module}.weight` and `{module}.bias`.
    pub(crate) fn load(loader: &mut Loader<'_>, module: &str, label: &str, dim: usize) -> Result<Self> {
        let mut vector =
            |what: &str| loader.tensor(&format!("{module}.{what}"), &format!("{label}.{what}"), [dim as u32]);
        Ok(Self { weight: vector("weight")?, bias: vector("bias")? })
    }

    /// Records the norm as the step `name`.
    pub(crate) fn record(&self, g: &mut Graph, name: &str, x: Tensor<f32, 2>, eps: f32) -> Tensor<f32, 2> {
        layer_norm(g, name, x, &self.weight, &self.bias, eps)
    }

    /// Its tensors.
    pub(crate) fn residents(&self) -> [ResidentBytes; 2] {
        [self.weight.untyped(), self.bias.untyped()]
    }
}

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

/// All rows of a tensor, for projections that every row takes.
pub(crate) fn all_rows(g: &mut Graph, rows: usize) -> Routing {
    let routing = Routing::of(&vec![0; rows]);
    Routing(g.bind(&Resident::from_slice("all rows", [rows as u32 + 2], &routing)))
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

    /// Reads the vision tower of a checkpoint.
    pub(crate) fn load(loader: &mut Loader<'_>, c: &VisionConfig) -> Result<Self> {
        let at = "model.vision_model";
        let dim = c.hidden_size;
        let patch_embed = loader.linear(&Projection {
            name: "patch_embed",
            label: "vision.patch_embed".into(),
            section: Section::Vision,
            n: dim,
            k: c.patch_dim(),
            modules: vec![vec![vec![format!("{at}.embeddings.patch_embed")]]],
            shared: 0,
            bias: false,
        })?;
        let positions = [c.num_tokens() as u32, dim as u32];
        Ok(Self {
            patch_embed,
            cls_token: loader.tensor(
                &format!("{at}.embeddings.cls_token"),
                "vision.cls_token",
                [dim as u32],
            )?,
            position_embedding: loader.tensor(
                &format!("{at}.embeddings.position_embedding"),
                "vision.position_embedding",
                positions,
            )?,
            pre_layernorm: Norm::load(
                loader,
                &format!("{at}.embeddings.pre_layernorm"),
                "vision.pre_layernorm",
                dim,
            )?,
            layers: loader.streamed(loader.streaming.vision, |loader| {
                (0..c.num_hidden_layers).map(|i| Block::load(loader, c, i)).collect::<Result<_>>()
            })?,
            post_layernorm: Norm::load(
                loader,
                &format!("{at}.post_layernorm"),
                "vision.post_layernorm",
                dim,
            )?,
        })
    }

    /// Bytes of the weights.
    pub(crate) fn bytes(&self) -> u64 {
        total_bytes(&self.others()) + self.layers().map(|block| total_bytes(&block)).sum::<u64>()
    }

    /// The tensors of each block.
    pub(crate) fn layers(&self) -> impl Iterator<Item = Vec<ResidentBytes>> {
        self.layers.iter().map(Block::residents)
    }

    /// The tensors outside the blocks.
    pub(crate) fn others(&self) -> Vec<ResidentBytes> {
        let tables = [self.cls_token.untyped(), self.position_embedding.untyped()];
        let norms = [&self.pre_layernorm, &self.post_layernorm].into_iter().flat_map(Norm::residents);
        self.patch_embed.residents().chain(tables).chain(norms).collect()
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
    fn residents(&self) -> Vec<ResidentBytes> {
        let linears = [&self.query_key_value, &self.dense, &self.fc1, &self.fc2];
        let norms = [&self.input_layernorm, &self.post_attention_layernorm];
        let norms = norms.into_iter().flat_map(Norm::residents);
        linears.into_iter().flat_map(Linear::residents).chain(norms).collect()
    }

    fn load(loader: &mut Loader<'_>, c: &VisionConfig, i: usize) -> Result<Self> {
        let (at, label) = (format!("model.vision_model.encoder.layers.{i}"), format!("vision.{i}"));
        let dim = c.hidden_size;
        let input_layernorm =
            Norm::load(loader, &format!("{at}.input_layernorm"), &format!("{label}.input_layernorm"), dim)?;
        let post = "post_attention_layernorm";
        let post_attention_layernorm =
            Norm::load(loader, &format!("{at}.{post}"), &format!("{label}.{post}"), dim)?;
        let mut linear = |name: &str, module: &str, n: usize, k: usize| {
            let modules = vec![vec![vec![format!("{at}.{module}.{name}")]]];
            loader.linear(&Projection {
                name,
                label: format!("{label}.{name}"),
                section: Section::Vision,
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
