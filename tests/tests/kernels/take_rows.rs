use strix_shaders::take_rows::{self, Params};
use strix_tests::{assert_close, constant, gpu, run_on, uniform};

#[test]
fn take_rows_matches_reference() {
    for (rows, dim) in [(65, 4096), (7, 1000), (33, 33), (5, 7), (4, 1), (1, 1)] {
        let x = uniform(1, (rows * dim) as usize);
        // The last is no row of x.
        let index = [rows - 1, 0, rows / 2, 0, rows, u32::MAX];
        let p = Params { rows, dim, taken: index.len() as u32 };
        let mut want = vec![0.0; index.len() * dim as usize];
        take_rows::reference(&p, &x, &index, &mut want);
        let got = run_on(
            gpu(),
            |g| {
                let (x, index) = (constant(g, [rows, dim], &x), constant(g, [p.taken], &index));
                strix_shaders::take_rows(g, "y", x, index)
            },
            |_| (),
        );
        assert_close(&format!("take_rows {rows}x{dim}"), &got, &want, 0.0);
    }
}

#[test]
fn take_rows_takes_one_row() {
    let x = uniform(1, 3 * 4096);
    let record = |g: &mut strix_engine::Graph| {
        let (x, index) = (constant(g, [3, 4096], &x), constant(g, [1], &[1_u32]));
        strix_shaders::take_rows(g, "y", x, index)
    };
    assert_eq!(run_on(gpu(), record, |_| ()), x[4096..2 * 4096]);
}
