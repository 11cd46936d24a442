use strix_engine::Resident;
use strix_shaders::rms_norm::{self, Params};
use strix_tests::{assert_close, on_both, run_on, uniform};

#[test]
fn rms_norm_matches_reference() {
    for (rows, dim) in [(1, 4096), (7, 4096), (3, 1000), (5, 72), (2, 1), (1, 1)] {
        let eps = 1e-5;
        let x = uniform(1, (rows * dim) as usize);
        let gain = uniform(2, 2 * dim as usize);
        let modality: Vec<u32> = (0..rows).map(|r| r % 2).collect();
        let mut want = vec![0.0; x.len()];
        rms_norm::reference(&Params { rows, dim, eps }, &x, &gain, &modality, &mut want);
        on_both(|gpu| {
            let got = run_on(
                gpu,
                |g| {
                    let x = g.bind(&Resident::from_slice("x", [rows, dim], &x));
                    let m = g.bind(&Resident::from_slice("modality", [rows], &modality));
                    strix_shaders::rms_norm(g, "y", x, &Resident::from_slice("gain", [2, dim], &gain), m, eps)
                },
                |_| (),
            );
            assert_close(&format!("rms_norm {rows}x{dim}"), &got, &want, 1e-5);
        });
    }
}
