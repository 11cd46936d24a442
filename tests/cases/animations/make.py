"""Makes animations and expected.json: what Pillow 13 composes of each in this folder, frame by frame.

    pip install Pillow==13.0.0 && python make.py

The files are written byte by byte, since Pillow's own writers leave out what these are about. `g_*.gif` and
`one_square_moves.webp` are kept as they came, from reports about other programs.
"""

import hashlib
import io
import json
import random
import struct
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

HERE = Path(__file__).parent
W, H = 13, 9
COLOURS = bytes.fromhex("000000 c02020 20c020 2020c0 c0c020 c020c0 20c0c0 ffffff")
OTHERS = bytes.fromhex("808080 ff8000 0080ff 80ff00 8000ff ff0080 00ff80 404040")
GRAYS = bytes(channel for i in range(8) for channel in (i, i, i))


def noise(size, values=range(8), seed=0):
    """Numbers in runs, always the same."""
    draw, out = random.Random(seed), []
    while len(out) < size:
        out += [draw.choice(values)] * draw.randrange(1, 6)
    return bytes(out[:size])


# GIF


def lzw(indices, bits=3):
    """Codes of one length: the table is cleared before it would grow."""
    codes, clear = [], 1 << bits
    for i, index in enumerate(indices):
        if i % (clear - 2) == 0:
            codes.append(clear)
        codes.append(index)
    stream = sum(code << (bits + 1) * i for i, code in enumerate(codes + [clear + 1]))
    data = stream.to_bytes((bits + 1) * (len(codes) + 1) // 8 + 1, "little")
    blocks = (data[i : i + 255] for i in range(0, len(data), 255))
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def control(disposal=0, transparent=None):
    return struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (transparent is not None), 10, transparent or 0, 0)


def frame(left=0, top=0, width=W, height=H, table=b"", interlaced=False, values=range(8), seed=0):
    flags = (0x82 if table else 0) | interlaced << 6
    pixels = lzw(noise(width * height, values, seed))
    return struct.pack("<BHHHHB", 0x2C, left, top, width, height, flags) + table + pixels


def gif(*parts, table=COLOURS, background=3, trailer=b";"):
    head = struct.pack("<6sHHBBB", b"GIF89a", W, H, 0x82 if table else 0, background, 0)
    return head + table + b"".join(parts) + trailer


def small(seed, **more):
    return frame(2 + seed, 1 + seed, 6, 4, seed=seed, **more)


GIFS = {
    "disposal_none.gif": gif(frame(), control(0, 5), small(1), control(1, 2), small(2)),
    "disposal_background.gif": gif(*(control(2) + small(i) for i in range(4))),
    "disposal_background_transparent.gif": gif(control(2, 1), frame(), *(control(2, 4) + small(i) for i in range(3))),
    "disposal_previous.gif": gif(control(1), frame(), *(control(3, 6) + small(i) for i in range(3)), control(), small(3)),
    "disposal_previous_first.gif": gif(control(3, 2), frame(), control(3), small(1), control(), small(2)),
    "disposal_of_none_named.gif": gif(control(2), frame(), *(control(0) + small(i) for i in range(3))),
    "transparent_first.gif": gif(control(1, 7), small(0), control(1, 3), frame(seed=1)),
    "first_smaller.gif": gif(small(1), control(2), small(2), small(0)),
    "first_beyond_screen.gif": gif(frame(7, 5, 11, 8), control(1, 2), frame(seed=1)),
    "later_beyond_screen.gif": gif(frame(), control(3, 2), frame(7, 5, 11, 8), control(2), frame(0, 3, 20, 4), small(1)),
    "local_palettes.gif": gif(frame(table=OTHERS), control(2), small(1), control(2, 1), small(2, table=OTHERS), small(0)),
    "no_global_palette.gif": gif(frame(table=OTHERS), control(2), small(1, table=COLOURS), small(2), table=b""),
    "no_palette.gif": gif(frame(), control(2, 3), small(1), small(2), table=b""),
    "gray.gif": gif(frame(), control(2), small(1), control(3, 5), small(2), small(0), table=GRAYS),
    "gray_then_colour.gif": gif(frame(), control(2), small(1, table=COLOURS), small(2), table=GRAYS),
    "index_beyond_palette.gif": gif(frame(), control(2), small(1), table=COLOURS[:12]).replace(b"\x82\3\0", b"\x81\3\0", 1),
    "interlaced.gif": gif(frame(interlaced=True), control(1, 0), small(1, interlaced=True)),
    "no_trailer.gif": gif(frame(), control(2), small(1), trailer=b""),
    "stray_bytes.gif": gif(b"\0", frame(), b"\0\0B", b"!\xfe\2hi\0", control(2), small(1), trailer=b";more"),
}

# APNG


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows(width, height, colour, depth, seed):
    """Compressed rows of one picture."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    bits, out = width * channels * depth, b""
    for y in range(height):
        if depth < 8:
            values = noise(width, range(1 << min(depth, 3)), seed + y)
            packed = sum(value << depth * (width - 1 - i) for i, value in enumerate(values)) << -bits % 8
            row = packed.to_bytes(-(-bits // 8), "big")
        else:
            row = noise(bits // 8, range(8 if colour == 3 else 256), seed + y)
        out += b"\0" + row
    return zlib.compress(out, 9)


def apng(frames, colour=6, depth=8, extra=b"", hidden=False):
    """Frames are (left, top, width, height, dispose, blend)."""
    out = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, depth, colour, 0, 0, 0))
    out += png_chunk(b"acTL", struct.pack(">II", len(frames), 0)) + extra
    sequence = 0
    if hidden:
        out += png_chunk(b"IDAT", rows(W, H, colour, depth, 99))
    for i, (left, top, width, height, dispose, blend) in enumerate(frames):
        where = struct.pack(">IIIIIHHBB", sequence, width, height, left, top, 1, 10, dispose, blend)
        out += png_chunk(b"fcTL", where)
        data = rows(width, height, colour, depth, 100 * i)
        sequence += 1
        if i == 0 and not hidden:
            out += png_chunk(b"IDAT", data)
        else:
            out += png_chunk(b"fdAT", struct.pack(">I", sequence) + data)
            sequence += 1
    return out + png_chunk(b"IEND", b"")


WHOLE, PART, OTHER = (0, 0, W, H), (3, 2, 6, 5), (5, 1, 7, 6)
OVER = [(*WHOLE, 0, 0), (*PART, 1, 1), (*OTHER, 0, 1), (*PART, 1, 1), (*WHOLE, 0, 1)]
PREVIOUS = [(*WHOLE, 0, 0), (*PART, 2, 0), (*OTHER, 0, 0), (*PART, 2, 0), (*OTHER, 0, 1)]
PLTE = png_chunk(b"PLTE", COLOURS)
EXIF = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
APNGS = {
    "rgba_over.png": apng(OVER),
    "rgba_previous.png": apng(PREVIOUS),
    "rgba_previous_first.png": apng([(*WHOLE, 2, 0), (*PART, 0, 1)]),
    "rgba_16_bits.png": apng(OVER, depth=16),
    "rgb_hidden_default.png": apng(OVER, colour=2, hidden=True),
    "gray_alpha.png": apng(OVER, colour=4),
    "gray_2_bits.png": apng(OVER, colour=0, depth=2),
    "palette.png": apng(OVER, colour=3, depth=4, extra=PLTE),
    "palette_transparent.png": apng(OVER, colour=3, depth=8, extra=PLTE + png_chunk(b"tRNS", b"\xff\0\xff\0")),
    "palette_half_transparent.png": apng(OVER, colour=3, extra=PLTE + png_chunk(b"tRNS", b"\xff\x80\x40\0")),
    "exif.png": apng(OVER, colour=2, extra=png_chunk(b"eXIf", EXIF)),
}

# WebP


def chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def bit_stream(width, height, seed, alphas, lossless):
    channels = [noise(width * height, range(0, 256, 5), 10 * seed + i) for i in range(3)]
    pixels = bytes(v for p in zip(*channels, noise(width * height, alphas, 10 * seed + 3)) for v in p)
    file = io.BytesIO()
    Image.frombytes("RGBA", (width, height), pixels).save(file, "WEBP", lossless=lossless, exact=True, quality=80)
    file, at, kept = file.getvalue(), 12, b""
    while at < len(file):
        size = struct.unpack("<I", file[at + 4 : at + 8])[0]
        if file[at : at + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            kept += chunk(file[at : at + 4], file[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return kept


def webp(frames, alphas=(0, 255, 255, 90), lossless=True, flags=0x12, after=b""):
    """Frames are (left, top, width, height, flags): 1 disposes, 2 does not blend."""
    out = chunk(b"ANIM", b"\x80\x40\x20\xff\0\0")
    for i, (left, top, width, height, how) in enumerate(frames):
        where = b"".join(struct.pack("<I", v)[:3] for v in (left // 2, top // 2, width - 1, height - 1, 100))
        out += chunk(b"ANMF", where + bytes([how]) + bit_stream(width, height, i, alphas, lossless))
    head = struct.pack("<B3x", flags) + b"".join(struct.pack("<I", v - 1)[:3] for v in (W, H))
    body = b"WEBP" + chunk(b"VP8X", head) + out + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


EVEN, NEXT = (2, 2, 6, 5), (4, 0, 7, 6)
WEBPS = {
    "blend.webp": webp([(*WHOLE, 0), (*EVEN, 0), (*NEXT, 0)]),
    "no_blend.webp": webp([(*WHOLE, 0), (*EVEN, 2), (*NEXT, 0)]),
    "dispose.webp": webp([(*EVEN, 1), (*NEXT, 1), (*EVEN, 1), (*WHOLE, 0)]),
    "dispose_whole.webp": webp([(*WHOLE, 1), (*EVEN, 0), (*WHOLE, 1), (*NEXT, 2), (*EVEN, 1), (*NEXT, 0)]),
    "opaque.webp": webp([(*WHOLE, 0), (*EVEN, 1), (*NEXT, 0)], alphas=(255,), flags=2),
    "lossy.webp": webp([(*WHOLE, 0), (*EVEN, 1), (*NEXT, 0)], alphas=(255,), lossless=False, flags=2),
    "lossy_alpha.webp": webp([(*WHOLE, 0), (*EVEN, 1), (*NEXT, 0)], lossless=False),
    "exif.webp": webp([(*WHOLE, 0), (*EVEN, 0)], flags=0x1A, after=chunk(b"EXIF", EXIF)),
}


def pillow(path):
    try:
        animation = Image.open(path)
    except UnidentifiedImageError:
        return {"pillow": "UnidentifiedImageError"}
    with animation:
        size, hashes = animation.size, []
        for i in range(animation.n_frames):
            animation.seek(i)
            hashes.append(hashlib.sha256(animation.convert("RGB").tobytes()).hexdigest())
    return {"size": size, "sha256_rgb": hashes[0], "frames": len(hashes), "frames_sha256": hashes}


files = GIFS | APNGS | WEBPS
for name, data in files.items():
    (HERE / name).write_bytes(data)
paths = sorted(path for path in HERE.iterdir() if path.suffix in (".gif", ".png", ".webp"))
expected = {path.name: pillow(path) for path in paths}
(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
