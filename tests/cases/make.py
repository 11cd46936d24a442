"""Makes the pictures of this folder, and expected.json with what Pillow makes of each.

    pip install pillow==13.0.0 tifffile imagecodecs     # and cjpeg: Debian's libjpeg-turbo-progs
    python make.py                                      # jpeg/, tiff/, png/, bmp/ anew
    python make.py FOLDER                               # only expected.json, of another folder

The folders issue_13_* hold files that were made elsewhere; they stay as they are.
"""
import hashlib, io, json, os, shutil, struct, subprocess, sys, warnings, zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent


def picture(width, height, seed):
    """Waves, noise and hard edges in saturated colours."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    waves = [127 + 120 * np.sin(x / 5 + y / 9 + seed), 127 + 120 * np.cos(x / 11 - y / 4), 255 * ((x // 7 + y // 6) % 2)]
    a = np.stack(waves, -1) + random.randint(-25, 25, (height, width, 3))
    a[height // 3 : height // 2, width // 4 : width // 2] = [255, 0, 0]
    a[height // 2 : 2 * height // 3, width // 2 :] = [0, 0, 255]
    return np.clip(a, 0, 255).astype(np.uint8)


def put(path, data):
    path = HERE / path
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


# --- JPEG ------------------------------------------------------------------------------------------------------------

def cjpeg(a, *args, scans=None):
    """libjpeg-turbo's encoder, with a scan script."""
    if scans:
        Path("/tmp/scans.txt").write_text(scans)
        args += ("-scans", "/tmp/scans.txt")
    kind = b"P5" if a.ndim == 2 else b"P6"
    ppm = kind + b" %d %d 255\n" % (a.shape[1], a.shape[0]) + a.tobytes()
    done = subprocess.run(["cjpeg", *args], input=ppm, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def segments(jpeg):
    """Marker, start and end of each segment up to the first scan."""
    at = 2
    while True:
        marker, length = jpeg[at + 1], struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def bare(jpeg):
    """Without JFIF and Adobe markers."""
    kept = [jpeg[start:end] for marker, start, end in segments(jpeg) if marker not in (0xE0, 0xEE)]
    end = [end for _, _, end in segments(jpeg)][-1]
    return jpeg[:2] + b"".join(kept) + jpeg[end:]


def marked(jpeg, *markers):
    return jpeg[:2] + b"".join(markers) + jpeg[2:]


def with_ids(jpeg, ids):
    """With other component ids in the frame and in the first scan."""
    b, old = bytearray(jpeg), []
    for marker, start, _ in segments(jpeg):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            old = [b[start + 10 + 3 * i] for i in range(b[start + 9])]
            for i, name in enumerate(ids):
                b[start + 10 + 3 * i] = name
        if marker == 0xDA:
            for i in range(b[start + 4]):
                b[start + 5 + 2 * i] = ids[old.index(b[start + 5 + 2 * i])]
    return bytes(b)


JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def adobe(transform):
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


SAMPLINGS = {
    "444": "1x1,1x1,1x1", "422": "2x1,1x1,1x1", "440": "1x2,1x1,1x1", "420": "2x2,1x1,1x1", "411": "4x1,1x1,1x1",
    "410": "4x2,1x1,1x1", "mixed": "2x2,2x1,1x2", "small_luma": "1x1,2x2,1x1",
}
SCANS = {"inter": None, "sep": "0;\n1;\n2;\n", "y_cbcr": "0;\n1 2;\n", "cb_first": "1;\n0;\n2;\n"}
REFINED = "".join(
    ["0 1 2:0-0,0,2;\n"] + [f"{c}:1-63,0,2;\n" for c in range(3)] + ["0 1 2:0-0,2,1;\n0 1 2:0-0,1,0;\n"]
    + [f"{c}:1-63,{b},{b - 1};\n" for b in (2, 1) for c in range(3)]
)


def jpegs():
    a = picture(29, 21, 1)
    for name, sampling in SAMPLINGS.items():
        for order, scans in SCANS.items():
            put(f"jpeg/{name}_{order}.jpg", cjpeg(a, "-quality", "85", "-sample", sampling, scans=scans))
        put(f"jpeg/{name}_progressive.jpg", cjpeg(a, "-quality", "85", "-sample", sampling, "-progressive"))
        put(f"jpeg/{name}_refined.jpg", cjpeg(a, "-quality", "85", "-sample", sampling, scans=REFINED))
        put(f"jpeg/{name}_restarts.jpg", cjpeg(a, "-restart", "1B", "-sample", sampling, scans=SCANS["sep"]))
    put("jpeg/gray.jpg", cjpeg(a[:, :, 1]))
    put("jpeg/gray_2x2.jpg", cjpeg(a[:, :, 1], "-sample", "2x2"))
    put("jpeg/arithmetic.jpg", cjpeg(a, "-arithmetic"))
    ycc, rgb = bare(cjpeg(a, "-sample", "1x1")), with_ids(bare(cjpeg(a, "-rgb")), [1, 2, 3])
    for kind, jpeg in (("ycc", ycc), ("rgb", rgb)):
        for ids, name in (([1, 2, 3], "123"), ([82, 71, 66], "RGB"), ([7, 200, 9], "odd")):
            named = with_ids(jpeg, ids)
            put(f"jpeg/{kind}_{name}.jpg", named)
            put(f"jpeg/{kind}_{name}_jfif.jpg", marked(named, JFIF))
            for transform in (0, 1, 2):
                put(f"jpeg/{kind}_{name}_adobe{transform}.jpg", marked(named, adobe(transform)))
        for transform in (0, 1, 2):
            put(f"jpeg/{kind}_jfif_adobe{transform}.jpg", marked(jpeg, JFIF, adobe(transform)))
            put(f"jpeg/{kind}_adobe{transform}_jfif.jpg", marked(jpeg, adobe(transform), JFIF))
    cmyk = np.concatenate([255 - a, 255 - a.max(-1, keepdims=True) // 2], -1).astype(np.uint8)
    for subsampling in (0, 2):
        f = io.BytesIO()
        Image.fromarray(cmyk, "CMYK").save(f, "JPEG", quality=85, subsampling=subsampling)
        jpeg = bare(f.getvalue())
        put(f"jpeg/cmyk{subsampling}.jpg", jpeg)
        for transform in (0, 2):
            put(f"jpeg/cmyk{subsampling}_adobe{transform}.jpg", marked(jpeg, adobe(transform)))
    base, progressive = cjpeg(a, "-quality", "85"), cjpeg(a, "-quality", "85", "-progressive")
    put("jpeg/garbage_after.jpg", base + b"garbage" * 9)
    put("jpeg/no_end.jpg", base[:-2])
    put("jpeg/no_end_progressive.jpg", progressive[:-2])
    for part in (20, 60, 95):
        put(f"jpeg/cut_{part}.jpg", base[: len(base) * part // 100])
        put(f"jpeg/cut_progressive_{part}.jpg", progressive[: len(progressive) * part // 100])
    put("jpeg/cut_and_ended.jpg", base[: len(base) * 6 // 10] + b"\xff\xd9")
    frame = next(start for marker, start, _ in segments(base) if marker == 0xC0)
    for name, at, value in (("lossless", 1, 0xC3), ("hierarchical", 1, 0xC5), ("ls", 1, 0xF7), ("bits12", 4, 12)):
        b = bytearray(base)
        b[frame + at] = value
        put(f"jpeg/{name}.jpg", bytes(b))


# --- TIFF ------------------------------------------------------------------------------------------------------------

def tiffs():
    import tifffile

    a = picture(23, 17, 1)
    g = a[:, :, 1]
    alpha = (np.add.outer(np.arange(17) * 15, np.arange(23) * 7) % 256).astype(np.uint8)
    alpha[:3], alpha[3:6] = 0, 255
    rgba = np.concatenate([a, alpha[..., None]], -1)
    dark = np.concatenate([(a.astype(int) * alpha[..., None] // 255).astype(np.uint8), alpha[..., None]], -1)
    cmyk = np.concatenate([255 - a, alpha[..., None] // 2], -1)
    planes = np.moveaxis(a, -1, 0).copy()
    palette = (np.random.RandomState(3).randint(0, 256, (3, 256)) * 257).astype(np.uint16)
    kinds = {
        "rgb": (a, dict(photometric="rgb")), "strips": (a, dict(photometric="rgb", rowsperstrip=5)),
        "tiles": (a, dict(photometric="rgb", tile=(16, 16))),
        "planes": (planes, dict(photometric="rgb", planarconfig="separate", rowsperstrip=5)),
        "tiled_planes": (planes, dict(photometric="rgb", planarconfig="separate", tile=(16, 16))),
        "gray": (g, dict(photometric="minisblack")), "white_is_zero": (g, dict(photometric="miniswhite")),
        "rgba": (rgba, dict(photometric="rgb", extrasamples=["unassalpha"])),
        "rgba_associated": (dark, dict(photometric="rgb", extrasamples=["assocalpha"])),
        "rgbx": (rgba, dict(photometric="rgb", extrasamples=["unspecified"])),
        "la": (np.stack([g, alpha], -1), dict(photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])),
        "rgb16": (a.astype(np.uint16) * 257 - (a > 9) * 8, dict(photometric="rgb")),
        "rgba16_associated": (dark.astype(np.uint16) * 257, dict(photometric="rgb", extrasamples=["assocalpha"])),
        "gray16": (g.astype(np.uint16) * 3, dict(photometric="minisblack")),
        "gray16_signed": (g.astype(np.int16) * 3 - 200, dict(photometric="minisblack")),
        "gray32": (g.astype(np.int32) * 3 - 200, dict(photometric="minisblack")),
        "float": (g.astype(np.float32) * 1.7 - 50.3, dict(photometric="minisblack")),
        "double": (g.astype(np.float64), dict(photometric="minisblack")),
        "bits": (g > 128, dict(photometric="minisblack")), "bits_white_is_zero": (g > 128, dict(photometric="miniswhite")),
        "cmyk": (cmyk, dict(photometric="separated")), "cmyk16": (cmyk.astype(np.uint16) * 257, dict(photometric="separated")),
        "palette": (g, dict(photometric="palette", colormap=palette)),
        "ycbcr": (a, dict(photometric="ycbcr")), "lab": (a, dict(photometric="cielab")),
    }
    (HERE / "tiff").mkdir(exist_ok=True)
    for name, (pixels, how) in kinds.items():
        for order, compression in (("<", None), (">", None), ("<", "lzw"), (">", "deflate")):
            file = HERE / f"tiff/{name}_{'le' if order == '<' else 'be'}_{compression or 'plain'}.tif"
            tifffile.imwrite(file, pixels, byteorder=order, compression=compression, metadata=None, **how)
    for name, how in (
        ("big", dict(bigtiff=True)), ("big_tiles_lzw", dict(bigtiff=True, tile=(16, 16), compression="lzw")),
        ("packbits", dict(compression="packbits")), ("zstd", dict(compression="zstd")), ("lzma", dict(compression="lzma")),
        ("predictor_lzw", dict(compression="lzw", predictor=2)), ("predictor_tiles", dict(compression="zstd", predictor=2, tile=(16, 16))),
    ):
        tifffile.imwrite(HERE / f"tiff/{name}.tif", a, photometric="rgb", metadata=None, **how)
    deep = g.astype(np.uint16) * 2
    tifffile.imwrite(HERE / "tiff/predictor_gray16.tif", deep, predictor=2, compression="lzw", byteorder=">", metadata=None)
    tifffile.imwrite(HERE / "tiff/predictor_float.tif", g.astype(np.float32), predictor=3, compression="lzw", metadata=None)
    for turn in range(1, 9):
        tifffile.imwrite(HERE / f"tiff/turned{turn}.tif", a, photometric="rgb", metadata=None, extratags=[(274, "H", 1, turn, True)])
    image = Image.fromarray(a)
    for name, mode, compression in (
        ("group3", "1", "group3"), ("group4", "1", "group4"), ("jpeg", "RGB", "jpeg"), ("jpeg_gray", "L", "jpeg"),
        ("jpeg_ycbcr", "YCbCr", "jpeg"), ("jpeg_cmyk", "CMYK", "jpeg"), ("ycbcr_lzw", "YCbCr", "tiff_lzw"), ("ycbcr", "YCbCr", "raw"),
    ):
        image.convert(mode).save(HERE / f"tiff/pillow_{name}.tif", compression=compression)
    plain = (HERE / "tiff/rgb_le_plain.tif").read_bytes()
    put("tiff/cut.tif", plain[: len(plain) // 2])


# --- PNG and BMP -----------------------------------------------------------------------------------------------------

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bits_of(row, bits):
    text = "".join(f"{int(v):0{bits}b}" for v in row.ravel())
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def png(name, a, bits, kind, extra=b"", interlaced=False):
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [a[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [a]
    data = b"".join(b"\0" + bits_of(row, bits) for part in parts for row in part if row.size)
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], bits, kind, 0, 0, int(interlaced))
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    put(f"png/{name}.png", whole)
    return whole


def pngs():
    a = picture(19, 13, 2).astype(int)
    g = a[:, :, 1]
    alpha = np.add.outer(np.arange(13) * 9, np.arange(19) * 7) % 256
    random = np.random.RandomState(1)
    for interlaced in (False, True):
        i = "_interlaced" if interlaced else ""
        for bits in (1, 2, 4, 8, 16):
            levels = g * (2**bits - 1) // 255
            png(f"gray{bits}{i}", levels, bits, 0, b"", interlaced)
            png(f"gray{bits}_key{i}", levels, bits, 0, chunk(b"tRNS", struct.pack(">H", int(levels[3, 3]))), interlaced)
            if bits <= 8:
                colours = chunk(b"PLTE", random.randint(0, 256, 3 * 2**bits).astype(np.uint8).tobytes())
                png(f"palette{bits}{i}", levels, bits, 3, colours, interlaced)
                png(f"palette{bits}_alpha{i}", levels, bits, 3, colours + chunk(b"tRNS", bytes(range(2**bits - 1))), interlaced)
        for bits, scale in ((8, 1), (16, 257)):
            png(f"rgb{bits}{i}", a * scale, bits, 2, b"", interlaced)
            png(f"la{bits}{i}", np.stack([g, alpha], -1) * scale, bits, 4, b"", interlaced)
            png(f"rgba{bits}{i}", np.concatenate([a, alpha[..., None]], -1) * scale, bits, 6, b"", interlaced)
    png("gray16_low", g // 2, 16, 0)
    whole = png("rgb8", a, 8, 2)
    put("png/no_end.png", whole[:-12])
    put("png/cut.png", whole[: len(whole) // 2])


def bmps():
    a = picture(21, 13, 2)
    height, width = a.shape[:2]

    def bmp(name, bits, rows, palette=b"", compression=0, masks=b"", header=40):
        data = b"".join(row + b"\0" * (-len(row) % 4) for row in rows[::-1])
        head = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
        head += masks if header == 40 else (masks + b"\0" * header)[: header - 40]
        start = 14 + len(head) + len(palette)
        put(f"bmp/{name}.bmp", b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data)

    five = a.astype("<u2") >> 3
    rows = [(row[:, 0] << 10 | row[:, 1] << 5 | row[:, 2]).astype("<u2").tobytes() for row in five]
    bmp("bits16_555", 16, rows)
    rows = [(row[:, 0] >> 3 << 11 | row[:, 1] >> 2 << 5 | row[:, 2] >> 3).astype("<u2").tobytes() for row in a.astype("<u2")]
    bmp("bits16_565", 16, rows, compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    bmp("bits24", 24, [row[:, ::-1].tobytes() for row in a])
    four = [np.concatenate([row[:, ::-1], row[:, :1]], -1).tobytes() for row in a]
    bmp("bits32", 32, four)
    bmp("bits32_alpha", 32, four, compression=3, header=124, masks=struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    for bits in (1, 4, 8):
        palette = np.random.RandomState(bits).randint(0, 256, (2**bits, 4)).astype(np.uint8)
        palette[:, 3] = 0
        levels = a[:, :, 1].astype(int) * (2**bits - 1) // 255
        bmp(f"bits{bits}", bits, [bits_of(row, bits) for row in levels], palette.tobytes())


# --- what Pillow makes of them ---------------------------------------------------------------------------------------

def expected(folder):
    """expected.json: size and SHA-256 of the RGB bytes of each picture, and of each frame of animations."""
    warnings.simplefilter("ignore")
    found = {}
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".py", ".md", ""))
    for path in (p for p in files if "checkpoints" not in p.parts):
        digest = lambda image: hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
        try:
            with Image.open(path) as image:
                entry = {"size": list(image.size), "sha256_rgb": digest(image)}
                if getattr(image, "n_frames", 1) > 1:
                    hashes = []
                    for frame in range(image.n_frames):
                        image.seek(frame)
                        hashes.append(digest(image))
                    entry |= {"frames": image.n_frames, "frames_sha256": hashes}
        except Exception as error:
            entry = {"pillow": f"{type(error).__name__}: {error}".replace(str(folder) + "/", "")[:120]}
        found[path.relative_to(folder).as_posix()] = entry
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in found.items()]
    (folder / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if len(sys.argv) > 1:
    expected(Path(sys.argv[1]))
else:
    for kind in ("jpeg", "tiff", "png", "bmp"):
        shutil.rmtree(HERE / kind, ignore_errors=True)
    jpegs(), tiffs(), pngs(), bmps()
    expected(HERE)
