use strix_engine::{Graph, Program, Resident};
use strix_shaders::gemm::{Activation, gemm};
use strix_shaders::{Activations, Format, Input, Layout, Routing};
use strix_tests::{assert_close, every_way, gpu, on_all, run_for, uniform};

use crate::gemm::{Case, layout};

const FORMATS: [Format; 3] =
    [Format::Int8 { group: None }, Format::Int8 { group: Some(32) }, Format::Int8 { group: Some(128) }];

/// Rows of which every number is a multiple of a 127th of the largest, so that rounding changes nothing and any rounding
/// that is right gives the same.
fn on_grid(rows: u32, k: u32) -> Vec<f32> {
    let mut x: Vec<f32> = uniform(9, (rows * k) as usize).iter().map(|v| (v * 127.0).round()).collect();
    x.chunks_exact_mut(k as usize).for_each(|row| row[row.len() / 2] = 127.0);
    x.iter_mut().for_each(|v| *v *= 0.0078125);
    x
}

fn record(
    g: &mut Graph,
    case: &Case,
    w: &strix_shaders::Linear,
    input: impl Into<Input>,
    residual: &[f32],
) -> strix_engine::Tensor<f32, 2> {
    let (rows, n) = (case.modality.len() as u32, case.layout.n);
    let residual = g.bind(&Resident::from_slice("residual", [rows, n], residual));
    let routing = g.bind(&Resident::from_slice("routing", [rows + 2], &Routing::of(&case.modality)));
    let residual = (case.activation == Activation::None).then_some(residual);
    gemm(g, input, w, Routing(routing), case.activation, residual)
}

fn check(case: &Case) {
    let Layout { n, k, .. } = case.layout;
    let rows = case.modality.len() as u32;
    let (x, residual) = (on_grid(rows, k), uniform(10, (rows * n) as usize));
    let want = case.expected(&x, &residual);
    let w = case.upload(gpu(), None).with_activations(Activations::Int8);
    let record = |g: &mut Graph| {
        let x = g.bind(&Resident::from_slice("x", [rows, k], &x));
        record(g, case, &w, x, &residual)
    };
    for (target, way) in every_way(gpu(), |g| _ = record(g)) {
        let got = run_for(gpu(), target, record, |_| ());
        assert_close(&format!("{way}: {rows} rows, {:?}", case.layout), &got, &want, 1e-5);
    }
}

#[test]
fn gemm_dot_matches_unpacked_weights() {
    for format in FORMATS {
        for (rows, k, n) in [
            (9, 4096, 40),
            (1, 4096, 300),
            (1, 11008, 64),
            (11, 172, 80),
            (3, 33, 47),
            (1, 33, 20),
            (1, 1, 1),
        ] {
            check(&Case::new(layout(n, k, format), &vec![0; rows], Activation::None, true));
        }
    }
}

#[test]
fn gemm_dot_takes_each_rows_modality_and_epilogue() {
    let modality: Vec<u32> = (0..21).map(|r| u32::from(r % 3 == 1)).collect();
    for format in [FORMATS[0], FORMATS[1]] {
        check(&Case::new(Layout { sets: 2, ..layout(50, 72, format) }, &modality, Activation::None, true));
        check(&Case::new(Layout { sets: 2, ..layout(50, 72, format) }, &[1], Activation::None, true));
        check(&Case::new(
            Layout { gated: true, ..layout(92, 44, format) },
            &modality,
            Activation::SwiGlu,
            false,
        ));
        check(&Case::new(layout(100, 1024, format), &[0; 2], Activation::QuickGelu, false));
    }
}

/// Rounded where it is normalised, whether in a dispatch of its own or on the way.
#[test]
fn gemm_dot_normalises_its_row() {
    let eps = 1e-5;
    for format in FORMATS {
        for k in [4096, 60, 33] {
            let case = Case::new(layout(48, k, format), &[1], Activation::None, true);
            let (normed, residual) = (on_grid(1, k), uniform(10, 48));
            // Gains that divide without a remainder, so that the product is on the grid as well.
            let gain: Vec<f32> = (0..2 * k).map(|i| [0.5, 1.0, 2.0][i as usize % 3]).collect();
            let x: Vec<f32> = normed.iter().zip(&gain[k as usize..]).map(|(v, gain)| v / gain).collect();
            let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / f64::from(k);
            let scale = 1.0 / (mean_square + f64::from(eps)).sqrt();
            let normed: Vec<f32> = normed.iter().map(|&v| (f64::from(v) * scale) as f32).collect();
            let want = case.expected(&normed, &residual);
            let w = case.upload(gpu(), None).with_activations(Activations::Int8);
            let gain = Resident::from_slice("gain", [2, k], &gain);
            let record = |g: &mut Graph| {
                let x = g.bind(&Resident::from_slice("x", [1, k], &x));
                record(g, &case, &w, Input::normed(x, &gain, eps), &residual)
            };
            for (target, way) in every_way(gpu(), |g| _ = record(g)) {
                let got = run_for(gpu(), target, record, |_| ());
                assert_close(&format!("{way}: {format} of {k}"), &got, &want, 1e-5);
            }
        }
    }
}

/// What rounding costs: half a 127th of the largest at most, of each column.
#[test]
fn gemm_dot_is_off_by_no_more_than_its_rounding() {
    let (rows, k, n) = (5, 1024, 64);
    let case = Case::new(layout(n, k, FORMATS[0]), &[0; 5], Activation::None, true);
    let (x, residual) = (uniform(9, (rows * k) as usize), uniform(10, (rows * n) as usize));
    let want = case.expected(&x, &residual);
    on_all(|gpu| {
        let w = case.upload(gpu, None).with_activations(Activations::Int8);
        let got = strix_tests::run_on(
            gpu,
            |g| {
                let x = g.bind(&Resident::from_slice("x", [rows, k], &x));
                record(g, &case, &w, x, &residual)
            },
            |_| (),
        );
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            (values.map(|v| f64::from(v).powi(2)).sum::<f64>()).sqrt()
        };
        let error = rms(&mut got.iter().zip(&want).map(|(a, b)| a - b)) / rms(&mut want.iter().copied());
        // Uniform numbers lose (1 / 127) / sqrt(12) of the largest each, which is sqrt(3) times their rms.
        let expected = 3.0_f64.sqrt() / 127.0 / 12.0_f64.sqrt();
        assert!(error > 0.5 * expected && error < 1.5 * expected, "{error} against {expected}");
    });
}

/// What a trace compares with: the references behind `dispatch!`.
#[test]
fn gemm_dot_replays_its_references() {
    on_all(|gpu| {
        for rows in [1, 3] {
            let case = Case::new(layout(40, 96, FORMATS[1]), &vec![0; rows as usize], Activation::None, true);
            let w = case.upload(gpu, None).with_activations(Activations::Int8);
            let mut g = Graph::new(gpu.target());
            let x = g.bind(&Resident::from_slice("x", [rows, 96], &on_grid(rows, 96)));
            let y = record(&mut g, &case, &w, x, &uniform(10, (rows * 40) as usize));
            g.output(y);
            let mut program = Program::compile(gpu, g).expect("the kernels compile");
            assert_eq!(program.replay(1e-5).expect("the kernels run"), None);
        }
    });
}
