use strix_engine::{Gpu, Graph, Resident};
use strix_shaders::Cursors;
use strix_shaders::rms_norm::{self, Mixed, Params};
use strix_tests::{assert_close, constant, on_all, run_on, uniform};

use crate::sequences::cursors_of;

/// Of mixed rows of these modalities, the first `live` of which are live; else of rows that are alike.
fn run(gpu: &Gpu, p: Params, x: &[f32], gain: &[f32], mixed: Option<(&[u32], u32)>) -> Vec<f32> {
    let gain = Resident::from_slice("gain", [2, p.dim], gain);
    let record = |g: &mut Graph| {
        let x = constant(g, [p.rows, p.dim], x);
        let mixed = mixed.map(|(modality, live)| Mixed {
            modality: constant(g, [p.rows], modality),
            cursors: Cursors::in_order(g, p.rows, 9, live, 1),
        });
        strix_shaders::rms_norm(g, "y", x, &gain, mixed, p.eps)
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
        let p = Params { rows, dim, eps: 1e-5 };
        let [mut mixed, mut alike] = [vec![0.0; x.len()], vec![0.0; x.len()]];
        rms_norm::reference(&p, &x, &gain, &modality, &cursors_of(rows, 9, rows), &mut mixed);
        rms_norm::reference(&p, &x, &gain, &[], &[], &mut alike);
        on_all(|gpu| {
            let got = run(gpu, p, &x, &gain, Some((&modality, rows)));
            assert_close(&format!("rms_norm {rows}x{dim}"), &got, &mixed, 1e-5);
            let got = run(gpu, p, &x, &gain, None);
            assert_close(&format!("rms_norm {rows}x{dim} alike"), &got, &alike, 1e-5);
        });
    }
}

#[test]
fn rms_norm_computes_the_live_rows() {
    let (p, live) = (Params { rows: 5, dim: 100, eps: 1e-5 }, 3 * 100);
    let (x, gain, modality) = (uniform(1, 500), uniform(2, 200), [0, 1, 1, 0, 1]);
    let mut want = vec![0.0; 500];
    rms_norm::reference(&p, &x, &gain, &modality, &cursors_of(5, 9, 3), &mut want);
    on_all(|gpu| {
        let got = run(gpu, p, &x, &gain, Some((&modality, 3)));
        assert_close("live rows", &got[..live], &want[..live], 1e-5);
        assert_eq!(got[live..], [0.0; 200], "rows that are not live");
    });
}
