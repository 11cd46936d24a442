//! Files and folders that are no checkpoint of this model, by what gives them away, and what to do with each.
//!
//! Everything that is told apart is a line of a table here. [`super::folder`] asks the tables about folders,
//! [`super::Weights`] about files, [`super::names`] about the names of tensors.

use crate::read::LFS_POINTER;

/// What something is, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    /// In words that follow "is" or "holds".
    pub what: &'static str,
    /// An advice that leads to the right model.
    pub todo: &'static str,
}

const fn kind(what: &'static str, todo: &'static str) -> Kind {
    Kind { what, todo }
}

const ORIGINAL: &str =
    "it is of another program: take the checkpoint it was made from, in safetensors or .bin";
const UNPACK: &str = "unpack it first";
const AGAIN: &str =
    "what was downloaded is not the file itself: download it again, with your token if it needs one";

/// Files by bytes at a place in them.
const FILES: [(usize, &[u8], Kind); 34] = [
    (0, b"GGUF", kind("a GGUF file of llama.cpp", ORIGINAL)),
    (0, b"lmgg", kind("a GGML file of llama.cpp", ORIGINAL)),
    (0, b"fmgg", kind("a GGML file of llama.cpp", ORIGINAL)),
    (0, b"tjgg", kind("a GGML file of llama.cpp", ORIGINAL)),
    (0, b"algg", kind("a GGML adapter of llama.cpp", ORIGINAL)),
    (
        0,
        LFS_POINTER,
        kind(
            "a Git LFS pointer, not the file itself",
            "run git lfs install and git lfs pull in its folder, or download the file from its page",
        ),
    ),
    (0, b"\x89HDF\r\n\x1a\n", kind("an HDF5 file of TensorFlow or Keras", ORIGINAL)),
    (0, b"\x93NUMPY", kind("an array of NumPy", ORIGINAL)),
    (4, b"TFL3", kind("a model of TensorFlow Lite", ORIGINAL)),
    (0, b"<!DOCTYPE", kind("a page of HTML", AGAIN)),
    (0, b"<!doctype", kind("a page of HTML", AGAIN)),
    (0, b"<html", kind("a page of HTML", AGAIN)),
    (0, b"<HTML", kind("a page of HTML", AGAIN)),
    (0, b"<?xml", kind("a text of XML", AGAIN)),
    (0, b"{\"error\"", kind("the error message of a server", AGAIN)),
    (0, b"Entry not found", kind("the error message of a server", AGAIN)),
    (0, b"Access to model", kind("the error message of a server", AGAIN)),
    (0, b"Invalid username or password", kind("the error message of a server", AGAIN)),
    (0, b"Repository not found", kind("the error message of a server", AGAIN)),
    (0, b"Unauthorized", kind("the error message of a server", AGAIN)),
    (0, b"\x1f\x8b", kind("compressed with gzip", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", kind("compressed with zstd", UNPACK)),
    (0, b"\xfd7zXZ\0", kind("compressed with xz", UNPACK)),
    (0, b"BZh", kind("compressed with bzip2", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", kind("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", kind("a RAR archive", UNPACK)),
    (257, b"ustar", kind("a tar archive", UNPACK)),
    // A pickle of torch's own magic number.
    (
        0,
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        kind(
            "a torch file of the time before PyTorch 1.6, which is not read",
            "save it again, in Python: torch.save(torch.load(FILE, map_location=\"cpu\"), FILE)",
        ),
    ),
    (0, b"\x80\x02", PICKLE),
    (0, b"\x80\x03", PICKLE),
    (0, b"\x80\x04\x95", PICKLE),
    (0, b"\x80\x05\x95", PICKLE),
    (0, b"\x89PNG", kind("a picture", "name the model's folder")),
    (0, b"\xff\xd8\xff", kind("a picture", "name the model's folder")),
];

const PICKLE: Kind = kind(
    "a bare pickle of Python, not a file of torch.save",
    "if you trust it, load it in Python and save the model's state_dict() with safetensors or torch.save",
);

/// What is no checkpoint, by the first bytes of a file.
pub(super) fn of_bytes(bytes: &[u8]) -> Option<Kind> {
    let is = |(at, magic, _): &&(usize, &[u8], Kind)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic));
    FILES.iter().find(is).map(|&(.., kind)| kind)
}

/// How the name of a file or folder gives it away.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    Is(&'static str),
    Begins(&'static str),
    Ends(&'static str),
    Holds(&'static str),
}

impl Sign {
    pub(super) fn fits(self, name: &str) -> bool {
        match self {
            Self::Is(sign) => name == sign,
            Self::Begins(sign) => name.starts_with(sign),
            Self::Ends(sign) => name.len() > sign.len() && name.ends_with(sign),
            Self::Holds(sign) => name.contains(sign),
        }
    }
}

use Sign::{Begins, Ends, Holds, Is};

/// An adapter, with or without the base's files beside it.
pub(super) const ADAPTER: Kind = kind(
    "a PEFT adapter (LoRA or the like): what was learned on top of a base model, and no model by itself",
    "Merge it, in Python: PeftModel.from_pretrained(base, ADAPTER).merge_and_unload().save_pretrained(OUT), and name OUT",
);

pub(super) const ADAPTER_SIGNS: [Sign; 4] = [
    Is("adapter_config.json"),
    Begins("adapter_model."),
    Begins("adapter_model-"),
    Is("non_lora_trainables.bin"),
];

const ZERO: Kind = kind(
    "a checkpoint of DeepSpeed (ZeRO): weights are cut into parts, one a process",
    "join them: python zero_to_fp32.py FOLDER OUT (DeepSpeed writes that script beside them), and name OUT with the \
     config.json",
);
const FSDP: Kind = kind(
    "a sharded checkpoint of torch.distributed (FSDP, DCP): weights are cut into parts, one a process",
    "join them: accelerate merge-weights FOLDER OUT, or python -m torch.distributed.checkpoint.format_utils dcp_to_torch \
     FOLDER OUT.bin, and name OUT with the config.json",
);
const UNFINISHED: Kind = kind("a download that did not end", "download it again, or let the download go on");
const TENSORFLOW: Kind = kind(
    "weights of TensorFlow",
    "take those of PyTorch, in safetensors or .bin; transformers converts them: from_pretrained(DIR, from_tf=True)",
);
const FLAX: Kind = kind(
    "weights of Flax (JAX)",
    "take those of PyTorch, in safetensors or .bin; transformers converts them: from_pretrained(DIR, from_flax=True)",
);
const TORCH: Kind = kind(
    "a file of torch under a name that a folder is not searched for",
    "if it is the model's state_dict(), name that file itself, or rename it to pytorch_model.bin",
);

/// What a pipeline of diffusers has in place of a config.
pub(super) const PIPELINE: &str = "model_index.json";

/// A tensor of the model, for messages.
pub(super) const EXPECTED: &str = "model.layers.0.self_attn.q_proj.weight";

/// What a folder holds that holds no weights one could load, by the names in it. The first that fits says it.
pub(super) const FOLDERS: [(Sign, Kind); 38] = [
    (Is(PIPELINE), kind("a pipeline of diffusers", "name a folder of mPLUG-Owl2")),
    (Holds("_zero_pp_rank_"), ZERO),
    (Begins("zero_pp_rank_"), ZERO),
    (Begins("bf16_zero_pp_rank_"), ZERO),
    (Is("mp_rank_00_model_states.pt"), ZERO),
    (Begins("global_step"), ZERO),
    (Is("zero_to_fp32.py"), ZERO),
    (Ends(".distcp"), FSDP),
    (Begins("pytorch_model_fsdp_"), FSDP),
    (Begins("fsdp_"), FSDP),
    (Ends(".gguf"), kind("a GGUF file of llama.cpp", ORIGINAL)),
    (Begins("ggml-"), kind("a GGML file of llama.cpp", ORIGINAL)),
    (Is("tf_model.h5"), TENSORFLOW),
    (Is("saved_model.pb"), TENSORFLOW),
    (Begins("model.ckpt."), TENSORFLOW),
    (Ends(".h5"), TENSORFLOW),
    (Ends(".keras"), TENSORFLOW),
    (Ends(".tflite"), TENSORFLOW),
    (Ends(".msgpack"), FLAX),
    (Ends(".onnx"), kind("a model of ONNX", ORIGINAL)),
    (Begins("openvino_model."), kind("a model of OpenVINO", ORIGINAL)),
    (Ends(".engine"), kind("an engine of TensorRT", ORIGINAL)),
    (Ends(".plan"), kind("an engine of TensorRT", ORIGINAL)),
    (Ends(".mlpackage"), kind("a model of Core ML", ORIGINAL)),
    (Ends(".mlmodelc"), kind("a model of Core ML", ORIGINAL)),
    (Ends(".npz"), kind("arrays of NumPy or MLX", ORIGINAL)),
    (Ends(".pdparams"), kind("weights of PaddlePaddle", ORIGINAL)),
    (Begins("rank0.engine"), kind("an engine of TensorRT", ORIGINAL)),
    (
        Begins("consolidated."),
        kind("weights in the layout of their author", "take those in transformers' layout"),
    ),
    (Ends(".incomplete"), UNFINISHED),
    (Ends(".crdownload"), UNFINISHED),
    (Ends(".part"), UNFINISHED),
    (Ends(".aria2"), UNFINISHED),
    (Ends(".download"), UNFINISHED),
    (Ends(".pt2"), kind("a program of torch.export", "save the model's state_dict() instead")),
    (Ends(".pt"), TORCH),
    (Ends(".pth"), TORCH),
    (Ends(".ckpt"), TORCH),
];

/// Where the hub's client keeps what it has not yet downloaded whole, below a folder.
pub(super) const DOWNLOADS: [&str; 2] = [".cache/huggingface/download", ".huggingface/download"];

/// Files that a training leaves beside the weights, or a tool beside its model.
pub(super) const NOT_WEIGHTS: [Sign; 10] = [
    Is("training_args.bin"),
    Is("optimizer.bin"),
    Is("scheduler.bin"),
    Is("scaler.bin"),
    Begins("optimizer."),
    Begins("scheduler."),
    Begins("rng_state"),
    Begins("random_states"),
    Begins("openvino_model"),
    Begins("ggml-"),
];

/// What is asked for where a quantised checkpoint is found. No other advice is right: the integers are meaningless
/// without scales that only the program knows that wrote them.
pub(super) const UNQUANTISED: &str = "take the checkpoint it was made from, in f32, f16 or bf16, or have the program \
                                      that quantised it dequantise it and save that; Strix rounds to int8 itself where \
                                      it is asked to";

/// Ways to quantise, by `quantization_config.quant_method`.
const METHODS: [(&str, &str); 24] = [
    ("bitsandbytes_8bit", "bitsandbytes int8"),
    ("bitsandbytes_4bit", "bitsandbytes 4-bit (nf4 or fp4)"),
    ("bitsandbytes", "bitsandbytes"),
    ("gptq", "GPTQ"),
    ("awq", "AWQ"),
    ("fp8", "FP8"),
    ("fbgemm_fp8", "FP8 of FBGEMM"),
    ("compressed-tensors", "compressed-tensors"),
    ("compressed_tensors", "compressed-tensors"),
    ("hqq", "HQQ"),
    ("aqlm", "AQLM"),
    ("eetq", "EETQ int8"),
    ("torchao", "torchao"),
    ("mxfp4", "MXFP4"),
    ("quanto", "quanto"),
    ("quark", "Quark"),
    ("higgs", "HIGGS"),
    ("vptq", "VPTQ"),
    ("spqr", "SpQR"),
    ("bitnet", "BitNet"),
    ("auto-round", "AutoRound"),
    ("modelopt", "ModelOpt"),
    ("exl2", "EXL2"),
    ("exl3", "EXL3"),
];

/// What people call a way to quantise; its own name if it is not known.
pub(super) fn method(name: &str) -> &str {
    METHODS.iter().find(|(method, _)| *method == name).map_or(name, |(_, called)| called)
}

/// Ways to quantise, by what the names of tensors end in. Of several the first.
pub(super) const QUANTISED: [(Sign, &str); 32] = [
    (Holds(".quant_state.bitsandbytes__nf4"), "bitsandbytes 4-bit (nf4)"),
    (Holds(".quant_state.bitsandbytes__fp4"), "bitsandbytes 4-bit (fp4)"),
    (Ends(".SCB"), "bitsandbytes int8"),
    (Ends(".weight_format"), "bitsandbytes int8"),
    (Ends(".quant_map"), "bitsandbytes 4-bit (nf4 or fp4)"),
    (Ends(".nested_absmax"), "bitsandbytes 4-bit (nf4 or fp4)"),
    (Ends(".absmax"), "bitsandbytes"),
    (Ends(".g_idx"), "GPTQ"),
    (Ends(".Qidxs"), "QuIP#"),
    (Ends(".q_invperm"), "EXL2"),
    (Ends(".q_weight"), "EXL2"),
    (Ends(".trellis"), "EXL3"),
    (Ends(".qzeros"), "AWQ or GPTQ"),
    (Ends(".qweight"), "AWQ or GPTQ"),
    (Ends(".W_q"), "HQQ"),
    (Ends(".weight_packed"), "compressed-tensors"),
    (Ends(".weight_zero_point"), "compressed-tensors"),
    (Ends(".codebooks"), "AQLM"),
    (Ends(".codes"), "AQLM"),
    (Ends(".centroids"), "VPTQ"),
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

/// Adapters, by a part of the names of their tensors.
pub(super) const ADAPTER_NAMES: [&str; 17] = [
    ".lora_A.",
    ".lora_B.",
    ".lora_A",
    ".lora_B",
    ".lora_E",
    ".lora_embedding_A",
    ".lora_magnitude_vector",
    ".base_layer.",
    ".modules_to_save.",
    ".original_module.",
    ".ia3_l",
    ".hada_w1_a",
    ".lokr_w1",
    ".oft_r",
    ".vera_lambda_",
    "prompt_embeddings",
    ".trainable_tokens_",
];

/// Parts of a training, by a part of the names of their tensors.
pub(super) const SHARDED_NAMES: [&str; 3] = ["_flat_param", "._fpw_module", "flat_param_"];

/// Other models, by how the name of some tensor begins.
pub(super) const OTHER_MODELS: [(&str, &str); 17] = [
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

/// Other models by `model_type`; those not listed are named as they name themselves.
const MODEL_TYPES: [(&str, &str); 22] = [
    ("llava", "LLaVA"),
    ("llava_llama", "LLaVA in its author's layout"),
    ("llava_next", "LLaVA-NeXT"),
    ("llava_onevision", "LLaVA-OneVision"),
    ("mplug-owl", "mPLUG-Owl 1"),
    ("mplug_owl", "mPLUG-Owl 1"),
    ("mplugowl", "mPLUG-Owl 1"),
    ("mplug_owl2_1", "mPLUG-Owl2.1"),
    ("mplugowl3", "mPLUG-Owl3"),
    ("mplug_owl3", "mPLUG-Owl3"),
    ("mplug-owl3", "mPLUG-Owl3"),
    ("qwen", "Qwen"),
    ("qwen2", "Qwen2"),
    ("qwen2_vl", "Qwen2-VL"),
    ("qwen2_5_vl", "Qwen2.5-VL"),
    ("llama", "LLaMA, which sees no pictures"),
    ("mistral", "Mistral, which sees no pictures"),
    ("clip", "CLIP"),
    ("blip-2", "BLIP-2"),
    ("instructblip", "InstructBLIP"),
    ("internvl_chat", "InternVL"),
    ("minicpmv", "MiniCPM-V"),
];

/// What people call a model of that type.
pub(super) fn model_type(name: &str) -> &str {
    MODEL_TYPES.iter().find(|(model_type, _)| *model_type == name).map_or(name, |(_, called)| called)
}

/// Modules of Python by whose globals a pickle says what it holds.
pub(super) const MODULES: [(&str, Kind); 15] = [
    ("torch.distributed", FSDP),
    ("deepspeed", ZERO),
    ("torchao", QUANTISED_PICKLE),
    ("bitsandbytes", QUANTISED_PICKLE),
    ("hqq", QUANTISED_PICKLE),
    ("optimum", QUANTISED_PICKLE),
    ("quanto", QUANTISED_PICKLE),
    ("auto_gptq", QUANTISED_PICKLE),
    ("gptqmodel", QUANTISED_PICKLE),
    ("awq", QUANTISED_PICKLE),
    ("peft", ADAPTER),
    ("numpy", kind("arrays of NumPy", STATE_DICT)),
    ("transformers", WHOLE),
    ("mplug_owl2", WHOLE),
    ("pytorch_lightning", kind("a checkpoint of Lightning with more than tensors", STATE_DICT)),
];

const QUANTISED_PICKLE: Kind = kind("quantised weights", UNQUANTISED);
const STATE_DICT: &str = "if you trust the file, load it in Python and save its state_dict() alone";
const WHOLE: Kind = kind("a whole model of Python, code and all, or a training's settings", STATE_DICT);
