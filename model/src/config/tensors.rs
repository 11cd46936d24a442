//! The tensors that a checkpoint of some config must hold.

use super::sizes::Config;

/// One tensor of a checkpoint, as the config prescribes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The sizes in words of `config.json`, for error messages: `[vocab_size, hidden_size]`.
    pub axes: &'static str,
    /// Whether a checkpoint without it is refused. A tensor that may be absent is computed, or another stands for it.
    pub required: bool,
}

impl Config {
    /// Every tensor of a checkpoint, in the model's order: `model.embed_tokens.weight` first.
    ///
    /// The rotary `inv_freq` that some files hold is not listed: it is never read.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut list = Vec::new();
        let mut add = |required, name: String, axes, shape: &[usize]| {
            list.push(TensorSpec { name, shape: shape.to_vec(), axes, required });
        };
        self.text_tensors(&mut add);
        self.vision_tensors(&mut add);
        self.abstractor_tensors(&mut add);
        list
    }

    fn text_tensors(&self, add: &mut impl FnMut(bool, String, &'static str, &[usize])) {
        let t = &self.text;
        let (d, kv, f, vocab) = (t.hidden_size, t.kv_dim(), t.intermediate_size, t.vocab_size);
        add(true, "model.embed_tokens.weight".into(), "[vocab_size, hidden_size]", &[vocab, d]);
        for n in 0..t.num_hidden_layers {
            let at = format!("model.layers.{n}");
            for name in ["q_proj", "o_proj"] {
                add(true, format!("{at}.self_attn.{name}.weight"), "[hidden_size, hidden_size]", &[d, d]);
                if t.attention_bias {
                    add(true, format!("{at}.self_attn.{name}.bias"), "[hidden_size]", &[d]);
                }
            }
            for m in 0..2 {
                for name in ["k_proj", "v_proj"] {
                    let at = format!("{at}.self_attn.{name}.multiway.{m}");
                    add(
                        true,
                        format!("{at}.weight"),
                        "[num_key_value_heads * head_dim, hidden_size]",
                        &[kv, d],
                    );
                    if t.attention_bias {
                        add(true, format!("{at}.bias"), "[num_key_value_heads * head_dim]", &[kv]);
                    }
                }
                for name in ["input_layernorm", "post_attention_layernorm"] {
                    add(true, format!("{at}.{name}.multiway.{m}.weight"), "[hidden_size]", &[d]);
                }
            }
            for name in ["gate_proj", "up_proj"] {
                add(true, format!("{at}.mlp.{name}.weight"), "[intermediate_size, hidden_size]", &[f, d]);
            }
            add(true, format!("{at}.mlp.down_proj.weight"), "[hidden_size, intermediate_size]", &[d, f]);
        }
        add(true, "model.norm.weight".into(), "[hidden_size]", &[d]);
        add(!t.tie_word_embeddings, "lm_head.weight".into(), "[vocab_size, hidden_size]", &[vocab, d]);
    }

    fn vision_tensors(&self, add: &mut impl FnMut(bool, String, &'static str, &[usize])) {
        let v = &self.vision;
        let (c, f, p) = (v.hidden_size, v.intermediate_size, v.patch_size);
        let at = "model.vision_model";
        add(true, format!("{at}.embeddings.cls_token"), "[1, 1, visual_model.hidden_size]", &[1, 1, c]);
        add(
            true,
            format!("{at}.embeddings.position_embedding"),
            "[1, (image_size / patch_size)^2 + 1, visual_model.hidden_size]",
            &[1, v.num_tokens(), c],
        );
        add(
            true,
            format!("{at}.embeddings.patch_embed.weight"),
            "[visual_model.hidden_size, num_channels, patch_size, patch_size]",
            &[c, v.num_channels, p, p],
        );
        let mut pair = |name: String, weight, bias, shape: &[usize]| {
            add(true, format!("{name}.weight"), weight, shape);
            add(true, format!("{name}.bias"), bias, &shape[..1]);
        };
        let hidden = "[visual_model.hidden_size]";
        pair(format!("{at}.embeddings.pre_layernorm"), hidden, hidden, &[c]);
        for n in 0..v.num_hidden_layers {
            let at = format!("{at}.encoder.layers.{n}");
            pair(
                format!("{at}.self_attn.query_key_value"),
                "[3 * visual_model.hidden_size, visual_model.hidden_size]",
                "[3 * visual_model.hidden_size]",
                &[3 * c, c],
            );
            let square = "[visual_model.hidden_size, visual_model.hidden_size]";
            pair(format!("{at}.self_attn.dense"), square, hidden, &[c, c]);
            pair(format!("{at}.input_layernorm"), hidden, hidden, &[c]);
            pair(format!("{at}.post_attention_layernorm"), hidden, hidden, &[c]);
            pair(
                format!("{at}.mlp.fc1"),
                "[visual_model.intermediate_size, visual_model.hidden_size]",
                "[visual_model.intermediate_size]",
                &[f, c],
            );
            pair(
                format!("{at}.mlp.fc2"),
                "[visual_model.hidden_size, visual_model.intermediate_size]",
                hidden,
                &[c, f],
            );
        }
        pair(format!("{at}.post_layernorm"), hidden, hidden, &[c]);
    }

    fn abstractor_tensors(&self, add: &mut impl FnMut(bool, String, &'static str, &[usize])) {
        let a = &self.abstractor;
        let (c, f, k, d) =
            (a.hidden_size, a.intermediate_size, a.num_learnable_queries, self.text.hidden_size);
        let at = "model.visual_abstractor";
        add(
            true,
            format!("{at}.query_embeds"),
            "[1, num_learnable_queries, visual_abstractor.hidden_size]",
            &[1, k, c],
        );
        add(true, format!("{at}.vit_eos"), "[1, 1, hidden_size]", &[1, 1, d]);
        add(true, format!("{at}.visual_fc.weight"), "[hidden_size, visual_abstractor.hidden_size]", &[d, c]);
        add(true, format!("{at}.visual_fc.bias"), "[hidden_size]", &[d]);
        for n in 0..a.num_hidden_layers {
            let at = format!("{at}.encoder.layers.{n}.crossattention");
            // Published checkpoints lack the tables, which are not learned.
            add(
                false,
                format!("{at}.attention.q_pos_embed"),
                "[num_learnable_queries, visual_abstractor.hidden_size]",
                &[k, c],
            );
            add(
                false,
                format!("{at}.attention.k_pos_embed"),
                "[grid_size^2 + 1, visual_abstractor.hidden_size]",
                &[a.grid_size * a.grid_size + 1, c],
            );
            let mut pair = |name: &str, weight, bias, shape: &[usize]| {
                add(true, format!("{at}.{name}.weight"), weight, shape);
                add(true, format!("{at}.{name}.bias"), bias, &shape[..1]);
            };
            let (hidden, inner) =
                ("[visual_abstractor.hidden_size]", "[visual_abstractor.intermediate_size]");
            let square = "[visual_abstractor.hidden_size, visual_abstractor.hidden_size]";
            let up = "[visual_abstractor.intermediate_size, visual_abstractor.hidden_size]";
            let down = "[visual_abstractor.hidden_size, visual_abstractor.intermediate_size]";
            pair("attention.query", square, hidden, &[c, c]);
            pair("attention.key", square, hidden, &[c, c]);
            pair("attention.value", square, hidden, &[c, c]);
            pair("norm1", hidden, hidden, &[c]);
            pair("normk", hidden, hidden, &[c]);
            pair("output.out_proj", square, hidden, &[c, c]);
            pair("output.norm2", hidden, hidden, &[c]);
            pair("output.mlp.w1", up, inner, &[f, c]);
            pair("output.mlp.w3", up, inner, &[f, c]);
            pair("output.mlp.w2", down, hidden, &[c, f]);
            pair("output.mlp.ffn_ln", inner, inner, &[f]);
        }
    }

    /// Parameters of each part of the model, in the order of a table for people to read.
    ///
    /// A tied `lm_head` counts 0, as do the position tables, which are not learned.
    pub fn parameters_by_part(&self) -> [(&'static str, u64); 9] {
        let mut parts = [
            ("decoder MLP", 0),
            ("decoder q_proj and o_proj", 0),
            ("text keys, values and norms", 0),
            ("image keys, values and norms", 0),
            ("embed_tokens", 0),
            ("lm_head", 0),
            ("final norm", 0),
            ("vision tower", 0),
            ("visual abstractor", 0),
        ];
        for spec in self.tensors().iter().filter(|spec| spec.required) {
            let has = |part: &str| spec.name.contains(part);
            let part = match () {
                () if has("model.vision_model.") => 7,
                () if has("model.visual_abstractor.") => 8,
                () if has(".mlp.") => 0,
                () if has(".q_proj.") || has(".o_proj.") => 1,
                () if has(".multiway.0.") => 2,
                () if has(".multiway.1.") => 3,
                () if has("embed_tokens") => 4,
                () if has("lm_head") => 5,
                () => 6,
            };
            parts[part].1 += spec.shape.iter().map(|&size| size as u64).product::<u64>();
        }
        parts
    }

    /// All parameters: 8,197,859,328 for the 8.2B model.
    pub fn num_parameters(&self) -> u64 {
        self.parameters_by_part().iter().map(|(_, count)| count).sum()
    }
}
