//! Kernels that are timed to choose between their ways: each at a shape of the model, and at a smaller one that its
//! CPU reference can check.

use half::f16;
use strix_engine::{Gpu, Graph, Resident, Result};
use strix_shaders::cursors::PAGE;
use strix_shaders::rms_norm::Mixed;
use strix_shaders::{
    Cursors, Format, HeadShape, Heads, KvElement, Layout, Mask, RopeTables, attention, cached_attention,
    decode_attention, layer_norm, linear, rms_norm, swiglu,
};

use super::data;
use crate::config::{Config, TextConfig};
use crate::position;

/// Records what is timed.
pub(super) type Record = Box<dyn Fn(&mut Graph)>;
/// Makes the operands.
type Prepare = Box<dyn Fn(&Gpu) -> Result<Record>>;

/// One kernel at one shape.
pub(super) struct Subject {
    /// Kernel and shape, e.g. `gemm 64x4096x4096 int8`.
    pub(super) name: String,
    /// At the model's shape.
    pub(super) timed: Prepare,
    /// At a smaller shape of the same class.
    pub(super) checked: Prepare,
}

/// A projection of `rows` rows.
#[derive(Clone, Copy)]
struct Projection {
    rows: u32,
    n: u32,
    k: u32,
    gated: bool,
}

/// Every kernel that can be specialised in more ways than one, at the shapes of a model: what a token takes longest
/// for first, so that a budget that runs out has bought the most.
pub(super) fn subjects(config: &Config) -> Vec<Subject> {
    let (t, v, a) = (&config.text, &config.vision, &config.abstractor);
    let [dim, wide] = [t.hidden_size, t.intermediate_size].map(|n| n as u32);
    let [v_dim, v_wide, v_rows] = [v.hidden_size, v.intermediate_size, v.num_tokens()].map(|n| n as u32);
    let text = heads(t.num_attention_heads, t.num_key_value_heads, t.head_dim());
    let vision = heads(v.num_attention_heads, v.num_attention_heads, v.head_dim());
    let reader = heads(a.num_attention_heads, a.num_attention_heads, a.head_dim());
    let queries = a.num_learnable_queries as u32;
    let context = (t.max_position_embeddings as u32).min(1024);

    let mut subjects = vec![];
    let square = |rows| Projection { rows, n: dim, k: dim, gated: false };
    let group =
        |width: u32| Format::Int8 { group: [128, 64, 32].into_iter().find(|&g| width.is_multiple_of(g)) };
    let (int8, bf16) = (Format::Int8 { group: None }, Format::Bf16);
    for format in [int8, bf16, group(dim), Format::F32] {
        subjects.push(projection(square(1), format));
        if format == int8 {
            subjects.push(projection(Projection { n: wide, gated: true, ..square(1) }, format));
        }
        subjects.push(projection(square(64), format));
        if format == int8 {
            subjects.push(decode::<f32>(t, text, context));
            subjects.push(causal::<f32>(text, 64, context.min(512)));
            subjects.push(full(vision, v_rows, v_rows));
        }
        if format == bf16 {
            subjects.push(projection(Projection { rows: v_rows, n: v_wide, k: v_dim, gated: false }, format));
            subjects.push(decode::<f16>(t, text, context));
            subjects.push(causal::<f16>(text, 64, context.min(512)));
            subjects.push(full(reader, queries, queries + v_rows));
        }
        subjects.push(projection(square(16), format));
    }
    for rows in [1, 16, 64] {
        subjects.push(rms(rows, dim));
    }
    subjects.push(layer(v_rows, v_dim));
    let mut names = std::collections::HashSet::new();
    subjects.retain(|subject| names.insert(subject.name.clone()));
    subjects
}

fn heads(heads: usize, kv_heads: usize, dim: usize) -> HeadShape {
    HeadShape { num_heads: heads as u32, num_kv_heads: kv_heads as u32, head_dim: dim as u32 }
}

/// The same with as few heads as share keys.
fn few_heads(heads: HeadShape) -> HeadShape {
    HeadShape { num_heads: heads.num_heads / heads.num_kv_heads, num_kv_heads: 1, ..heads }
}

fn projection(p: Projection, format: Format) -> Subject {
    let prepare = move |p: Projection, checked: bool| -> Prepare {
        Box::new(move |gpu| {
            let layout = Layout { n: p.n, k: p.k, sets: 1, shared: 0, gated: p.gated, format };
            let weights = data::projection(gpu, "w", layout, false)?;
            let x = data::tensor(gpu, "x", [p.rows, p.k])?;
            let rows = if checked { data::few_rows(p.rows, false) } else { data::routing(p.rows, false) };
            Ok(Box::new(move |g| {
                let (x, rows) = (g.bind(&x), strix_shaders::Routing(g.bind(&rows)));
                if p.gated {
                    swiglu(g, x, &weights, rows)
                } else {
                    linear(g, x, &weights, rows)
                };
            }))
        })
    };
    let kernel = if p.gated { "swiglu" } else { "gemm" };
    let dtype = data::FORMATS.iter().find(|(_, f)| *f == format).map_or("", |(name, _)| name);
    Subject {
        name: format!("{kernel} {}x{}x{} {dtype}", p.rows, p.n, p.k),
        timed: prepare(p, false),
        checked: prepare(Projection { n: p.n.min(80), ..p }, true),
    }
}

fn queries_of(gpu: &Gpu, h: HeadShape, rows: u32) -> Result<Resident<f32, 2>> {
    data::tensor(gpu, "q", [rows, h.num_heads * h.head_dim])
}

/// Heads that fill the rows of a tensor.
fn in_rows(g: &mut Graph, tensor: &Resident<f32, 2>, h: HeadShape) -> Heads {
    Heads::in_rows(g.bind(tensor), 0, h.head_dim)
}

fn stored_as<T: KvElement>() -> &'static str {
    if T::IS_F16 { "f16" } else { "f32" }
}

fn decode<T: KvElement + Send + Sync>(text: &TextConfig, h: HeadShape, keys: u32) -> Subject {
    let prepare = |h: HeadShape, keys: u32| -> Prepare {
        let text = text.clone();
        Box::new(move |gpu| {
            let qkv = data::tensor(gpu, "qkv", [1, (h.num_heads + 2 * h.num_kv_heads) * h.head_dim])?;
            let tables = position::rope_tables(&text, keys as usize);
            let tables = RopeTables::new("rope", keys, h.head_dim, &tables.cos, &tables.sin);
            let cache = data::cache::<T>(gpu, h, keys)?;
            Ok(Box::new(move |g| {
                let cursors = Cursors::in_order(g, 1, keys - 1, 1, keys.div_ceil(PAGE));
                let qkv = g.bind(&qkv);
                decode_attention(g, "y", qkv, &tables, &cache, h, cursors);
            }))
        })
    };
    Subject {
        name: format!("decode_attention 1x{keys}x{}x{} {}", h.num_heads, h.head_dim, stored_as::<T>()),
        timed: prepare(h, keys),
        checked: prepare(few_heads(h), keys.min(300)),
    }
}

fn causal<T: KvElement + Send + Sync>(h: HeadShape, rows: u32, keys: u32) -> Subject {
    let prepare = |h: HeadShape, rows: u32, keys: u32| -> Prepare {
        Box::new(move |gpu| {
            let (q, cache) = (queries_of(gpu, h, rows)?, data::cache::<T>(gpu, h, keys)?);
            Ok(Box::new(move |g| {
                let q = in_rows(g, &q, h);
                let cursors = Cursors::in_order(g, rows, keys - rows, rows, keys.div_ceil(PAGE));
                cached_attention(g, "y", q, &cache, h, rows, cursors);
            }))
        })
    };
    let rows = rows.min(keys);
    Subject {
        name: format!("attention {rows}x{keys}x{}x{} {} causal", h.num_heads, h.head_dim, stored_as::<T>()),
        timed: prepare(h, rows, keys),
        checked: prepare(few_heads(h), rows.min(20), keys.min(150)),
    }
}

fn full(h: HeadShape, rows: u32, keys: u32) -> Subject {
    let prepare = |h: HeadShape, rows: u32, keys: u32| -> Prepare {
        Box::new(move |gpu| {
            let q = queries_of(gpu, h, rows)?;
            let keys_of = |name| data::tensor(gpu, name, [keys, h.num_kv_heads * h.head_dim]);
            let kv = [keys_of("k")?, keys_of("v")?];
            Ok(Box::new(move |g| {
                let q = in_rows(g, &q, h);
                let [k, v] = kv.each_ref().map(|t| in_rows(g, t, h));
                attention(g, "y", q, k, v, h, rows, Mask::Full { keys });
            }))
        })
    };
    Subject {
        name: format!("attention {rows}x{keys}x{}x{} f32", h.num_heads, h.head_dim),
        timed: prepare(h, rows, keys),
        checked: prepare(few_heads(h), rows.min(20), keys.min(150)),
    }
}

fn rms(rows: u32, dim: u32) -> Subject {
    let prepare = move || -> Prepare {
        Box::new(move |gpu| {
            let (x, gain) = (data::tensor(gpu, "x", [rows, dim])?, data::tensor(gpu, "gain", [2, dim])?);
            let modality = Resident::from_slice("modality", [rows], &vec![0; rows as usize]);
            Ok(Box::new(move |g| {
                let (x, modality) = (g.bind(&x), g.bind(&modality));
                let mixed =
                    Mixed { modality, cursors: Cursors::in_order(g, rows, 0, rows, rows.div_ceil(PAGE)) };
                rms_norm(g, "y", x, &gain, Some(mixed), 1e-5);
            }))
        })
    };
    Subject { name: format!("rms_norm {rows}x{dim}"), timed: prepare(), checked: prepare() }
}

fn layer(rows: u32, dim: u32) -> Subject {
    let prepare = move |rows: u32| -> Prepare {
        Box::new(move |gpu| {
            let x = data::tensor(gpu, "x", [rows, dim])?;
            let (gain, bias) = (data::tensor(gpu, "gain", [dim])?, data::tensor(gpu, "bias", [dim])?);
            Ok(Box::new(move |g| {
                let x = g.bind(&x);
                layer_norm(g, "y", x, &gain, &bias, 1e-6);
            }))
        })
    };
    Subject { name: format!("layer_norm {rows}x{dim}"), timed: prepare(rows), checked: prepare(rows.min(20)) }
}
