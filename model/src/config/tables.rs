//! The keys themselves, from `LlamaConfig`, `CLIPVisionConfig`, `PretrainedConfig`, `GenerationConfig` and
//! `CLIPImageProcessor` of transformers 4.31 to 5.24 and from mPLUG-Owl2's own `configuration_mplug_owl2.py`.

use super::keys::{Key, Use};

const fn key(name: &'static str, does: Use, why: &'static str) -> Key {
    Key { name, does, why }
}

const fn read(name: &'static str, what: &'static str) -> Key {
    key(name, Use::Read, what)
}

const fn only(name: &'static str, values: &'static [&'static str], why: &'static str) -> Key {
    key(name, Use::Only(values), why)
}

const fn none(name: &'static str, why: &'static str) -> Key {
    key(name, Use::NoEffect, why)
}

const fn noted(name: &'static str, values: &'static [&'static str], why: &'static str) -> Key {
    key(name, Use::Noted(values), why)
}

const FALSE: &[&str] = &["false"];
const TRUE: &[&str] = &["true"];
const ZERO: &[&str] = &["0"];
const ONE: &[&str] = &["1"];

const TRAINING: &str = "it is used in training only";
const LABEL: &str = "it is of classifiers";
const OUTPUT: &str = "it chooses what transformers returns";
const ORIGIN: &str = "it says where the file came from";
const SPEED: &str = "it chooses how transformers computes the same";
const OTHER: &str = "it is of another model family";
const SEARCH: &str = "Strix has no such step in choosing a token";
const CALL: &str = "set it with the options of a call";

/// The top level of `config.json`.
pub(super) const TEXT: &[Key] = &[
    only("model_type", &["\"mplug_owl2\""], "other models have other equations"),
    read("vocab_size", "rows of the embedding and of `lm_head`; 32000"),
    read("hidden_size", "width of a token; 4096"),
    read("intermediate_size", "width inside the MLP; 11008"),
    read("num_hidden_layers", "decoder layers; 32. A file that holds more is refused"),
    read("num_attention_heads", "query heads; 32"),
    read("num_key_value_heads", "key and value heads; as many as query heads"),
    read("head_dim", "must be `hidden_size / num_attention_heads`, its default"),
    read("max_position_embeddings", "default length of the KV cache; 2048"),
    read("rms_norm_eps", "added to the mean square; 1e-6"),
    read("rope_theta", "base of the rotary frequencies; 10000"),
    read("rope_scaling", "see below; none"),
    read("rope_parameters", "the same in transformers 5, with `rope_theta`; none"),
    read("attention_bias", "biases of q, k, v and o; false"),
    read("tie_word_embeddings", "`lm_head` is `embed_tokens`; false"),
    read("bos_token_id", "put before a prompt; 1. Below `vocab_size`"),
    read("eos_token_id", "ids that end an answer; 2. Each below `vocab_size`"),
    read("visual_config", "vision tower and abstractor; those of the 8.2B model"),
    read(
        "quantization_config",
        "says how other programs packed the weights; such files are refused as what they are",
    ),
    only("hidden_act", &["\"silu\"", "\"swish\""], "the MLP is SwiGLU"),
    only("mlp_bias", FALSE, "the MLP has no biases"),
    only("partial_rotary_factor", ONE, "all of a head is rotated"),
    only("sliding_window", &[], "attention sees all positions"),
    only("use_sliding_window", FALSE, "attention sees all positions"),
    only("attention_chunk_size", &[], "attention sees all positions"),
    read("layer_types", "every one must be \"full_attention\""),
    only("per_layer_config", &["{}"], "all layers are alike"),
    only("attn_logit_softcapping", &[], OTHER),
    only("final_logit_softcapping", &[], OTHER),
    only("query_pre_attn_scalar", &[], OTHER),
    only("attention_multiplier", &[], OTHER),
    only("embedding_multiplier", ONE, OTHER),
    only("residual_multiplier", ONE, OTHER),
    only("logits_scaling", ONE, OTHER),
    only("logit_scale", ONE, OTHER),
    only("qkv_bias", FALSE, "biases are `attention_bias`"),
    only("attention_out_bias", FALSE, "biases are `attention_bias`"),
    only("use_qk_norm", FALSE, OTHER),
    only("qk_layernorm", FALSE, OTHER),
    only("clip_qkv", &[], OTHER),
    only("alibi", FALSE, "positions are rotary"),
    only("no_rope_layers", &["[]"], "every layer has rotary positions"),
    only("use_parallel_residual", FALSE, OTHER),
    only("num_experts", &["0", "1"], OTHER),
    only("num_local_experts", &["0", "1"], OTHER),
    only("text_config", &["{}"], "sizes of the decoder are at the top level"),
    only("vision_config", &["{}"], "sizes of the vision tower are in `visual_config`"),
    only("llm_config", &["{}"], "sizes of the decoder are at the top level"),
    none("pretraining_tp", "it slices matrices and adds up the same products"),
    none("logit_scale_init_value", "it is of CLIP's contrastive loss"),
    none(
        "image_aspect_ratio",
        "only the original web demo reads it: pictures are made square as the options say",
    ),
    none("original_max_position_embeddings", "the rotary types that read it are refused"),
    none("freeze_vision_model", TRAINING),
    none("tune_visual_abstractor", TRAINING),
    none("visual_abstractor_lr", TRAINING),
    none("unfreeze_mm_vision_tower", TRAINING),
    none("tokenizer_padding_side", TRAINING),
    none("tokenizer_model_max_length", TRAINING),
];

/// `visual_config`.
pub(super) const VISUAL: &[Key] = &[
    read("visual_model", "the vision tower; that of the 8.2B model"),
    read("visual_abstractor", "the abstractor; that of the 8.2B model"),
];

/// `visual_config.visual_model`.
pub(super) const VISION_MODEL: &[Key] = &[
    only("model_type", &["\"mplug_owl_vision_model\""], "other towers have other equations"),
    read("hidden_size", "width of a token; 1024"),
    read("intermediate_size", "width inside the MLP; 4096"),
    read("num_hidden_layers", "layers; 24. A file that holds more is refused"),
    read("num_attention_heads", "attention heads; 16"),
    read("head_dim", "must be `hidden_size / num_attention_heads`, its default"),
    read("num_channels", "must be 3, its default"),
    read("image_size", "side of the picture in pixels; 448"),
    read("patch_size", "side of a patch in pixels; 14"),
    read("layer_norm_eps", "added to the variance; 1e-6 (CLIP's own default is 1e-5)"),
    only("hidden_act", &["\"quick_gelu\""], "the MLP has quick GELU"),
    only("use_post_layernorm", TRUE, "the last norm is part of the model"),
    only("use_cls_token", TRUE, "the class token is part of the model"),
    none("projection_dim", "it is of CLIP's contrastive loss"),
    none("use_flash_attn", SPEED),
];

/// `visual_config.visual_abstractor`.
pub(super) const ABSTRACTOR: &[Key] = &[
    only("model_type", &["\"mplug_owl_visual_abstract\""], "other abstractors have other equations"),
    read("num_learnable_queries", "queries, one embedding each; 64"),
    read("hidden_size", "width of a query; 1024"),
    read("encoder_hidden_size", "must be `hidden_size` here and of the vision tower; 1024"),
    read("intermediate_size", "width inside the MLP; 2816"),
    read("num_hidden_layers", "layers; 6. A file that holds more is refused"),
    read("num_attention_heads", "attention heads; 16"),
    read("head_dim", "must be `hidden_size / num_attention_heads`, its default"),
    read("layer_norm_eps", "added to the variance in `ffn_ln`; 1e-6"),
    read("grid_size", "must be `image_size / patch_size`, its default"),
    only("hidden_act", &["\"silu\"", "\"swish\""], "the MLP is SwiGLU"),
    only("use_cls_token", TRUE, "the class token is read too"),
    only("add_v2t_pos_emb", FALSE, "the original code cannot run it"),
];

/// What every class of transformers inherits.
pub(super) const INHERITED: &[Key] = &[
    only("is_encoder_decoder", FALSE, "it is a decoder alone"),
    only("add_cross_attention", FALSE, "there are no such layers"),
    only("pruned_heads", &["{}", "[]"], "every head is there"),
    only("use_bfloat16", FALSE, "it is of TensorFlow's classes"),
    none("is_decoder", "LLaMA is one whatever it says"),
    none("cross_attention_hidden_size", "there are no such layers"),
    none("tie_encoder_decoder", "there is no encoder"),
    none("tie_word_embeddings", "outside the top level there are no words"),
    none("tie_last_hidden_states", OUTPUT),
    none("chunk_size_feed_forward", "it slices rows and computes the same"),
    none("attention_dropout", TRAINING),
    none("attention_probs_dropout_prob", TRAINING),
    none("hidden_dropout", TRAINING),
    none("hidden_dropout_prob", TRAINING),
    none("dropout", TRAINING),
    none("initializer_range", TRAINING),
    none("initializer_factor", TRAINING),
    none("gradient_checkpointing", TRAINING),
    none("torch_dtype", "tensors say what they are stored as, and an option what they become"),
    none("dtype", "tensors say what they are stored as, and an option what they become"),
    none("torchscript", OUTPUT),
    none("return_dict", OUTPUT),
    none("output_attentions", OUTPUT),
    none("_output_attentions", OUTPUT),
    none("output_hidden_states", OUTPUT),
    none("use_return_dict", OUTPUT),
    none("tf_legacy_loss", TRAINING),
    none("attn_implementation", SPEED),
    none("_attn_implementation", SPEED),
    none("_attn_implementation_internal", SPEED),
    none("_attn_implementation_autoset", SPEED),
    none("_flash_attn_2_enabled", SPEED),
    none("experts_implementation", SPEED),
    none("_experts_implementation", SPEED),
    none("_experts_implementation_internal", SPEED),
    none("xla_device", SPEED),
    none("architectures", "`model_type` decides"),
    none("auto_map", ORIGIN),
    none("custom_pipelines", ORIGIN),
    none("_name_or_path", ORIGIN),
    none("name_or_path", ORIGIN),
    none("_commit_hash", ORIGIN),
    none("transformers_version", ORIGIN),
    none("finetuning_task", ORIGIN),
    none("task_specific_params", LABEL),
    none("problem_type", LABEL),
    none("id2label", LABEL),
    none("label2id", LABEL),
    none("num_labels", LABEL),
    none("tokenizer_class", "tokenizer.model or tokenizer.json decide"),
    none("prefix", "only pipelines of transformers read it"),
    none("bos_token_id", "outside the top level there are no words"),
    none("eos_token_id", "outside the top level there are no words"),
    none("sep_token_id", "the prompt has no such token"),
    none("unk_token_id", "the tokenizer says it"),
    none("mask_token_id", "the prompt has no such token"),
    none("cls_token_id", "the prompt has no such token"),
];

/// `rope_scaling` and `rope_parameters`. What is not here is refused: it would change the rotations.
pub(super) const ROPE: &[Key] = &[
    read("rope_type", "default, linear or dynamic"),
    read("type", "the same in older files"),
    read("factor", "of linear and dynamic; at least 1"),
    read("rope_theta", "as at the top level; where both are, they must be equal"),
    only("partial_rotary_factor", ONE, "all of a head is rotated"),
    read("original_max_position_embeddings", "must be `max_position_embeddings`, its default"),
];

/// What only `generation_config.json` has.
pub(super) const GENERATION_FILE: &[Key] = &[
    read("bos_token_id", "as in config.json, which decides where it is absent"),
    read("eos_token_id", "as in config.json, which decides where it is absent"),
    none("transformers_version", ORIGIN),
    none("_from_model_config", ORIGIN),
    none("_commit_hash", ORIGIN),
    none("generation_kwargs", ORIGIN),
    none("output_attentions", OUTPUT),
    none("output_hidden_states", OUTPUT),
];

/// How transformers chooses tokens: in `generation_config.json`, and at the top level of older `config.json`.
pub(super) const GENERATION: &[Key] = &[
    noted("do_sample", FALSE, CALL),
    noted("temperature", ONE, CALL),
    noted("top_k", &["0", "50"], CALL),
    noted("top_p", ONE, CALL),
    noted("repetition_penalty", ONE, CALL),
    noted("max_length", &["20"], CALL),
    noted("max_new_tokens", &[], CALL),
    noted("min_length", ZERO, CALL),
    noted("min_new_tokens", ZERO, CALL),
    noted("max_time", &[], CALL),
    noted("stop_strings", &[], CALL),
    only("min_p", ZERO, SEARCH),
    only("top_h", &[], SEARCH),
    only("typical_p", ONE, SEARCH),
    only("epsilon_cutoff", ZERO, SEARCH),
    only("eta_cutoff", ZERO, SEARCH),
    only("num_beams", ONE, SEARCH),
    only("num_beam_groups", ONE, SEARCH),
    only("penalty_alpha", ZERO, SEARCH),
    only("dola_layers", &[], SEARCH),
    only("constraints", &[], SEARCH),
    only("force_words_ids", &[], SEARCH),
    only("bad_words_ids", &["[]"], SEARCH),
    only("suppress_tokens", &["[]"], SEARCH),
    only("begin_suppress_tokens", &["[]"], SEARCH),
    only("forced_bos_token_id", &[], SEARCH),
    only("forced_eos_token_id", &[], SEARCH),
    only("forced_decoder_ids", &["[]"], SEARCH),
    only("sequence_bias", &["{}", "[]"], SEARCH),
    only("no_repeat_ngram_size", ZERO, SEARCH),
    only("encoder_repetition_penalty", ONE, SEARCH),
    only("exponential_decay_length_penalty", &[], SEARCH),
    only("guidance_scale", ONE, SEARCH),
    only("watermarking_config", &[], SEARCH),
    only("token_healing", FALSE, SEARCH),
    only("num_return_sequences", ONE, "there is one answer"),
    none("early_stopping", "it is of beams"),
    none("length_penalty", "it is of beams"),
    none("diversity_penalty", "it is of groups of beams"),
    none("low_memory", "it is of contrastive search"),
    none("encoder_no_repeat_ngram_size", "there is no encoder"),
    none("decoder_start_token_id", "there is no encoder"),
    none("pad_token_id", "a prompt alone needs no padding"),
    none("renormalize_logits", "the order of logits and their ratios stay"),
    none("remove_invalid_values", "logits that are no numbers are an error"),
    none("use_cache", SPEED),
    none("cache_implementation", SPEED),
    none("cache_config", SPEED),
    none("max_cache_len", SPEED),
    none("return_legacy_cache", SPEED),
    none("prefill_chunk_size", SPEED),
    none("compile_config", SPEED),
    none("disable_compile", SPEED),
    none("continuous_batching_config", SPEED),
    none("assistant_confidence_threshold", SPEED),
    none("assistant_early_exit", SPEED),
    none("assistant_ensemble_weight", SPEED),
    none("assistant_lookbehind", SPEED),
    none("target_lookbehind", SPEED),
    none("is_assistant", SPEED),
    none("max_matching_ngram_size", SPEED),
    none("num_assistant_tokens", SPEED),
    none("num_assistant_tokens_schedule", SPEED),
    none("prompt_lookup_num_tokens", SPEED),
    none("speculation_type", SPEED),
    none("use_mtp", SPEED),
    none("output_scores", OUTPUT),
    none("output_logits", OUTPUT),
    none("return_dict_in_generate", OUTPUT),
];

/// `preprocessor_config.json`.
pub(super) const PREPROCESSOR: &[Key] = &[
    only(
        "image_processor_type",
        &[
            "\"CLIPImageProcessor\"",
            "\"CLIPImageProcessorFast\"",
            "\"CLIPImageProcessorPil\"",
            "\"CLIPFeatureExtractor\"",
        ],
        "other processors have other steps and defaults",
    ),
    only(
        "feature_extractor_type",
        &["\"CLIPFeatureExtractor\"", "\"CLIPImageProcessor\""],
        "other processors have other steps and defaults",
    ),
    read("size", "side that the shortest edge is resized to, or equal height and width; `image_size`"),
    read("crop_size", "side of the square cut from the middle; must be `image_size`, its default"),
    read("rescale_factor", "must be 1/255, its default"),
    read("image_mean", "one number or three; CLIP's"),
    read("image_std", "one number or three; CLIP's"),
    only("resample", &["3"], "pictures are resized bicubically"),
    only("do_resize", TRUE, "the step is part of the model"),
    only("do_center_crop", TRUE, "the step is part of the model"),
    only("do_rescale", TRUE, "the step is part of the model"),
    only("do_normalize", TRUE, "the step is part of the model"),
    only("do_convert_rgb", TRUE, "the step is part of the model"),
    only("do_pad", FALSE, "an option of a call pads pictures"),
    only("use_square_size", FALSE, "it changes `size`"),
    only("do_reduce_labels", FALSE, OTHER),
    only("do_flip_channel_order", FALSE, OTHER),
    only("do_split_image", FALSE, OTHER),
    none("pad_size", "nothing is padded to it"),
    none("default_to_square", "pictures are made square first"),
    none("processor_class", ORIGIN),
    none("auto_map", ORIGIN),
    none("_valid_processor_keys", ORIGIN),
    none("transformers_version", ORIGIN),
    none("data_format", OUTPUT),
    none("input_data_format", OUTPUT),
    none("return_tensors", OUTPUT),
    none("device", SPEED),
    none("disable_grouping", SPEED),
    none("image_seq_length", "the abstractor's queries decide"),
];

/// `tokenizer_config.json`.
pub(super) const TOKENIZER: &[Key] = &[
    read("legacy", "whether a text after a special token begins with a space; true"),
    only("add_bos_token", TRUE, "a prompt begins with `<s>`"),
    only("add_eos_token", FALSE, "a prompt does not end with `</s>`"),
    only("add_prefix_space", TRUE, "a text begins with a space"),
    only("do_lower_case", FALSE, OTHER),
    only("bos_token", &["\"<s>\""], "the tokenizer of LLaMA has it"),
    only("eos_token", &["\"</s>\""], "the tokenizer of LLaMA has it"),
    only("unk_token", &["\"<unk>\""], "the tokenizer of LLaMA has it"),
    only("sp_model_kwargs", &["{}"], "pieces are not drawn by chance"),
    none("pad_token", "a prompt alone needs no padding"),
    none("added_tokens_decoder", "tokenizer.model or tokenizer.json decide"),
    none("additional_special_tokens", "tokenizer.model or tokenizer.json decide"),
    none("extra_special_tokens", "tokenizer.model or tokenizer.json decide"),
    none("chat_template", "the template of mPLUG-Owl2 is built in"),
    none("use_default_system_prompt", "the template of mPLUG-Owl2 is built in"),
    none("clean_up_tokenization_spaces", "answers are printed as their tokens say"),
    none("spaces_between_special_tokens", "special tokens are not printed"),
    none("model_max_length", "the length of the KV cache decides"),
    none("padding_side", "a prompt alone needs no padding"),
    none("truncation_side", "prompts are not cut"),
    none("use_fast", SPEED),
    none("from_slow", SPEED),
    none("backend", SPEED),
    none("is_local", ORIGIN),
    none("tokenizer_class", ORIGIN),
    none("processor_class", ORIGIN),
    none("auto_map", ORIGIN),
    none("name_or_path", ORIGIN),
    none("special_tokens_map_file", ORIGIN),
    none("tokenizer_file", ORIGIN),
    none("transformers_version", ORIGIN),
];
