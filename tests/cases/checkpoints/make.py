"""Describes folders, each a kind of checkpoint or of what is none, with the line that is expected of it. The descriptions
are here, a family in each file; `tests/src/checkpoints/described.rs` makes the folders of them.

Plain Python, no packages: python3 make.py
"""
import io
import json
import pathlib
import pickle
import struct
import zipfile
import zlib

HERE = pathlib.Path(__file__).parent
CONFIG = {
    "architectures": ["MPLUGOwl2LlamaForCausalLM"], "model_type": "mplug_owl2", "vocab_size": 16, "hidden_size": 8,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
    "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
    "visual_config": {
        "visual_model": {"model_type": "mplug_owl_vision_model", "hidden_size": 8, "intermediate_size": 8,
                         "num_hidden_layers": 1, "num_attention_heads": 1, "num_channels": 3, "image_size": 4,
                         "patch_size": 2, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-6},
        "visual_abstractor": {"model_type": "mplug_owl_visual_abstract", "hidden_size": 8, "encoder_hidden_size": 8,
                              "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
                              "num_learnable_queries": 2, "grid_size": 2, "layer_norm_eps": 1e-6}}}


def tensors():
    """Name and shape of all tensors of CONFIG."""
    t = {"model.embed_tokens.weight": [16, 8]}
    a = "model.layers.0."
    for name in ["q_proj", "o_proj"]:
        t[f"{a}self_attn.{name}.weight"] = [8, 8]
    for m in "01":
        for name in ["k_proj", "v_proj"]:
            t[f"{a}self_attn.{name}.multiway.{m}.weight"] = [8, 8]
        for name in ["input_layernorm", "post_attention_layernorm"]:
            t[f"{a}{name}.multiway.{m}.weight"] = [8]
    for name in ["gate_proj", "up_proj", "down_proj"]:
        t[f"{a}mlp.{name}.weight"] = [8, 8]
    t["model.norm.weight"], t["lm_head.weight"] = [8], [16, 8]
    v = "model.vision_model."
    t[v + "embeddings.cls_token"], t[v + "embeddings.position_embedding"] = [1, 1, 8], [1, 5, 8]
    t[v + "embeddings.patch_embed.weight"] = [8, 3, 2, 2]

    def pair(name, *shape):
        t[name + ".weight"], t[name + ".bias"] = list(shape), [shape[0]]
    pair(v + "embeddings.pre_layernorm", 8)
    pair(v + "encoder.layers.0.self_attn.query_key_value", 24, 8)
    pair(v + "encoder.layers.0.self_attn.dense", 8, 8)
    for name in ["input_layernorm", "post_attention_layernorm"]:
        pair(v + "encoder.layers.0." + name, 8)
    for name in ["fc1", "fc2"]:
        pair(v + "encoder.layers.0.mlp." + name, 8, 8)
    pair(v + "post_layernorm", 8)
    b = "model.visual_abstractor."
    t[b + "query_embeds"], t[b + "vit_eos"] = [1, 2, 8], [1, 1, 8]
    pair(b + "visual_fc", 8, 8)
    c = b + "encoder.layers.0.crossattention."
    for name in ["attention.query", "attention.key", "attention.value", "output.out_proj", "output.mlp.w1",
                 "output.mlp.w2", "output.mlp.w3"]:
        pair(c + name, 8, 8)
    for name in ["norm1", "normk", "output.norm2", "output.mlp.ffn_ln"]:
        pair(c + name, 8)
    return t


ALL = tensors()
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "I32": 4, "F8_E4M3": 1, "F64": 8, "F9_NEW": 2}


def count(shape):
    n = 1
    for size in shape:
        n *= size
    return n


def safetensors(entries, metadata={"format": "pt"}):
    """Of (name, dtype, shape), all elements alike."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, dtype, shape in entries:
        n = count(shape)
        one = {"BF16": b"\x80\x3c", "F16": b"\x00\x24", "F32": struct.pack("<f", 0.015625)}.get(dtype)
        size = n * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        data += one * n if one else b"\x01" * size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def whole(rename=lambda name: name, dtype="BF16", drop=()):
    return [(rename(name), dtype, shape) for name, shape in ALL.items() if name not in drop]


class Global:
    """A global of torch by name, so that torch need not be there."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state


class Storage:
    def __init__(self, key, n, kind="FloatStorage"):
        self.key, self.n, self.kind = key, n, kind


class Pickler(pickle._Pickler):
    """Protocol 2, as torch writes it."""

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", Global("torch", value.kind), value.key, "cpu", value.n)
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n")
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.args)
            self.write(b"R")
            if value.state is not None:
                self.save(value.state)
                self.write(b"b")
        else:
            super().save(value, save_persistent_id)


def ordered():
    return Call(Global("collections", "OrderedDict"))


def tensor(key, shape, stride=None, n=None):
    if stride is None:
        stride, step = [], 1
        for size in reversed(shape):
            stride.insert(0, step)
            step *= size
    v2 = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(v2, Storage(key, count(shape) if n is None else n), 0, tuple(shape), tuple(stride), False, ordered())


def torch_zip(top, storages, extra={}):
    out = io.BytesIO()
    code = io.BytesIO()
    Pickler(code, 2).dump(top)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        def add(name, data):
            info = zipfile.ZipInfo(name)
            z.writestr(info, data)
        add("archive/data.pkl", code.getvalue())
        add("archive/byteorder", b"little")
        for key, n in storages.items():
            add(f"archive/data/{key}", struct.pack("<f", 0.015625) * n)
        add("archive/version", b"3\n")
        for name, data in extra.items():
            add("archive/" + name, data)
    return out.getvalue()


def state_dict():
    items, storages = {}, {}
    for i, (name, shape) in enumerate(ALL.items()):
        storages[str(i)] = count(shape)
        items[name] = tensor(str(i), shape)
    return items, storages


FOLDERS, CONTENTS = {}, {}


def folder(name, expected, files, config=True):
    """Describes a folder; a content that another folder has already is named by that."""
    assert name not in FOLDERS, name
    if config:
        files = {"config.json": json.dumps(CONFIG if config is True else config, separators=(",", ":")), **files}
    described = {}
    for file, data in files.items():
        data = data if isinstance(data, bytes) else data.encode()
        known = CONTENTS.setdefault(data, f"{name}/{file}")
        described[file] = content(data) if known == f"{name}/{file}" or len(data) < 64 else {"same": known}
    FOLDERS[name] = {"expected": expected, "files": described}


def content(data):
    """Text, or a list of pieces of text, of repeated bytes and of compressed ones."""
    text = as_text(data)
    if text is not None:
        return text
    if (length := safetensors_header(data)) is not None:
        return [{"hex": data[:8].hex()}, data[8:8 + length].decode(), *runs(data[8 + length:])]
    if len(data) <= 64:
        return [{"hex": data.hex()}]
    return [{"deflated": zlib.compress(data, 9, wbits=-15).hex()}]


def as_text(data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(c >= " " and c != "\x7f" or c in "\n\t" for c in text) else None


def safetensors_header(data):
    if len(data) < 10:
        return None
    length, = struct.unpack("<Q", data[:8])
    ours = length <= len(data) - 8 and data[8:9] == b"{" and as_text(data[8:8 + length]) is not None
    return length if ours else None


def runs(data):
    """Units of 1, 2 or 4 bytes that are repeated."""
    found, at = [], 0
    while at < len(data):
        best = max((1, 2, 4), key=lambda size: size * repeats(data, at, size))
        times = repeats(data, at, best)
        found.append({"hex": data[at:at + best].hex(), "times": times})
        at += best * times
    return found


def repeats(data, at, size):
    unit, times = data[at:at + size], 1
    while len(unit) == size and data[at + times * size:at + (times + 1) * size] == unit:
        times += 1
    return times


def config(**changes):
    return {**CONFIG, **changes}


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
PEFT = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "MAGAer13/mplug-owl2-llama2-7b"})
CONFIG_TEXT = json.dumps(CONFIG, separators=(",", ":"))
LORA = safetensors([("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "F32", [2])])
PLAIN = safetensors(whole())


def main():
    for family in [loads, wrapped, quantised, adapters, sharded, other_programs, places, torch_files,
                   trainings, pointers, foreign, twice, numbers, texts]:
        FOLDERS.clear()
        family()
        text = json.dumps(FOLDERS, indent=1, ensure_ascii=False)
        (HERE / f"{family.__name__}.json").write_text(text + "\n")


def loads():
    folder("plain", "loads", {"model.safetensors": PLAIN})
    folder("file_safetensors", "loads model.safetensors", {"model.safetensors": PLAIN})
    folder("file_config", "loads config.json", {"model.safetensors": PLAIN})
    half = list(ALL)[:20]
    first = safetensors([e for e in whole() if e[0] in half], {"format": "pt", "DCP_SHARDING_INFO": "{\"a\":[0]}"})
    rest = safetensors([e for e in whole() if e[0] not in half], {"format": "pt", "DCP_SHARDING_INFO": "{\"b\":[0]}"})
    folder("shard_metadata", "loads", {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest})
    folder("shard_alone", "refused model-00001-of-00002.safetensors: missing; shard 1 of 2 alone; name its folder",
           {"model-00001-of-00002.safetensors": first, "model-00002-of-00002.safetensors": rest})
    folder("unused_dtypes", "loads", {"model.safetensors": safetensors(
        whole() + [("extra.new", "F9_NEW", [3]), ("extra.ints", "I32", [2]), ("extra.double", "F64", [1])])})
    folder("needed_dtype", "refused: model.norm.weight; F9_NEW; not known", {"model.safetensors": safetensors(
        whole(drop=["model.norm.weight"]) + [("model.norm.weight", "F9_NEW", [8])])})


def wrapped():
    for name, prefix, who in [("ddp", "module.", "DistributedDataParallel"), ("compile", "_orig_mod.", "torch.compile"),
                              ("compile_ddp", "_orig_mod.module.", "torch.compile, DistributedDataParallel"), ("peft", "base_model.model.", "PEFT"),
                              ("lightning", "model.", "Lightning"), ("any", "owl.", "owl.")]:
        folder(f"prefix_{name}", f"loads: {prefix.split('.')[0]}; {who}", {"model.safetensors": safetensors(whole(lambda n: prefix + n))})
    folder("prefix_inner_compile", "loads: torch.compile", {"model.safetensors": safetensors(
        whole(lambda n: n.replace("layers.0.", "layers.0._orig_mod.")))})
    folder("prefix_fsdp", "loads: FSDP", {"model.safetensors": safetensors(
        whole(lambda n: "_fsdp_wrapped_module." + n.replace("layers.0.", "layers.0._fsdp_wrapped_module.")))})
    folder("prefix_lacking", "loads: lack model.", {"model.safetensors": safetensors(
        whole(lambda n: n.removeprefix("model.")))})
    folder("prefix_one_tensor", "refused: module.model.norm.weight; DistributedDataParallel; missing; expected are; model.embed_tokens.weight",
           {"model.safetensors": safetensors([("module.model.norm.weight", "F32", [8])])})


def quantised():
    q = "model.layers.0.self_attn.q_proj."
    for name, found, entries in [
        ("bnb8", "bitsandbytes int8", [(q + "weight", "I8", [8, 8]), (q + "SCB", "F32", [8])]),
        ("nf4", "nf4", [(q + "weight", "U8", [32, 1]), (q + "weight.absmax", "F32", [1]),
                        (q + "weight.quant_map", "F32", [16]), (q + "weight.quant_state.bitsandbytes__nf4", "U8", [4])]),
        ("gptq", "GPTQ", [(q + "qweight", "I32", [1, 8]), (q + "qzeros", "I32", [1, 1]), (q + "scales", "F16", [1, 8]),
                          (q + "g_idx", "I32", [8])]),
        ("awq", "AWQ", [(q + "qweight", "I32", [8, 1]), (q + "qzeros", "I32", [1, 1]), (q + "scales", "F16", [1, 8])]),
        ("fp8", "FP8", [(q + "weight", "F8_E4M3", [8, 8]), (q + "weight_scale", "F32", [1])]),
        ("fp8_bare", "FP8", [(q + "weight", "F8_E4M3", [8, 8])]),
        ("hqq", "HQQ", [(q + "W_q", "U8", [32]), (q + "meta", "F32", [1])]),
        ("compressed", "compressed-tensors", [(q + "weight_packed", "I32", [8, 1]), (q + "weight_shape", "I32", [2])]),
        # As someone saved it who followed the advice "save it as F32": everything fits, and the scales are left out.
        ("bnb8_cast", "bitsandbytes int8", [(q + "weight", "F32", [8, 8]), (q + "SCB", "F32", [8])]),
    ]:
        rest = [] if name != "bnb8_cast" else whole(drop=[q + "weight"])
        folder(f"quantised_{name}", f"refused: {found}; quantised; not read; take the checkpoint it was made from",
               {"model.safetensors": safetensors(entries + rest)})
    folder("quantised_ints", "refused: is I8; scales belong; take the checkpoint it was made from", {"model.safetensors": safetensors(
        [(q + "weight", "I8", [8, 8])] + whole(drop=[q + "weight"]))})
    for name, found, section in [("bnb8", "bitsandbytes int8", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
                                 ("nf4", "4-bit", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
                                 ("gptq", "GPTQ", {"quant_method": "gptq", "bits": 4}),
                                 ("fp8", "FP8", {"quant_method": "fp8"}),
                                 ("new", "soap_bubbles", {"quant_method": "soap_bubbles"})]:
        folder(f"quantised_config_{name}", f"refused: config.json; quantization_config; {found}; not read",
               {"model.safetensors": PLAIN}, config(quantization_config=section))
    folder("quantised_config_file", "refused: quantize_config.json; GPTQ", {"quantize_config.json": "{\"bits\": 4}"})


def adapters():
    files = {"adapter_config.json": PEFT, "adapter_model.safetensors": LORA}
    said = "refused: adapter; LoRA; q_proj.lora_A.weight; model.layers.0.self_attn.q_proj.weight; its base: MAGAer13/mplug-owl2-llama2-7b; merge_and_unload; save_pretrained"
    folder("adapter", said, files, config=False)
    folder("adapter_config", said, files)
    folder("adapter_base", said + "; model.safetensors", {**files, "model.safetensors": PLAIN})
    folder("adapter_base_file", "loads model.safetensors", {**files, "model.safetensors": PLAIN})
    folder("adapter_file", "refused adapter_model.safetensors: adapter; merge_and_unload", files)
    folder("adapter_bin", "refused: adapter; merge_and_unload", {"adapter_model.bin": b"PK\x03\x04"}, config=False)
    folder("adapter_names", "refused: lora_A; adapter; merge_and_unload", {"model.safetensors": LORA})
    folder("adapter_unmerged", "refused: base_layer; adapter; merge_and_unload", {"model.safetensors": safetensors(
        whole(lambda n: "base_model.model." + n.replace("q_proj.", "q_proj.base_layer.")))})


def sharded():
    zero = "refused: DeepSpeed; zero_to_fp32.py"
    folder("zero", zero, {"latest": "global_step1", "zero_to_fp32.py": "", "global_step1/mp_rank_00_model_states.pt": b"PK",
                          "global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt": b"PK"})
    folder("zero_low", zero, {"mp_rank_00_model_states.pt": b"PK", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": b"PK"},
           config=False)
    folder("zero3_empty", "refused: ZeRO-3; zero_to_fp32.py", {"model.safetensors": safetensors(
        [(n, "BF16", [0]) for n in ALL])})
    folder("fsdp", "refused: FSDP; dcp_to_torch", {"__0_0.distcp": b"", ".metadata": b""})
    folder("fsdp_below", "refused: FSDP; merge-weights", {"pytorch_model_fsdp_0/__0_0.distcp": b"", "pytorch_model_fsdp_0/.metadata": b""})
    folder("fsdp_flat", "refused: FSDP; FULL_STATE_DICT", {"model.safetensors": safetensors([("_flat_param", "F32", [4])])})


def other_programs():
    for name, file, data, said in [
        ("gguf", "model.gguf", b"GGUF\x03\0\0\0", "GGUF; llama.cpp"), ("ggml", "ggml-model.bin", b"tjgg", "GGML"),
        ("onnx", "model.onnx", b"\x08\x07", "ONNX"), ("tf", "tf_model.h5", b"\x89HDF\r\n\x1a\n", "TensorFlow; from_tf"),
        ("flax", "flax_model.msgpack", b"\x81", "Flax; from_flax"), ("mlx", "weights.npz", b"PK\x03\x04", "NumPy or MLX"),
        ("openvino", "openvino_model.bin", b"\0", "OpenVINO"), ("pt", "model.pt", b"PK\x03\x04", "model.pt; pytorch_model.bin"),
        ("pth", "owl.pth", b"PK\x03\x04", "owl.pth; name that file"), ("ckpt", "last.ckpt", b"PK\x03\x04", "last.ckpt"),
        ("incomplete", "model.safetensors.incomplete", b"", "did not end"),
        ("downloading", ".cache/huggingface/download/x.incomplete", b"", "did not end"),
    ]:
        folder(f"other_{name}", f"refused: {file.split('/')[-1]}; {said}", {file: data})
    folder("other_gguf_named", "refused: GGUF; llama.cpp", {"model.safetensors": b"GGUF\x03\0\0\0"})
    folder("other_gguf_file", "refused model.gguf: GGUF; llama.cpp", {"model.gguf": b"GGUF\x03\0\0\0"}, config=False)
    folder("other_html", "refused: HTML; download it again", {"model.safetensors": b"<!DOCTYPE html><html>404"})
    folder("other_server", "refused: error message of a server", {"model.safetensors": b"Entry not found"})
    folder("other_gzip", "refused: gzip; unpack", {"pytorch_model.bin": b"\x1f\x8b\x08\0"})
    folder("lfs_weights", "refused: Git LFS; git lfs pull", {"model.safetensors": LFS})
    folder("lfs_bin", "refused: Git LFS; git lfs pull", {"pytorch_model.bin": LFS})
    folder("lfs_config", "refused: config.json; Git LFS; git lfs pull", {"config.json": LFS, "model.safetensors": PLAIN}, config=False)
    folder("lfs_tokenizer", "refused: tokenizer.model; Git LFS; git lfs pull", {"tokenizer.model": LFS, "model.safetensors": PLAIN})
    folder("lfs_tokenizer_json", "refused: tokenizer.json; Git LFS; git lfs pull", {"tokenizer.json": LFS, "model.safetensors": PLAIN})
    folder("diffusers", "refused: model_index.json; a pipeline of diffusers", {"model_index.json": "{}", "unet/config.json": "{}", "vae/config.json": "{}"}, config=False)
    for name, said, changes in [
        ("llava", "LLaVA", {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}),
        ("owl3", "mPLUG-Owl3", {"model_type": "mplugowl3", "architectures": ["mPLUGOwl3Model"]}),
        ("qwen2vl", "Qwen2-VL", {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}),
        ("owl21", "MPLUGOwl2QWenForCausalLM", {"architectures": ["MPLUGOwl2QWenForCausalLM"]}),
    ]:
        folder(f"family_{name}", f"refused: config.json; another model; {said}; mPLUG-Owl2", {"model.safetensors": PLAIN}, config(**changes))
    folder("family_names", "refused: LLaVA; another model", {"model.safetensors": safetensors(
        [("language_model.model.norm.weight", "F16", [8]), ("multi_modal_projector.linear_1.weight", "F16", [8])])})


def places():
    repo = "models--MAGAer13--mplug-owl2-llama2-7b/"
    cache = {repo + "refs/main": "abc", repo + "snapshots/abc/config.json": CONFIG_TEXT,
             repo + "snapshots/abc/model.safetensors": PLAIN, repo + "blobs/0123": PLAIN}
    snapshot = repo + "snapshots/abc"
    folder("cache_high", f"refused: Hugging Face; {snapshot}", cache, config=False)
    folder("cache_repository", f"refused {repo}: Hugging Face; {snapshot}", cache, config=False)
    folder("cache_snapshots", f"refused {repo}snapshots: Hugging Face; {snapshot}", cache, config=False)
    folder("cache_blobs", f"refused {repo}blobs: Hugging Face; {snapshot}", cache, config=False)
    folder("cache_blob", f"refused {repo}blobs/0123: Hugging Face; {snapshot}", cache, config=False)
    folder("cache_snapshot", f"loads {snapshot}", cache, config=False)
    inner = {"owl/config.json": CONFIG_TEXT, "owl/model.safetensors": PLAIN}
    folder("high", "refused: owl; name that one", inner, config=False)
    deep = {"hub/MAGAer13/owl/config.json": CONFIG_TEXT, "hub/MAGAer13/owl/model.safetensors": PLAIN}
    folder("high_twice", "refused hub: MAGAer13/owl; name that one", deep, config=False)
    folder("high_two", "refused: 2 of its folders; one of a, b", {"a/config.json": "{}", "b/config.json": "{}"}, config=False)
    folder("low", "refused weights: config.json; the folder it is in", {"weights/model.safetensors": PLAIN})
    folder("weights_below", "refused: its folder weights; move", {"weights/model.safetensors": PLAIN})
    folder("no_weights", "refused: no .safetensors or .bin file", {})
    folder("no_config", "refused: model.safetensors; no config.json; copy", {"model.safetensors": PLAIN}, config=False)
    folder("no_config_file", "refused model.safetensors: no config.json beside it; copy", {"model.safetensors": PLAIN}, config=False)
    folder("no_model", "refused: no config.json", {"notes.txt": ""}, config=False)
    folder("missing_shard", "refused: b.safetensors; is missing; download", {
        "a.safetensors": safetensors([("a", "F32", [1])]),
        "model.safetensors.index.json": json.dumps({"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}})})
    folder("file_text", "refused tokenizer_config.json: no file of weights", {"tokenizer_config.json": "{}", "model.safetensors": PLAIN})


def torch_files():
    items, storages = state_dict()
    folder("bin", "loads", {"pytorch_model.bin": torch_zip(items, storages)})
    folder("bin_safetensors", "loads", {"pytorch_model.bin": PLAIN})
    folder("bin_file", "loads owl.pth", {"owl.pth": torch_zip(items, storages)})
    nested = {"epoch": 3, "state_dict": items, "optimizer_states": [{"state": {}}]}
    folder("bin_nested", "loads owl.ckpt: state_dict", {"owl.ckpt": torch_zip(nested, storages)})
    folder("bin_two_nested", "refused owl.pt: no tensors but; model; net; state_dict()",
           {"owl.pt": torch_zip({"model": items, "net": items}, storages)})
    folder("bin_deepspeed", "refused owl.pt: DeepSpeed; zero_to_fp32.py",
           {"owl.pt": torch_zip({"module": items, "ds_config": {}, "ds_version": "0.1"}, storages)})
    # A tensor whose only element is repeated: unused, and used.
    expanded = {**items, "extra.stat": tensor("s", [64], [0], 1), "model.norm.weight": tensor("s", [8], [0], 1)}
    folder("bin_expanded", "loads", {"pytorch_model.bin": torch_zip(expanded, {**storages, "s": 1})})
    utils = "torch._utils"
    one = tensor("s", [1], None, 1)
    v3 = Call(Global(utils, "_rebuild_tensor_v3"), Storage("s", 4, "ByteStorage"), 0, (1,), (1,), False, ordered(),
              Global("torch", "float32"))
    beside = {
        "set": {1, 2}, "size": Call(Global("torch", "Size"), (2, 3)), "device": Call(Global("torch", "device"), "cpu"),
        "dtype": Global("torch", "bfloat16"), "bytes": Call(Global("_codecs", "encode"), "\u00e9", "latin1"),
        "old_set": Call(Global("__builtin__", "set"), [1]), "array": Call(Global("__builtin__", "bytearray"), "", "latin-1"),
        "complex": Call(Global("__builtin__", "complex"), 1.0, 2.0), "counts": Call(Global("collections", "Counter"), {"a": 1}),
        "layout": Call(Global("torch.serialization", "_get_layout"), "torch.strided"), "large": 1 << 300,
        "sparse": Call(Global(utils, "_rebuild_sparse_tensor"), Call(Global("torch.serialization", "_get_layout"), "torch.sparse_coo"), (one, one, (4,), True)),
        "q": Call(Global(utils, "_rebuild_qtensor"), Storage("s", 4, "QInt8Storage"), 0, (1,), (1,), (Global("torch", "per_tensor_affine"), 0.1, 0), False, ordered()),
        "meta": Call(Global(utils, "_rebuild_meta_tensor_no_storage"), Global("torch", "float32"), (9,), (1,), False),
        "complex_tensor": Call(Global(utils, "_rebuild_tensor_v2"), Storage("s", 0, "ComplexDoubleStorage"), 0, (0,), (1,), False, ordered()),
        "v3": v3, "narrow": Global("torch", "uint4"),
        "parameter": Call(Global(utils, "_rebuild_parameter"), one, True, ordered()),
        "parameter_with_state": Call(Global(utils, "_rebuild_parameter_with_state"), one, True, ordered(), {"tag": "x"}),
        "class": Call(Global("torch.nn.parameter", "Parameter"), one, True),
        "typed": Call(Global("torch._tensor", "_rebuild_from_type_v2"), Global(utils, "_rebuild_tensor_v2"),
                      Global("torch.nn.parameter", "Parameter"), one.args, {"note": 1}),
    }
    with_state = Call(Global(utils, "_rebuild_parameter_with_state"), items["model.norm.weight"], True, ordered(), {"tag": 1})
    folder("bin_globals", "loads", {"pytorch_model.bin": torch_zip(
        {**items, **beside, "model.norm.weight": with_state}, {**storages, "s": 1})})
    turned = Call(Global(utils, "_rebuild_tensor_v2"), Storage("s", 8), 0, (8,), (1,), False, ordered(), {"neg": True})
    folder("bin_negated", "refused: model.norm.weight; negated", {"pytorch_model.bin": torch_zip(
        {**items, "model.norm.weight": turned}, {**storages, "s": 8})})
    folder("bin_needed_sparse", "refused: model.norm.weight; sparse tensor", {"pytorch_model.bin": torch_zip(
        {**items, "model.norm.weight": beside["sparse"]}, {**storages, "s": 1})})
    folder("bin_sharded", "refused: torch.distributed; FSDP; merge-weights", {"pytorch_model.bin": torch_zip(
        {"a": Call(Global("torch.distributed.tensor", "DTensor"))}, {})})
    folder("bin_code", "refused: os.system; nothing of it was run", {"pytorch_model.bin": torch_zip(
        {"a": Call(Global("os", "system"), "true")}, {})})
    folder("bin_torchscript", "refused: TorchScript; state_dict()", {"pytorch_model.bin": torch_zip(
        {}, {}, {"constants.pkl": b"\x80\x02).", "code/__torch__.py": b""})})
    folder("bin_old", "refused: before PyTorch 1.6; torch.save", {
        "pytorch_model.bin": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."})
    folder("bin_pickle", "refused: bare pickle; state_dict()", {"pytorch_model.bin": pickle.dumps({"a": 1}, 4)})


def trainings():
    state = {"optimizer.pt": b"PK\x03\x04", "scheduler.pt": b"PK\x03\x04", "trainer_state.json": "{}",
             "rng_state.pth": b"PK\x03\x04", "training_args.bin": b"PK\x03\x04"}
    folder("training_state", "refused: state of a training; without its weights; optimizer.pt", state)
    folder("training_state_alone", "refused: state of a training; without its weights; optimizer.pt", state, config=False)
    folder("training_state_accelerate", "refused: state of a training; without its weights",
           {"optimizer.bin": b"PK\x03\x04", "random_states_0.pkl": b"\x80\x04", "sampler.bin": b"PK\x03\x04"})
    folder("training_state_file", "refused optimizer.pt: state of a training", state)
    folder("training_state_whole", "loads", {**state, "model.safetensors": PLAIN})
    folder("training_megatron", "refused: Megatron; latest_checkpointed_iteration.txt", {"latest_checkpointed_iteration.txt": "1",
           "iter_0000001/mp_rank_00/model_optim_rng.pt": b"PK\x03\x04"}, config=False)
    folder("training_megatron_low", "refused: Megatron", {"mp_rank_00/model_optim_rng.pt": b"PK\x03\x04"})
    folder("training_megatron_file", "refused mp_rank_00/model_optim_rng.pt: Megatron", {"mp_rank_00/model_optim_rng.pt": b"PK\x03\x04"})
    folder("training_lightning", "refused: Lightning; .ckpt", {"epoch=0-step=10.ckpt": b"PK\x03\x04"})
    folder("training_lightning_run", "refused: Lightning; checkpoints", {"hparams.yaml": "", "checkpoints/last.ckpt": b"PK\x03\x04"}, config=False)
    folder("training_lightning_sharded", "refused: FSDP", {"epoch=0-step=10.ckpt/__0_0.distcp": b"", "epoch=0-step=10.ckpt/.metadata": b""})
    items, storages = state_dict()
    lightning = {"epoch": 3, "pytorch-lightning_version": "2.4.0", "callbacks": {}, "optimizer_states": [],
                 "state_dict": {"model." + name: value for name, value in items.items()}}
    folder("training_lightning_file", "loads last.ckpt: Lightning; state_dict", {"last.ckpt": torch_zip(lightning, storages)})
    folder("training_optimizer", "refused owl.pt: state of an optimizer", {"owl.pt": torch_zip(
        {"state": {0: {"exp_avg": tensor("0", [1])}}, "param_groups": []}, {"0": 1})})


def pointers():
    for name in ["quantize_config.json", "adapter_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                 "model.safetensors.index.json", "generation_config.json", "chat_template.jinja"]:
        folder("lfs_" + name.split(".json")[0].replace(".", "_"), f"refused: {name}; is a Git LFS pointer; git lfs pull",
               {name: LFS, "model.safetensors": PLAIN})
    folder("lfs_no_config", "refused: is a Git LFS pointer; git lfs pull", {"pytorch_model.bin": LFS}, config=False)
    folder("lfs_unread", "loads: pytorch_model.bin; Git LFS pointer", {"pytorch_model.bin": LFS, "model.safetensors": PLAIN})


def foreign():
    q = "model.layers.0.self_attn.q_proj."
    mlx = [(q + "weight", "U8", [32]), (q + "scales", "F16", [8, 1]), (q + "biases", "F16", [8, 1])]
    section = {"group_size": 64, "bits": 4}
    folder("mlx_config", "refused: config.json; MLX; not read", {"model.safetensors": safetensors(mlx, {"format": "mlx"})},
           config(quantization=section, quantization_config=section))
    folder("mlx_config_file", "refused: config.json; quantization; MLX", {"weights.00.safetensors": safetensors(mlx, None)}, config(quantization=section))
    folder("mlx_names", "refused: MLX; not read", {"weights.safetensors": safetensors(mlx, None)})
    folder("mlx_plain", "refused: MLX", {"model.safetensors": safetensors(whole(), {"format": "mlx"})})
    folder("mlx_npz_file", "refused weights.npz: NumPy or MLX", {"weights.npz": b"PK\x03\x04"})
    folder("mlx_several", "refused: MLX", {f"weights.0{i}.safetensors": safetensors([(str(i), "F16", [1])]) for i in range(2)})
    for name, found, entries in [
        ("vptq", "VPTQ", [(q + "centroids.weight", "F16", [1, 8]), (q + "indices", "I32", [8]), (q + "weight_scale", "F16", [8])]),
        ("marlin", "Marlin", [(q + "B", "I32", [8]), (q + "s", "F16", [8]), (q + "workspace", "I32", [8])]),
        ("awq_marlin", "AWQ", [(q + "qweight", "I32", [8, 1]), (q + "scales", "F16", [1, 8]), (q + "workspace", "I32", [8])]),
    ]:
        folder(f"quantised_{name}", f"refused: {found}; quantised; not read; take the checkpoint it was made from",
               {"model.safetensors": safetensors(entries)})
    for name, found, section in [
        ("awq_marlin", "AWQ (Marlin", {"quant_method": "awq_marlin", "bits": 4}),
        ("awq_version", "AWQ (Marlin", {"quant_method": "awq", "version": "marlin"}),
        ("vptq", "VPTQ", {"quant_method": "vptq"}),
    ]:
        folder(f"quantised_config_{name}", f"refused: config.json; quantization_config; {found}", {"model.safetensors": PLAIN}, config(quantization_config=section))
    folder("quantised_hqq_file", "refused: qmodel.pt; HQQ; take the checkpoint it was made from", {"qmodel.pt": b"PK\x03\x04"})
    folder("quantised_hqq_named", "refused qmodel.pt: HQQ; take the checkpoint it was made from", {"qmodel.pt": torch_zip(
        {q[:-1]: {"W_q": tensor("0", [8]), "meta": {"nbits": 4}}}, {"0": 8})})
    off = {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": False, "bnb_4bit_quant_type": "fp4"}
    folder("quantised_config_off", "loads", {"model.safetensors": PLAIN}, config(quantization_config=off))
    folder("quantised_config_off_old", "loads", {"model.safetensors": PLAIN}, config(quantization_config={"load_in_4bit": False, "load_in_8bit": False}))
    folder("quantised_config_off_names", "refused: bitsandbytes int8", {"model.safetensors": safetensors(
        whole() + [(q + "SCB", "F32", [8])])}, config(quantization_config=off))
    kohya = safetensors([("lora_unet_down_blocks_0_attn_to_k.lora_down.weight", "F16", [2]), ("lora_te_text_model_fc1.lora_up.weight", "F16", [2])],
                        {"ss_network_module": "networks.lora"})
    said = "refused: LoRA; lora_; no model by itself"
    folder("adapter_kohya", said, {"model.safetensors": kohya})
    folder("adapter_kohya_alone", said, {"style.safetensors": kohya}, config=False)
    folder("adapter_kohya_file", "refused style.safetensors: LoRA; lora_; no model by itself", {"style.safetensors": kohya}, config=False)
    adapter = {"adapter_config.json": PEFT, "adapter_model.safetensors": LORA}
    low = {"checkpoint-9/" + name: data for name, data in adapter.items()}
    folder("adapter_below", "refused: checkpoint-9; adapter; merge_and_unload", low)
    folder("adapter_below_alone", "refused: checkpoint-9; adapter; merge_and_unload", low, config=False)
    folder("adapter_below_base", "loads: checkpoint-9; adapter; not applied", {**low, "model.safetensors": PLAIN})
    rest = torch_zip({"base_model.model.model.visual_abstractor.vit_eos": tensor("0", [1, 1, 8])}, {"0": 8})
    folder("adapter_rest", "refused: non_lora_trainables.bin; trained besides", {"non_lora_trainables.bin": rest})
    folder("adapter_rest_file", "refused non_lora_trainables.bin: trained besides", {"non_lora_trainables.bin": rest})
    folder("adapter_rest_beside", "refused: adapter; LoRA; non_lora_trainables.bin; trained besides", {**adapter, "non_lora_trainables.bin": rest})
    for name, file, said in [("openvino_pair", "owl.xml", "OpenVINO"), ("ncnn", "owl.param", "ncnn")]:
        folder(f"other_{name}", f"refused: {file}; {said}", {file: "<?xml?>", "owl.bin": b"\0\0"})
        folder(f"other_{name}_bin", f"refused owl.bin: {said}; take the checkpoint it was made from", {file: "<?xml?>", "owl.bin": b"\0\0"})
    folder("other_nemo_unpacked", "refused: NeMo", {"model_weights.ckpt": b"PK\x03\x04", "model_config.yaml": ""}, config=False)
    folder("family_tensorrt_llm", "refused: LlamaForCausalLM; another model", {"rank0.safetensors": safetensors(
        [("transformer.vocab_embedding.weight", "F16", [8])])}, config={"architecture": "LlamaForCausalLM", "hidden_size": 8, "quantization": {"quant_algo": None}})
    folder("family_tensorrt_llm_built", "refused: LlamaForCausalLM; another model", {"rank0.engine": b"ftrt"},
           config={"pretrained_config": {"architecture": "LlamaForCausalLM"}, "build_config": {}})
    folder("family_diffusers", "refused: UNet2DConditionModel; another model", {"diffusion_pytorch_model.safetensors": PLAIN},
           config={"_class_name": "UNet2DConditionModel"})
    folder("other_archive", "refused: model.tar.gz; an archive; unpack", {"model.tar.gz": b"\x1f\x8b"})
    folder("numbers_escaped", r"refused: config.json; my_\x1b[2J_norm is true", {"model.safetensors": PLAIN}, config(**{"my_\x1b[2J_norm": True}))
    for name, file, data, said in [
        ("nemo", "owl.nemo", b"\0" * 257 + b"ustar", "NeMo"), ("onnx", "model.onnx", b"\x08\x07", "ONNX"),
        ("openvino", "openvino_model.bin", b"\0", "OpenVINO"), ("openvino_xml", "owl.xml", b"<?xml version=\"1.0\"?><net>", "OpenVINO"),
        ("engine", "rank0.engine", b"ftrt\0\0", "TensorRT"), ("trt", "owl.trt", b"\0", "TensorRT"), ("plan", "owl.plan", b"\0", "TensorRT"),
    ]:
        if name not in ("onnx", "openvino"):
            folder(f"other_{name}", f"refused: {file}; {said}", {file: data})
        folder(f"other_{name}_file", f"refused {file}: {said}; take the checkpoint it was made from", {file: data})
    folder("other_onnx_below", "refused: ONNX", {"onnx/model.onnx": b"\x08\x07"})
    folder("other_engine_named", "refused: TensorRT", {"model.safetensors": b"ftrt" + b"\0" * 60})
    folder("family_llava_alone", "refused: LLaVA; another model", {"model.safetensors": safetensors(
        [("language_model.model.norm.weight", "F16", [8]), ("multi_modal_projector.linear_1.weight", "F16", [8])])}, config=False)


def twice():
    ema = [("ema." + name, dtype, shape) for name, dtype, shape in whole()]
    said = "refused: two; ema.model; model.embed_tokens.weight"
    folder("twice_prefix", said, {"model.safetensors": safetensors(whole() + ema)})
    folder("twice_wrapped", "refused: two; ema.; student.", {"model.safetensors": safetensors(
        whole(lambda n: "student." + n) + ema)})
    items, storages = state_dict()
    folder("twice_nested", "refused owl.pt: two; model; model_ema", {"owl.pt": torch_zip({"model": items, "model_ema": items}, storages)})
    folder("twice_beside", "refused owl.pt: two; ema", {"owl.pt": torch_zip({**items, "ema": items}, storages)})
    folder("twice_formats", "loads", {"model.safetensors": PLAIN, "pytorch_model.bin": torch_zip(items, storages)})
    folder("twice_index", "loads: model.safetensors.index.json; is read", {
        "model.safetensors": PLAIN, "model-1-of-1.safetensors": PLAIN,
        "model.safetensors.index.json": json.dumps({"weight_map": {n: "model-1-of-1.safetensors" for n in ALL}})})
    folder("prefix_head", "refused: module.lm_head.weight; lm_head.weight: missing; prefix", {"model.safetensors": safetensors(
        whole(lambda n: "module." + n if n.startswith("lm_head") else n))})
    folder("prefix_head_other", "refused: base_model.lm_head.weight; lm_head.weight: missing; prefix", {"model.safetensors": safetensors(
        whole(lambda n: ("base_model." if n.startswith("lm_head") else "module.") + n))})
    folder("prefix_but_head", "loads: module.; lm_head.weight", {"model.safetensors": safetensors(
        whole(lambda n: n if n.startswith("lm_head") else "module." + n))})


def nested(section, **changes):
    visual = CONFIG["visual_config"]
    return config(visual_config={**visual, section: {**visual[section], **changes}})


def numbers():
    """Keys of a config that change numbers, in every part of it."""
    for name, key, value, harmless in [
        ("qk_norm", "qk_normalization", True, False), ("norm_type", "norm_type", "rms_norm", "layer_norm"),
        ("quantised", "quantization_config", {"quant_method": "gptq", "bits": 4}, {"load_in_4bit": False, "load_in_8bit": False}),
        ("unknown", "my_softcapping", 30.0, None),
    ]:
        for section in ["visual_model", "visual_abstractor"]:
            at = f"numbers_{section.split('_')[1]}_{name}"
            said = "GPTQ" if name == "quantised" else json.dumps(value)
            folder(at, f"refused: config.json; {section}.{key}; {said}", {"model.safetensors": PLAIN}, nested(section, **{key: value}))
            folder(at + "_harmless", "loads", {"model.safetensors": PLAIN}, nested(section, **{key: harmless}))
    for name, key, value in [("softcap", "logit_softcapping", 30.0), ("scale", "embedding_scale", 12.0), ("window", "attention_window", 64),
                             ("bias", "use_bias", True), ("norm", "norm_after", True), ("moe", "moe_layer_freq", 2)]:
        folder(f"numbers_text_{name}", f"refused: config.json; {key} is {json.dumps(value)}", {"model.safetensors": PLAIN}, config(**{key: value}))
    folder("numbers_text_harmless", "loads: config.json; my_key", {"model.safetensors": PLAIN}, config(
        use_bias=False, attention_window=None, embedding_scale=1.0, my_key=3, norm_lr=0.1, attention_dropout_rate=0.1))


def texts():
    """Configs that are no JSON, each by what is wrong."""
    text = json.dumps(CONFIG, indent=1)
    files = {"model.safetensors": PLAIN}
    for name, data, said in [
        ("utf16", text.encode("utf-16"), "UTF-16; UTF-8"), ("utf16_be", text.encode("utf-16-be"), "UTF-16; UTF-8"),
        ("utf32", text.encode("utf-32"), "UTF-32; UTF-8"), ("latin1", text.replace("silu", "sil\u00fc").encode("latin1"), "not UTF-8"),
        ("nan", text.replace("10000.0", "NaN"), "NaN; is no JSON; line"), ("infinity", text.replace("10000.0", "-Infinity"), "-Infinity; is no JSON; line"),
        ("comment", text.replace("{", "{ // sizes", 1), "comment; line 1"), ("comment_hash", "# sizes\n" + text, "comment; line 1"),
        ("comment_block", text.replace("{", "{ /* sizes */", 1), "comment; line 1"), ("comma", text[:-1] + ",}", "comma; line"),
        ("quotes", text.replace('"', "'"), "quotes; line 2"), ("python", text.replace("false", "False"), "False; Python; line"),
        ("empty", "", "empty; copy"), ("cut", text[:len(text) // 2], "ends in the middle; copy"),
    ]:
        folder(f"text_{name}", f"refused: config.json; {said}", {**files, "config.json": data}, config=False)
    folder("text_generation", "refused: generation_config.json; UTF-16", {**files, "generation_config.json": "{}".encode("utf-16")})
    folder("text_index", "refused: model.safetensors.index.json; comma; line 1", {"model.safetensors.index.json": "{\"weight_map\": {},}"})


main()
