//! `config.json`: every size and constant of the model, and from them the tensors a checkpoint must hold.
//!
//! Fields keep the file's names. Absent keys and `null`s take the defaults of the original code, which are those
//! of the 8.2B model; unknown keys are ignored; what contradicts itself or is not supported is refused.

mod fields;
mod tensors;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use tensors::TensorSpec;

use crate::convert::refuse_unfinished;
use crate::read::{MAX_CONFIG_BYTES, read_file};
use crate::{Error, Result};
use fields::{Fields, OneOrMany, Size, parse, read_optional, refuse};

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
        refuse_unfinished(dir)?;
        Self::load_file(&dir.join("config.json"))
    }

    /// Reads a `config.json` of any name. What it says is wrong names that file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or says nothing of a model, or as [`Config::from_json`].
    pub fn load_file(path: &Path) -> Result<Self> {
        let json = read_file(path, MAX_CONFIG_BYTES)?;
        let wrong = |reason| Error::File { path: path.into(), reason };
        let root = parse("it", &json).map_err(wrong)?;
        if !["model_type", "hidden_size", "num_hidden_layers", "visual_config"]
            .iter()
            .any(|&key| root.contains_key(key))
        {
            let reason = "says neither model_type nor hidden_size: is it the config.json of a model?";
            return Err(wrong(reason.into()));
        }
        match Self::from_json(&json) {
            Err(Error::Config(reason)) => Err(wrong(reason)),
            config => config,
        }
    }

    /// The config of the small model that is compiled into the library.
    #[cfg(feature = "nano")]
    pub fn nano() -> Self {
        Self::from_json(include_bytes!("../nano/config.json")).expect("it is part of the library")
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
