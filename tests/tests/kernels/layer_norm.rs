use strix_engine::{Gpu, Resident};
use strix_shaders::layer_norm::{self, Params};
use strix_shaders::layer_norm_into;
use strix_tests::{assert_close, constant, on_all, run_on, uniform};

fn run(gpu: &Gpu, p: Params, x: &[f32], gain: &[f32], bias: &[f32]) -> Vec<f32> {
    let gain = Resident::from_slice("gain", [p.dim], gain);
    let bias = Resident::from_slice("bias", [p.dim], bias);
    let record = |g: &mut strix_engine::Graph| {
        let x = constant(g, [p.rows, p.dim], x);
        strix_shaders::layer_norm(g, "y", x, &gain, &bias, p.eps)
    };
    run_on(gpu, record, |_| ())
}

fn check(rows: u32, dim: u32, centre: f32, tolerance: f32) {
    // Small numbers, so that eps counts.
    let x: Vec<_> = uniform(1, (rows * dim) as usize).iter().map(|x| centre + x * 0.01).collect();
    let (gain, bias) = (uniform(2, dim as usize), uniform(3, dim as usize));
    let p = Params { rows, dim, first_row: 0, eps: 1e-5 };
    let mut want = vec![0.0; x.len()];
    layer_norm::reference(&p, &x, &gain, &bias, &mut want);
    let what = format!("layer_norm {rows}x{dim} around {centre}");
    on_all(|gpu| assert_close(&what, &run(gpu, p, &x, &gain, &bias), &want, tolerance));
}

#[test]
fn layer_norm_matches_reference() {
    for (rows, dim) in
        [(1, 1024), (7, 1024), (3, 4096), (2, 2816), (3, 1000), (4, 33), (2, 7), (2, 1), (1, 1)]
    {
        check(rows, dim, 0.0, 5e-6);
    }
}

/// Variance by mean of squares would cancel here. The mean itself is good to an ulp or two of 5, which a
/// spread of 0.006 magnifies.
#[test]
fn layer_norm_holds_far_from_zero() {
    for (rows, dim) in [(7, 1024), (3, 1000), (4, 33)] {
        check(rows, dim, 5.0, 5e-4);
    }
}

#[test]
fn layer_norm_into_fills_a_tensor_piece_by_piece() {
    for dim in [1024_u32, 33] {
        let n = dim as usize;
        let (queries, image) = (uniform(1, 2 * n), uniform(2, 5 * n));
        let (gain, bias) = (uniform(3, n), uniform(4, n));
        let mut want = vec![0.0; 7 * n];
        let p = Params { rows: 2, dim, first_row: 0, eps: 1e-5 };
        layer_norm::reference(&p, &queries, &gain, &bias, &mut want);
        let p = Params { rows: 5, first_row: 2, ..p };
        layer_norm::reference(&p, &image, &gain, &bias, &mut want);
        on_all(|gpu| {
            let gain = Resident::from_slice("gain", [dim], &gain);
            let bias = Resident::from_slice("bias", [dim], &bias);
            let record = |g: &mut strix_engine::Graph| {
                let (queries, image) = (constant(g, [2, dim], &queries), constant(g, [5, dim], &image));
                let y = g.activation("y", [7, dim]);
                layer_norm_into(g, queries, &gain, &bias, p.eps, y, 0);
                layer_norm_into(g, image, &gain, &bias, p.eps, y, 2);
                y
            };
            assert_close("layer_norm_into", &run_on(gpu, record, |_| ()), &want, 5e-6);
        });
    }
}
