//! Files by their bytes.

use super::{AGAIN, FileKind, ORIGINAL, UNPACK, kind};
use crate::read::LFS_POINTER;

/// Files by bytes at a place in them.
const FILES: [(usize, &[u8], FileKind); 37] = [
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
    (0, b"ftrt", kind("an engine of TensorRT", ORIGINAL)),
    (0, b"ptrt", kind("an engine of TensorRT", ORIGINAL)),
    (4, b"ORTM", kind("a model of ONNX Runtime", ORIGINAL)),
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

const PICKLE: FileKind = kind(
    "a bare pickle of Python, not a file of torch.save",
    "if you trust it, load it in Python and save the model's state_dict() with safetensors or torch.save",
);

/// Files that are no checkpoint, by their first bytes.
pub(in super::super) fn of_bytes(bytes: &[u8]) -> Option<FileKind> {
    let is =
        |(at, magic, _): &&(usize, &[u8], FileKind)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic));
    FILES.iter().find(is).map(|&(.., kind)| kind)
}
