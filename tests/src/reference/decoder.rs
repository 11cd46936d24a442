//! The decoder: embeddings, layers with norms, keys and values by modality, `lm_head`.

use anyhow::{Context as _, Result, ensure};
use strix_model::tokenizer::PromptId;

use super::{Points, Reference, Rows, attention, silu};

/// Keys, turned to their positions, and values of the positions so far in one layer.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// Keys, `[positions, kv_dim]`.
    pub k: Rows,
    /// Values, `[positions, kv_dim]`.
    pub v: Rows,
}

impl Cache {
    /// Positions so far.
    pub fn len(&self) -> usize {
        self.k.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.k.is_empty()
    }

    fn append(&mut self, k: Rows, v: Rows) {
        let extend = |cache: &mut Rows, rows: Rows| {
            cache.width = rows.width;
            cache.values.extend(rows.values);
        };
        extend(&mut self.k, k);
        extend(&mut self.v, v);
    }
}

impl Reference<'_> {
    /// Embeddings of ids and the modality of each row: in place of the n-th picture the rows of the n-th image.
    ///
    /// # Errors
    ///
    /// If an id is not in the vocabulary, or an image is missing.
    pub fn embed(&self, ids: &[PromptId], images: &[Rows]) -> Result<(Rows, Vec<usize>)> {
        let name = "model.embed_tokens.weight";
        let table = self.weights.get(name).with_context(|| format!("{name}: is not in the checkpoint"))?;
        let width = self.config.text.hidden_size;
        let rounding = self.rounding("model.embed_tokens");
        let mut images = images.iter();
        let (mut x, mut modality) = (Rows { width, values: vec![] }, vec![]);
        for &id in ids {
            match id {
                PromptId::Picture => {
                    let image = images.next().context("fewer images than places")?;
                    x.values.extend(&image.values);
                    modality.extend(vec![1; image.len()]);
                }
                PromptId::Token(id) => {
                    let id = Some(id as usize).filter(|&id| id < table.num_rows());
                    let mut row = vec![0.0; width];
                    table.read_f32(id.context("an id outside the vocabulary")? * width, &mut row)?;
                    x.values.extend(rounding.of(&row));
                    modality.push(0);
                }
            }
        }
        Ok((x, modality))
    }

    /// The keys and values that layer `i` gives rows at the cache's next positions, appended to it.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn fill(&self, i: usize, x: &Rows, modality: &[usize], cache: &mut Cache) -> Result<()> {
        let at = format!("model.layers.{i}");
        let h = self.rms_norm_by(&format!("{at}.input_layernorm"), x, modality)?;
        let k = self.linear_by(&format!("{at}.self_attn.k_proj"), &h, modality)?;
        let v = self.linear_by(&format!("{at}.self_attn.v_proj"), &h, modality)?;
        cache.append(self.rope(&k, cache.len()), v);
        Ok(())
    }

    /// Decoder layer `i` for rows at the cache's next positions; their keys and values are appended to it.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn decoder_layer(
        &self,
        i: usize,
        x: &Rows,
        modality: &[usize],
        cache: &mut Cache,
        points: &mut Points,
    ) -> Result<Rows> {
        ensure!(x.len() == modality.len(), "{} rows, {} modalities", x.len(), modality.len());
        let c = &self.config.text;
        let at = format!("model.layers.{i}");
        let first = cache.len();
        let mut note = |name: &str, rows: &Rows| points.note(format!("dec.layer{i}{name}"), rows);

        let h = self.rms_norm_by(&format!("{at}.input_layernorm"), x, modality)?;
        note(".input_layernorm", &h);
        let q = self.linear(&format!("{at}.self_attn.q_proj"), &h)?;
        let k = self.linear_by(&format!("{at}.self_attn.k_proj"), &h, modality)?;
        let v = self.linear_by(&format!("{at}.self_attn.v_proj"), &h, modality)?;
        note(".q", &q);
        note(".k", &k);
        note(".v", &v);
        let q = self.rope(&q, first);
        let k = self.rope(&k, first);
        cache.append(k, v);
        // The cache as the original lays it out: [head][position][dim].
        let by_head = |rows: &Rows| {
            let head = |head: usize| {
                (0..rows.len()).flat_map(move |row| &rows.row(row)[head * c.head_dim()..][..c.head_dim()])
            };
            Rows { width: c.head_dim(), values: (0..c.num_key_value_heads).flat_map(head).copied().collect() }
        };
        note(".k_cache", &by_head(&cache.k));
        note(".v_cache", &by_head(&cache.v));
        let a = attention(&q, &cache.k, &cache.v, c.head_dim(), |row| first + row + 1);
        note(".attn_ctx", &a);
        let a = self.linear(&format!("{at}.self_attn.o_proj"), &a)?;
        note(".attn_out", &a);
        let x = a.plus(x);

        let h = self.rms_norm_by(&format!("{at}.post_attention_layernorm"), &x, modality)?;
        note(".post_attention_layernorm", &h);
        let gate = self.linear(&format!("{at}.mlp.gate_proj"), &h)?;
        let up = self.linear(&format!("{at}.mlp.up_proj"), &h)?;
        let f = gate.zip(&up, |gate, up| silu(gate) * up);
        let f = self.linear(&format!("{at}.mlp.down_proj"), &f)?;
        note(".mlp_out", &f);
        let y = f.plus(&x);
        note("", &y);
        Ok(y)
    }

    /// The last norm and `lm_head`.
    ///
    /// # Errors
    ///
    /// If the checkpoint lacks a tensor.
    pub fn logits(&self, x: &Rows, points: &mut Points) -> Result<Rows> {
        let weight = self.tensor("model.norm.weight")?;
        let h = x.map_rows(|_, x| self.rms_norm(x, &weight));
        points.note("dec.final_norm", &h);
        let logits = self.linear("lm_head", &h)?;
        points.note("logits", &logits);
        Ok(logits)
    }

    /// The whole decoder over ids from an empty cache.
    ///
    /// # Errors
    ///
    /// As [`Reference::embed`], or if the checkpoint lacks a tensor.
    pub fn decoder(&self, ids: &[PromptId], images: &[Rows], points: &mut Points) -> Result<Rows> {
        let (mut x, modality) = self.embed(ids, images)?;
        points.note("inputs_embeds", &x);
        for i in 0..self.config.text.num_hidden_layers {
            x = self.decoder_layer(i, &x, &modality, &mut Cache::default(), points)?;
        }
        self.logits(&x, points)
    }

    /// `weight * x / sqrt(mean(x²) + eps)`.
    fn rms_norm(&self, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let mean_square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean_square + f64::from(self.config.text.rms_norm_eps)).sqrt();
        x.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
    }

    /// The norm of each row's modality.
    fn rms_norm_by(&self, module: &str, x: &Rows, modality: &[usize]) -> Result<Rows> {
        let weights = [0, 1].map(|m| self.tensor(&format!("{module}.multiway.{m}.weight")));
        let [text, image] = weights;
        let weights = [text?, image?];
        Ok(x.map_rows(|i, x| self.rms_norm(x, &weights[modality[i]])))
    }

    /// The projection of each row's modality.
    fn linear_by(&self, module: &str, x: &Rows, modality: &[usize]) -> Result<Rows> {
        let mut y = Rows::default();
        for m in [0, 1] {
            let of_m: Vec<usize> = (0..x.len()).filter(|&i| modality[i] == m).collect();
            if of_m.is_empty() {
                continue;
            }
            let values = of_m.iter().flat_map(|&i| x.row(i)).copied().collect();
            let part = self.linear(&format!("{module}.multiway.{m}"), &Rows { width: x.width, values })?;
            y.width = part.width;
            y.values.resize(x.len() * part.width, 0.0);
            for (at, &i) in of_m.iter().enumerate() {
                y.values[i * part.width..][..part.width].copy_from_slice(part.row(at));
            }
        }
        Ok(y)
    }

    /// Turns each head to its row's position, the first row's being `first`. Angles are f32, as in the original:
    /// their rounding is part of the model.
    fn rope(&self, x: &Rows, first: usize) -> Rows {
        let c = &self.config.text;
        let (dim, half) = (c.head_dim(), c.head_dim() / 2);
        let inv_freq: Vec<f32> =
            (0..half).map(|j| 1.0 / c.rope_theta.powf((2 * j) as f32 / dim as f32)).collect();
        x.map_rows(|row, x| {
            let mut y = vec![0.0; x.len()];
            for (x, y) in x.chunks_exact(dim).zip(y.chunks_exact_mut(dim)) {
                for j in 0..half {
                    let angle = (first + row) as f32 * inv_freq[j];
                    let (sin, cos) = (f64::from(angle.sin()), f64::from(angle.cos()));
                    y[j] = x[j] * cos - x[j + half] * sin;
                    y[j + half] = x[j + half] * cos + x[j] * sin;
                }
            }
            y
        })
    }
}
