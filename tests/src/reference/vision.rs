//! The vision tower and the abstractor.

use anyhow::{Result, ensure};

use super::{Points, Reference, Rows, attention, sigmoid, silu};

/// torch's default, which the abstractor's norms have whatever the config says.
const TORCH_EPS: f64 = 1e-5;

impl Reference<'_> {
    /// Pixels `[channels, image_size, image_size]` to the tower's rows, class token first.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor, or there are too few pixels.
    pub fn vision(&self, pixels: &[f32], points: &mut Points) -> Result<Rows> {
        let c = &self.config.vision;
        let at = "model.vision_model";
        let eps = f64::from(c.layer_norm_eps);
        let patches = self.linear(&format!("{at}.embeddings.patch_embed"), &self.patches(pixels)?)?;
        let transposed = |o: usize| patches.values.iter().skip(o).step_by(patches.width).copied();
        let values = (0..patches.width).flat_map(transposed).collect();
        points.note("vit.patch_conv", &Rows { width: patches.len(), values });

        let class = self.tensor(&format!("{at}.embeddings.cls_token"))?;
        let positions = self.tensor(&format!("{at}.embeddings.position_embedding"))?;
        let x = Rows { width: c.hidden_size, values: class }.stacked(&patches);
        let x = x.plus(&Rows { width: c.hidden_size, values: positions });
        let mut x = self.layer_norm(&format!("{at}.embeddings.pre_layernorm"), &x, eps)?;
        points.note("vit.embeddings", &x);
        for i in 0..c.num_hidden_layers {
            x = self.vision_block(i, &x, points)?;
        }
        let x = self.layer_norm(&format!("{at}.post_layernorm"), &x, eps)?;
        points.note("vit.post_layernorm", &x);
        Ok(x)
    }

    /// Patches in row-major order, each channel by channel.
    fn patches(&self, pixels: &[f32]) -> Result<Rows> {
        let c = &self.config.vision;
        let (side, patch, grid) = (c.image_size, c.patch_size, c.grid_size());
        ensure!(pixels.len() == c.num_channels * side * side, "{} pixels", pixels.len());
        let mut values = vec![];
        for (row, column) in (0..grid).flat_map(|row| (0..grid).map(move |column| (row, column))) {
            for channel in 0..c.num_channels {
                for y in row * patch..(row + 1) * patch {
                    let line = &pixels[(channel * side + y) * side + column * patch..][..patch];
                    values.extend(line.iter().map(|&v| f64::from(v)));
                }
            }
        }
        Ok(Rows { width: c.patch_dim(), values })
    }

    /// Block `i` of the vision tower.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn vision_block(&self, i: usize, x: &Rows, points: &mut Points) -> Result<Rows> {
        let c = &self.config.vision;
        let at = format!("model.vision_model.encoder.layers.{i}");
        let eps = f64::from(c.layer_norm_eps);
        let mut note = |name: &str, rows: &Rows| points.note(format!("vit.layer{i}{name}"), rows);

        let h = self.layer_norm(&format!("{at}.input_layernorm"), x, eps)?;
        note(".ln1", &h);
        let z = self.linear(&format!("{at}.self_attn.query_key_value"), &h)?;
        note(".qkv", &z);
        // A head's queries, keys and values lie beside each other.
        let dim = c.head_dim();
        let [q, k, v] = [0, 1, 2].map(|which| {
            z.map_rows(|_, z| {
                z.chunks_exact(3 * dim).flat_map(|head| &head[which * dim..][..dim]).copied().collect()
            })
        });
        let a = attention(&q, &k, &v, dim, |_| x.len());
        let a = self.linear(&format!("{at}.self_attn.dense"), &a)?;
        note(".attn_out", &a);
        let x = a.plus(x);

        let h = self.layer_norm(&format!("{at}.post_attention_layernorm"), &x, eps)?;
        note(".ln2", &h);
        let f = self.linear(&format!("{at}.mlp.fc1"), &h)?.map(|t| t * sigmoid(1.702 * t));
        let f = self.linear(&format!("{at}.mlp.fc2"), &f)?;
        note(".mlp_out", &f);
        let y = f.plus(&x);
        note("", &y);
        Ok(y)
    }

    /// The vision tower's rows to an image's embeddings, `vit_eos` last.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn abstractor(&self, features: &Rows, points: &mut Points) -> Result<Rows> {
        let at = "model.visual_abstractor";
        let c = &self.config.abstractor;
        let mut x = Rows { width: c.hidden_size, values: self.tensor(&format!("{at}.query_embeds"))? };
        for i in 0..c.num_hidden_layers {
            x = self.abstractor_layer(i, &x, features, points)?;
        }
        let x = self.linear(&format!("{at}.visual_fc"), &x)?;
        points.note("abs.visual_fc", &x);
        let vit_eos = Rows { width: x.width, values: self.tensor(&format!("{at}.vit_eos"))? };
        let embeds = x.stacked(&vit_eos);
        points.note("image_embeds", &embeds);
        Ok(embeds)
    }

    /// Layer `i` of the abstractor.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn abstractor_layer(&self, i: usize, x: &Rows, features: &Rows, points: &mut Points) -> Result<Rows> {
        let c = &self.config.abstractor;
        let at = format!("model.visual_abstractor.encoder.layers.{i}.crossattention");
        let mut note = |name: &str, rows: &Rows| points.note(format!("abs.layer{i}{name}"), rows);

        let y = self.layer_norm(&format!("{at}.norm1"), x, TORCH_EPS)?;
        let f = self.layer_norm(&format!("{at}.normk"), features, TORCH_EPS)?;
        note(".norm1", &y);
        note(".normk", &f);
        let q_pos = self.table(&format!("{at}.attention.q_pos_embed"), || {
            (0..c.num_learnable_queries).flat_map(|j| sines(c.hidden_size, j)).collect()
        })?;
        let k_pos = self.table(&format!("{at}.attention.k_pos_embed"), || {
            let cell = |(row, column)| [sines(c.hidden_size / 2, column), sines(c.hidden_size / 2, row)];
            let cells = (0..c.grid_size).flat_map(|row| (0..c.grid_size).map(move |column| (row, column)));
            vec![0.0; c.hidden_size].into_iter().chain(cells.flat_map(cell).flatten()).collect()
        })?;
        // Queries first, then the image; values have no positions.
        let kv = y.clone().stacked(&f);
        let q = self.linear(&format!("{at}.attention.query"), &y.clone().plus(&q_pos))?;
        let k = self.linear(&format!("{at}.attention.key"), &kv.clone().plus(&q_pos.stacked(&k_pos)))?;
        let v = self.linear(&format!("{at}.attention.value"), &kv)?;
        note(".q", &q);
        note(".k", &k);
        note(".v", &v);
        let o = attention(&q, &k, &v, c.head_dim(), |_| kv.len());
        note(".attn_ctx", &o);
        // The residual is the normalised y.
        let r = self.linear(&format!("{at}.output.out_proj"), &o)?.plus(&y);

        let h = self.layer_norm(&format!("{at}.output.norm2"), &r, TORCH_EPS)?;
        note(".norm2", &h);
        let gate = self.linear(&format!("{at}.output.mlp.w1"), &h)?;
        let up = self.linear(&format!("{at}.output.mlp.w3"), &h)?;
        let h = gate.zip(&up, |gate, up| silu(gate) * up);
        let h = self.layer_norm(&format!("{at}.output.mlp.ffn_ln"), &h, f64::from(c.layer_norm_eps))?;
        note(".ffn_ln", &h);
        let h = self.linear(&format!("{at}.output.mlp.w2"), &h)?;
        note(".mlp_out", &h);
        let x = h.plus(&r);
        note("", &x);
        Ok(x)
    }

    /// A table of positions: the checkpoint's, or where it has none, the computed one.
    fn table(&self, name: &str, computed: impl Fn() -> Vec<f64>) -> Result<Rows> {
        let values = match self.weights.get(name) {
            Some(_) => self.tensor(name)?,
            None => computed(),
        };
        Ok(Rows { width: self.config.abstractor.hidden_size, values })
    }
}

/// Sines, then cosines of a position, at `10000^(-i / (dim / 2))`; in f32, as the original computes its tables.
fn sines(dim: usize, position: usize) -> Vec<f64> {
    let half = dim / 2;
    let angle = |i: usize| position as f32 * (1.0 / 10000_f32.powf(i as f32 / half as f32));
    let sin = (0..half).map(|i| f64::from(angle(i).sin()));
    sin.chain((0..half).map(|i| f64::from(angle(i).cos()))).collect()
}
