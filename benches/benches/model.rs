//! The small model from file to token, and one decoder layer of the 8.2B model.
//!
//! `cargo bench -p strix-benches --bench model -- [FILTER]... [--quick] [--csv FILE]`

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use strix_benches::{Clock, Options, Report, Roofline, Row, Timing, Work, data, shares};
use strix_engine::{Gpu, Graph, Resident, StepTime};
use strix_model::config::Config;
use strix_model::image::RgbImage;
use strix_model::{Dtype, LoadOptions, Model, Source, position};
use strix_shaders::gemm::Input;
use strix_shaders::{
    Format, HeadShape, Heads, KvCache, Layout, Linear, Mask, RopeTables, Routing, attention,
    decode_attention, linear, linear_add, rms_norm, rope_append, swiglu,
};

/// Tokens that a decoding run generates.
const TOKENS: usize = 32;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let clock = Clock::new(&Gpu::new()?, options.quick);
    let mut report = Report::begin(&clock, Roofline::measure(&clock)?);
    for (name, dtype) in [("int8", Dtype::Int8 { group: None }), ("bf16", Dtype::Bf16), ("f32", Dtype::F32)] {
        if options.wants(&format!("nano/{name}")) && (name == "int8" || !options.quick) {
            nano(&clock, &mut report, name, dtype)?;
        }
    }
    for (name, format) in [data::FORMATS[2], data::FORMATS[1], data::FORMATS[3]] {
        for (regime, rows, ctx) in [("decode", 1, 512), ("decode", 1, 2048), ("prefill", 64, 512)] {
            let name = format!("decoder_layer/{regime}/{rows}x{ctx}/{name}");
            if options.wants(&name) && (format == data::FORMATS[2].1 || !options.quick) {
                decoder_layer(&clock, &mut report, name, format, rows, ctx)?;
            }
        }
    }
    options.csv.as_ref().map_or(Ok(()), |path| report.write_csv(path))
}

/// Loads, encodes a picture, runs a chunk of 64 positions, decodes.
fn nano(clock: &Clock, report: &mut Report, name: &str, dtype: Dtype) -> Result<()> {
    let options = LoadOptions { dtype, ..LoadOptions::default() };
    let load = || Model::load_on(clock.gpu(), Source::Nano, &options, &mut |_| ());
    let mut push = |step: &str, timing: Timing| {
        let row = Row {
            name: format!("nano/{name}/{step}"),
            work: Work { bytes: 0, flops: 0 },
            timing,
            checked: false,
        };
        report.push(row);
    };
    push("load", clock.host(|| load().map(drop))?);

    let model = load()?;
    let picture = RgbImage::from_fn(640, 480, |x, y| [x as u8, y as u8, (x ^ y) as u8].into());
    let pixels = model.pixels(&picture)?;
    push("preprocess", clock.host(|| model.pixels(&picture).map(drop))?);
    push("image encode", clock.host(|| model.encode(&pixels).map(drop))?);

    let mut session = model.session()?;
    session.add_embeds(model.encode(&pixels)?.into());
    // A picture and text, 64 positions in all.
    let text = 64 - model.config().num_image_tokens() as i32;
    let ids: Vec<i32> = (0..text).map(|i| 3 + 7 * i).chain([-200]).collect();
    let prefill = clock.host(|| session.greedy(&ids, 1).map(drop))?;
    let both = clock.host(|| session.greedy(&ids, 1 + TOKENS).map(drop))?;
    let decode_ns = (both.rate_ns() - prefill.rate_ns()) / TOKENS as f64;
    println!("    prefill {:.1} tokens/s, decode {:.1} tokens/s", 64e9 / prefill.rate_ns(), 1e9 / decode_ns);
    push("prefill of 64", prefill);
    push(&format!("prefill of 64, {TOKENS} tokens"), both);
    if clock.has_timestamps() {
        print_shares("decode", &session.profile()?, |s| &s.kernel);
        session.greedy(&ids, 1)?;
        print_shares("prefill", &session.profile_prefill()?, |s| &s.kernel);
    }
    Ok(())
}

fn print_shares<'a>(what: &str, steps: &'a [StepTime], name: impl Fn(&'a StepTime) -> &'a str) {
    let total: f64 = steps.iter().map(|s| s.ns).sum();
    println!("    {what}: {} dispatches, {:.3} ms on the device", steps.len(), total / 1e6);
    for (name, ns, share) in shares(steps, name) {
        println!("    {:>6.1}%{:>10.3} ms  {name}", 100.0 * share, ns / 1e6);
    }
}

/// Weights of a layer.
struct Layer {
    input_layernorm: Resident<f32, 2>,
    qkv_proj: Linear,
    o_proj: Linear,
    post_attention_layernorm: Resident<f32, 2>,
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl Layer {
    fn linears(&self) -> [&Linear; 4] {
        [&self.qkv_proj, &self.o_proj, &self.gate_up_proj, &self.down_proj]
    }
}

/// `rows` rows at the end of a context of `ctx`, as `strix-model` records them.
fn decoder_layer(
    clock: &Clock,
    report: &mut Report,
    name: String,
    format: Format,
    rows: u32,
    ctx: u32,
) -> Result<()> {
    let config = Config::from_json(b"{}")?;
    let c = &config.text;
    let [dim, wide, kv_dim] = [c.hidden_size, c.intermediate_size, c.kv_dim()].map(|n| n as u32);
    let (eps, mixed) = (c.rms_norm_eps, rows > 1);
    let gpu = clock.gpu();
    let projection = |name: &str, n: u32, k: u32, shared: u32, gated: bool| {
        let sets = if shared > 0 { 2 } else { 1 };
        data::projection(gpu, name, Layout { n, k, sets, shared, gated, format }, false)
    };
    let w = Layer {
        input_layernorm: data::tensor(gpu, "input_layernorm", [2, dim])?,
        qkv_proj: projection("qkv_proj", dim + 2 * kv_dim, dim, dim, false)?,
        o_proj: projection("o_proj", dim, dim, 0, false)?,
        post_attention_layernorm: data::tensor(gpu, "post_attention_layernorm", [2, dim])?,
        gate_up_proj: projection("gate_up_proj", wide, dim, 0, true)?,
        down_proj: projection("down_proj", dim, wide, 0, false)?,
    };
    let heads = HeadShape {
        num_heads: c.num_attention_heads as u32,
        num_kv_heads: c.num_key_value_heads as u32,
        head_dim: c.head_dim() as u32,
    };
    let tables = position::rope_tables(c, ctx as usize);
    let rope = RopeTables::new("rope", ctx, heads.head_dim, &tables.cos, &tables.sin);
    let kv = KvCache {
        k: data::tensor(gpu, "k_cache", [heads.num_kv_heads, ctx, heads.head_dim])?,
        v: data::tensor(gpu, "v_cache", [heads.num_kv_heads, ctx, heads.head_dim])?,
    };
    let x = data::tensor(gpu, "x", [rows, dim])?;
    let modality: Vec<u32> = (0..rows).map(|r| u32::from(mixed) * (r % 2)).collect();
    let modality = Resident::from_slice("modality", [rows], &modality);
    let span = Resident::from_slice("span", [2], &[ctx - rows, rows]);
    let routing = data::routing(rows, mixed);

    let norm = |g: &mut Graph, name: &str, x, gain: &Resident<f32, 2>| -> Input {
        if rows == 1 {
            return Input::normed(x, gain, eps);
        }
        let (modality, span) = (g.bind(&modality), g.bind(&span));
        rms_norm(g, name, x, gain, modality, span, eps).into()
    };
    let timing = clock.time(&|g| {
        let (x, span, m) = (g.bind(&x), g.bind(&span), Routing(g.bind(&routing)));
        let h = norm(g, "input_layernorm", x, &w.input_layernorm);
        let qkv = linear(g, h, &w.qkv_proj, m);
        let a = if rows == 1 {
            decode_attention(g, "attention", qkv, &rope, &kv, heads, span)
        } else {
            let q = rope_append(g, "rope", qkv, &rope, &kv, heads, span);
            let q = Heads::in_rows(q, 0, heads.head_dim);
            let [k, v] = [&kv.k, &kv.v].map(|kv| Heads::by_head(g.bind(kv)));
            attention(g, "attention", q, k, v, heads, rows, Mask::Causal { span })
        };
        let x = linear_add(g, a, &w.o_proj, x, m);
        let h = norm(g, "post_attention_layernorm", x, &w.post_attention_layernorm);
        let f = swiglu(g, h, &w.gate_up_proj, m);
        linear_add(g, f, &w.down_proj, x, m);
    })?;

    // Weights and cache once; a row alone reads one of the two sets of keys and values. Activations are little.
    let of_layout = |l: &Layout| if rows == 1 { l.set_bytes() } else { l.bytes() };
    let products = |l: &Layout| 2 * u64::from(l.n) * u64::from(l.k) * if l.gated { 2 } else { 1 };
    let weights: u64 = w.linears().iter().map(|l| of_layout(&l.layout)).sum();
    let flops: u64 = w.linears().iter().map(|l| products(&l.layout)).sum();
    let seen: u64 = (0..u64::from(rows)).map(|r| u64::from(ctx - rows) + r + 1).sum();
    let work = Work {
        bytes: weights + 4 * 2 * u64::from(ctx) * u64::from(kv_dim),
        flops: u64::from(rows) * flops + 4 * seen * u64::from(dim),
    };
    let model_ns = timing.rate_ns() * c.num_hidden_layers as f64;
    let steps = timing.steps.clone();
    report.push(Row { name, work, timing, checked: false });
    println!(
        "    times {} layers: {:.2} tokens/s without embeddings and lm_head",
        c.num_hidden_layers,
        f64::from(rows) * 1e9 / model_ns
    );
    if clock.has_timestamps() {
        print_shares("a layer", &steps, |s| &s.label);
    }
    Ok(())
}
