"""Packs the files of `images` into one of safetensors, each as the bytes of its PNG: a thousand small files take ten times
their room. Plain Python, no packages: python3 pack.py FOLDER, where images and questions.jsonl are.
"""
import json
import pathlib
import struct
import sys

folder = pathlib.Path(sys.argv[1])
header, data = {}, b""
for path in sorted((folder / "images").iterdir(), key=lambda path: int(path.stem)):
    file = path.read_bytes()
    span = [len(data), len(data) + len(file)]
    header[f"images/{path.name}"] = {"dtype": "U8", "shape": [len(file)], "data_offsets": span}
    data += file
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
(pathlib.Path(__file__).parent / "images.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
