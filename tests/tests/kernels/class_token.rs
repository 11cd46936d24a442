use strix_engine::Resident;
use strix_shaders::class_token::{self, Params};
use strix_tests::{assert_close, constant, gpu, run_on, uniform};

#[test]
fn class_token_matches_reference() {
    for (num_patches, dim) in [(1024, 1024), (16, 1000), (9, 33), (4, 7), (1, 4096), (1, 1)] {
        let rows = num_patches + 1;
        let patches = uniform(1, (num_patches * dim) as usize);
        let (class, position) = (uniform(2, dim as usize), uniform(3, (rows * dim) as usize));
        let mut want = vec![0.0; position.len()];
        class_token::reference(&Params { rows, dim }, &patches, &class, &position, &mut want);
        let class = Resident::from_slice("class", [dim], &class);
        let position = Resident::from_slice("position", [rows, dim], &position);
        let got = run_on(
            gpu(),
            |g| {
                let patches = constant(g, [num_patches, dim], &patches);
                strix_shaders::class_token(g, "y", patches, &class, &position)
            },
            |_| (),
        );
        assert_close(&format!("class_token {rows}x{dim}"), &got, &want, 0.0);
    }
}
