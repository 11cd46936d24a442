//! The visual abstractor: learnable queries that read the vision tower's output (Ye et al. 2023, eq. 1-3;
//! SPEC §4, from which the paper differs).

use strix_engine::{Graph, Resident, Tensor};
use strix_shaders::{
    HeadShape, Heads, Linear, Mask, Routing, add, attention, layer_norm_into, linear, linear_add, swiglu,
};

use crate::Result;
use crate::config::{AbstractorConfig, Config};
use crate::held::{Component, Projection};
use crate::layers::{Norm, all_rows};
use crate::parts::{Declaring, HostVector};
use crate::position::{sincos_1d, sincos_2d};

/// `norm1`, `normk` and `norm2` have torch's default, whatever the config says.
const NORM_EPS: f32 = 1e-5;

/// Weights of one layer, named as in the checkpoint; `w1` and `w3` are one gated matrix, `key` and `value`
/// read different inputs.
#[derive(Debug)]
struct Layer {
    norm1: Norm,
    normk: Norm,
    /// Positions of queries, then of image tokens: `[queries + image tokens, hidden_size]`.
    pos_embed: Resident<f32, 2>,
    query: Linear,
    key: Linear,
    value: Linear,
    out_proj: Linear,
    norm2: Norm,
    w1_w3: Linear,
    ffn_ln: Norm,
    w2: Linear,
}

/// The abstractor's weights.
#[derive(Debug)]
pub(crate) struct Abstractor {
    query_embeds: Resident<f32, 2>,
    layers: Vec<Layer>,
    visual_fc: Linear,
    /// The row that ends every image: the host's, as it goes where the embeddings go.
    pub vit_eos: HostVector,
}

impl Abstractor {
    /// The vision tower's `[image tokens, hidden_size]` to `[queries, text hidden_size]`, without `vit_eos`.
    pub(crate) fn record(
        &self,
        g: &mut Graph,
        c: &AbstractorConfig,
        features: Tensor<f32, 2>,
    ) -> Tensor<f32, 2> {
        let mut x = g.bind(&self.query_embeds);
        let [few, all] =
            [0, features.shape()[0] as usize].map(|more| all_rows(g, c.num_learnable_queries + more));
        for (i, layer) in self.layers.iter().enumerate() {
            x = g.scoped(&format!("abstractor.{i}"), |g| {
                abstractor_layer(g, c, layer, x, features, [few, all])
            });
        }
        linear(g, x, &self.visual_fc, few)
    }

    /// Declares the abstractor. Missing position tables are computed.
    ///
    /// # Errors
    ///
    /// If a converted file holds another.
    pub(crate) fn declare(parts: &mut Declaring<'_>, config: &Config) -> Result<Self> {
        let at = "model.visual_abstractor";
        let c = &config.abstractor;
        let (dim, text) = (c.hidden_size, config.text.hidden_size);
        let mut p = parts.section(Component::Abstractor);
        let visual_fc = p.linear(&Projection {
            name: "visual_fc",
            label: "visual_fc".into(),
            n: text,
            k: dim,
            modules: vec![vec![vec![format!("{at}.visual_fc")]]],
            shared: 0,
            bias: true,
        })?;
        let queries = [c.num_learnable_queries as u32, dim as u32];
        let query_embeds = p.tensor(&format!("{at}.query_embeds"), "abstractor.query_embeds", queries);
        let layers = (0..c.num_hidden_layers).map(|i| Layer::declare(parts, c, i)).collect::<Result<_>>()?;
        let vit_eos = parts.section(Component::Abstractor).vector(&format!("{at}.vit_eos"));
        Ok(Self { query_embeds, layers, visual_fc, vit_eos })
    }
}

/// One layer: cross-attention of the queries to themselves and the image, then a SwiGLU with its own norm. `few` are
/// the rows of the queries, `all` those of the image too.
fn abstractor_layer(
    g: &mut Graph,
    c: &AbstractorConfig,
    w: &Layer,
    x: Tensor<f32, 2>,
    features: Tensor<f32, 2>,
    [few, all]: [Routing; 2],
) -> Tensor<f32, 2> {
    let queries = c.num_learnable_queries as u32;
    let keys = queries + features.shape()[0];

    // Keys and values are [y ; f]: the normalised queries first, then the image.
    let kv = g.activation("kv", [keys, c.hidden_size as u32]);
    layer_norm_into(g, x, &w.norm1.weight, &w.norm1.bias, NORM_EPS, kv, 0);
    layer_norm_into(g, features, &w.normk.weight, &w.normk.bias, NORM_EPS, kv, queries);
    // Positions are added to what queries and keys are made of, not to what values are.
    let placed = add(g, "placed", kv, &w.pos_embed);
    let q = linear(g, placed, &w.query, few);
    let k = linear(g, placed, &w.key, all);
    let v = linear(g, kv, &w.value, all);
    let stride = c.head_dim() as u32;
    let [q, k, v] = [q, k, v].map(|tensor| Heads::in_rows(tensor, 0, stride));
    let n = c.num_attention_heads as u32;
    let shape = HeadShape { num_heads: n, num_kv_heads: n, head_dim: stride };
    let o = attention(g, "attention", q, k, v, shape, queries, Mask::Full { keys });
    // The residual is the normalised y, the first rows of kv, not x.
    let r = linear_add(g, o, &w.out_proj, kv, few);

    let h = w.norm2.record(g, "norm2", r, NORM_EPS);
    let h = swiglu(g, h, &w.w1_w3, few);
    let h = w.ffn_ln.record(g, "ffn_ln", h, c.layer_norm_eps);
    linear_add(g, h, &w.w2, r, few)
}

impl Layer {
    fn declare(parts: &mut Declaring<'_>, c: &AbstractorConfig, i: usize) -> Result<Self> {
        let at = format!("model.visual_abstractor.encoder.layers.{i}.crossattention");
        let label = format!("abstractor.{i}");
        let (dim, wide) = (c.hidden_size, c.intermediate_size);
        let mut p = parts.layer(Component::Abstractor, i);
        let mut norm = |name: &str, module: &str, dim: usize| {
            Norm::declare(&mut p, &format!("{at}.{module}"), &format!("{label}.{name}"), dim)
        };
        let norm1 = norm("norm1", "norm1", dim);
        let normk = norm("normk", "normk", dim);
        let norm2 = norm("norm2", "output.norm2", dim);
        let ffn_ln = norm("ffn_ln", "output.mlp.ffn_ln", wide);
        let (queries, grid) = (c.num_learnable_queries, c.grid_size);
        let [rows, tokens] = [queries, grid * grid + 1];
        let of_queries = p.table_or(&format!("{at}.attention.q_pos_embed"), [rows, dim], move || {
            sincos_1d(dim, 0..queries)
        });
        let of_tokens =
            p.table_or(&format!("{at}.attention.k_pos_embed"), [tokens, dim], move || sincos_2d(dim, grid));
        let shape = [rows + tokens, dim].map(|size| size as u32);
        let pos_embed = p.stacked(vec![of_queries, of_tokens], &format!("{label}.pos_embed"), shape);
        let mut linear = |name: &str, n: usize, k: usize, modules: &[&str]| {
            let modules = vec![modules.iter().map(|m| vec![format!("{at}.{m}")]).collect()];
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
            norm1,
            normk,
            pos_embed,
            query: linear("query", dim, dim, &["attention.query"])?,
            key: linear("key", dim, dim, &["attention.key"])?,
            value: linear("value", dim, dim, &["attention.value"])?,
            out_proj: linear("out_proj", dim, dim, &["output.out_proj"])?,
            norm2,
            w1_w3: linear("w1_w3", wide, dim, &["output.mlp.w1", "output.mlp.w3"])?,
            ffn_ln,
            w2: linear("w2", dim, wide, &["output.mlp.w2"])?,
        })
    }
}
