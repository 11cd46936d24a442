use strix_engine::{Graph, Program, Resident};
use strix_shaders::resize_across::{Filter, Placed, Stretched};
use strix_shaders::{resize_across, resize_down};
use strix_tests::{gpu, run_graph, uniform};

/// Words of any bits.
fn words(seed: u64, n: usize) -> Vec<u32> {
    uniform(seed, n).into_iter().map(f32::to_bits).map(|bits| bits.wrapping_mul(0x9e37_79b9)).collect()
}

/// A filter of weights that look like a bicubic's: 22 bits, some below zero, with sums of about 1.
fn filter(inputs: u32, outputs: u32, taps: u32) -> Filter {
    let of = |output: u32| {
        let first = (output * inputs / outputs).min(inputs - taps.min(inputs));
        let count = taps.min(inputs) - output % 2 * u32::from(taps > 1);
        let noise = uniform(7 + u64::from(output), count as usize);
        let weights: Vec<i32> =
            noise.iter().map(|w| ((w * 0.4 + 1.0) * (1 << 22) as f32) as i32 / count as i32).collect();
        (first as usize, weights)
    };
    let all: Vec<_> = (0..outputs).map(of).collect();
    Filter::new(gpu(), "filter", all.iter().map(|(first, weights)| (*first, weights.as_slice()))).unwrap()
}

/// Runs what is recorded: no loop outruns its bound, and each result is the reference's, bit for bit.
fn check(what: &str, record: impl Fn(&mut Graph)) {
    let recorded = || {
        let mut g = Graph::new(gpu().target());
        record(&mut g);
        g
    };
    run_graph(gpu(), recorded(), &[], |_| ());
    let mut program = Program::compile(gpu(), recorded()).unwrap();
    assert_eq!(program.replay(0.0).unwrap(), None, "{what}");
}

#[test]
fn resize_across_matches_reference() {
    // A picture's size, the side of its square, columns, and taps. The model's own, what fills no workgroup, one pixel.
    for ([width, height], side, columns, taps) in [
        ([640_u32, 480_u32], 640, 448, 6),
        ([70, 33], 70, 65, 5),
        ([31, 97], 97, 56, 8),
        ([1, 1], 1, 1, 1),
        ([5, 1], 5, 3, 4),
    ] {
        let pitch = width.next_multiple_of(64);
        let picture = Resident::from_slice("picture", [height, pitch], &words(1, (height * pitch) as usize));
        let across = filter(side, columns, taps);
        let no = (Stretched::No, [(side - width) / 2, (side - height) / 2]);
        let stretched = if width < height { Stretched::Width } else { Stretched::Height };
        for (stretched, offset) in [no, (stretched, [0, 0])] {
            let inputs = if stretched == Stretched::Width { width } else { height };
            let stretch = filter(inputs, side, 4);
            for is_bgr in [false, true] {
                let colour = [122, 116, 104];
                let placed =
                    Placed { size: [width, height], first_row: 0, is_bgr, offset, colour, stretched };
                let rows = if stretched == Stretched::Width { height } else { side };
                let y = Resident::zeros("y", [rows, columns]);
                check(&format!("{width}x{height} {stretched:?}"), |g| {
                    // In two parts, of which the second begins within the result.
                    let middle = rows / 2;
                    if middle > 0 {
                        resize_across(g, &picture, placed, [&across, &stretch], (&y, 0), 0..middle);
                    }
                    resize_across(g, &picture, placed, [&across, &stretch], (&y, 0), middle..rows);
                });
            }
        }
    }
}

#[test]
fn resize_down_matches_reference() {
    for (inputs, rows, columns, taps) in [(640, 448, 448, 6), (97, 33, 65, 12), (40, 56, 56, 4), (1, 1, 1, 1)]
    {
        let first_row = 3;
        let x = Resident::from_slice("x", [inputs, columns], &words(2, (inputs * columns) as usize));
        let table = Resident::from_slice("table", [3, 256], &uniform(3, 768));
        let of: Vec<(usize, Vec<i32>)> = (0..rows)
            .map(|row| {
                let first = (row * inputs / rows).min(inputs - taps.min(inputs));
                (
                    first as usize + first_row as usize,
                    vec![(1 << 22) / taps.cast_signed(); taps.min(inputs) as usize],
                )
            })
            .collect();
        let outputs = of.iter().map(|(first, weights)| (*first, weights.as_slice()));
        let down = Filter::new(gpu(), "down", outputs).unwrap();
        let y = Resident::zeros("y", [3, rows, columns]);
        check(&format!("{inputs} to {rows}x{columns}"), |g| {
            resize_down(g, (&x, first_row), &down, &table, &y);
        });
    }
}
