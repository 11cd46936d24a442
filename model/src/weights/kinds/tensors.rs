//! Tensors by their names, and files by their metadata.

use super::Sign::{self, Ends, Holds};
use super::files::{FLAX, TENSORFLOW};
use super::{ADAPTER, FileKind, KOHYA, MLX};

/// A tensor of the model, for messages.
pub(in super::super) const EXPECTED: &str = "model.layers.0.self_attn.q_proj.weight";

/// Ways to quantise, by what the names of tensors end in. Of several the first.
pub(in super::super) const QUANTISED: [(Sign, &str); 37] = [
    (Holds(".quant_state.bitsandbytes__nf4"), "bitsandbytes 4-bit (nf4)"),
    (Holds(".quant_state.bitsandbytes__fp4"), "bitsandbytes 4-bit (fp4)"),
    (Ends(".SCB"), "bitsandbytes int8"),
    (Ends(".weight_format"), "bitsandbytes int8"),
    (Ends(".quant_map"), "bitsandbytes 4-bit (nf4 or fp4)"),
    (Ends(".nested_absmax"), "bitsandbytes 4-bit (nf4 or fp4)"),
    (Ends(".absmax"), "bitsandbytes"),
    (Ends(".workspace"), "GPTQ or AWQ (Marlin)"),
    (Ends(".B"), "GPTQ or AWQ (Marlin)"),
    (Ends(".biases"), "MLX"),
    (Ends(".g_idx"), "GPTQ"),
    (Ends(".Qidxs"), "QuIP#"),
    (Ends(".q_invperm"), "EXL2"),
    (Ends(".q_weight"), "EXL2"),
    (Ends(".trellis"), "EXL3"),
    (Ends(".qzeros"), "AWQ or GPTQ"),
    (Ends(".qweight"), "AWQ or GPTQ"),
    (Ends(".W_q"), "HQQ"),
    (Holds(".centroids"), "VPTQ"),
    (Holds("res_centroids"), "VPTQ"),
    (Holds(".outlier_centroids"), "VPTQ"),
    (Ends(".weight_packed"), "compressed-tensors"),
    (Ends(".weight_zero_point"), "compressed-tensors"),
    (Ends(".codebooks"), "AQLM"),
    (Ends(".codes"), "AQLM"),
    (Ends(".dense_weights"), "SpQR"),
    (Ends(".weight_scale_2"), "NVFP4 of ModelOpt"),
    (Ends(".weight_scale_inv"), "FP8"),
    (Ends(".weight_scale"), "FP8 or int8 with scales"),
    (Ends(".weight_scales"), "EETQ int8"),
    (Ends(".input_scale"), "FP8"),
    (Ends(".weight._data"), "quanto"),
    (Ends(".weight._scale"), "quanto"),
    (Ends("_weight_qdata"), "torchao"),
    (Ends(".weight.tensor_impl"), "torchao"),
    (Ends("_proj_blocks"), "MXFP4"),
    (Ends("_proj_scales"), "MXFP4"),
];

/// Adapters, by a part of the names of their tensors. Of several the first.
pub(in super::super) const ADAPTER_NAMES: [(&str, FileKind); 24] = [
    ("lora_unet_", KOHYA),
    ("lora_te_", KOHYA),
    ("lora_te1_", KOHYA),
    ("lora_te2_", KOHYA),
    ("lora_transformer_", KOHYA),
    (".lora_down.", KOHYA),
    (".lora_up.", KOHYA),
    (".lora_A.", ADAPTER),
    (".lora_B.", ADAPTER),
    (".lora_A", ADAPTER),
    (".lora_B", ADAPTER),
    (".lora_E", ADAPTER),
    (".lora_embedding_A", ADAPTER),
    (".lora_magnitude_vector", ADAPTER),
    (".base_layer.", ADAPTER),
    (".modules_to_save.", ADAPTER),
    (".original_module.", ADAPTER),
    (".ia3_l", ADAPTER),
    (".hada_w1_a", ADAPTER),
    (".lokr_w1", ADAPTER),
    (".oft_r", ADAPTER),
    (".vera_lambda_", ADAPTER),
    ("prompt_embeddings", ADAPTER),
    (".trainable_tokens_", ADAPTER),
];

/// Programs with a layout of their own, by the `format` that their files say.
pub(in super::super) const FORMATS: [(&str, FileKind); 3] =
    [("mlx", MLX), ("tf", TENSORFLOW), ("flax", FLAX)];

/// Parts of a training, by a part of the names of their tensors.
pub(in super::super) const SHARDED_NAMES: [&str; 3] = ["_flat_param", "._fpw_module", "flat_param_"];

/// Other models, by how the name of some tensor begins.
pub(in super::super) const OTHER_MODELS: [(&str, &str); 18] = [
    ("transformer.vocab_embedding.", "TensorRT-LLM in its own layout"),
    ("multi_modal_projector.", "LLaVA"),
    ("model.multi_modal_projector.", "LLaVA"),
    ("model.mm_projector.", "LLaVA in its author's layout"),
    ("mm_projector.", "LLaVA in its author's layout"),
    ("model.vision_tower.", "LLaVA in its author's layout"),
    ("abstractor.", "mPLUG-Owl 1"),
    ("query_tokens", "BLIP-2 or mPLUG-Owl 1"),
    ("qformer.", "BLIP-2"),
    ("vision_proj.", "mPLUG-Owl3"),
    ("vision2text_model.", "mPLUG-Owl3"),
    ("visual.blocks.", "Qwen2-VL"),
    ("model.visual.blocks.", "Qwen2-VL"),
    ("visual.transformer.", "Qwen-VL"),
    ("transformer.visual.", "Qwen-VL"),
    ("transformer.h.", "GPT-2, Falcon or Qwen"),
    ("text_model.", "CLIP"),
    ("bert.", "BERT"),
];
