//! Kernels that move rows and compute little: norms, embeddings, rotations, and the largest logits.

use half::f16;
use strix_engine::{Gpu, Resident};
use strix_model::Config;
use strix_model::tune::data;
use strix_shaders::cursors::PAGE;
use strix_shaders::embedding::{Table, Visual};
use strix_shaders::rms_norm::Mixed;
use strix_shaders::{
    Cursors, EmbeddingStrip, HeadShape, KvCache, KvElement, add, class_token, embedding, layer_norm,
    layer_norm_into, patches, rms_norm, rope_append, take_rows, top_k,
};

use super::bench::{Bench, Operands, PREFILL, Record, rope_tables};
use crate::shape::PATCH;
use crate::{Error, Result, Shape, Work};

/// Rows before those that `layer_norm_into` writes: the abstractor's queries.
const BEFORE: u32 = 64;
/// Positions of the cache that `rope_append` appends to, at the least, and where it begins.
const CONTEXT: u32 = 2048;
const APPEND_AT: u32 = 512;
/// Rows of an embedding table, and those that `take_rows` takes from.
const VOCAB: u32 = 32_000;

pub(super) fn bench(shape: Shape) -> Result<Bench> {
    let [a, b] = [shape.sizes[0], shape.sizes[1]];
    let floats = |n: u64| 4 * n;
    let n = u64::from(a) * u64::from(b);
    let dim = u64::from(b);
    let work = |bytes: u64, flops: u64| Work { bytes, flops };
    Ok(match shape.kernel.as_str() {
        "rms_norm" => {
            let gains = u64::from(a.min(2)) * dim;
            Bench::new(shape, work(2 * floats(n) + floats(gains), 4 * n), move |o| norm(o, a, b))
        }
        "layer_norm" | "layer_norm_into" => {
            let into = shape.kernel == "layer_norm_into";
            let bytes = 2 * floats(n) + 2 * floats(dim);
            Bench::new(shape, work(bytes, 8 * n), move |o| centred_norm(o, a, b, into))
        }
        "embedding" => {
            let element = if shape.dtype == "f32" { 4 } else { 2 };
            // Every second row is a picture's.
            let (text, image) = (u64::from(a.div_ceil(2)) * dim, u64::from(a / 2) * dim);
            let bytes = text * element + floats(image) + floats(n);
            Bench::new(shape, work(bytes, 0), move |o| embed(o, a, b, element))
        }
        "patches" => {
            let pixels = n * u64::from(shape.sizes[2]);
            Bench::new(shape, work(2 * floats(pixels), 0), move |o| {
                let pixels = o.tensor("pixels", [a, b, b])?;
                Ok(Box::new(move |g, _| {
                    let pixels = g.bind(&pixels);
                    patches(g, "patches", pixels, PATCH);
                }))
            })
        }
        "class_token" => Bench::new(shape, work(3 * floats(n), n), move |o| {
            let x = o.tensor("patches", [a - 1, b])?;
            let (class, position) = (o.tensor("class", [b])?, o.tensor("position", [a, b])?);
            Ok(Box::new(move |g, _| {
                let x = g.bind(&x);
                class_token(g, "x", x, &class, &position);
            }))
        }),
        "add" => Bench::new(shape, work(3 * floats(n), n), move |o| {
            let (x, table) = (o.tensor("x", [a, b])?, o.tensor("positions", [a, b])?);
            Ok(Box::new(move |g, _| {
                let x = g.bind(&x);
                add(g, "y", x, &table);
            }))
        }),
        "take_rows" => Bench::new(shape, work(2 * floats(n), 0), move |o| {
            let rows = a.max(64);
            let x = o.tensor("x", [rows, b])?;
            let index: Vec<u32> = (0..a).map(|i| rows - 1 - i).collect();
            let index = Resident::from_slice("index", [a], &index);
            Ok(Box::new(move |g, _| {
                let (x, index) = (g.bind(&x), g.bind(&index));
                take_rows(g, "y", x, index);
            }))
        }),
        "top_k" => {
            let bytes = floats(u64::from(b) + 2 * u64::from(a));
            Bench::new(shape, work(bytes, 0), move |o| {
                let logits = o.tensor("logits", [1, b])?;
                Ok(Box::new(move |g, _| {
                    let logits = g.bind(&logits);
                    top_k::top_k(g, "ids", logits, a);
                }))
            })
        }
        "rope_append" => match shape.dtype.as_str() {
            "f16" => rope::<f16>(shape),
            _ => rope::<f32>(shape),
        },
        other => {
            let reason = format!("{other} has no bench");
            return Err(Error::Shape { shape: shape.to_string(), reason });
        }
    })
}

fn norm(operands: &Operands, rows: u32, dim: u32) -> Result<Record> {
    let (x, gain) = (operands.tensor("x", [rows, dim])?, operands.tensor("gain", [2, dim])?);
    let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
    let modality = Resident::from_slice("modality", [rows], &modality);
    Ok(Box::new(move |g, _| {
        let (x, modality) = (g.bind(&x), g.bind(&modality));
        let mixed = Mixed { modality, cursors: Cursors::in_order(g, rows, 0, rows, rows.div_ceil(PAGE)) };
        rms_norm(g, "y", x, &gain, Some(mixed), 1e-5);
    }))
}

fn centred_norm(operands: &Operands, rows: u32, dim: u32, into: bool) -> Result<Record> {
    let x = operands.tensor("x", [rows, dim])?;
    let (gain, bias) = (operands.tensor("gain", [dim])?, operands.tensor("bias", [dim])?);
    Ok(Box::new(move |g, _| {
        let x = g.bind(&x);
        if into {
            let y = g.activation("y", [BEFORE + rows, dim]);
            layer_norm_into(g, x, &gain, &bias, 1e-6, y, BEFORE);
        } else {
            layer_norm(g, "y", x, &gain, &bias, 1e-6);
        }
    }))
}

fn embed(operands: &Operands, rows: u32, dim: u32, element: u64) -> Result<Record> {
    let parts = table(operands.gpu(), VOCAB, dim, element)?;
    let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
    let tokens = (0..rows).map(|r| r * 7919 % if r % 2 == 0 { VOCAB } else { rows }).collect();
    let [tokens, modality]: [_; 2] =
        [tokens, modality].map(|of: Vec<u32>| Resident::from_slice("rows", [rows], &of));
    let visual = operands.tensor("visual", [rows, dim])?;
    Ok(Box::new(move |g, _| {
        let tokens = g.bind(&tokens);
        let visual = (rows > 1).then(|| Visual { modality: g.bind(&modality), rows: g.bind(&visual) });
        embedding(g, "x", &parts, tokens, visual, dim);
    }))
}

/// An embedding table of noise, in as many parts as the device's bindings need.
fn table(gpu: &Gpu, vocab: u32, dim: u32, element: u64) -> Result<Vec<EmbeddingStrip>> {
    let max = gpu.target().max_binding_bytes;
    let part = |(first, count): (u32, u32)| -> Result<EmbeddingStrip> {
        let noise = data::noise(count as usize * dim as usize);
        let table = if element == 4 {
            Table::F32(Resident::upload(gpu, "table", [count, dim], &noise)?)
        } else {
            let bf16 = |v: f32| v.to_bits() >> 16;
            let pair = |v: &[f32]| bf16(v[0]) | v.get(1).map_or(0, |&v| bf16(v) << 16);
            let words: Vec<u32> =
                noise.chunks(dim as usize).flat_map(|row| row.chunks(2).map(pair)).collect();
            Table::Bf16(Resident::upload(gpu, "table", [count, dim.div_ceil(2)], &words)?)
        };
        Ok(EmbeddingStrip { table, first, count })
    };
    EmbeddingStrip::split(vocab, u64::from(dim) * element, max).into_iter().map(part).collect()
}

/// Rotation and append of rows to a cache of T.
fn rope<T: KvElement>(shape: Shape) -> Bench {
    let [rows, num_heads, head_dim] = [0, 1, 2].map(|i| shape.sizes[i]);
    let heads = HeadShape { num_heads, num_kv_heads: num_heads, head_dim };
    let [q_dim, kv_dim] = [num_heads * head_dim, 2 * num_heads * head_dim];
    let read = u64::from(2 * q_dim + kv_dim + head_dim);
    let bytes = u64::from(rows) * (4 * read + size_of::<T>() as u64 * u64::from(kv_dim));
    let work = Work { bytes, flops: 3 * u64::from(rows) * u64::from(q_dim + kv_dim / 2) };
    let context = CONTEXT.max(APPEND_AT + rows);
    Bench::new(shape, work, move |operands| {
        let qkv = operands.tensor("qkv", [rows, q_dim + kv_dim])?;
        let tables = rope_tables(context, head_dim);
        let pages = context.div_ceil(PAGE);
        let cache = KvCache::<T>::new("bench", pages, heads, operands.gpu().target().max_binding_bytes);
        Ok(Box::new(move |g, _| {
            let qkv = g.bind(&qkv);
            let cursors = Cursors::in_order(g, rows, APPEND_AT, rows, pages);
            rope_append(g, "q", qkv, &tables, &cache, heads, cursors);
        }))
    })
}

pub(super) fn list(config: &Config, list: &mut Vec<(Shape, bool)>) {
    let (t, v, a) = (&config.text, &config.vision, &config.abstractor);
    let [dim, vocab, heads, head_dim] =
        [t.hidden_size, t.vocab_size, t.num_attention_heads, t.head_dim()].map(|n| n as u32);
    let [v_dim, v_rows, size, channels] =
        [v.hidden_size, v.num_tokens(), v.image_size, v.num_channels].map(|n| n as u32);
    let [queries, a_wide] = [a.num_learnable_queries, a.intermediate_size].map(|n| n as u32);
    let mut push = |kernel: &str, regime: &str, sizes: &[u32], dtype: &str, quick: bool| {
        list.push((Shape::new(kernel, regime, sizes, dtype), quick));
    };
    let rows = [("decode", 1)].into_iter().chain(PREFILL.map(|rows| ("prefill", rows)));
    for (regime, rows) in rows {
        push("rms_norm", regime, &[rows, dim], "", rows <= 64);
        for dtype in ["f32", "f16"] {
            push("rope_append", regime, &[rows, heads, head_dim], dtype, dtype == "f32" && rows <= 64);
        }
        for dtype in ["f32", "bf16"] {
            push("embedding", regime, &[rows, dim], dtype, dtype == "bf16" && rows == 64);
        }
    }
    push("layer_norm", "vision", &[v_rows, v_dim], "", true);
    push("layer_norm", "abstractor", &[queries, a_wide], "", false);
    push("layer_norm_into", "abstractor", &[v_rows, v_dim], "", false);
    push("patches", "vision", &[channels, size, size], "", false);
    push("class_token", "vision", &[v_rows, v_dim], "", false);
    push("add", "abstractor", &[queries + v_rows, v_dim], "", true);
    push("take_rows", "prefill", &[1, dim], "", false);
    push("take_rows", "prefill", &[64, dim], "", false);
    push("top_k", "decode", &[1, vocab], "", false);
    push("top_k", "decode", &[64, vocab], "", true);
}
