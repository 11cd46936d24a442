use strix_engine::{Gpu, Resident};
use strix_shaders::quantise_rows::{self, Params};
use strix_shaders::{Input, Routing};
use strix_tests::{assert_close, constant, on_all, run_graph, uniform};

/// Numbers and scales of the first rows of x, `norm` with the gain of its modality and eps.
fn run(gpu: &Gpu, [rows, k]: [u32; 2], x: &[f32], norm: Option<(&[f32], f32, u32)>) -> (Vec<i8>, Vec<f32>) {
    let mut g = strix_engine::Graph::new(gpu.target());
    let x = constant(&mut g, [rows, k], x);
    let input = match norm {
        Some((gain, eps, _)) => Input::normed(x, &Resident::from_slice("gain", [2, k], gain), eps),
        None => x.into(),
    };
    let routing = Routing::of(&vec![norm.map_or(0, |(.., modality)| modality); rows as usize]);
    let routing = Routing(constant(&mut g, [rows + 2], &routing));
    let rounded = quantise_rows::quantise_rows(&mut g, "x", &input, routing);
    let (words, scale) = (g.output(rounded.words), g.output(rounded.scale));
    let program = run_graph(gpu, g, &[words.id(), scale.id()], |_| ());
    let numbers =
        program.read(words).unwrap().iter().flat_map(|word| word.to_le_bytes().map(|q| q as i8)).collect();
    (numbers, program.read(scale).unwrap())
}

#[test]
fn rows_are_rounded_to_the_nearest_multiple_of_a_127th_of_their_largest() {
    for [rows, k] in [[1_u32, 4096_u32], [3, 11008], [7, 172], [2, 33], [1, 1]] {
        let x = uniform(1, (rows * k) as usize);
        let padded = k.div_ceil(32) as usize * 32;
        on_all(|gpu| {
            let (numbers, scale) = run(gpu, [rows, k], &x, None);
            for (row, x) in x.chunks_exact(k as usize).enumerate() {
                let largest = x.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
                assert_close("scale", &scale[row..=row], &[largest / 127.0], 1e-6);
                let numbers = &numbers[row * padded..][..padded];
                for (q, x) in numbers.iter().zip(x) {
                    let off = (f32::from(*q) - x * 127.0 / largest).abs();
                    assert!(off <= 0.5 + 1e-4, "{rows}x{k}: {x} of {largest} became {q}");
                }
                assert!(numbers[k as usize..].iter().all(|q| *q == 0), "{rows}x{k}: padding");
            }
        });
    }
}

/// Halves go to the even neighbour, and a row of zeros stays zero.
#[test]
fn rounding_is_to_even_and_zeros_stay() {
    let x = [127.0, 0.5, 1.5, -2.5, -126.5, 0.0, 0.49, -127.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    on_all(|gpu| {
        let (numbers, scale) = run(gpu, [2, 8], &x, None);
        assert_eq!(numbers[..8], [127, 0, 2, -2, -126, 0, 0, -127]);
        assert_eq!((scale[0], scale[1]), (1.0, 0.0));
        assert!(numbers[8..].iter().all(|q| *q == 0));
    });
}

#[test]
fn a_row_is_normalised_before_it_is_rounded() {
    for k in [4096_u32, 172, 33, 1] {
        let (x, gain, eps) = (uniform(1, k as usize), uniform(2, 2 * k as usize), 1e-5);
        let mut words = vec![0; k.div_ceil(32) as usize * 8];
        for modality in [0, 1] {
            let mut want = [0.0];
            let routing = Routing::of(&[modality]);
            quantise_rows::reference(&Params { k, eps }, &x, &gain, &routing, &mut words, &mut want);
            on_all(|gpu| {
                let (numbers, scale) = run(gpu, [1, k], &x, Some((&gain, eps, modality)));
                assert_close("scale", &scale, &want, 1e-6);
                let same = words.iter().flat_map(|word| word.to_le_bytes()).zip(&numbers);
                let off = same.map(|(want, got)| (i32::from(want as i8) - i32::from(*got)).abs());
                let off: Vec<_> = off.collect();
                let halves = off.iter().filter(|off| **off == 1).count();
                assert!(
                    off.iter().all(|off| *off <= 1) && halves <= off.len() / 500,
                    "{k}: {halves} numbers are off by one"
                );
            });
        }
    }
}
