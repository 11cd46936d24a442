use strix_engine::Graph;
use strix_shaders::top_k::{NO_ID, Params};
use strix_shaders::{arg_max, top_k};
use strix_tests::{constant, gpu, run_graph, run_on, uniform};

fn run(logits: &[f32], k: u32) -> (Vec<u32>, Vec<f32>) {
    let mut g = Graph::new(gpu().target());
    let logits = constant(&mut g, [1, logits.len() as u32], logits);
    let (ids, values) = top_k(&mut g, "ids", logits, k);
    let (ids, values) = (g.output(ids), g.output(values));
    let program = run_graph(gpu(), g, &[ids.id(), values.id()], |_| ());
    (program.read(ids).unwrap(), program.read(values).unwrap())
}

fn check(what: &str, logits: &[f32], k: u32) {
    let (mut ids, mut values) = (vec![0; k as usize], vec![0.0; k as usize]);
    top_k::reference(&Params { rows: 1, vocab: logits.len() as u32, k }, logits, &[k], &mut ids, &mut values);
    let got = run(logits, k);
    let what = format!("{what}: {k} of {}", logits.len());
    assert_eq!(got.0, ids, "{what}");
    let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got.1), bits(&values), "{what}");
}

#[test]
fn top_k_matches_reference() {
    for (vocab, k) in
        [(32_000, 1), (32_000, 50), (32_000, 64), (1000, 33), (257, 257), (33, 7), (7, 7), (1, 1)]
    {
        check("uniform", &uniform(u64::from(k), vocab), k);
    }
}

#[test]
fn a_run_takes_as_many_as_it_wants() {
    let logits = uniform(3, 1000);
    let mut want = (vec![0; 64], vec![0.0; 64]);
    top_k::reference(&Params { rows: 1, vocab: 1000, k: 64 }, &logits, &[64], &mut want.0, &mut want.1);
    let mut g = Graph::new(gpu().target());
    let wanted = g.input("wanted", [1]);
    let logits = constant(&mut g, [1, 1000], &logits);
    let (ids, values) = top_k::top_k_wanted(&mut g, "ids", logits, 64, wanted);
    let (ids, values) = (g.output(ids), g.output(values));
    let mut program = run_graph(gpu(), g, &[ids.id(), values.id()], |p| p.write(wanted, &[3_u32]));
    assert_eq!(program.read(ids).unwrap()[..4], [want.0[0], want.0[1], want.0[2], 0]);
    program.write(wanted, &[64_u32]);
    program.run(&[ids.id(), values.id()]).unwrap();
    assert_eq!((program.read(ids).unwrap(), program.read(values).unwrap()), want);
}

/// Rows of which a run takes a different number each, one of them none.
#[test]
fn top_k_of_several_rows_is_that_of_each() {
    let (p, wanted) = (Params { rows: 5, vocab: 1003, k: 20 }, [20, 0, 1, 7, 20]);
    let logits = uniform(5, 5 * 1003);
    let (mut ids, mut values) = (vec![0; 100], vec![0.0; 100]);
    top_k::reference(&p, &logits, &wanted, &mut ids, &mut values);
    let mut g = Graph::new(gpu().target());
    let (logits, wanted) = (constant(&mut g, [5, 1003], &logits), constant(&mut g, [5], &wanted));
    let (got, of) = top_k::top_k_wanted(&mut g, "ids", logits, 20, wanted);
    let (got, of) = (g.output(got), g.output(of));
    let program = run_graph(gpu(), g, &[got.id(), of.id()], |_| ());
    assert_eq!((program.read(got).unwrap(), program.read(of).unwrap()), (ids, values));
}

#[test]
fn top_k_of_few_values_takes_the_lowest_ids_first() {
    let steps: Vec<_> = uniform(1, 5000).iter().map(|v| (v * 3.0).round()).collect();
    assert!(steps.iter().any(|v| v.to_bits() == (-0.0_f32).to_bits()), "0 and -0 are to tie");
    check("few values", &steps, 64);
    check("all equal", &[2.5; 1000], 40);
    check("zeros", &[-0.0, 0.0, -0.0, 0.0], 4);
}

/// All of the best in one lane: that lane looks at its logits again in every round.
#[test]
fn top_k_of_one_lane_stays_within_its_bound() {
    let logits: Vec<_> = (0..32_000).map(|i| if i % 256 == 3 { (32_000 - i) as f32 } else { 0.0 }).collect();
    check("one lane", &logits, 64);
    check("one lane", &logits, top_k::max_k(32_000));
}

#[test]
fn top_k_orders_infinities_negatives_and_denormals() {
    let mut logits: Vec<_> = uniform(1, 600).iter().map(|v| v - 2.0).collect();
    logits[17] = f32::NEG_INFINITY;
    logits[300] = f32::NEG_INFINITY;
    check("negative", &logits, 400);
    logits[599] = f32::INFINITY;
    logits[598] = f32::MAX;
    logits[5] = f32::from_bits(1);
    logits[4] = -f32::from_bits(1);
    check("special", &logits, 400);
    check("-inf only", &[f32::NEG_INFINITY; 300], 10);
}

#[test]
fn top_k_puts_nan_first() {
    let mut logits = uniform(1, 1000);
    logits[700] = f32::NAN;
    logits[300] = -f32::NAN;
    logits[2] = f32::INFINITY;
    let (ids, values) = run(&logits, 3);
    assert_eq!(ids, [300, 700, 2]);
    assert!(values[0].is_nan() && values[1].is_nan() && values[2] == f32::INFINITY, "{values:?}");
}

#[test]
fn top_k_beyond_the_vocabulary_is_padded() {
    let (ids, values) = run(&[1.0, 3.0, 2.0], 6);
    assert_eq!(ids, [1, 2, 0, NO_ID, NO_ID, NO_ID]);
    assert_eq!(values, [3.0, 2.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]);
}

#[test]
fn top_k_takes_at_most_max_k() {
    assert!(top_k::max_k(32_000) >= 64);
    for vocab in [1, 255, 256, 32_000, 65_536] {
        let mut g = Graph::new(gpu().target());
        let logits = g.input("logits", [1, vocab]);
        // `push` refuses a step that may loop too often.
        top_k(&mut g, "ids", logits, top_k::max_k(vocab));
    }
}

#[test]
fn arg_max_is_the_first_of_top_k() {
    for vocab in [32_000, 1000, 33, 1] {
        let logits = uniform(9, vocab as usize);
        let best = (0..vocab).rev().max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]));
        let record = |g: &mut Graph| {
            let logits = constant(g, [1, vocab], &logits);
            arg_max(g, "id", logits)
        };
        assert_eq!(Some(run_on(gpu(), record, |_| ())[0]), best, "of {vocab}");
    }
}
