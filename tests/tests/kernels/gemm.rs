use half::bf16;
use strix_engine::{Choices, Gpu, Graph, Resident, Target};
use strix_shaders::gemm::{Activation, gemm};
use strix_shaders::{Activations, Format, Input, Layout, Linear, Routing};
use strix_tests::{assert_close, every_way, gpu, on_all, plain_gpu, product_bound, run_for, run_on, uniform};

const FORMATS: [Format; 6] = [
    Format::F32,
    Format::Bf16,
    Format::Int8 { group: None },
    Format::Int8 { group: Some(32) },
    Format::Int8 { group: Some(64) },
    Format::Int8 { group: Some(128) },
];

/// A projection with everything it can have, and what it should give, computed from unpacked weights.
pub(crate) struct Case {
    pub(crate) layout: Layout,
    pub(crate) modality: Vec<u32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    pub(crate) activation: Activation,
    residual: bool,
}

impl Case {
    pub(crate) fn new(layout: Layout, modality: &[u32], activation: Activation, residual: bool) -> Self {
        let halves = if layout.gated { 2 } else { 1 };
        let rows = layout.sets * halves * layout.n;
        let weights = uniform(7, (rows * layout.k) as usize);
        Self {
            layout,
            modality: modality.to_vec(),
            weights,
            bias: uniform(8, rows as usize),
            activation,
            residual,
        }
    }

    /// Which of all rows; the sets share the first ones.
    fn at(&self, set: u32, half: u32, n: u32) -> usize {
        let halves = if self.layout.gated { 2 } else { 1 };
        let set = if n < self.layout.shared { 0 } else { set };
        ((set * halves + half) * self.layout.n + n) as usize
    }

    fn row(&self, set: u32, half: u32, n: u32) -> &[f32] {
        let k = self.layout.k as usize;
        &self.weights[self.at(set, half, n) * k..][..k]
    }

    /// A weight row as the format rounds it, by a plain reading of the format's definition.
    fn rounded(&self, set: u32, half: u32, n: u32) -> Vec<f64> {
        let row = self.row(set, half, n);
        let int8 = |group: usize| -> Vec<f64> {
            let scaled = |part: &[f32]| -> Vec<f64> {
                let scale = part.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
                part.iter().map(|v| f64::from((v / scale).round_ties_even()) * f64::from(scale)).collect()
            };
            row.chunks(group).flat_map(scaled).collect()
        };
        match self.layout.format {
            Format::F32 => row.iter().map(|&v| f64::from(v)).collect(),
            Format::Bf16 => row.iter().map(|&v| bf16::from_f32(v).to_f64()).collect(),
            Format::Int8 { group } => int8(group.map_or(row.len(), |g| g as usize)),
        }
    }

    pub(crate) fn expected(&self, x: &[f32], residual: &[f32]) -> Vec<f32> {
        let (n, k) = (self.layout.n, self.layout.k as usize);
        let halves = if self.layout.gated { 2 } else { 1 };
        let mut y = vec![0.0; self.modality.len() * n as usize];
        for set in 0..self.layout.sets {
            for column in 0..n {
                let weights: Vec<_> = (0..halves).map(|half| self.rounded(set, half, column)).collect();
                for (r, &modality) in self.modality.iter().enumerate() {
                    if self.layout.sets == 2 && modality != set {
                        continue;
                    }
                    let sum = |half: u32| -> f64 {
                        let dot: f64 = weights[half as usize]
                            .iter()
                            .zip(&x[r * k..][..k])
                            .map(|(w, &x)| w * f64::from(x))
                            .sum();
                        dot + f64::from(self.bias[self.at(set, half, column)])
                    };
                    let value = match self.activation {
                        Activation::None => sum(0),
                        Activation::QuickGelu => sum(0) / (1.0 + (-1.702 * sum(0)).exp()),
                        Activation::SwiGlu => sum(0) / (1.0 + (-sum(0)).exp()) * sum(1),
                    };
                    let at = r * n as usize + column as usize;
                    y[at] = (value + if self.residual { f64::from(residual[at]) } else { 0.0 }) as f32;
                }
            }
        }
        y
    }

    pub(crate) fn upload(&self, gpu: &Gpu, max_binding_bytes: Option<u64>) -> Linear {
        let fill =
            |set: u32, half: u32, row: u32, out: &mut [f32]| out.copy_from_slice(self.row(set, half, row));
        let bias = |set: u32, half: u32, row: u32| self.bias[self.at(set, half, row)];
        let limit = max_binding_bytes.unwrap_or(gpu.target().max_binding_bytes);
        Linear::upload_within(gpu, "y", "w", self.layout, limit, fill, Some(&bias)).expect("room")
    }

    fn check(&self, gpu: &Gpu, max_binding_bytes: Option<u64>) {
        self.check_for(gpu, gpu.target(), "as chosen", max_binding_bytes);
    }

    fn check_for(&self, gpu: &Gpu, target: Target, way: &str, max_binding_bytes: Option<u64>) {
        let linear = self.upload(gpu, max_binding_bytes);
        let bound = product_bound(&target);
        self.check_linear(gpu, target, way, &linear, bound);
    }

    fn check_linear(&self, gpu: &Gpu, target: Target, way: &str, linear: &Linear, bound: f32) {
        let Layout { n, k, .. } = self.layout;
        let rows = self.modality.len() as u32;
        let x = uniform(9, (rows * k) as usize);
        let residual = uniform(10, (rows * n) as usize);
        let got = run_for(
            gpu,
            target,
            |g| {
                let x = g.bind(&Resident::from_slice("x", [rows, k], &x));
                let residual = g.bind(&Resident::from_slice("residual", [rows, n], &residual));
                let routing = Routing::of(&self.modality);
                let routing = g.bind(&Resident::from_slice("routing", [rows + 2], &routing));
                gemm(g, x, linear, Routing(routing), self.activation, self.residual.then_some(residual))
            },
            |_| (),
        );
        let what = format!("{way}: {rows} rows, {:?}, {:?}", self.layout, self.activation);
        assert_close(&what, &got, &self.expected(&x, &residual), bound);
    }
}

pub(crate) fn layout(n: u32, k: u32, format: Format) -> Layout {
    Layout { n, k, sets: 1, shared: 0, gated: false, format }
}

#[test]
fn gemm_matches_unpacked_weights_in_every_format() {
    for format in FORMATS {
        // The model's own widths, widths that fill no tile, and one.
        for (rows, k, n) in [
            (9, 4096, 40),
            (3, 11008, 16),
            (11, 172, 80),
            (17, 60, 180),
            (8, 588, 33),
            (3, 33, 47),
            (2, 1, 1),
        ] {
            let case = Case::new(layout(n, k, format), &vec![0; rows], Activation::None, true);
            on_all(|gpu| case.check(gpu, None));
        }
    }
}

#[test]
fn gemv_matches_unpacked_weights_in_every_format() {
    for format in FORMATS {
        for (k, n) in [(4096, 300), (11008, 64), (172, 80), (33, 47), (1, 1)] {
            let case = Case::new(layout(n, k, format), &[0], Activation::None, true);
            on_all(|gpu| case.check(gpu, None));
        }
    }
}

#[test]
fn epilogues_match_reference() {
    for format in [Format::F32, Format::Int8 { group: Some(64) }] {
        for rows in [1, 11] {
            for (k, n) in [(1024, 100), (44, 92), (60, 7)] {
                let quick = Case::new(layout(n, k, format), &vec![0; rows], Activation::QuickGelu, false);
                on_all(|gpu| quick.check(gpu, None));
                let gated = Layout { gated: true, ..layout(n, k, format) };
                let swiglu = Case::new(gated, &vec![0; rows], Activation::SwiGlu, false);
                on_all(|gpu| swiglu.check(gpu, None));
            }
        }
    }
}

#[test]
fn gemm_split_projects_each_row_by_its_modality() {
    let interleaved: Vec<u32> = (0..23).map(|r| u32::from(r % 3 == 1 || r > 17)).collect();
    for modality in [vec![0; 20], vec![1; 20], interleaved, vec![1, 0], vec![0], vec![1]] {
        for format in
            [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }]
        {
            let split = Layout { sets: 2, ..layout(50, 72, format) };
            let case = Case::new(split, &modality, Activation::None, false);
            on_all(|gpu| case.check(gpu, None));
        }
    }
}

/// What a tuner may choose, not only what is chosen without it.
#[test]
fn gemm_matches_unpacked_weights_in_every_way_it_can_be_done() {
    for format in [Format::Bf16, Format::Int8 { group: Some(32) }] {
        for rows in [1, 2, 4, 9, 150] {
            let split = Layout { sets: 2, shared: 64, ..layout(140, 100, format) };
            let modality: Vec<_> = (0..rows).map(|r| u32::from(r % 7 > 2)).collect();
            let case = Case::new(split, &modality, Activation::None, true);
            let declared = Linear::declare("y", "w", split, true, u64::MAX);
            let ways = every_way(gpu(), |g| {
                let (x, routing) = (g.input("x", [rows, 100]), Routing(g.input("routing", [rows + 2])));
                strix_shaders::linear(g, x, &declared, routing);
            });
            assert!(ways.len() > 4, "{ways:?}");
            for (target, way) in ways {
                case.check_for(gpu(), target, &way, None);
            }
        }
    }
}

/// As q's rows are, in front of those of k and v; also over bindings that end within them.
#[test]
fn gemm_split_shares_its_first_columns() {
    for modality in [vec![0; 9], vec![1; 9], (0..19).map(|r| r % 2).collect(), vec![0], vec![1]] {
        for format in [Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }] {
            for (n, shared) in [(70, 32), (50, 48), (32, 32), (100, 16)] {
                let split = Layout { sets: 2, shared, ..layout(n, 72, format) };
                let case = Case::new(split, &modality, Activation::None, true);
                on_all(|gpu| {
                    case.check(gpu, None);
                    case.check(gpu, Some(10_000));
                });
            }
        }
    }
}

/// Rows that are all text by the weights that text reads, of which alone the graph knows.
#[test]
fn gemm_of_text_binds_the_first_set_alone() {
    for format in [Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }] {
        for (n, shared) in [(70, 32), (50, 48), (40, 0)] {
            let split = Layout { sets: 2, shared, ..layout(n, 72, format) };
            for (rows, limit) in [(9_u32, None), (1, None), (9, Some(10_000)), (1, Some(3_000))] {
                let case = Case::new(split, &vec![0; rows as usize], Activation::None, false);
                let x = uniform(9, (rows * 72) as usize);
                on_all(|gpu| {
                    let linear = case.upload(gpu, limit);
                    let text = linear.of_text();
                    assert!(text.layout.bytes() < linear.layout.bytes());
                    let mut bound = 0;
                    let record = |g: &mut Graph| {
                        let x = g.bind(&Resident::from_slice("x", [rows, 72], &x));
                        let routing = Routing::of(&case.modality);
                        let routing = g.bind(&Resident::from_slice("routing", [rows + 2], &routing));
                        let y = gemm(g, x, &text, Routing(routing), Activation::None, None);
                        let weights = g.steps().iter().map(|step| step.args[2].id);
                        bound = weights.map(|id| g.bytes_of(id)).sum();
                        y
                    };
                    let got = run_on(gpu, record, |_| ());
                    let what = format!("{rows} rows of text, {split:?}, {limit:?}");
                    assert_close(&what, &got, &case.expected(&x, &[]), product_bound(&gpu.target()));
                    assert_eq!(bound, text.layout.words() * 4, "{what}");
                });
            }
        }
    }
}

#[test]
fn gemm_split_launches_each_row_once() {
    // 8.2B's Q, K and V: tiles of 8 or 16 rows, and one more where text and image share a tile.
    let format = Format::Int8 { group: None };
    let layout = Layout { n: 12_288, k: 4096, sets: 2, shared: 4096, gated: false, format };
    let linear = Linear::declare("qkv_proj", "qkv_proj", layout, false, u64::MAX);
    for tile in [8, 16] {
        let way = [("family", "subgroup"), ("rows", &tile.to_string()), ("loads", "storage")];
        let mut choices = Choices::default();
        choices.set("gemm", "int8 rows=many", way.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec());
        let target = Target { subgroup: Some(16), is_cpu: true, ..Target::default() }.with_choices(choices);
        let mut g = strix_engine::Graph::new(target);
        let x = g.input("x", [64, 4096]);
        let routing = Routing(g.input("routing", [66]));
        strix_shaders::linear(&mut g, x, &linear, routing);
        let step = &g.steps()[0];
        assert_eq!(step.groups, [64 / tile + 1, 12_288 / 64, 1], "{}", step.shader.label);
    }
}

#[test]
fn gemv_normalises_its_row_on_the_way() {
    let eps = 1e-5;
    for format in FORMATS {
        for (k, n) in [(4096, 48), (172, 80), (33, 47), (1, 1)] {
            let case = Case::new(layout(n, k, format), &[0], Activation::None, true);
            let (x, residual) = (uniform(9, k as usize), uniform(10, n as usize));
            let gain = uniform(11, 2 * k as usize);
            let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / f64::from(k);
            let scale = 1.0 / (mean_square + f64::from(eps)).sqrt();
            for modality in [0, 1] {
                let gains = &gain[(modality * k) as usize..][..k as usize];
                let normed = x.iter().zip(gains).map(|(&x, &g)| (f64::from(x) * scale * f64::from(g)) as f32);
                let want = case.expected(&normed.collect::<Vec<_>>(), &residual);
                on_all(|gpu| {
                    let linear = case.upload(gpu, None);
                    let record = |g: &mut Graph| {
                        let x = g.bind(&Resident::from_slice("x", [1, k], &x));
                        let residual = g.bind(&Resident::from_slice("residual", [1, n], &residual));
                        let routing =
                            g.bind(&Resident::from_slice("routing", [3], &Routing::of(&[modality])));
                        let input = Input::normed(x, &Resident::from_slice("gain", [2, k], &gain), eps);
                        gemm(g, input, &linear, Routing(routing), Activation::None, Some(residual))
                    };
                    let got = run_on(gpu, record, |_| ());
                    assert_close(&format!("{format} {k} to {n}, modality {modality}"), &got, &want, 1e-5);
                });
            }
        }
    }
}

#[test]
fn a_projection_split_over_bindings_gives_the_same() {
    for (gated, activation) in [(false, Activation::None), (true, Activation::SwiGlu)] {
        let layout = Layout { n: 100, k: 96, sets: 1, shared: 0, gated, format: Format::Bf16 };
        let case = Case::new(layout, &[0; 5], activation, !gated);
        for gpu in [gpu(), plain_gpu()] {
            case.check(gpu, Some(7000));
        }
    }
}

/// Products of f16, in tiles of every size: what 32 products lose in f16 is lost.
#[test]
fn gemm_of_f16_matches_its_reference_within_what_f16_loses() {
    if !gpu().target().f16 {
        eprintln!("{} does not compute in f16", gpu().name());
        return;
    }
    let int8 = |group| Format::Int8 { group };
    let mixed: Vec<u32> = (0..37).map(|r| u32::from(r % 3 == 1)).collect();
    for format in [Format::Bf16, int8(None), int8(Some(32))] {
        let gated = Layout { gated: true, ..layout(92, 48, format) };
        for (i, case) in [
            Case::new(Layout { sets: 2, ..layout(50, 72, format) }, &mixed, Activation::None, true),
            Case::new(layout(68, 4096, format), &vec![0; 130], Activation::None, true),
            Case::new(layout(300, 1024, format), &vec![0; 64], Activation::QuickGelu, false),
            Case::new(gated, &mixed, Activation::SwiGlu, false),
            Case::new(layout(1, 4, format), &[0; 17], Activation::None, false),
        ]
        .into_iter()
        .enumerate()
        {
            let linear = case.upload(gpu(), None).with_activations(Activations::F16);
            let rows = case.modality.len() as u32;
            let mut recorded = vec![];
            let record = |g: &mut Graph| {
                let x = g.input("x", [rows, case.layout.k]);
                let routing = Routing(g.input("routing", [rows + 2]));
                let residual = case.residual.then(|| g.input("residual", [rows, case.layout.n]));
                gemm(g, x, &linear, routing, case.activation, residual);
                recorded.extend(g.steps().iter().map(|step| step.shader.label.clone()));
            };
            let ways = every_way(gpu(), record);
            assert!(recorded.iter().all(|label| label.contains("arithmetic=f16")), "{recorded:?}");
            assert!(ways.len() >= 5, "tiles of every size: {}", ways.len());
            // Tiles of every size take long to compile on a software device: one case has them all.
            let ways = if i == 0 { ways } else { vec![(gpu().target(), "as chosen".to_owned())] };
            for (target, way) in ways {
                case.check_linear(gpu(), target, &way, &linear, 2e-3);
            }
        }
    }
}

/// Few rows wait for their weights: their products stay f32, and so do those by weights of f32, and of odd rows.
#[test]
fn gemm_of_f16_leaves_what_gains_nothing_as_it_is() {
    let target = Target { f16: true, ..gpu().target() };
    for (rows, k, format) in [(16, 64, Format::Bf16), (64, 64, Format::F32), (64, 33, Format::Bf16)] {
        let case = Case::new(layout(40, k, format), &vec![0; rows], Activation::None, false);
        let linear = case.upload(gpu(), None).with_activations(Activations::F16);
        let mut g = Graph::new(target.clone());
        let x = g.input("x", [rows as u32, k]);
        let routing = Routing(g.input("routing", [rows as u32 + 2]));
        gemm(&mut g, x, &linear, routing, Activation::None, None);
        let label = &g.steps()[0].shader.label;
        assert!(!label.contains("arithmetic=f16"), "{label}");
    }
}
