//! The language decoder with its modality-adaptive module (Ye et al. 2023, arXiv:2311.04257, §3.2; SPEC §5).

use std::borrow::Cow;

use strix_engine::{Graph, Resident, Tensor};
use strix_shaders::embedding::Visual;
use strix_shaders::rms_norm::Mixed;
use strix_shaders::{
    Cursors, EmbeddingStrip, Heads, Input, KvCache, KvElement, Linear, RopeTables, Routing, cached_attention,
    cached_attention_probs, decode_attention, embedding, linear, linear_add, rms_norm, rope_append, swiglu,
    take_rows, top_k,
};

use crate::config::TextConfig;
use crate::held::{Component, Projection};
use crate::kv_cache::{LayerCache, heads};
use crate::layers::all_rows;
use crate::parts::{Declaring, Values};
use crate::position::rope_tables;
use crate::{Error, Result};

/// Hidden states, `[rows, hidden_size]`.
type Hidden = Tensor<f32, 2>;

/// Most sequences that are run together.
pub(crate) const TOGETHER: usize = 16;

/// Most candidates that a step hands to the sampler.
pub(crate) const CANDIDATES: u32 = 64;

/// Weights of one layer, named as in the checkpoint; `q_proj`, `k_proj` and `v_proj` are one matrix.
#[derive(Debug)]
pub(crate) struct Layer {
    input_layernorm: Resident<f32, 2>,
    qkv_proj: Linear,
    o_proj: Linear,
    post_attention_layernorm: Resident<f32, 2>,
    gate_up_proj: Linear,
    down_proj: Linear,
}

/// The decoder's weights.
#[derive(Debug)]
pub(crate) struct Decoder {
    embed_tokens: Vec<EmbeddingStrip>,
    layers: Vec<Layer>,
    norm: Resident<f32, 2>,
    lm_head: Linear,
    rope: RopeTables,
}

/// The kind of a run, by its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regime {
    /// Each a token behind what its own sequence has in the cache.
    Decode,
    /// Runs of text and picture rows, of one sequence or several.
    Prefill,
}

/// The rows of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Their kind.
    pub regime: Regime,
    /// Token of each row; of an image's row its place among those of the pictures.
    pub tokens: Tensor<u32, 1>,
    /// Image rows among them; absent when decoding.
    pub visual: Option<Visual>,
    /// The same rows, sorted by modality for the projections.
    pub routing: Routing,
    /// Sequence and position of each row, and the pages of the sequences.
    pub cursors: Cursors,
    /// The row of each sequence whose logits are wanted. Absent when decoding: the logits of all rows are wanted.
    pub last: Option<Tensor<u32, 1>>,
    /// Candidates wanted of each sequence.
    pub candidates: Tensor<u32, 1>,
}

/// Attention probabilities that a run also writes out, for inspection.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// The layers.
    pub layers: Vec<usize>,
    /// `[num_attention_heads, rows, rows]` of each of them, in the order of the layers.
    pub probs: Vec<Tensor<f32, 3>>,
}

/// The results of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logits {
    /// `[sequences, vocab]`, or `[rows, vocab]` where all were asked for.
    pub logits: Hidden,
    /// The largest logits of each sequence, largest first: `[sequences, candidates]`.
    pub ids: Tensor<u32, 2>,
    pub values: Tensor<f32, 2>,
}

/// A run, recorded.
#[derive(Debug)]
pub(crate) struct RecordedRun {
    pub graph: Graph,
    pub rows: Rows,
    pub out: Logits,
}

impl Rows {
    /// Declares the inputs of runs of up to `rows` rows of up to `sequences` sequences of up to `ctx` positions.
    pub(crate) fn declare(
        g: &mut Graph,
        regime: Regime,
        rows: u32,
        sequences: u32,
        ctx: u32,
        pictures: &Resident<f32, 2>,
    ) -> Self {
        let prefills = regime == Regime::Prefill;
        Self {
            regime,
            tokens: g.input("tokens", [rows]),
            visual: prefills
                .then(|| Visual { modality: g.input("modality", [rows]), rows: g.bind(pictures) }),
            routing: Routing(g.input("routing", [rows + 2])),
            cursors: Cursors::input(g, rows, sequences, ctx),
            last: prefills.then(|| g.input("last", [sequences])),
            candidates: g.input("num_candidates", [sequences]),
        }
    }
}

/// One decoder layer. `m` is the modality of each row: norms, keys and values have weights for each.
#[expect(clippy::too_many_arguments, reason = "the equations have them")]
fn decoder_layer(
    g: &mut Graph,
    c: &TextConfig,
    w: &Layer,
    rope: &RopeTables,
    kv: &LayerCache,
    x: Hidden,
    m: Rows,
    probs: Option<&mut Vec<Tensor<f32, 3>>>,
) -> Hidden {
    let h = norm(g, "input_layernorm", x, &w.input_layernorm, m, c.rms_norm_eps); // eq. 4
    let qkv = linear(g, h, &read_by(m, &w.qkv_proj), m.routing); // eq. 5-7: queries are shared, keys and values are not
    let a = match kv {
        LayerCache::F32(kv) => attend(g, c, qkv, rope, kv, m, probs), // eq. 8
        LayerCache::F16(kv) => attend(g, c, qkv, rope, kv, m, probs),
    };
    let x = linear_add(g, a, &w.o_proj, x, m.routing);

    let h = norm(g, "post_attention_layernorm", x, &w.post_attention_layernorm, m, c.rms_norm_eps);
    let f = swiglu(g, h, &w.gate_up_proj, m.routing); // silu(h Wg) ⊙ (h Wu)
    linear_add(g, f, &w.down_proj, x, m.routing)
}

/// What these rows read of a projection: where all of them are text (SPEC §5), text's weights alone.
fn read_by(m: Rows, w: &Linear) -> Cow<'_, Linear> {
    match m.visual {
        Some(_) => Cow::Borrowed(w),
        None => Cow::Owned(w.of_text()),
    }
}

/// RMSNorm with the gain of each row's modality. A single row is normalised by the projections that read it.
fn norm(g: &mut Graph, name: &str, x: Hidden, gain: &Resident<f32, 2>, m: Rows, eps: f32) -> Input {
    match x.shape()[0] {
        1 => Input::normed(x, gain, eps),
        _ => {
            let mixed = m.visual.map(|visual| Mixed { modality: visual.modality, cursors: m.cursors });
            rms_norm(g, name, x, gain, mixed, eps).into()
        }
    }
}

/// Causal attention over the cache with these rows appended: softmax(QKᵀ / √head_dim) V. Where `probs` are
/// wanted, the rows are all that the cache holds of one sequence. Decoded rows are rotated and appended by
/// their attention itself.
fn attend<T: KvElement>(
    g: &mut Graph,
    c: &TextConfig,
    qkv: Hidden,
    rope: &RopeTables,
    kv: &KvCache<T>,
    Rows { regime, cursors, .. }: Rows,
    probs: Option<&mut Vec<Tensor<f32, 3>>>,
) -> Hidden {
    let [rows, _] = qkv.shape();
    if regime == Regime::Decode {
        return decode_attention(g, "attention", qkv, rope, kv, heads(c), cursors);
    }
    let q = rope_append(g, "rope", qkv, rope, kv, heads(c), cursors);
    let q = Heads::in_rows(q, 0, c.head_dim() as u32);
    if let Some(probs) = probs {
        let p = cached_attention_probs(g, "attention_probs", q, kv, heads(c), rows, rows, cursors);
        probs.push(g.output(p));
    }
    cached_attention(g, "attention", q, kv, heads(c), rows, cursors)
}

impl Decoder {
    /// Records a run: embeddings, layers, norm, `lm_head` and the largest logits; those of each sequence's last row, or
    /// with `all_logits` of every row. `tap` says which layers' attention probabilities are written too.
    pub(crate) fn record(
        &self,
        g: &mut Graph,
        c: &TextConfig,
        kv: &[LayerCache],
        rows: Rows,
        all_logits: bool,
        tap: &mut Tap,
    ) -> Logits {
        let dim = c.hidden_size as u32;
        let mut x = embedding(g, "embed_tokens", &self.embed_tokens, rows.tokens, rows.visual, dim);
        for (i, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let probs = tap.layers.contains(&i).then_some(&mut tap.probs);
            x = g.scoped(&format!("decoder.{i}"), |g| {
                decoder_layer(g, c, layer, &self.rope, kv, x, rows, probs)
            });
        }
        let x = match rows.last {
            Some(last) if !all_logits => take_rows(g, "last_rows", x, last),
            _ => x,
        };
        let num_rows = x.shape()[0];
        // The last norm and lm_head are shared by the modalities.
        let text = all_rows(g, num_rows as usize);
        let h = match num_rows {
            1 => Input::normed(x, &self.norm, c.rms_norm_eps),
            _ => rms_norm(g, "norm", x, &self.norm, None, c.rms_norm_eps).into(),
        };
        let logits = linear(g, h, &self.lm_head, text);
        let first = match rows.last {
            Some(last) if all_logits => take_rows(g, "last_logits", logits, last),
            _ => logits,
        };
        let k = CANDIDATES.min(c.vocab_size as u32).min(top_k::max_k(c.vocab_size as u32));
        let (ids, values) = top_k::top_k_wanted(g, "candidates", first, k, rows.candidates);
        Logits { logits: g.output(logits), ids: g.output(ids), values: g.output(values) }
    }

    /// Declares the decoder; `positions` is the length of the rotations' tables.
    ///
    /// # Errors
    ///
    /// If the vocabulary is too large, or a converted file holds another.
    pub(crate) fn declare(parts: &mut Declaring<'_>, c: &TextConfig, positions: usize) -> Result<Self> {
        let dim = c.hidden_size;
        if u64::from(u32::MAX) < c.vocab_size as u64 * dim as u64 {
            return Err(Error::Config(format!(
                "vocab_size {} by hidden_size {dim}: too many elements",
                c.vocab_size
            )));
        }
        let embed_tokens =
            parts.section(Component::Embedding).embedding("model.embed_tokens.weight", c.vocab_size, dim);
        let layers = (0..c.num_hidden_layers).map(|i| Layer::declare(parts, c, i)).collect::<Result<_>>()?;
        let mut p = parts.section(Component::Head);
        let norm = p.tensor("model.norm.weight", "norm", [1, dim as u32]);
        let lm_head = if c.tie_word_embeddings { "model.embed_tokens" } else { "lm_head" };
        let lm_head = p.linear(&Projection {
            name: "lm_head",
            label: "lm_head".into(),
            n: c.vocab_size,
            k: dim,
            modules: vec![vec![vec![lm_head.into()]]],
            shared: 0,
            bias: false,
        })?;
        let (head_dim, config) = (c.head_dim() as u32, c.clone());
        let cos_sin = p.computed("rope", [positions as u32, head_dim], move || {
            let tables = rope_tables(&config, positions);
            RopeTables::values(head_dim, &tables.cos, &tables.sin)
        });
        Ok(Self { embed_tokens, layers, norm, lm_head, rope: RopeTables { cos_sin } })
    }
}

impl Layer {
    fn declare(parts: &mut Declaring<'_>, c: &TextConfig, i: usize) -> Result<Self> {
        let at = format!("model.layers.{i}");
        let dim = c.hidden_size;
        let mut p = parts.layer(Component::Decoder, i);
        let mut norm = |name: &str| {
            let of =
                |m| Values::Stored { name: format!("{at}.{name}.multiway.{m}.weight"), shape: vec![dim] };
            p.stacked(vec![of(0), of(1)], &format!("decoder.{i}.{name}"), [2, dim as u32])
        };
        let input_layernorm = norm("input_layernorm");
        let post_attention_layernorm = norm("post_attention_layernorm");

        let qkv = |m: usize| {
            let kv = ["k_proj", "v_proj"].map(|name| format!("{at}.self_attn.{name}.multiway.{m}"));
            [&[format!("{at}.self_attn.q_proj")], &kv[..]].concat()
        };
        // Equal weight sets (MAM off) are held once.
        let sets = if p.same(&qkv(0)[1..], &qkv(1)[1..]) { 1 } else { 2 };
        let qkv: Vec<_> = (0..sets).map(|m| vec![qkv(m)]).collect();
        let mut linear = |name: &str, n: usize, k: usize, modules: Vec<_>, shared: usize, bias: bool| {
            p.linear(&Projection { name, label: format!("decoder.{i}.{name}"), n, k, modules, shared, bias })
        };
        let one = |module: &str| vec![vec![vec![format!("{at}.{module}")]]];
        let gate_up = vec![vec![vec![format!("{at}.mlp.gate_proj")], vec![format!("{at}.mlp.up_proj")]]];
        Ok(Self {
            input_layernorm,
            qkv_proj: linear("qkv_proj", dim + 2 * c.kv_dim(), dim, qkv, dim, c.attention_bias)?,
            o_proj: linear("o_proj", dim, dim, one("self_attn.o_proj"), 0, c.attention_bias)?,
            post_attention_layernorm,
            gate_up_proj: linear("gate_up_proj", c.intermediate_size, dim, gate_up, 0, false)?,
            down_proj: linear("down_proj", dim, c.intermediate_size, one("mlp.down_proj"), 0, false)?,
        })
    }
}
