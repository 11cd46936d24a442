use strix_engine::{Graph, Program};
use strix_tests::{assert_close, on_both, run_on};

use crate::attention::{Case, as_f16, span_of};

/// The last of 4,096 positions.
const FAR_END: Case =
    Case { num_heads: 32, num_kv_heads: 32, head_dim: 128, rows: 1, keys: 4096, span: Some([4095, 1]) };

fn check(case: Case) {
    let data = case.data();
    let want = case.want(&data);
    on_both(|gpu| {
        let record = |g: &mut Graph| {
            let [q, k, v] = case.bind(g, &data);
            let span = span_of(g, case.span.expect("a causal case"));
            strix_shaders::decode_attention(g, "y", q, k, v, case.shape(), span)
        };
        assert_close(&format!("decode {case:?}"), &run_on(gpu, record, |_| ()), &want, 1e-5);
    });
}

/// The keys and values are f16 to both sides, so what they were rounded from is no part of the error.
fn check_f16(case: Case) {
    let data = case.data();
    let [k, v] = as_f16(&data);
    let want = case.want_over(&data[0], [&k, &v]);
    on_both(|gpu| {
        let record = |g: &mut Graph| {
            let (q, [k, v]) = (case.bind_q(g, &data[0]), case.bind_kv(g, [&k, &v]));
            let span = span_of(g, case.span.expect("a causal case"));
            strix_shaders::decode_attention(g, "y", q, k, v, case.shape(), span)
        };
        assert_close(&format!("decode f16 {case:?}"), &run_on(gpu, record, |_| ()), &want, 1e-5);
    });
}

#[test]
fn decode_attention_over_a_cache_of_f16() {
    for start in [0, 64, 1022] {
        check_f16(Case::causal(32, 32, 128, start, 1));
    }
    check_f16(FAR_END);
    for head_dim in [4, 12, 20, 36, 100, 256] {
        for start in [0, 7, 270] {
            check_f16(Case::causal(6, 2, head_dim, start, 1));
        }
    }
    check_f16(Case { keys: 1, ..Case::causal(1, 1, 4, 0, 1) });
}

#[test]
fn decode_attention_of_the_decoder() {
    for start in [0, 64, 1022] {
        check(Case::causal(32, 32, 128, start, 1));
    }
    check(FAR_END);
}

#[test]
fn decode_attention_at_golden_sizes() {
    for head_dim in [8, 10, 12, 16, 20, 32, 40, 64] {
        check(Case::causal(4, 4, head_dim, 33, 1));
    }
    check(Case::causal(6, 2, 16, 5, 1));
    check(Case::causal(4, 1, 12, 300, 1));
}

#[test]
fn decode_attention_at_odd_sizes() {
    for head_dim in [1, 3, 7, 36, 100, 256] {
        for start in [0, 7, 270] {
            check(Case::causal(2, 1, head_dim, start, 1));
        }
    }
    check(Case { keys: 1, ..Case::causal(1, 1, 4, 0, 1) });
}

/// The same program at later positions, as tokens flow.
#[test]
fn decode_attention_reads_its_span_at_run_time() {
    let case = Case { keys: 600, ..Case::causal(2, 2, 16, 0, 1) };
    let data = Case { span: Some([599, 1]), ..case }.data();
    on_both(|gpu| {
        let mut g = Graph::new(gpu.target());
        let [q, k, v] = case.bind(&mut g, &data);
        let span = g.input("span", [2]);
        let y = strix_shaders::decode_attention(&mut g, "y", q, k, v, case.shape(), span);
        let y = g.output(y);
        let mut program = Program::compile(gpu, g).expect("the kernel compiles");
        let created = gpu.created();
        for at in [[0, 1], [1, 1], [255, 1], [599, 1]] {
            program.write(span, &at);
            program.run(&[y.id()]).expect("the kernel runs");
            let want = Case { span: Some(at), ..case }.want(&data);
            assert_close(&format!("span {at:?}"), &program.read(y), &want, 1e-5);
        }
        assert_eq!(gpu.created(), created);
    });
}

/// The two kernels against each other, at every row of a run.
#[test]
fn decode_attention_agrees_with_attention() {
    let last = Case::causal(4, 2, 32, 0, 20);
    let data = last.data();
    let want = last.want(&data);
    let row = 4 * 32;
    for at in [0, 9, 19] {
        let case = Case { rows: 1, span: Some([at, 1]), ..last };
        let at = at as usize;
        let data = [data[0][at * row..][..row].to_vec(), data[1].clone(), data[2].clone()];
        on_both(|gpu| {
            let record = |g: &mut Graph| {
                let [q, k, v] = case.bind(g, &data);
                let span = span_of(g, case.span.expect("a causal case"));
                strix_shaders::decode_attention(g, "y", q, k, v, case.shape(), span)
            };
            assert_close(&format!("row {at}"), &run_on(gpu, record, |_| ()), &want[at * row..][..row], 1e-5);
        });
    }
}
