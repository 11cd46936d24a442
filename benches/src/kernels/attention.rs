//! Attention: rows of a prefill over the context, the one row of a decode step, and the vision part's without a mask.

use half::f16;
use strix_engine::{Graph, Resident};
use strix_model::Config;
use strix_model::tune::data;
use strix_shaders::cursors::PAGE;
use strix_shaders::{
    Cursors, HeadShape, Heads, KvCache, KvElement, Mask, attention, cached_attention, cached_attention_probs,
    decode_attention,
};

use super::bench::{Bench, CONTEXTS, Operands, PREFILL, Record, Turns, copies, heads_of, rope_tables};
use crate::{Result, Shape, Work};

/// Rows that are compared with the reference, at the end of the context.
const FEW: u32 = 5;

/// An attention and its sizes.
#[derive(Clone, Copy)]
struct Sizes {
    rows: u32,
    keys: u32,
    heads: HeadShape,
}

pub(super) fn bench(shape: Shape) -> Result<Bench> {
    if shape.dtype == "f16" { of::<f16>(shape) } else { of::<f32>(shape) }
}

fn of<T: KvElement>(shape: Shape) -> Result<Bench> {
    let [rows, keys, num_heads, head_dim] = [0, 1, 2, 3].map(|i| shape.sizes[i]);
    let heads = HeadShape { num_heads, num_kv_heads: shape.kv_heads(), head_dim };
    let s = Sizes { rows, keys, heads };
    Ok(match shape.kernel.as_str() {
        "attention_full" => Bench::new(shape, s.work::<T>(s.all()), move |o| s.full(o)),
        "attention_probs" => Bench::new(shape, s.probs_work(), move |o| s.probs(o)),
        "decode_attention" => Bench::new(shape, s.work::<T>(s.all()), move |o| s.decode::<T>(o)),
        _ => Bench::new(shape, s.work::<T>(s.causal_pairs()), move |o| s.causal::<T>(o)),
    })
}

impl Sizes {
    /// Pairs of a query and a key.
    fn all(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.keys)
    }

    /// The same, where a row sees the keys up to its own.
    fn causal_pairs(&self) -> u64 {
        (0..u64::from(self.rows)).map(|r| u64::from(self.keys - self.rows) + r + 1).sum()
    }

    /// Queries, keys and values once, results once; `seen` pairs of a query and a key a head.
    fn work<T: KvElement>(&self, seen: u64) -> Work {
        let HeadShape { num_heads, num_kv_heads, head_dim } = self.heads;
        let (q, kv) = (u64::from(num_heads * head_dim), u64::from(num_kv_heads * head_dim));
        let element = size_of::<T>() as u64;
        let bytes = 2 * (4 * u64::from(self.rows) * q + element * u64::from(self.keys) * kv);
        Work { bytes, flops: 4 * seen * q }
    }

    fn probs_work(&self) -> Work {
        let row = u64::from(self.heads.num_heads * self.heads.head_dim);
        let kv_row = u64::from(self.heads.num_kv_heads * self.heads.head_dim);
        let probs = u64::from(self.heads.num_heads) * self.all();
        let read = u64::from(self.rows) * row + u64::from(self.keys) * kv_row;
        Work { bytes: 4 * (read + probs), flops: 2 * self.causal_pairs() * row }
    }

    fn queries(&self, operands: &Operands) -> Result<Resident<f32, 2>> {
        operands.tensor("q", [self.rows, self.heads.num_heads * self.heads.head_dim])
    }

    /// Keys and values.
    fn cache<T: KvElement>(&self, operands: &Operands) -> Result<KvCache<T>> {
        Ok(data::cache(operands.gpu(), self.heads, self.keys)?)
    }

    /// All rows at the end of the keys, or a few of them.
    fn cursors(&self, g: &mut Graph, quickly: bool) -> Cursors {
        let live = if quickly { self.rows.min(FEW) } else { self.rows };
        Cursors::in_order(g, self.rows, self.keys - live, live, self.keys.div_ceil(PAGE))
    }

    /// The heads of queries.
    fn bind(&self, g: &mut Graph, q: &Resident<f32, 2>) -> Heads {
        Heads::in_rows(g.bind(q), 0, self.heads.head_dim)
    }

    fn causal<T: KvElement>(self, operands: &Operands) -> Result<Record> {
        let (q, kv) = (self.queries(operands)?, self.cache::<T>(operands)?);
        Ok(Box::new(move |g, quickly| {
            let (q, cursors) = (self.bind(g, &q), self.cursors(g, quickly));
            cached_attention(g, "y", q, &kv, self.heads, self.rows, cursors);
        }))
    }

    fn full(self, operands: &Operands) -> Result<Record> {
        let HeadShape { num_kv_heads, head_dim, .. } = self.heads;
        let rows_of = |name| operands.tensor(name, [self.keys, num_kv_heads * head_dim]);
        let (q, kv) = (self.queries(operands)?, [rows_of("k")?, rows_of("v")?]);
        Ok(Box::new(move |g, quickly| {
            let [q, k, v] = [&q, &kv[0], &kv[1]].map(|t| Heads::in_rows(g.bind(t), 0, head_dim));
            let rows = if quickly { self.rows.min(FEW) } else { self.rows };
            attention(g, "y", q, k, v, self.heads, rows, Mask::Full { keys: self.keys });
        }))
    }

    fn probs(self, operands: &Operands) -> Result<Record> {
        let (q, kv) = (self.queries(operands)?, self.cache::<f32>(operands)?);
        Ok(Box::new(move |g, _| {
            let (q, cursors) = (self.bind(g, &q), self.cursors(g, false));
            cached_attention_probs(g, "p", q, &kv, self.heads, self.rows, self.keys, cursors);
        }))
    }

    fn decode<T: KvElement>(self, operands: &Operands) -> Result<Record> {
        let HeadShape { num_heads, num_kv_heads, head_dim } = self.heads;
        let qkv = operands.tensor("qkv", [1, (num_heads + 2 * num_kv_heads) * head_dim])?;
        // One row streams the cache.
        let caches = 0..copies(self.work::<T>(0).bytes);
        let caches = Turns::new(caches.map(|_| self.cache::<T>(operands)).collect::<Result<Vec<_>>>()?);
        let tables = rope_tables(self.keys, head_dim);
        Ok(Box::new(move |g, _| {
            let (qkv, cursors) = (g.bind(&qkv), self.cursors(g, false));
            decode_attention(g, "y", qkv, &tables, caches.next(), self.heads, cursors);
        }))
    }
}

pub(super) fn list(config: &Config, list: &mut Vec<(Shape, bool)>) {
    let (t, v, a) = (&config.text, &config.vision, &config.abstractor);
    let text = heads_of(t.num_attention_heads, t.num_key_value_heads, t.head_dim());
    let vision = heads_of(v.num_attention_heads, v.num_attention_heads, v.head_dim());
    let queries = heads_of(a.num_attention_heads, a.num_attention_heads, a.head_dim());
    let [v_rows, a_rows] = [v.num_tokens(), a.num_learnable_queries].map(|n| n as u32);
    let mut push = |kernel: &str, regime: &str, rows, keys, heads: HeadShape, dtype: &str, quick| {
        let sizes = [rows, keys, heads.num_heads, heads.head_dim];
        list.push((Shape::new(kernel, regime, &sizes, dtype), quick));
    };
    for rows in PREFILL {
        // The rows alone, then at the end of each context that holds them.
        for keys in [rows].into_iter().chain(CONTEXTS.into_iter().filter(|&keys| keys > rows)) {
            for dtype in ["f32", "f16"] {
                let quick = dtype == "f32" && keys == 512;
                push("attention", "prefill", rows, keys, text, dtype, quick);
            }
        }
    }
    for keys in CONTEXTS {
        for dtype in ["f32", "f16"] {
            let quick = keys == 2048 || (keys, dtype) == (512, "f32");
            push("decode_attention", "decode", 1, keys, text, dtype, quick);
        }
    }
    push("attention_full", "vision", v_rows, v_rows, vision, "", true);
    push("attention_full", "abstractor", a_rows, a_rows + v_rows, queries, "", false);
    push("attention_probs", "prefill", 64, 512, text, "", false);
}
