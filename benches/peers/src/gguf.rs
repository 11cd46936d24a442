//! A GGUF file of random weights: what llama.cpp and candle run.
//!
//! GGUF version 3: names and sizes in little-endian, then each tensor at a multiple of [`ALIGNMENT`] bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::shape::{CTX, DIM, HEADS, VOCAB, WIDE};

/// Where tensors begin.
const ALIGNMENT: u64 = 32;
/// Values that share a scale in Q8_0.
const GROUP: u64 = 32;
/// Root mean square of a weight.
const RMS: f32 = 0.02;

/// How matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// 8 bits, with an f16 scale for every 32 of a row.
    Q8_0,
    /// The upper half of an f32.
    Bf16,
}

impl Stored {
    /// Its name, in files and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Bf16 => "bf16",
        }
    }

    /// Number of the tensor type, of the file type, and the bytes that `count` values take.
    fn codes(self, count: u64) -> (u32, u32, u64) {
        match self {
            Self::Q8_0 => (8, 7, count / GROUP * (GROUP + 2)),
            Self::Bf16 => (30, 32, 2 * count),
        }
    }
}

/// The decoder's size. What is smaller than the model's own is for tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub dim: u64,
    pub wide: u64,
    pub heads: u64,
    pub vocab: u64,
    pub layers: u32,
}

impl Size {
    /// The model's own, with so many layers.
    pub(crate) fn full(layers: u32) -> Self {
        Self { dim: DIM, wide: WIDE, heads: HEADS, vocab: VOCAB, layers }
    }
}

/// A tensor: its name and its shape, the contiguous axis first; one axis is a gain, of ones.
struct Tensor {
    name: String,
    shape: Vec<u64>,
}

impl Tensor {
    fn count(&self) -> u64 {
        self.shape.iter().product()
    }

    fn codes(&self, stored: Stored) -> (u32, u64) {
        if self.shape.len() == 1 {
            return (0, 4 * self.count());
        }
        let (tensor, _, bytes) = stored.codes(self.count());
        (tensor, bytes)
    }
}

/// Writes the model to `path`, if it is not there yet; the same every time.
pub(crate) fn make(path: &Path, stored: Stored, size: Size) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    println!("making {}", path.display());
    // Under its own name only once it is whole.
    let part = path.with_extension("part");
    let made = File::create(&part).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out, stored, size)?;
        out.flush()
    });
    made.with_context(|| format!("{}: writing the model", part.display()))?;
    fs::rename(&part, path).with_context(|| format!("{}: naming the model", path.display()))
}

fn write(out: &mut impl Write, stored: Stored, size: Size) -> io::Result<()> {
    let tensors = tensors(size);
    let mut head = Head::default();
    head.describe(stored, size);
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(head.pairs.to_le_bytes());
    bytes.append(&mut head.bytes);
    let mut offset = 0u64;
    for tensor in &tensors {
        let (code, length) = tensor.codes(stored);
        text(&mut bytes, tensor.name.as_bytes());
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        bytes.extend(tensor.shape.iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(code.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += length.next_multiple_of(ALIGNMENT);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&bytes)?;

    for (seed, tensor) in tensors.iter().enumerate() {
        let mut random = Random(seed as u64);
        if tensor.shape.len() == 1 {
            for _ in 0..tensor.count() {
                out.write_all(&1f32.to_le_bytes())?;
            }
        } else {
            for _ in 0..tensor.shape[1] {
                out.write_all(&random.row(tensor.shape[0], stored))?;
            }
        }
        let length = tensor.codes(stored).1;
        out.write_all(&vec![0; (length.next_multiple_of(ALIGNMENT) - length) as usize])?;
    }
    Ok(())
}

fn tensors(size: Size) -> Vec<Tensor> {
    let Size { dim, wide, vocab, .. } = size;
    let tensor = |name: String, shape: &[u64]| Tensor { name: format!("{name}.weight"), shape: shape.into() };
    let mut all = vec![
        tensor("token_embd".into(), &[dim, vocab]),
        tensor("output_norm".into(), &[dim]),
        tensor("output".into(), &[dim, vocab]),
    ];
    for layer in 0..size.layers {
        let shapes: [(&str, &[u64]); 9] = [
            ("attn_norm", &[dim]),
            ("attn_q", &[dim, dim]),
            ("attn_k", &[dim, dim]),
            ("attn_v", &[dim, dim]),
            ("attn_output", &[dim, dim]),
            ("ffn_norm", &[dim]),
            ("ffn_gate", &[dim, wide]),
            ("ffn_up", &[dim, wide]),
            ("ffn_down", &[wide, dim]),
        ];
        all.extend(shapes.map(|(name, shape)| tensor(format!("blk.{layer}.{name}"), shape)));
    }
    all
}

/// Keys and values.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    pairs: u64,
}

impl Head {
    fn describe(&mut self, stored: Stored, size: Size) {
        let Size { dim, wide, heads, vocab, layers } = size;
        self.text("general.architecture", "llama");
        self.text("general.name", &format!("random-{}-{layers}", stored.name()));
        self.number("general.file_type", stored.codes(0).1);
        for (key, value) in [
            ("context_length", CTX),
            ("embedding_length", dim),
            ("block_count", layers.into()),
            ("feed_forward_length", wide),
            ("rope.dimension_count", dim / heads),
            ("attention.head_count", heads),
            ("attention.head_count_kv", heads),
            ("vocab_size", vocab),
        ] {
            self.number(&format!("llama.{key}"), value as u32);
        }
        self.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        self.float("llama.rope.freq_base", 1e4);
        self.text("tokenizer.ggml.model", "llama");
        self.text("tokenizer.ggml.pre", "default");
        let pieces = (0..vocab).map(|id| match id {
            0 => ("<unk>".into(), 2),
            1 => ("<s>".into(), 3),
            2 => ("</s>".into(), 3),
            3..259 => (format!("<0x{:02X}>", id - 3), 6),
            _ => (format!("\u{2581}t{id}"), 1),
        });
        let (pieces, kinds): (Vec<String>, Vec<i32>) = pieces.unzip();
        self.array("tokenizer.ggml.tokens", 8, vocab);
        pieces.iter().for_each(|piece| text(&mut self.bytes, piece.as_bytes()));
        self.array("tokenizer.ggml.scores", 6, vocab);
        self.bytes.extend((0..vocab).flat_map(|id| (-(id as f32)).to_le_bytes()));
        self.array("tokenizer.ggml.token_type", 5, vocab);
        self.bytes.extend(kinds.iter().flat_map(|kind| kind.to_le_bytes()));
        for (key, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
            self.number(&format!("tokenizer.ggml.{key}_token_id"), id);
        }
    }

    fn key(&mut self, key: &str, kind: u32) {
        text(&mut self.bytes, key.as_bytes());
        self.bytes.extend(kind.to_le_bytes());
        self.pairs += 1;
    }

    fn number(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text(&mut self.bytes, value.as_bytes());
    }

    fn array(&mut self, key: &str, kind: u32, length: u64) {
        self.key(key, 9);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
    }
}

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform values, a row of a matrix.
    fn row(&mut self, count: u64, stored: Stored) -> Vec<u8> {
        match stored {
            Stored::Q8_0 => {
                // A uniform i8 has a root mean square of 73.9.
                let scale = f16_bits(RMS / 73.9).to_le_bytes();
                let group = |r: &mut Self| {
                    let values = (0..GROUP / 8).flat_map(|_| r.next().to_le_bytes()).collect::<Vec<_>>();
                    scale.into_iter().chain(values).collect::<Vec<_>>()
                };
                (0..count / GROUP).flat_map(|_| group(self)).collect()
            }
            Stored::Bf16 => {
                let half_width = RMS * 3f32.sqrt();
                let value = |bits: u64| {
                    let unit = (bits & 0xffff) as f32 / 32768.0 - 1.0;
                    (((unit * half_width).to_bits() >> 16) as u16).to_le_bytes()
                };
                let four = |r: &mut Self| {
                    let bits = r.next();
                    [0, 16, 32, 48].map(|shift| value(bits >> shift))
                };
                (0..count / 4).flat_map(|_| four(self)).flatten().collect()
            }
        }
    }
}

/// An f16 of a normal number, cut off.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    debug_assert!((1..31).contains(&exponent), "{value} is no normal f16");
    (bits >> 16 & 0x8000) as u16 | (exponent << 10) as u16 | (bits >> 13 & 0x3ff) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size { dim: 64, wide: 96, heads: 2, vocab: 300, layers: 2 };

    fn bytes(stored: Stored) -> Vec<u8> {
        let mut bytes = vec![];
        write(&mut bytes, stored, SMALL).unwrap();
        bytes
    }

    #[test]
    fn gguf_is_as_long_as_its_header_says() {
        for (stored, per_row) in [(Stored::Q8_0, 68), (Stored::Bf16, 128)] {
            let bytes = bytes(stored);
            assert_eq!(bytes[..8], *b"GGUF\x03\0\0\0");
            assert_eq!(bytes[8], 3 + 2 * 9);
            // The last tensor is ffn_down, of 64 rows of 96; before the offset stand its shape and type.
            let name = b"blk.1.ffn_down.weight";
            let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len();
            let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            assert_eq!((long(at + 4), long(at + 12)), (96, 64));
            let offset = long(at + 24);
            let data = (at as u64 + 32).next_multiple_of(ALIGNMENT);
            let length = 64 * per_row * 96 / 64;
            assert_eq!(data + offset + length, bytes.len() as u64, "{stored:?}");
            assert_eq!(bytes, super::tests::bytes(stored), "the same every time");
        }
    }

    #[test]
    fn values_have_the_size_of_trained_ones() {
        let rms = |values: &[f32]| (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
        let row = Random(1).row(4096, Stored::Bf16);
        let values = row.chunks(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16));
        assert!((rms(&values.collect::<Vec<_>>()) - RMS).abs() < 0.001);
        let row = Random(1).row(4096, Stored::Q8_0);
        assert_eq!(row.len(), 4096 / 32 * 34);
        let values = row.chunks(34).flat_map(|g| &g[2..]).map(|&b| f32::from(b as i8) * RMS / 73.9);
        assert!((rms(&values.collect::<Vec<_>>()) - RMS).abs() < 0.001);
    }

    #[test]
    fn f16_of_powers_of_two_and_what_lies_between() {
        for (value, bits) in [(1.0, 0x3c00), (-2.0, 0xc000), (0.5, 0x3800), (1.5, 0x3e00)] {
            assert_eq!(f16_bits(value), bits, "{value}");
        }
    }
}
