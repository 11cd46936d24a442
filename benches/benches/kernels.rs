//! Every kernel at the shapes of the 8.2B model, as `kernel/regime/shape[/dtype]`. Projections are named by
//! rows x n x k, or n x k for one row; attention by rows x keys x heads x head_dim[/what the cache holds].
//!
//! `cargo bench -p strix-benches --bench kernels -- [FILTER]... [--quick] [--check] [--csv FILE]`

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use half::f16;
use strix_benches::{Clock, Options, Report, Roofline, Row, Work, data};
use strix_engine::{Gpu, Graph, Program, Resident};
use strix_model::config::{Config, TextConfig};
use strix_model::position;
use strix_shaders::embedding::Table;
use strix_shaders::gemm::{Activation, Input, gemm};
use strix_shaders::{
    EmbeddingPart, Format, HeadShape, Heads, KvCache, KvElement, Layout, Mask, RopeTables, Routing, add,
    attention, attention_probs, class_token, decode_attention, embedding, layer_norm, layer_norm_into,
    patches, rms_norm, rope_append, take_rows, top_k,
};

/// How far from its reference a result may be, in parts of the largest expected value.
const TOLERANCE: f32 = 2e-4;

/// Records the steps to time; with `true` the same with fewer rows, where the reference is slow.
type Record = Box<dyn Fn(&mut Graph, bool)>;

/// Puts the operands on the device.
type Make = Box<dyn Fn(&Gpu) -> Result<Record>>;

/// One bench.
struct Bench {
    name: String,
    work: Work,
    quick: bool,
    /// The bench whose time this one's is given as a multiple of.
    against: Option<String>,
    make: Make,
}

/// Collects the benches.
struct Benches {
    config: Config,
    list: Vec<Bench>,
}

/// A projection with whatever follows it.
#[derive(Clone, Copy)]
struct Projection {
    kernel: &'static str,
    regime: &'static str,
    rows: u32,
    n: u32,
    k: u32,
    sets: u32,
    /// Columns that the sets share.
    shared: u32,
    /// Whether half of the rows are an image's.
    mixed: bool,
    bias: bool,
    residual: bool,
    norm: bool,
    activation: Activation,
    /// Whether the row-scaled int8 is among the quick ones.
    quick: bool,
    against: Option<&'static str>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let mut benches = Benches { config: Config::from_json(b"{}")?, list: vec![] };
    benches.projections();
    benches.attention();
    benches.rows();
    let wanted = |b: &&Bench| options.wants(&b.name) && (b.quick || !options.quick);
    let wanted: Vec<_> = benches.list.iter().filter(wanted).collect();
    if options.list {
        wanted.iter().for_each(|b| println!("{}", b.name));
        return Ok(true);
    }

    let clock = Clock::new(&Gpu::new()?, options.quick);
    let mut report = Report::begin(&clock, Roofline::measure(&clock)?);
    let mut wrong = 0;
    for bench in &wanted {
        let record = (bench.make)(clock.gpu())?;
        // The timing comes first, so that it sees the pipelines being created.
        let timing = clock.time(&|g| record(g, false))?;
        if options.check && !is_right(clock.gpu(), &bench.name, &*record)? {
            wrong += 1;
            continue;
        }
        report.push(Row { name: bench.name.clone(), work: bench.work, timing, checked: options.check });
    }

    println!();
    for bench in &wanted {
        let pair = (report.row(&bench.name), bench.against.as_ref().and_then(|name| report.row(name)));
        if let (Some(row), Some(against)) = pair {
            let ratio = row.timing.rate_ns() / against.timing.rate_ns();
            println!("{} takes {ratio:.2} times {}", row.name, against.name);
        }
    }
    report.slowest_pipelines(12);
    if let Some(path) = &options.csv {
        report.write_csv(path)?;
    }
    if wrong > 0 {
        println!("\n{wrong} WRONG, and not timed");
    }
    Ok(wrong == 0)
}

/// Whether every step agrees with its reference.
fn is_right(gpu: &Gpu, name: &str, record: &dyn Fn(&mut Graph, bool)) -> Result<bool> {
    let mut g = Graph::new(gpu.target());
    record(&mut g, true);
    let difference = Program::compile(gpu, g)?.replay(TOLERANCE)?;
    if let Some(d) = &difference {
        println!("{name:48}WRONG: {}[{}] is {}, the reference has {}", d.tensor, d.element, d.got, d.want);
    }
    Ok(difference.is_none())
}

impl Projection {
    const PLAIN: Self = Self {
        kernel: "gemm",
        regime: "prefill",
        rows: 64,
        n: 4096,
        k: 4096,
        sets: 1,
        shared: 0,
        mixed: true,
        bias: false,
        residual: false,
        norm: false,
        activation: Activation::None,
        quick: false,
        against: None,
    };
    const ROW: Self = Self { kernel: "gemv", regime: "decode", rows: 1, mixed: false, ..Self::PLAIN };
    const VISION: Self = Self { regime: "vision", rows: 1025, mixed: false, bias: true, ..Self::PLAIN };

    fn shape(&self) -> String {
        match self.rows {
            1 => format!("{}x{}", self.n, self.k),
            rows => format!("{rows}x{}x{}", self.n, self.k),
        }
    }

    fn layout(&self, format: Format) -> Layout {
        let Self { n, k, sets, shared, .. } = *self;
        Layout { n, k, sets, shared, gated: self.activation == Activation::SwiGlu, format }
    }

    fn work(&self, layout: &Layout) -> Work {
        let [rows, n, k] = [self.rows, self.n, self.k].map(u64::from);
        let matrices = if layout.gated { 2 } else { 1 };
        // A single row reads the weights of its own modality only.
        let weights = if self.rows == 1 { layout.set_bytes() } else { layout.bytes() };
        let vectors = u64::from(self.bias) * matrices * n + u64::from(self.norm) * k;
        let activations = rows * k + rows * n * (1 + u64::from(self.residual));
        Work { bytes: weights + 4 * (vectors + activations), flops: 2 * rows * n * k * matrices }
    }

    fn make(self, layout: Layout, gpu: &Gpu) -> Result<Record> {
        let w = data::projection(gpu, "w", layout, self.bias)?;
        let x = data::tensor(gpu, "x", [self.rows, self.k])?;
        let residual =
            self.residual.then(|| data::tensor(gpu, "residual", [self.rows, self.n])).transpose()?;
        let gain = self.norm.then(|| data::tensor(gpu, "gain", [2, self.k])).transpose()?;
        let (all, few) = (data::routing(self.rows, self.mixed), data::few_rows(self.rows, self.mixed));
        Ok(Box::new(move |g, quickly| {
            let x = g.bind(&x);
            let input = gain.as_ref().map_or(Input::from(x), |gain| Input::normed(x, gain, 1e-5));
            let residual = residual.as_ref().map(|r| g.bind(r));
            let rows = Routing(g.bind(if quickly { &few } else { &all }));
            gemm(g, input, &w, rows, self.activation, residual);
        }))
    }
}

impl Benches {
    fn push(
        &mut self,
        name: String,
        quick: bool,
        work: Work,
        make: impl Fn(&Gpu) -> Result<Record> + 'static,
    ) {
        self.list.push(Bench { name, work, quick, against: None, make: Box::new(make) });
    }

    /// One projection in some formats.
    fn projection(&mut self, p: Projection, formats: &[(&str, Format)]) {
        for &(dtype, format) in formats {
            let layout = p.layout(format);
            let name = |kernel: &str| format!("{kernel}/{}/{}/{dtype}", p.regime, p.shape());
            self.push(name(p.kernel), p.quick && dtype == "int8", p.work(&layout), move |gpu| {
                p.make(layout, gpu)
            });
            let last = self.list.last_mut().expect("just pushed");
            last.against = p.against.map(name);
        }
    }

    fn projections(&mut self) {
        let all = data::FORMATS;
        let int8 = [all[2]];
        let (t, v, a) = (&self.config.text, &self.config.vision, &self.config.abstractor);
        let [dim, wide, vocab, qkv] =
            [t.hidden_size, t.intermediate_size, t.vocab_size, t.hidden_size + 2 * t.kv_dim()]
                .map(|n| n as u32);
        let [v_dim, v_wide, v_rows, patch] =
            [v.hidden_size, v.intermediate_size, v.num_tokens(), v.patch_dim()].map(|n| n as u32);
        let [a_dim, a_wide, queries] =
            [a.hidden_size, a.intermediate_size, a.num_learnable_queries].map(|n| n as u32);
        let swiglu = Activation::SwiGlu;

        // One row: a decode step.
        let row = Projection { n: dim, k: dim, ..Projection::ROW };
        self.projection(Projection { quick: true, ..row }, &all);
        for bench in self.list.iter_mut().filter(|b| b.name.ends_with("/bf16") || b.name.ends_with("/f32")) {
            bench.quick = true;
        }
        self.projection(Projection { quick: true, k: wide, ..row }, &all);
        self.projection(
            Projection { kernel: "gemv_swiglu", quick: true, activation: swiglu, n: wide, ..row },
            &all,
        );
        self.projection(Projection { n: qkv, ..row }, &int8);
        self.projection(
            Projection { kernel: "gemv_by", sets: 2, shared: dim, n: qkv, against: Some("gemv"), ..row },
            &all,
        );
        self.projection(Projection { n: vocab, ..row }, &all);
        for (kernel, bias, residual, norm) in [
            ("gemv_bias", true, false, false),
            ("gemv_add", false, true, false),
            ("gemv_normed", false, false, true),
        ] {
            self.projection(
                Projection { kernel, bias, residual, norm, quick: norm, against: Some("gemv"), ..row },
                &all[1..3],
            );
        }

        // 64 rows: a chunk of the prompt, every second row an image's.
        let chunk = Projection { n: dim, k: dim, ..Projection::PLAIN };
        self.projection(Projection { quick: true, ..chunk }, &all);
        for bench in self.list.iter_mut().filter(|b| b.name == "gemm/prefill/64x4096x4096/bf16") {
            bench.quick = true;
        }
        self.projection(Projection { k: wide, ..chunk }, &all);
        self.projection(
            Projection { kernel: "gemm_swiglu", quick: true, activation: swiglu, n: wide, ..chunk },
            &all,
        );
        self.projection(Projection { quick: true, n: qkv, ..chunk }, &all);
        self.projection(
            Projection {
                kernel: "gemm_by",
                quick: true,
                sets: 2,
                shared: dim,
                n: qkv,
                against: Some("gemm"),
                ..chunk
            },
            &all,
        );
        for (kernel, bias, residual, activation) in [
            ("gemm_bias", true, false, Activation::None),
            ("gemm_add", false, true, Activation::None),
            ("gemm_quick_gelu", true, false, Activation::QuickGelu),
        ] {
            let against = Some("gemm");
            self.projection(Projection { kernel, bias, residual, activation, against, ..chunk }, &all[1..3]);
        }

        // The vision tower and the abstractor: one image.
        let image =
            Projection { n: v_dim, k: v_dim, rows: v_rows, kernel: "gemm_bias", ..Projection::VISION };
        self.projection(
            Projection { kernel: "gemm", bias: false, rows: v_rows - 1, k: patch, ..image },
            &all,
        );
        self.projection(Projection { n: 3 * v_dim, ..image }, &all);
        self.projection(Projection { kernel: "gemm_add", residual: true, ..image }, &all);
        let gelu = Activation::QuickGelu;
        self.projection(
            Projection { kernel: "gemm_quick_gelu", quick: true, activation: gelu, n: v_wide, ..image },
            &all,
        );
        self.projection(Projection { kernel: "gemm_add", residual: true, k: v_wide, ..image }, &all);
        let reader = Projection { regime: "abstractor", n: a_dim, k: a_dim, rows: queries, ..image };
        self.projection(reader, &int8);
        self.projection(Projection { rows: queries + v_rows, ..reader }, &int8);
        self.projection(Projection { kernel: "gemm_swiglu", activation: swiglu, n: a_wide, ..reader }, &int8);
        self.projection(Projection { kernel: "gemm_add", residual: true, k: a_wide, ..reader }, &int8);
        self.projection(Projection { n: dim, ..reader }, &int8);
    }

    fn attention(&mut self) {
        let (t, v, a) = (&self.config.text, &self.config.vision, &self.config.abstractor);
        let shape = |heads: usize, kv_heads: usize, dim: usize| HeadShape {
            num_heads: heads as u32,
            num_kv_heads: kv_heads as u32,
            head_dim: dim as u32,
        };
        let text = shape(t.num_attention_heads, t.num_key_value_heads, t.head_dim());
        let vision = shape(v.num_attention_heads, v.num_attention_heads, v.head_dim());
        let queries = shape(a.num_attention_heads, a.num_attention_heads, a.head_dim());
        let (v_rows, a_rows) = (v.num_tokens() as u32, a.num_learnable_queries as u32);

        for (rows, keys, quick) in [(64, 64, false), (64, 512, true), (64, 2048, false), (512, 512, true)] {
            self.attention_causal::<f32>(text, rows, keys, quick, "");
            self.attention_causal::<f16>(text, rows, keys, false, "/f16");
        }
        for (regime, heads, rows, keys, quick) in [
            ("vision", vision, v_rows, v_rows, true),
            ("abstractor", queries, a_rows, a_rows + v_rows, false),
        ] {
            let name =
                format!("attention_full/{regime}/{rows}x{keys}x{}x{}", heads.num_heads, heads.head_dim);
            let seen = u64::from(rows) * u64::from(keys);
            self.push(name, quick, attention_work::<f32>(heads, rows, keys, seen), move |gpu| {
                let operands = heads_of::<f32>(gpu, heads, rows, keys)?;
                Ok(Box::new(move |g, _| {
                    let (q, [k, v]) = bind(g, &operands, heads);
                    attention(g, "y", q, k, v, heads, rows, Mask::Full { keys });
                }))
            });
        }
        for (keys, quick) in [(512, true), (2048, true), (4096, false)] {
            self.decode_attention::<f32>(text, keys, quick, "");
            self.decode_attention::<f16>(text, keys, keys == 2048, "/f16");
        }
        for (regime, heads, rows, keys, causal) in
            [("prefill", text, 64, 512, true), ("abstractor", queries, a_rows, a_rows + v_rows, false)]
        {
            let name =
                format!("attention_probs/{regime}/{rows}x{keys}x{}x{}", heads.num_heads, heads.head_dim);
            let seen = (0..rows).map(|r| u64::from(if causal { keys - rows + r + 1 } else { keys }));
            let (pairs, row) = (seen.sum::<u64>(), u64::from(heads.num_heads * heads.head_dim));
            let probs = u64::from(heads.num_heads) * u64::from(rows) * u64::from(keys);
            let work = Work { bytes: 4 * (u64::from(rows + keys) * row + probs), flops: 2 * pairs * row };
            self.push(name, false, work, move |gpu| {
                let operands = heads_of::<f32>(gpu, heads, rows, keys)?;
                let span = Resident::from_slice("span", [2], &[keys - rows, rows]);
                Ok(Box::new(move |g, _| {
                    let (q, [k, _]) = bind(g, &operands, heads);
                    let mask = match causal {
                        true => Mask::Causal { span: g.bind(&span) },
                        false => Mask::Full { keys },
                    };
                    attention_probs(g, "p", q, k, heads, rows, keys, mask);
                }))
            });
        }
    }

    /// Causal attention over a cache of T.
    fn attention_causal<T: KvElement>(
        &mut self,
        heads: HeadShape,
        rows: u32,
        keys: u32,
        quick: bool,
        dtype: &str,
    ) {
        let HeadShape { num_heads, head_dim, .. } = heads;
        let name = format!("attention_causal/prefill/{rows}x{keys}x{num_heads}x{head_dim}{dtype}");
        let seen = (0..u64::from(rows)).map(|r| u64::from(keys - rows) + r + 1).sum();
        self.push(name, quick, attention_work::<T>(heads, rows, keys, seen), move |gpu| {
            let operands = heads_of::<T>(gpu, heads, rows, keys)?;
            let span = Resident::from_slice("span", [2], &[keys - rows, rows]);
            Ok(Box::new(move |g, _| {
                let (q, [k, v]) = bind(g, &operands, heads);
                let mask = Mask::Causal { span: g.bind(&span) };
                attention(g, "y", q, k, v, heads, rows, mask);
            }))
        });
    }

    /// Attention of a decode step over a cache of T.
    fn decode_attention<T: KvElement>(&mut self, heads: HeadShape, keys: u32, quick: bool, dtype: &str) {
        let HeadShape { num_heads, head_dim, .. } = heads;
        let t = self.config.text.clone();
        let name = format!("decode_attention/decode/1x{keys}x{num_heads}x{head_dim}{dtype}");
        self.push(name, quick, attention_work::<T>(heads, 1, keys, keys.into()), move |gpu| {
            let qkv =
                data::tensor(gpu, "qkv", [1, (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim])?;
            let [k, v] = keys_of::<T>(gpu, heads, keys)?;
            let (cache, tables) = (KvCache { k, v }, rope_tables(&t, keys));
            let span = Resident::from_slice("span", [2], &[keys - 1, 1]);
            Ok(Box::new(move |g, _| {
                let (qkv, span) = (g.bind(&qkv), g.bind(&span));
                decode_attention(g, "y", qkv, &tables, &cache, heads, span);
            }))
        });
    }

    /// Rotation and append of rows to a cache of T.
    fn rope_append<T: KvElement>(&mut self, heads: HeadShape, regime: &str, rows: u32, dtype: &str) {
        let HeadShape { num_heads, num_kv_heads, head_dim } = heads;
        let (t, context) = (self.config.text.clone(), 2048);
        let [q_dim, kv_dim] = [num_heads * head_dim, 2 * num_kv_heads * head_dim];
        let read = q_dim + kv_dim + head_dim;
        let bytes =
            u64::from(rows) * (4 * u64::from(read + q_dim) + size_of::<T>() as u64 * u64::from(kv_dim));
        let work = Work { bytes, flops: 3 * u64::from(rows * (q_dim + kv_dim / 2)) };
        let name = format!("rope_append/{regime}/{rows}x{num_heads}x{head_dim}{dtype}");
        self.push(name, dtype.is_empty(), work, move |gpu| {
            let (qkv, tables) = (data::tensor(gpu, "qkv", [rows, q_dim + kv_dim])?, rope_tables(&t, context));
            let cache = KvCache::<T>::new("bench", context, heads);
            let span = Resident::from_slice("span", [2], &[512, rows]);
            Ok(Box::new(move |g, _| {
                let (qkv, span) = (g.bind(&qkv), g.bind(&span));
                rope_append(g, "q", qkv, &tables, &cache, heads, span);
            }))
        });
    }

    /// What moves rows and does little with them.
    fn rows(&mut self) {
        let (t, v, a) = (self.config.text.clone(), &self.config.vision, &self.config.abstractor);
        let [dim, vocab] = [t.hidden_size, t.vocab_size].map(|n| n as u32);
        let [v_dim, v_rows, patch, size, channels] =
            [v.hidden_size, v.num_tokens(), v.patch_size, v.image_size, v.num_channels].map(|n| n as u32);
        let [queries, a_wide] = [a.num_learnable_queries, a.intermediate_size].map(|n| n as u32);
        let floats = |n: u32| 4 * u64::from(n);

        for (regime, rows) in [("prefill", 64), ("decode", 1)] {
            let n = rows * dim;
            let work = Work { bytes: 2 * floats(n) + floats(2.min(rows) * dim), flops: floats(n) };
            self.push(format!("rms_norm/{regime}/{rows}x{dim}"), true, work, move |gpu| {
                let (x, gain) = (data::tensor(gpu, "x", [rows, dim])?, data::tensor(gpu, "gain", [2, dim])?);
                let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
                let modality = Resident::from_slice("modality", [rows], &modality);
                let span = Resident::from_slice("span", [2], &[0, rows]);
                Ok(Box::new(move |g, _| {
                    let (x, modality, span) = (g.bind(&x), g.bind(&modality), g.bind(&span));
                    rms_norm(g, "y", x, &gain, modality, span, 1e-5);
                }))
            });
        }
        for (regime, rows, dim, into) in [
            ("vision", v_rows, v_dim, 0),
            ("abstractor", queries, a_wide, 0),
            ("abstractor", v_rows, v_dim, queries),
        ] {
            let kernel = if into > 0 { "layer_norm_into" } else { "layer_norm" };
            let work =
                Work { bytes: 2 * floats(rows * dim) + 2 * floats(dim), flops: 2 * floats(rows * dim) };
            self.push(format!("{kernel}/{regime}/{rows}x{dim}"), into == 0, work, move |gpu| {
                let x = data::tensor(gpu, "x", [rows, dim])?;
                let (gain, bias) = (data::tensor(gpu, "gain", [dim])?, data::tensor(gpu, "bias", [dim])?);
                Ok(Box::new(move |g, _| {
                    let x = g.bind(&x);
                    if into > 0 {
                        let y = g.activation("y", [into + rows, dim]);
                        layer_norm_into(g, x, &gain, &bias, 1e-6, y, into);
                    } else {
                        layer_norm(g, "y", x, &gain, &bias, 1e-6);
                    }
                }))
            });
        }

        for (regime, rows) in [("prefill", 64_u32), ("decode", 1)] {
            for (dtype, element) in [("f32", 4), ("bf16", 2)] {
                let text = u64::from(rows.div_ceil(2) * dim);
                let work =
                    Work { bytes: text * element + floats(rows / 2 * dim) + floats(rows * dim), flops: 0 };
                let quick = dtype == "bf16" && rows > 1;
                self.push(format!("embedding/{regime}/{rows}x{dim}/{dtype}"), quick, work, move |gpu| {
                    let parts = table(gpu, vocab, dim, element)?;
                    let tokens: Vec<u32> = (0..rows).map(|r| r * 7919 % vocab).collect();
                    let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
                    let [tokens, modality] =
                        [tokens, modality].map(|rows_of| Resident::from_slice("rows", [rows], &rows_of));
                    let visual = data::tensor(gpu, "visual", [rows, dim])?;
                    Ok(Box::new(move |g, _| {
                        let (tokens, modality) = (g.bind(&tokens), g.bind(&modality));
                        let visual = (rows > 1).then(|| g.bind(&visual));
                        embedding(g, "x", &parts, tokens, modality, visual, dim);
                    }))
                });
            }
        }

        let work = Work { bytes: 2 * floats(channels * size * size), flops: 0 };
        self.push(format!("patches/vision/{channels}x{size}x{size}"), true, work, move |gpu| {
            let pixels = data::tensor(gpu, "pixels", [channels, size, size])?;
            Ok(Box::new(move |g, _| {
                let pixels = g.bind(&pixels);
                patches(g, "patches", pixels, patch);
            }))
        });
        let n = v_rows * v_dim;
        let work = Work { bytes: 3 * floats(n), flops: n.into() };
        self.push(format!("class_token/vision/{v_rows}x{v_dim}"), true, work, move |gpu| {
            let x = data::tensor(gpu, "patches", [v_rows - 1, v_dim])?;
            let class = data::tensor(gpu, "class", [v_dim])?;
            let position = data::tensor(gpu, "position", [v_rows, v_dim])?;
            Ok(Box::new(move |g, _| {
                let x = g.bind(&x);
                class_token(g, "x", x, &class, &position);
            }))
        });
        let n = (queries + v_rows) * v_dim;
        let work = Work { bytes: 3 * floats(n), flops: n.into() };
        self.push(format!("add/abstractor/{}x{v_dim}", queries + v_rows), true, work, move |gpu| {
            let shape = [queries + v_rows, v_dim];
            let (x, positions) = (data::tensor(gpu, "x", shape)?, data::tensor(gpu, "positions", shape)?);
            Ok(Box::new(move |g, _| {
                let x = g.bind(&x);
                add(g, "y", x, &positions);
            }))
        });

        let heads = HeadShape {
            num_heads: t.num_attention_heads as u32,
            num_kv_heads: t.num_key_value_heads as u32,
            head_dim: t.head_dim() as u32,
        };
        for (regime, rows) in [("prefill", 64), ("decode", 1)] {
            self.rope_append::<f32>(heads, regime, rows, "");
            self.rope_append::<f16>(heads, regime, rows, "/f16");
        }

        for (rows, taken) in [(64, 1), (64, 64)] {
            let work = Work { bytes: 2 * floats(taken * dim), flops: 0 };
            self.push(format!("take_rows/prefill/{taken}x{dim}"), taken == 1, work, move |gpu| {
                let x = data::tensor(gpu, "x", [rows, dim])?;
                let index: Vec<u32> = (0..taken).map(|i| rows - 1 - i).collect();
                let index = Resident::from_slice("index", [taken], &index);
                Ok(Box::new(move |g, _| {
                    let (x, index) = (g.bind(&x), g.bind(&index));
                    take_rows(g, "y", x, index);
                }))
            });
        }
        for k in [1, 64] {
            let work = Work { bytes: floats(vocab + 2 * k), flops: 0 };
            self.push(format!("top_k/decode/{k}of{vocab}"), true, work, move |gpu| {
                let logits = data::tensor(gpu, "logits", [1, vocab])?;
                Ok(Box::new(move |g, _| {
                    let logits = g.bind(&logits);
                    top_k::top_k(g, "ids", logits, k);
                }))
            });
        }
    }
}

/// Queries, keys and values once, results once; `seen` pairs of a query and a key a head.
fn attention_work<T: KvElement>(h: HeadShape, rows: u32, keys: u32, seen: u64) -> Work {
    let (q, kv) = (u64::from(h.num_heads * h.head_dim), u64::from(h.num_kv_heads * h.head_dim));
    let element = size_of::<T>() as u64;
    Work { bytes: 2 * (4 * u64::from(rows) * q + element * u64::from(keys) * kv), flops: 4 * seen * q }
}

/// Queries, keys and values.
type Operands<T> = (Resident<f32, 2>, [Resident<T, 3>; 2]);

/// Queries in rows, and keys and values by head.
fn heads_of<T: KvElement>(gpu: &Gpu, h: HeadShape, rows: u32, keys: u32) -> Result<Operands<T>> {
    Ok((data::tensor(gpu, "q", [rows, h.num_heads * h.head_dim])?, keys_of(gpu, h, keys)?))
}

/// Keys and values.
fn keys_of<T: KvElement>(gpu: &Gpu, h: HeadShape, keys: u32) -> Result<[Resident<T, 3>; 2]> {
    let shape = [h.num_kv_heads, keys, h.head_dim];
    let elements = shape.iter().product::<u32>() as usize;
    let noise: Vec<T> = data::noise(elements).into_iter().map(T::nearest).collect();
    let upload = |name| Resident::zeros(name, shape).with_texels().filled(gpu, &noise);
    Ok([upload("k")?, upload("v")?])
}

fn rope_tables(t: &TextConfig, positions: u32) -> RopeTables {
    let tables = position::rope_tables(t, positions as usize);
    RopeTables::new("rope", positions, t.head_dim() as u32, &tables.cos, &tables.sin)
}

/// The heads of attention's operands.
fn bind<T: KvElement>(g: &mut Graph, (q, kv): &Operands<T>, h: HeadShape) -> (Heads, [Heads<T>; 2]) {
    let q = Heads::in_rows(g.bind(q), 0, h.head_dim);
    (q, kv.each_ref().map(|t| Heads::by_head(g.bind(t))))
}

/// An embedding table of noise, in as many parts as the device's bindings need.
fn table(gpu: &Gpu, vocab: u32, dim: u32, element: u64) -> Result<Vec<EmbeddingPart>> {
    let max = gpu.target().max_binding_bytes;
    let part = |(first, count): (u32, u32)| -> Result<EmbeddingPart> {
        let noise = data::noise((count * dim) as usize);
        let table = if element == 4 {
            Table::F32(Resident::upload(gpu, "table", [count, dim], &noise)?)
        } else {
            let bf16 = |v: f32| v.to_bits() >> 16;
            let words: Vec<u32> = noise.chunks(2).map(|v| bf16(v[0]) | bf16(v[1]) << 16).collect();
            Table::Bf16(Resident::upload(gpu, "table", [count, dim / 2], &words)?)
        };
        Ok(EmbeddingPart { table, first, count })
    };
    EmbeddingPart::split(vocab, u64::from(dim) * element, max).into_iter().map(part).collect()
}
