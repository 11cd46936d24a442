"""ONNX Runtime on the processor: prefill and decode of a decoder with 8-bit weights, a scale for every 32.

The model is made of the operators that ONNX Runtime's own exporters make of a LLaMA. The one argument is the job as
JSON; a line of JSON is printed for each figure. See ../README.md.
"""

import json
import os
import resource
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

DIM, WIDE, HEADS, VOCAB = 4096, 11008, 32, 32000
HEAD_DIM, GROUP, RMS = DIM // HEADS, 32, 0.02
MICROSOFT = "com.microsoft"


def make(path, layers, capacity):
    """Writes the model: rows `x` [1, rows, DIM] to the logits of the last."""
    random = np.random.default_rng(0)
    nodes, weights = [], []

    def constant(name, values):
        weights.append(numpy_helper.from_array(values, name))
        return name

    def node(kind, inputs, outputs, domain=MICROSOFT, **attributes):
        nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def linear(name, x, k, n):
        values = np.frombuffer(random.bytes(n * k), np.uint8).reshape(n, k // GROUP, GROUP)
        scales = np.full((n, k // GROUP), RMS / 73.9, np.float32)
        inputs = [x, constant(name + ".weight", values), constant(name + ".scales", scales)]
        return node("MatMulNBits", inputs, [name], K=k, N=n, bits=8, block_size=GROUP, accuracy_level=4)

    angles = np.arange(capacity)[:, None] / 10000.0 ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    cos, sin = (constant(f.__name__, f(angles).astype(np.float32)) for f in (np.cos, np.sin))
    gain = constant("gain", np.ones(DIM, np.float32))
    epsilon = 1e-5
    x, h = "x", node("SimplifiedLayerNormalization", ["x", gain], ["first_norm"], "", axis=-1, epsilon=epsilon)
    caches = []
    for i in range(layers):
        p = f"{i}."
        q, k, v = (linear(p + name, h, DIM, DIM) for name in "qkv")
        past, present = ([f"{when}.{i}.{kv}" for kv in ("key", "value")] for when in ("past", "present"))
        caches.append((past, present))
        inputs = [q, k, v, *past, "seqlens_k", "total", cos, sin]
        outputs = [p + "attention", *present]
        attributes = {"num_heads": HEADS, "kv_num_heads": HEADS, "do_rotary": 1}
        a = node("GroupQueryAttention", inputs, outputs, **attributes)
        a = linear(p + "o", a, DIM, DIM)
        outputs = [p + "norm", "", "", p + "sum"]
        h = node("SkipSimplifiedLayerNormalization", [x, a, gain], outputs, epsilon=epsilon)
        gate, up = linear(p + "gate", h, DIM, WIDE), linear(p + "up", h, DIM, WIDE)
        silu = node("Mul", [gate, node("Sigmoid", [gate], [p + "sigmoid"], "")], [p + "silu"], "")
        f = linear(p + "down", node("Mul", [silu, up], [p + "gated"], ""), WIDE, DIM)
        outputs = [p + "next_norm", "", "", p + "next"]
        h = node("SkipSimplifiedLayerNormalization", [p + "sum", f, gain], outputs, epsilon=epsilon)
        x = p + "next"
    last = constant("last", np.array([-1], np.int64))
    linear("logits", node("Gather", [h, last], ["last_row"], "", axis=1), DIM, VOCAB)

    def value(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, shape)

    cache = (TensorProto.FLOAT, 1, HEADS, capacity, HEAD_DIM)
    inputs = [value("x", TensorProto.FLOAT, 1, "rows", DIM)]
    inputs += [value("seqlens_k", TensorProto.INT32, 1), value("total", TensorProto.INT32)]
    inputs += [value(name, *cache) for past, _ in caches for name in past]
    outputs = [value("logits", TensorProto.FLOAT, 1, 1, VOCAB)]
    outputs += [value(name, *cache) for _, present in caches for name in present]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    data = os.path.basename(path) + ".data"
    # ONNX Runtime wants small tensors where it can look at them.
    onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=1 << 20)


def say(name, **figures):
    print(json.dumps({name: figures}), flush=True)


def timed(work):
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def main():
    job = json.loads(sys.argv[1])
    capacity = 2 * job["context"]
    say("engine", version=f"ONNX Runtime {ort.__version__}", device="the processor, native code")
    path = os.path.join(job["scratch"], f"decoder-{job['layers']}-{capacity}.onnx")
    if not os.path.exists(path):
        make(path, job["layers"], capacity)

    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    # Threads that wait by spinning would count as work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = []
    load = timed(lambda: sessions.append(ort.InferenceSession(path, options, ["CPUExecutionProvider"])))
    say("load", **load)
    session = sessions[0]
    random = np.random.default_rng(1)
    shape = (1, HEADS, capacity, HEAD_DIM)
    caches = {
        f"{i}.{kv}": ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
        for i in range(job["layers"])
        for kv in ("key", "value")
    }

    def run(rows, position):
        binding = session.io_binding()
        binding.bind_output("logits", "cpu")
        binding.bind_cpu_input("x", random.standard_normal((1, rows, DIM), np.float32))
        total = position + rows
        binding.bind_cpu_input("seqlens_k", np.array([total - 1], np.int32))
        binding.bind_cpu_input("total", np.array(total, np.int32))
        for name, cache in caches.items():
            # Appended in place.
            binding.bind_ortvalue_input("past." + name, cache)
            binding.bind_ortvalue_output("present." + name, cache)
        session.run_with_iobinding(binding)
        # The first that was bound; the others are not to be copied.
        return binding.get_outputs()[0].numpy().argmax()

    for i, rows in enumerate(job["prefill"]):
        if i == 0:
            run(rows, 0)
        say("prefill", rows=rows, **timed(lambda: run(rows, 0)))
    context, tokens = job["context"], job["tokens"]
    if tokens > 0:
        run(context, 0)
        run(1, context)
        spent = timed(lambda: [run(1, context + 1 + i) for i in range(tokens)])
        say("decode", context=context, tokens=tokens, **spent)
    say("memory", peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
