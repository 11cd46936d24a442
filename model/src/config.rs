//! `config.json`: every size and constant of the model, and from them the tensors a checkpoint must hold.
//!
//! Fields keep the file's names. Absent keys and `null`s take the defaults of the original code, which are those
//! of the 8.2B model; unknown keys are ignored; what contradicts itself or is not supported is refused.

use std::fmt::Display;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The whole of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Language decoder: the top level of the file.
    pub text: TextConfig,
    /// Vision tower: `visual_config.visual_model`.
    pub vision: VisionConfig,
    /// Visual abstractor: `visual_config.visual_abstractor`.
    pub abstractor: AbstractorConfig,
}

/// Language decoder (LLaMA-2 with modality-adaptive norms, keys and values).
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding and of `lm_head`.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; absent: as many as query heads.
    pub num_key_value_heads: usize,
    /// Length the model was trained for; longer sequences extend the tables.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Stretching of the rotary positions.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether q, k, v and o projections have biases.
    pub attention_bias: bool,
    /// Whether `lm_head` is `embed_tokens`.
    pub tie_word_embeddings: bool,
    /// Token put before a prompt.
    pub bos_token_id: u32,
    /// Tokens that end an answer.
    pub eos_token_id: Vec<u32>,
}

/// Vision tower (ViT with class token, fused QKV, quick GELU).
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Colour channels: always 3.
    pub num_channels: usize,
    /// Side of the picture, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
}

/// Visual abstractor: learned queries that read the vision tower's output by cross-attention.
#[derive(Clone, Debug, PartialEq)]
pub struct AbstractorConfig {
    /// Learned queries, K; a picture becomes K + 1 embeddings.
    pub num_learnable_queries: usize,
    /// Width of a query.
    pub hidden_size: usize,
    /// Width of what it reads: equal to `hidden_size`.
    pub encoder_hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Added to the variance in `ffn_ln` only; the other norms use 1e-5 whatever this says.
    pub layer_norm_eps: f32,
    /// Patches a side; absent: `image_size / patch_size`.
    pub grid_size: usize,
}

/// How `rope_scaling` stretches positions (transformers 4.31).
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Positions are divided by `factor`.
    Linear {
        /// Above 1.
        factor: f32,
    },
    /// Past `max_position_embeddings`, the base grows with the sequence.
    Dynamic {
        /// Above 1.
        factor: f32,
    },
}

/// One tensor of a checkpoint, as the config prescribes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The sizes in words of `config.json`, for error messages: `[vocab_size, hidden_size]`.
    pub axes: &'static str,
    /// Whether a checkpoint without it is refused. What may be absent is computed, or is another tensor.
    pub required: bool,
}

/// Elements of the widest head the attention kernels take.
const MAX_HEAD_DIM: usize = 256;

/// More layers than any model has: an absurd count must not become a list of that length.
const MAX_LAYERS: usize = 1024;

impl Config {
    /// Reads a checkpoint folder's `config.json`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or as [`Config::from_json`].
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        Self::from_json(&std::fs::read(&path).map_err(|source| Error::Io { path, source })?)
    }

    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// If it is not JSON, a value has the wrong type, the model is another one, two values contradict each other,
    /// or a size is zero or too large to index.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let root = parse("config.json", json).map_err(Error::Config)?;
        let config = Self::from_fields(&Fields { section: "", map: Some(&root) }).map_err(Error::Config)?;
        config.check().map_err(Error::Config)?;
        Ok(config)
    }

    fn from_fields(f: &Fields) -> Result<Self, String> {
        // The kind of model comes first: the sizes of another one would only confuse the message.
        match f.get("model_type", String::from("mplug_owl2"))?.as_str() {
            "mplug_owl2" => {}
            "mplug_owl2_1" => {
                return Err(
                    "model_type mplug_owl2_1 is mPLUG-Owl2.1 (Qwen and ViT-G), another architecture; \
                     only mplug_owl2 is supported"
                        .into(),
                );
            }
            other => return Err(format!("model_type is {other:?}; only \"mplug_owl2\" is supported")),
        }
        let visual = f.section("visual_config", "visual_config")?;
        let vision =
            VisionConfig::from_fields(&visual.section("visual_model", "visual_config.visual_model")?)?;
        let abstractor = visual.section("visual_abstractor", "visual_config.visual_abstractor")?;
        let grid = vision.image_size.checked_div(vision.patch_size).unwrap_or(0);
        Ok(Self {
            text: TextConfig::from_fields(f)?,
            abstractor: AbstractorConfig::from_fields(&abstractor, grid)?,
            vision,
        })
    }

    /// Embeddings a picture becomes: the K queries and `vit_eos`.
    pub fn num_image_tokens(&self) -> usize {
        self.abstractor.num_learnable_queries + 1
    }

    fn check(&self) -> Result<(), String> {
        let (t, v, a) = (&self.text, &self.vision, &self.abstractor);
        for (name, size) in [
            ("vocab_size", t.vocab_size),
            ("hidden_size", t.hidden_size),
            ("intermediate_size", t.intermediate_size),
            ("num_hidden_layers", t.num_hidden_layers),
            ("num_attention_heads", t.num_attention_heads),
            ("num_key_value_heads", t.num_key_value_heads),
            ("max_position_embeddings", t.max_position_embeddings),
            ("visual_model.hidden_size", v.hidden_size),
            ("visual_model.intermediate_size", v.intermediate_size),
            ("visual_model.num_hidden_layers", v.num_hidden_layers),
            ("visual_model.num_attention_heads", v.num_attention_heads),
            ("visual_model.image_size", v.image_size),
            ("visual_model.patch_size", v.patch_size),
            ("visual_abstractor.num_learnable_queries", a.num_learnable_queries),
            ("visual_abstractor.hidden_size", a.hidden_size),
            ("visual_abstractor.intermediate_size", a.intermediate_size),
            ("visual_abstractor.num_hidden_layers", a.num_hidden_layers),
            ("visual_abstractor.num_attention_heads", a.num_attention_heads),
            ("visual_abstractor.grid_size", a.grid_size),
        ] {
            refuse(size == 0, || format!("{name} is 0"))?;
            // Products below then fit a u64, and every single size a kernel's u32.
            refuse(size > i32::MAX as usize, || format!("{name} is {size}, above {}", i32::MAX))?;
            let layers = name.ends_with("num_hidden_layers");
            refuse(layers && size > MAX_LAYERS, || format!("{name} is {size}, above {MAX_LAYERS}"))?;
        }
        for (name, value) in [
            ("rms_norm_eps", t.rms_norm_eps),
            ("visual_model.layer_norm_eps", v.layer_norm_eps),
            ("visual_abstractor.layer_norm_eps", a.layer_norm_eps),
        ] {
            refuse(!(0.0..1.0).contains(&value), || format!("{name} is {value}, expected 0 to 1"))?;
        }
        for (at, hidden_size, heads) in [
            ("", t.hidden_size, t.num_attention_heads),
            ("visual_model.", v.hidden_size, v.num_attention_heads),
            ("visual_abstractor.", a.hidden_size, a.num_attention_heads),
        ] {
            refuse(!hidden_size.is_multiple_of(heads), || {
                format!("{at}hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}")
            })?;
            let head_dim = hidden_size / heads;
            refuse(head_dim > MAX_HEAD_DIM, || {
                format!(
                    "{at}hidden_size {hidden_size} / num_attention_heads {heads} gives head_dim {head_dim}, \
                     above {MAX_HEAD_DIM}"
                )
            })?;
        }
        self.check_text()?;
        self.check_vision()?;
        // Kernels index a tensor with u32.
        for spec in self.tensors() {
            let elements =
                spec.shape.iter().try_fold(1u32, |n, &size| n.checked_mul(u32::try_from(size).ok()?));
            refuse(elements.is_none(), || {
                format!("{} would be {} = {:?}, more than 2^32 elements", spec.name, spec.axes, spec.shape)
            })?;
        }
        Ok(())
    }

    fn check_text(&self) -> Result<(), String> {
        let t = &self.text;
        let (heads, kv_heads) = (t.num_attention_heads, t.num_key_value_heads);
        refuse(!heads.is_multiple_of(kv_heads), || {
            format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
        })?;
        let head_dim = t.head_dim();
        refuse(!head_dim.is_multiple_of(2), || {
            format!(
                "hidden_size {} / num_attention_heads {heads} gives an odd head_dim {head_dim}",
                t.hidden_size
            )
        })?;
        refuse(!(t.rope_theta >= 1.0 && t.rope_theta.is_finite()), || {
            format!("rope_theta is {}, expected at least 1", t.rope_theta)
        })?;
        if let Some(RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor }) = t.rope_scaling {
            refuse(!(factor > 1.0 && factor.is_finite()), || {
                format!("rope_scaling.factor is {factor}, expected above 1")
            })?;
        }
        // The exponent of the dynamic base is head_dim / (head_dim - 2).
        refuse(matches!(t.rope_scaling, Some(RopeScaling::Dynamic { .. })) && head_dim == 2, || {
            "rope_scaling.type dynamic is not defined for head_dim 2".into()
        })?;
        refuse(t.bos_token_id as usize >= t.vocab_size, || {
            format!("bos_token_id {} is not below vocab_size {}", t.bos_token_id, t.vocab_size)
        })
    }

    fn check_vision(&self) -> Result<(), String> {
        let (v, a) = (&self.vision, &self.abstractor);
        refuse(v.num_channels != 3, || {
            format!("visual_model.num_channels is {}; only 3 is supported", v.num_channels)
        })?;
        refuse(!v.image_size.is_multiple_of(v.patch_size), || {
            format!(
                "visual_model.image_size {} is not a multiple of patch_size {}",
                v.image_size, v.patch_size
            )
        })?;
        refuse(a.grid_size != v.grid_size(), || {
            format!(
                "visual_abstractor.grid_size {} contradicts image_size {} / patch_size {} = {}",
                a.grid_size,
                v.image_size,
                v.patch_size,
                v.grid_size()
            )
        })?;
        refuse(a.encoder_hidden_size != a.hidden_size, || {
            format!(
                "visual_abstractor.encoder_hidden_size {} must equal its hidden_size {}",
                a.encoder_hidden_size, a.hidden_size
            )
        })?;
        refuse(a.encoder_hidden_size != v.hidden_size, || {
            format!(
                "visual_abstractor.encoder_hidden_size {} contradicts visual_model.hidden_size {}",
                a.encoder_hidden_size, v.hidden_size
            )
        })?;
        // Sine and cosine, of column and row.
        refuse(!a.hidden_size.is_multiple_of(4), || {
            format!("visual_abstractor.hidden_size {} is not a multiple of 4", a.hidden_size)
        })
    }

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

impl TextConfig {
    fn from_fields(f: &Fields) -> Result<Self, String> {
        let num_attention_heads = f.get("num_attention_heads", 32)?;
        f.only("hidden_act", "silu")?;
        Ok(Self {
            vocab_size: f.get("vocab_size", 32000)?,
            hidden_size: f.get("hidden_size", 4096)?,
            intermediate_size: f.get("intermediate_size", 11008)?,
            num_hidden_layers: f.get("num_hidden_layers", 32)?,
            num_attention_heads,
            num_key_value_heads: f.get("num_key_value_heads", num_attention_heads)?,
            max_position_embeddings: f.get("max_position_embeddings", 2048)?,
            rms_norm_eps: f.get("rms_norm_eps", 1e-6)?,
            rope_theta: f.get("rope_theta", 10000.0)?,
            rope_scaling: f.get("rope_scaling", None)?,
            attention_bias: f.get("attention_bias", false)?,
            tie_word_embeddings: f.get("tie_word_embeddings", false)?,
            bos_token_id: f.get("bos_token_id", 1)?,
            eos_token_id: f.get("eos_token_id", OneOrMany::One(2))?.into(),
        })
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Elements of a token's keys, and of its values.
    pub fn kv_dim(&self) -> usize {
        self.num_key_value_heads * self.head_dim()
    }

    /// Query heads that share a key head.
    pub fn heads_per_kv(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }
}

impl VisionConfig {
    fn from_fields(f: &Fields) -> Result<Self, String> {
        f.only("hidden_act", "quick_gelu")?;
        f.only("use_cls_token", true)?;
        f.only("use_post_layernorm", true)?;
        Ok(Self {
            hidden_size: f.get("hidden_size", 1024)?,
            intermediate_size: f.get("intermediate_size", 4096)?,
            num_hidden_layers: f.get("num_hidden_layers", 24)?,
            num_attention_heads: f.get("num_attention_heads", 16)?,
            num_channels: f.get("num_channels", 3)?,
            image_size: f.get("image_size", 448)?,
            patch_size: f.get("patch_size", 14)?,
            layer_norm_eps: f.get("layer_norm_eps", 1e-6)?,
        })
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Patches a side.
    pub fn grid_size(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of a picture.
    pub fn num_patches(&self) -> usize {
        self.grid_size() * self.grid_size()
    }

    /// Rows the tower works on and returns: the class token, then the patches.
    pub fn num_tokens(&self) -> usize {
        self.num_patches() + 1
    }

    /// Elements of a patch: channels, then its rows, then its columns.
    pub fn patch_dim(&self) -> usize {
        self.num_channels * self.patch_size * self.patch_size
    }
}

impl AbstractorConfig {
    fn from_fields(f: &Fields, grid: usize) -> Result<Self, String> {
        f.only("use_cls_token", true)?;
        // The released code crashes on it, so nothing says what it should do.
        f.only("add_v2t_pos_emb", false)?;
        Ok(Self {
            num_learnable_queries: f.get("num_learnable_queries", 64)?,
            hidden_size: f.get("hidden_size", 1024)?,
            encoder_hidden_size: f.get("encoder_hidden_size", 1024)?,
            intermediate_size: f.get("intermediate_size", 2816)?,
            num_hidden_layers: f.get("num_hidden_layers", 6)?,
            num_attention_heads: f.get("num_attention_heads", 16)?,
            layer_norm_eps: f.get("layer_norm_eps", 1e-6)?,
            grid_size: f.get("grid_size", grid)?,
        })
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// `generation_config.json`: where answers begin and end.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Token put before a prompt.
    pub bos_token_id: u32,
    /// Tokens that end an answer.
    pub eos_token_id: Vec<u32>,
}

impl GenerationConfig {
    /// Reads a folder's `generation_config.json`; without one, or for what it lacks, `config.json` decides.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read, or is not what it should be.
    pub fn load(dir: &Path, text: &TextConfig) -> Result<Self> {
        let path = dir.join("generation_config.json");
        let json = read_optional(&path)?;
        Self::read(json.as_deref().unwrap_or(b"{}"), text).map_err(|reason| Error::File { path, reason })
    }

    /// Reads the text of a `generation_config.json`.
    ///
    /// # Errors
    ///
    /// As [`GenerationConfig::load`].
    pub fn from_json(json: &[u8], text: &TextConfig) -> Result<Self> {
        Self::read(json, text).map_err(|reason| Error::File { path: "generation_config.json".into(), reason })
    }

    fn read(json: &[u8], text: &TextConfig) -> Result<Self, String> {
        let root = parse("generation_config.json", json)?;
        let f = Fields { section: "", map: Some(&root) };
        Ok(Self {
            bos_token_id: f.get("bos_token_id", text.bos_token_id)?,
            eos_token_id: f.get("eos_token_id", OneOrMany::Many(text.eos_token_id.clone()))?.into(),
        })
    }
}

/// `preprocessor_config.json`: how a picture becomes the vision tower's input.
#[derive(Clone, Debug, PartialEq)]
pub struct PreprocessorConfig {
    /// Side the shortest edge is resized to, in pixels.
    pub size: usize,
    /// Side of the square cut from the middle, in pixels: the vision tower's `image_size`.
    pub crop_size: usize,
    /// Subtracted from red, green and blue, after scaling to 0..1.
    pub image_mean: [f64; 3],
    /// Red, green and blue are divided by it after that.
    pub image_std: [f64; 3],
}

impl PreprocessorConfig {
    /// CLIP's preprocessing for pictures of `image_size` a side.
    pub fn new(image_size: usize) -> Self {
        Self {
            size: image_size,
            crop_size: image_size,
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
        }
    }

    /// Reads a folder's `preprocessor_config.json`; without one, CLIP's values at `vision.image_size`.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read, asks for steps that are not CLIP's, or contradicts `image_size`.
    pub fn load(dir: &Path, vision: &VisionConfig) -> Result<Self> {
        let path = dir.join("preprocessor_config.json");
        let json = read_optional(&path)?;
        Self::read(json.as_deref().unwrap_or(b"{}"), vision).map_err(|reason| Error::File { path, reason })
    }

    /// Reads the text of a `preprocessor_config.json`.
    ///
    /// # Errors
    ///
    /// As [`PreprocessorConfig::load`].
    pub fn from_json(json: &[u8], vision: &VisionConfig) -> Result<Self> {
        Self::read(json, vision)
            .map_err(|reason| Error::File { path: "preprocessor_config.json".into(), reason })
    }

    fn read(json: &[u8], vision: &VisionConfig) -> Result<Self, String> {
        let root = parse("preprocessor_config.json", json)?;
        let f = Fields { section: "", map: Some(&root) };
        for step in ["do_resize", "do_center_crop", "do_rescale", "do_normalize"] {
            f.only(step, true)?;
        }
        f.only("resample", 3)?; // bicubic
        let scale: f64 = f.get("rescale_factor", 1.0 / 255.0)?;
        refuse((scale * 255.0 - 1.0).abs() > 1e-9, || {
            format!("rescale_factor is {scale}; only 1/255 is supported")
        })?;

        let clip = Self::new(vision.image_size);
        let size = f.get("size", Size::Side(clip.size))?.side("size")?;
        let crop_size = f.get("crop_size", Size::Side(clip.crop_size))?.side("crop_size")?;
        refuse(crop_size != vision.image_size, || {
            format!(
                "crop_size {crop_size} contradicts config.json, whose image_size is {}",
                vision.image_size
            )
        })?;
        refuse(size < crop_size, || format!("size {size} is smaller than crop_size {crop_size}"))?;
        refuse(size > 1 << 16, || format!("size is {size}, above {}", 1 << 16))?;
        let image_mean = f.get("image_mean", clip.image_mean)?;
        let image_std = f.get("image_std", clip.image_std)?;
        refuse(image_mean.iter().any(|mean| !(0.0..=1.0).contains(mean)), || {
            format!("image_mean is {image_mean:?}, expected 0 to 1")
        })?;
        refuse(image_std.iter().any(|std| !(1e-6..=1e6).contains(std)), || {
            format!("image_std is {image_std:?}, expected 0.000001 to 1000000")
        })?;
        Ok(Self { size, crop_size, image_mean, image_std })
    }
}

/// A number or a list of them.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of them")]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl From<OneOrMany> for Vec<u32> {
    fn from(ids: OneOrMany) -> Self {
        match ids {
            OneOrMany::One(id) => vec![id],
            OneOrMany::Many(ids) => ids,
        }
    }
}

/// The ways the years have written a side: `448`, `{"shortest_edge": 448}`, `{"height": 448, "width": 448}`.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected pixels, {\"shortest_edge\"} or {\"height\", \"width\"}")]
enum Size {
    Side(usize),
    Shortest { shortest_edge: usize },
    Both { height: usize, width: usize },
}

impl Size {
    fn side(self, name: &str) -> Result<usize, String> {
        match self {
            Self::Side(side) | Self::Shortest { shortest_edge: side } => Ok(side),
            Self::Both { height, width } if height == width => Ok(height),
            Self::Both { height, width } => {
                Err(format!("{name} is {height} high and {width} wide; only squares are supported"))
            }
        }
    }
}

/// An object of a JSON file, read field by field so that errors can name the field.
struct Fields<'a> {
    /// Where it is in the file, for messages: `visual_config.visual_model`.
    section: &'static str,
    /// Absent as a whole: every field takes its default.
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.map?.get(key).filter(|value| !value.is_null())
    }

    fn get<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T, String> {
        let Some(value) = self.value(key) else { return Ok(default) };
        T::deserialize(value).map_err(|e| format!("{}: {e}", self.path(key)))
    }

    /// Refuses every value but the one that is supported, which is also the default.
    fn only<T: Display>(&self, key: &str, supported: T) -> Result<(), String>
    where
        Value: PartialEq<T>,
    {
        match self.value(key) {
            Some(value) if *value != supported => {
                Err(format!("{} is {value}; only {supported} is supported", self.path(key)))
            }
            _ => Ok(()),
        }
    }

    fn section(&self, key: &str, section: &'static str) -> Result<Self, String> {
        match self.value(key) {
            None => Ok(Self { section, map: None }),
            Some(Value::Object(map)) => Ok(Self { section, map: Some(map) }),
            Some(other) => Err(format!("{section} is {other}, expected an object")),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.section.is_empty() { key.into() } else { format!("{}.{key}", self.section) }
    }
}

fn parse(file: &str, json: &[u8]) -> Result<Map<String, Value>, String> {
    // Editors on Windows put a byte order mark in front.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    serde_json::from_slice(json).map_err(|e| format!("not a JSON object: {e}; copy {file} again"))
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.into(), source }),
    }
}

fn refuse(wrong: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if wrong { Err(reason()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");

    fn json_8b() -> Value {
        serde_json::from_slice(&std::fs::read(format!("{TESTS}/spec/config_8b.json")).unwrap()).unwrap()
    }

    /// The 8.2B config with the value at a JSON pointer replaced, or the key added.
    fn with(pointer: &str, value: Value) -> Result<Config> {
        let mut json = json_8b();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
        Config::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn tensors_of_the_8b_config_are_those_of_the_original_checkpoint() {
        let want: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(format!("{TESTS}/spec/tensors_8b.json")).unwrap()).unwrap();
        let config = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
        let got = config.tensors();

        for spec in &got {
            let entry = &want[&spec.name];
            assert_eq!(serde_json::json!(spec.shape), entry[0], "{}", spec.name);
            assert_eq!(spec.required, entry[2] == "param", "{}", spec.name);
            assert_eq!(spec.axes.split(',').count(), spec.shape.len(), "{}: {}", spec.name, spec.axes);
        }
        let names: std::collections::HashSet<_> = got.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), got.len(), "a name is listed twice");
        assert!(
            want.keys().filter(|name| !name.ends_with("inv_freq")).all(|name| names.contains(name.as_str()))
        );
        assert_eq!(got.iter().filter(|spec| spec.required).count(), 850);
        assert_eq!(got.len(), 850 + 12);
    }

    #[test]
    fn parameters_of_the_8b_config_are_those_of_the_specification() {
        let config = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
        assert_eq!(config.num_parameters(), 8_197_859_328);
        let counts = config.parameters_by_part().map(|(_, count)| count);
        let want = [
            4_328_521_728,
            1_073_741_824,
            1_074_003_968,
            1_074_003_968,
            131_072_000,
            131_072_000,
            4096,
            303_966_208,
            81_473_536,
        ];
        assert_eq!(counts, want);
    }

    #[test]
    fn an_empty_config_is_the_8b_model_of_the_original_defaults() {
        let empty = Config::from_json(b"{}").unwrap();
        let mut want = Config::from_json(json_8b().to_string().as_bytes()).unwrap();
        (want.text.rms_norm_eps, want.text.max_position_embeddings) = (1e-6, 2048); // LLaMA-2's in the file
        assert_eq!(empty, want);
        assert_eq!(empty.text.kv_dim(), 4096);
        assert_eq!(empty.vision.num_tokens(), 1025);
        assert_eq!(empty.vision.patch_dim(), 588);
        assert_eq!(empty.num_image_tokens(), 65);
    }

    #[test]
    fn nulls_are_absent_values() {
        assert_eq!(with("/num_key_value_heads", Value::Null).unwrap().text.num_key_value_heads, 32);
        assert_eq!(
            with("/visual_config/visual_abstractor/grid_size", Value::Null).unwrap().abstractor.grid_size,
            32
        );
        assert_eq!(with("/visual_config", Value::Null).unwrap().vision.hidden_size, 1024);
        assert_eq!(with("/rope_theta", Value::Null).unwrap().text.rope_theta, 10000.0);
    }

    #[test]
    fn golden_and_nano_configs_are_read_as_written() {
        for dir in ["tiny", "medium", "gqa", "mamoff", "f16", "release"] {
            Config::load(Path::new(&format!("{TESTS}/golden/{dir}/hf"))).unwrap();
        }
        let gqa = Config::load(Path::new(&format!("{TESTS}/golden/gqa/hf"))).unwrap();
        assert_eq!((gqa.text.head_dim(), gqa.text.kv_dim(), gqa.text.heads_per_kv()), (12, 24, 3));
        assert_eq!((gqa.abstractor.grid_size, gqa.num_image_tokens()), (3, 6));

        let nano = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/nano"));
        let config = Config::load(nano).unwrap();
        let preprocessor = PreprocessorConfig::load(nano, &config.vision).unwrap();
        assert_eq!(preprocessor, PreprocessorConfig::new(112));
        assert_eq!(GenerationConfig::load(nano, &config.text).unwrap().eos_token_id, [2]);
    }

    #[test]
    fn contradictions_are_refused_with_both_numbers() {
        let vision = "/visual_config/visual_model";
        let abstractor = "/visual_config/visual_abstractor";
        for (pointer, value, words) in [
            ("/hidden_size".into(), 4100.into(), ["4100", "32"]),
            ("/hidden_size".into(), (32 * 127).into(), ["4064", "127"]),
            ("/hidden_size".into(), (32 * 258).into(), ["258", "256"]),
            ("/num_key_value_heads".into(), 5.into(), ["32", "5"]),
            ("/vocab_size".into(), 0.into(), ["vocab_size", "0"]),
            ("/vocab_size".into(), 1.into(), ["vocab_size 1", "bos_token_id 1"]),
            ("/vocab_size".into(), 2_000_000_000.into(), ["2^32", "2000000000, 4096"]),
            ("/intermediate_size".into(), u64::MAX.into(), ["intermediate_size", "2147483647"]),
            ("/num_hidden_layers".into(), 2_000_000_000.into(), ["num_hidden_layers", "1024"]),
            ("/hidden_act".into(), "gelu".into(), ["hidden_act", "silu"]),
            ("/rms_norm_eps".into(), (-1.0).into(), ["rms_norm_eps", "-1"]),
            ("/rope_theta".into(), 1e300.into(), ["rope_theta", "inf"]),
            (
                "/rope_scaling".into(),
                serde_json::json!({"type": "yarn", "factor": 2}),
                ["rope_scaling", "yarn"],
            ),
            ("/rope_scaling".into(), serde_json::json!({"type": "linear", "factor": 0.5}), ["factor", "0.5"]),
            ("/model_type".into(), "mplug_owl2_1".into(), ["mplug_owl2_1", "another architecture"]),
            ("/model_type".into(), "llava".into(), ["llava", "mplug_owl2"]),
            ("/hidden_size".into(), "wide".into(), ["hidden_size", "wide"]),
            ("/hidden_size".into(), (-1).into(), ["hidden_size", "-1"]),
            ("/visual_config".into(), 3.into(), ["visual_config", "3"]),
            (format!("{vision}/image_size"), 449.into(), ["449", "14"]),
            (format!("{vision}/image_size"), 462.into(), ["32", "33"]),
            (format!("{vision}/patch_size"), 0.into(), ["patch_size", "0"]),
            (format!("{vision}/num_channels"), 4.into(), ["num_channels", "4"]),
            (format!("{vision}/hidden_size"), 2048.into(), ["1024", "2048"]),
            (format!("{vision}/hidden_act"), "silu".into(), ["visual_model.hidden_act", "quick_gelu"]),
            (format!("{vision}/use_cls_token"), false.into(), ["use_cls_token", "true"]),
            (format!("{abstractor}/encoder_hidden_size"), 1408.into(), ["1408", "1024"]),
            (format!("{abstractor}/add_v2t_pos_emb"), true.into(), ["add_v2t_pos_emb", "false"]),
            (format!("{abstractor}/grid_size"), 31.into(), ["31", "32"]),
        ] {
            let error = with(&pointer, value).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{pointer}: {error}");
        }
    }

    #[test]
    fn biases_and_tied_embeddings_change_the_tensors() {
        let plain = with("/attention_bias", false.into()).unwrap();
        let biased = with("/attention_bias", true.into()).unwrap();
        assert_eq!(biased.tensors().len(), plain.tensors().len() + 32 * 6);
        let tied = with("/tie_word_embeddings", true.into()).unwrap();
        assert_eq!(tied.num_parameters() + 131_072_000, plain.num_parameters());
    }

    #[test]
    fn rope_scaling_is_read() {
        let scaling = with("/rope_scaling", serde_json::json!({"type": "dynamic", "factor": 4}))
            .unwrap()
            .text
            .rope_scaling;
        assert_eq!(scaling, Some(RopeScaling::Dynamic { factor: 4.0 }));
    }

    #[test]
    fn several_end_tokens_are_read() {
        let text = Config::from_json(b"{}").unwrap().text;
        let read = |json: &[u8]| GenerationConfig::read(json, &text);
        assert_eq!(read(b"{\"eos_token_id\": [2, 7]}").unwrap().eos_token_id, [2, 7]);
        assert_eq!(read(b"{}").unwrap(), GenerationConfig { bos_token_id: 1, eos_token_id: vec![2] });
        let error = read(b"{\"eos_token_id\": \"</s>\"}").unwrap_err();
        assert!(error.contains("eos_token_id"), "{error}");
    }

    #[test]
    fn preprocessor_sizes_are_read_in_every_spelling() {
        let vision = Config::from_json(b"{}").unwrap().vision;
        let read = |json: &str| PreprocessorConfig::read(json.as_bytes(), &vision);
        for json in [
            "{}",
            r#"{"size": 448, "crop_size": 448}"#,
            r#"{"size": {"shortest_edge": 448}, "crop_size": {"height": 448, "width": 448}, "rescale_factor": 0.00392156862745098}"#,
        ] {
            assert_eq!(read(json).unwrap(), PreprocessorConfig::new(448), "{json}");
        }
        for (json, word) in [
            (r#"{"crop_size": 224}"#, "224"),
            (r#"{"size": 224}"#, "224"),
            (r#"{"crop_size": {"height": 448, "width": 224}}"#, "224"),
            (r#"{"do_center_crop": false}"#, "do_center_crop"),
            (r#"{"resample": 2}"#, "resample"),
            (r#"{"image_std": [0, 1, 1]}"#, "image_std"),
            (r#"{"image_mean": [0.5, 0.5]}"#, "image_mean"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_config_are_errors() {
        let json = json_8b().to_string();
        for end in (0..json.len()).step_by(37) {
            assert!(Config::from_json(&json.as_bytes()[..end]).is_err());
        }
        for json in ["[]", "null", "{\"visual_config\": {\"visual_model\": []}}", "\u{feff}"] {
            assert!(Config::from_json(json.as_bytes()).is_err(), "{json}");
        }
        assert!(Config::from_json("\u{feff}{}".as_bytes()).is_ok());
    }
}
