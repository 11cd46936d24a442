//! Sizes and constants of a model, by the names of `config.json`.

use super::rope::RopeScaling;

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

impl Config {
    /// Embeddings a picture becomes: the K queries and `vit_eos`.
    pub fn num_image_tokens(&self) -> usize {
        self.abstractor.num_learnable_queries + 1
    }
}

impl TextConfig {
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
    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}
