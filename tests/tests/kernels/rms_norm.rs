use strix_engine::{Gpu, Resident};
use strix_shaders::rms_norm::{self, Params};
use strix_tests::{assert_close, constant, on_all, run_on, uniform};

fn run(gpu: &Gpu, p: Params, x: &[f32], gain: &[f32], modality: &[u32], span: [u32; 2]) -> Vec<f32> {
    let gain = Resident::from_slice("gain", [2, p.dim], gain);
    let record = |g: &mut strix_engine::Graph| {
        let x = constant(g, [p.rows, p.dim], x);
        let modality = constant(g, [p.rows], modality);
        let span = constant(g, [2], &span);
        strix_shaders::rms_norm(g, "y", x, &gain, modality, span, p.eps)
    };
    run_on(gpu, record, |_| ())
}

#[test]
fn rms_norm_matches_reference() {
    for (rows, dim) in [(1, 4096), (7, 4096), (3, 1000), (5, 72), (4, 33), (2, 7), (2, 1), (1, 1)] {
        // Small numbers, so that eps counts.
        let x: Vec<_> = uniform(1, (rows * dim) as usize).iter().map(|x| x * 0.01).collect();
        let gain = uniform(2, 2 * dim as usize);
        let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
        let (p, span) = (Params { rows, dim, eps: 1e-5 }, [9, rows]);
        let mut want = vec![0.0; x.len()];
        rms_norm::reference(&p, &x, &gain, &modality, &span, &mut want);
        on_all(|gpu| {
            let got = run(gpu, p, &x, &gain, &modality, span);
            assert_close(&format!("rms_norm {rows}x{dim}"), &got, &want, 1e-5);
        });
    }
}

#[test]
fn rms_norm_computes_the_live_rows_of_its_span() {
    let (p, live) = (Params { rows: 5, dim: 100, eps: 1e-5 }, 3 * 100);
    let (x, gain, modality) = (uniform(1, 500), uniform(2, 200), [0, 1, 1, 0, 1]);
    let mut want = vec![0.0; 500];
    rms_norm::reference(&p, &x, &gain, &modality, &[0, 3], &mut want);
    on_all(|gpu| {
        let got = run(gpu, p, &x, &gain, &modality, [0, 3]);
        assert_close("live rows", &got[..live], &want[..live], 1e-5);
        assert_eq!(got[live..], [0.0; 200], "rows that are not live");
    });
}
