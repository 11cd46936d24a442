//! Files and folders by their names.

use super::Sign::{self, Begins, Ends, Holds, Is};
use super::{FSDP, FileKind, LIGHTNING, MEGATRON, MLX, ORIGINAL, UNPACK, UNQUANTISED, ZERO, kind};

pub(in super::super) const ADAPTER_SIGNS: [Sign; 3] =
    [Is("adapter_config.json"), Begins("adapter_model."), Begins("adapter_model-")];

const UNFINISHED: FileKind =
    kind("a download that did not end", "download it again, or let the download go on");
pub(super) const TENSORFLOW: FileKind = kind(
    "weights of TensorFlow",
    "take those of PyTorch, in safetensors or .bin; transformers converts them: from_pretrained(DIR, from_tf=True)",
);
pub(super) const FLAX: FileKind = kind(
    "weights of Flax (JAX)",
    "take those of PyTorch, in safetensors or .bin; transformers converts them: from_pretrained(DIR, from_flax=True)",
);
const TORCH: FileKind = kind(
    "a file of torch under a name that a folder is not searched for",
    "if it is the model's state_dict(), name that file itself, or rename it to pytorch_model.bin",
);

const ARCHIVE: FileKind = kind("an archive", UNPACK);
const ONNX: FileKind = kind("a model of ONNX", ORIGINAL);
const OPENVINO: FileKind = kind("a model of OpenVINO", ORIGINAL);
const TENSORRT: FileKind = kind("an engine of TensorRT", ORIGINAL);
const NEMO: FileKind = kind("a model of NVIDIA NeMo", ORIGINAL);
const NCNN: FileKind = kind("a model of ncnn", ORIGINAL);
const CORE_ML: FileKind = kind("a model of Core ML", ORIGINAL);

/// File of a pipeline of diffusers, in place of a config.
pub(in super::super) const PIPELINE: &str = "model_index.json";

/// Folders without weights that load, by the names in them: parts of trainings. The first that fits
/// says it; then the same of the tables below.
pub(in super::super) const PARTS: [(Sign, FileKind); 17] = [
    (Is(PIPELINE), kind("a pipeline of diffusers", "name a folder of mPLUG-Owl2")),
    (Holds("_zero_pp_rank_"), ZERO),
    (Begins("zero_pp_rank_"), ZERO),
    (Begins("bf16_zero_pp_rank_"), ZERO),
    (Is("mp_rank_00_model_states.pt"), ZERO),
    (Begins("global_step"), ZERO),
    (Is("zero_to_fp32.py"), ZERO),
    (Is("latest_checkpointed_iteration.txt"), MEGATRON),
    (Begins("mp_rank_"), MEGATRON),
    (Is("model_optim_rng.pt"), MEGATRON),
    (Is("model_rng.pt"), MEGATRON),
    (Ends(".distcp"), FSDP),
    (Begins("pytorch_model_fsdp_"), FSDP),
    (Begins("fsdp_"), FSDP),
    (Is("lightning_logs"), LIGHTNING),
    (Is("hparams.yaml"), LIGHTNING),
    (Begins("iter_"), MEGATRON),
];

/// Files of other programs. Named alone, they are no less what they are.
pub(in super::super) const OTHER_PROGRAMS: [(Sign, FileKind); 34] = [
    (Ends(".gguf"), kind("a GGUF file of llama.cpp", ORIGINAL)),
    (Begins("ggml-"), kind("a GGML file of llama.cpp", ORIGINAL)),
    (Is("tf_model.h5"), TENSORFLOW),
    (Is("saved_model.pb"), TENSORFLOW),
    (Begins("model.ckpt."), TENSORFLOW),
    (Ends(".h5"), TENSORFLOW),
    (Ends(".keras"), TENSORFLOW),
    (Ends(".tflite"), TENSORFLOW),
    (Ends(".msgpack"), FLAX),
    (Ends(".onnx"), ONNX),
    (Ends(".onnx_data"), ONNX),
    (Ends(".onnx.data"), ONNX),
    (Ends(".ort"), ONNX),
    (Begins("openvino_"), OPENVINO),
    (Ends(".xml"), OPENVINO),
    (Ends(".engine"), TENSORRT),
    (Ends(".plan"), TENSORRT),
    (Ends(".trt"), TENSORRT),
    (Ends(".mlpackage"), CORE_ML),
    (Ends(".mlmodel"), CORE_ML),
    (Ends(".mlmodelc"), CORE_ML),
    (Ends(".mnn"), kind("a model of MNN", ORIGINAL)),
    (Ends(".rknn"), kind("a model of RKNN", ORIGINAL)),
    (Ends(".npz"), kind("arrays of NumPy or MLX", ORIGINAL)),
    (Ends(".pdparams"), kind("weights of PaddlePaddle", ORIGINAL)),
    (Ends(".nemo"), NEMO),
    (Is("model_weights.ckpt"), NEMO),
    (Is("model_config.yaml"), NEMO),
    (Ends(".param"), NCNN),
    (Ends(".mar"), kind("an archive of TorchServe", ORIGINAL)),
    (Ends(".exl2"), kind("weights of ExLlama", ORIGINAL)),
    (Is("model_optim_rng.pt"), MEGATRON),
    (Is("model_rng.pt"), MEGATRON),
    (Ends(".pt2"), kind("a program of torch.export", "save the model's state_dict() instead")),
];

/// Programs that keep numbers in a `.bin`, by the ending of what is beside it under the same name.
pub(in super::super) const BESIDE_BIN: [(&str, FileKind); 2] = [("xml", OPENVINO), ("param", NCNN)];

/// Other folders without weights that load.
pub(in super::super) const OTHERS: [(Sign, FileKind); 16] = [
    (Is("qmodel.pt"), kind("weights that HQQ quantised, which is not read", UNQUANTISED)),
    (
        Begins("consolidated."),
        kind("weights in the layout of their author", "take those in transformers' layout"),
    ),
    (Ends(".incomplete"), UNFINISHED),
    (Ends(".crdownload"), UNFINISHED),
    (Ends(".part"), UNFINISHED),
    (Ends(".aria2"), UNFINISHED),
    (Ends(".download"), UNFINISHED),
    (Begins("weights.0"), MLX),
    (Ends(".zip"), ARCHIVE),
    (Ends(".tar"), ARCHIVE),
    (Ends(".tgz"), ARCHIVE),
    (Ends(".gz"), ARCHIVE),
    (Ends(".zst"), ARCHIVE),
    (Ends(".xz"), ARCHIVE),
    (Ends(".7z"), ARCHIVE),
    (Ends(".rar"), ARCHIVE),
];

/// Files of torch that may be the model or not. A folder is not searched for them.
pub(in super::super) const TORCH_SIGNS: [(Sign, FileKind); 4] =
    [(Begins("epoch="), LIGHTNING), (Ends(".pt"), TORCH), (Ends(".pth"), TORCH), (Ends(".ckpt"), TORCH)];

/// Folder below a folder in which the hub's client keeps incomplete downloads.
pub(in super::super) const DOWNLOADS: [&str; 2] = [".cache/huggingface/download", ".huggingface/download"];

/// Files that a training leaves beside the weights, and reads where it goes on.
pub(in super::super) const STATE_SIGNS: [Sign; 13] = [
    Is("training_args.bin"),
    Is("trainer_state.json"),
    Begins("optimizer."),
    Begins("optimizer_"),
    Begins("scheduler."),
    Begins("scaler."),
    Begins("sampler."),
    Begins("dl_state_dict"),
    Begins("dataloader_state"),
    Begins("rng_state"),
    Begins("random_states"),
    Begins("recipe_state."),
    Begins("custom_checkpoint_"),
];

/// Files of a tool beside its model, whose names end as those of weights.
pub(in super::super) const NOT_WEIGHTS: [Sign; 2] = [Begins("openvino_"), Begins("ggml-")];
