//! Files and folders that are no checkpoint of this model, by what gives them away, and what to do with each.
//!
//! Everything that is told apart is a line of a table here. [`super::folder`] asks the tables about folders,
//! [`super::Weights`] about files, [`super::names`] about the names of tensors.

mod bytes;
mod files;
mod tensors;

pub(super) use bytes::of_bytes;
pub(super) use files::{
    ADAPTER_SIGNS, BESIDE_BIN, DOWNLOADS, NOT_WEIGHTS, OTHER_PROGRAMS, OTHERS, PARTS, PIPELINE, STATE_SIGNS,
    TORCH_SIGNS,
};
pub(super) use tensors::{ADAPTER_NAMES, EXPECTED, FORMATS, OTHER_MODELS, QUANTISED, SHARDED_NAMES};

use crate::config::UNQUANTISED;

/// The message about a small file that is none, such as a page of HTML.
pub(crate) fn of_other_kind(bytes: &[u8]) -> Option<String> {
    of_bytes(bytes).map(|kind| format!("is {}: {}", kind.what, kind.todo))
}

/// A kind of file or folder, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FileKind {
    /// Its description: words that follow "is" or "holds".
    pub what: &'static str,
    /// An advice that leads to the right model.
    pub todo: &'static str,
}

const fn kind(what: &'static str, todo: &'static str) -> FileKind {
    FileKind { what, todo }
}

const ORIGINAL: &str =
    "it is of another program: take the checkpoint it was made from, in safetensors or .bin";
const UNPACK: &str = "unpack it first";
const AGAIN: &str =
    "what was downloaded is not the file itself: download it again, with your token if it needs one";

/// An adapter, with or without the base's files beside it.
pub(super) const ADAPTER: FileKind = kind(
    "a PEFT adapter (LoRA or the like): what was learned on top of a base model, and no model by itself",
    "Merge it, in Python: PeftModel.from_pretrained(base, ADAPTER).merge_and_unload().save_pretrained(OUT), and name OUT",
);

/// An adapter of the programs that paint.
const KOHYA: FileKind = kind(
    "a LoRA of kohya's sd-scripts or the like: what was learned on top of a base model, and no model by itself",
    "Its names are those of a model that paints (Stable Diffusion, FLUX, ...): use it in a program for these",
);

/// Names of LLaVA's code and of its descendants.
pub(super) const NOT_LORA: &str = "non_lora_trainables.bin";

/// File of the weights of the base that a training with LoRA has changed.
pub(super) const TRAINED_BESIDES: FileKind = kind(
    "what a training with LoRA has trained besides the adapter (the abstractor, say): some tensors of a base model that were \
     changed, and no model by itself",
    "Load base, adapter and these with the code of the training, then merge_and_unload() and save_pretrained(OUT), and name OUT",
);

/// Parts of a training with DeepSpeed.
const ZERO: FileKind = kind(
    "a checkpoint of DeepSpeed (ZeRO): weights are cut into parts, one a process",
    "join them: python zero_to_fp32.py FOLDER OUT (DeepSpeed writes that script beside them), and name OUT with the \
     config.json",
);
/// Parts of a training with FSDP.
const FSDP: FileKind = kind(
    "a sharded checkpoint of torch.distributed (FSDP, DCP): weights are cut into parts, one a process",
    "join them: accelerate merge-weights FOLDER OUT, or python -m torch.distributed.checkpoint.format_utils dcp_to_torch \
     FOLDER OUT.bin, and name OUT with the config.json",
);
/// Parts of a training with Megatron.
const MEGATRON: FileKind = kind(
    "a checkpoint of Megatron-LM: weights in its own layout, cut into parts, one a process",
    "convert it with Megatron's own script (tools/checkpoint) to transformers' layout, and name what that writes",
);
/// A training with Lightning.
const LIGHTNING: FileKind = kind(
    "what a training with Lightning leaves: weights are the state_dict in a .ckpt file (in its folder checkpoints)",
    "name that .ckpt file itself, with the model's config.json beside it",
);
/// Files that a training needs to resume.
pub(super) const STATE: FileKind = kind(
    "a part of the state of a training (its optimizer, schedule and random numbers), without its weights",
    "name the folder that holds the model's weights: model.safetensors or pytorch_model.bin",
);
/// Weights of MLX.
const MLX: FileKind = kind("weights in the layout of MLX", ORIGINAL);

/// The pattern of a name of a file or folder.
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

/// The common name of a model of that type.
pub(super) fn model_type(name: &str) -> &str {
    MODEL_TYPES.iter().find(|(model_type, _)| *model_type == name).map_or(name, |(_, called)| called)
}

/// Modules of Python by whose globals a pickle says what it holds.
pub(super) const MODULES: [(&str, FileKind); 20] = [
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
    ("megatron", MEGATRON),
    ("lightning", LIGHTNING),
    ("lightning_fabric", LIGHTNING),
    ("argparse", kind("a training's settings beside weights", STATE_DICT)),
    ("omegaconf", kind("a training's settings beside weights", STATE_DICT)),
    ("numpy", kind("arrays of NumPy", STATE_DICT)),
    ("transformers", WHOLE),
    ("mplug_owl2", WHOLE),
    ("pytorch_lightning", kind("a checkpoint of Lightning with more than tensors", STATE_DICT)),
];

const QUANTISED_PICKLE: FileKind = kind("quantised weights", UNQUANTISED);
const STATE_DICT: &str = "if you trust the file, load it in Python and save its state_dict() alone";
const WHOLE: FileKind = kind("a whole model of Python, code and all, or a training's settings", STATE_DICT);
