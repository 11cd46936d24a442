use strix_shaders::patches::{self, Params};
use strix_tests::{assert_close, constant, gpu, run_on, uniform};

#[test]
fn patches_match_reference() {
    // The model's own, the tests' tiny ones, one patch, one pixel a patch.
    for (channels, size, patch) in [(3, 448, 14), (3, 56, 14), (3, 33, 11), (1, 7, 7), (2, 5, 1), (1, 1, 1)] {
        let pixels = uniform(1, (channels * size * size) as usize);
        let mut want = vec![0.0; pixels.len()];
        patches::reference(&Params { channels, size, patch_size: patch }, &pixels, &mut want);
        let got = run_on(
            gpu(),
            |g| {
                let pixels = constant(g, [channels, size, size], &pixels);
                strix_shaders::patches(g, "y", pixels, patch)
            },
            |_| (),
        );
        assert_close(&format!("patches {channels}x{size}/{patch}"), &got, &want, 0.0);
    }
}

/// The order in which a convolution's weights are stored, written out.
#[test]
fn patches_are_in_channel_row_column_order() {
    let pixels: Vec<f32> = (0..32_u8).map(f32::from).collect();
    let record = |g: &mut strix_engine::Graph| {
        let pixels = constant(g, [2, 4, 4], &pixels);
        strix_shaders::patches(g, "y", pixels, 2)
    };
    let got = run_on(gpu(), record, |_| ());
    assert_eq!(got[..8], [0.0, 1.0, 4.0, 5.0, 16.0, 17.0, 20.0, 21.0]);
    assert_eq!(got[8..12], [2.0, 3.0, 6.0, 7.0], "the second patch is to the right of the first");
}
