use strix_engine::Resident;
use strix_shaders::add::{self, Params};
use strix_tests::{assert_close, constant, gpu, run_on, uniform};

#[test]
fn add_matches_reference() {
    for (rows, dim) in [(1, 4096), (64, 1024), (7, 1000), (7, 33), (3, 7), (2, 1), (1, 1)] {
        let len = rows * dim;
        let (x, table) = (uniform(1, len as usize), uniform(2, len as usize));
        let mut want = vec![0.0; x.len()];
        add::reference(&Params { len }, &x, &table, &mut want);
        let table = Resident::from_slice("table", [rows, dim], &table);
        let got = run_on(
            gpu(),
            |g| {
                let x = constant(g, [rows, dim], &x);
                strix_shaders::add(g, "y", x, &table)
            },
            |_| (),
        );
        assert_close(&format!("add {rows}x{dim}"), &got, &want, 0.0);
    }
}
