use strix_engine::Graph;
use strix_shaders::KvElement;
use strix_shaders::attention_probs::{self, Params};
use strix_tests::{assert_close, on_both, run_on};

use crate::attention::{Case, as_f16};

fn check(case: Case, keys: u32) {
    let data = case.data();
    check_over(case, keys, &data[0], &data[1]);
    if case.head_dim.is_multiple_of(4) {
        check_over(case, keys, &data[0], &as_f16(&data)[0]);
    }
}

fn check_over<T: KvElement>(case: Case, keys: u32, q: &[f32], k: &[T]) {
    let row = case.num_kv_heads * case.head_dim;
    let params = Params {
        rows: case.rows,
        keys: case.keys.min(keys),
        width: keys,
        sequences: 1,
        sequence_pages: case.pages().len() as u32,
        num_heads: case.num_heads,
        heads_per_kv: case.num_heads / case.num_kv_heads,
        first_kv_head: 0,
        part_kv_heads: case.num_kv_heads,
        head_dim: case.head_dim,
        q_row: case.num_heads * case.head_dim,
        q_offset: 0,
        q_stride: case.head_dim,
        k_row: row,
        k_key: row,
        k_chunk: T::PER_CHUNK,
        k_offset: 0,
        k_stride: case.head_dim,
    };
    let mut want = vec![0.0; (case.num_heads * case.rows * keys) as usize];
    let runs = case.span.map_or(vec![], |[start, live]| vec![0, start, live, 0]);
    attention_probs::reference(&params, q, k, &[], &runs, &case.pages(), &mut want);
    for (row, probs) in want.chunks_exact(keys as usize).enumerate() {
        let sum: f32 = probs.iter().sum();
        let live = row as u32 % case.rows < case.live();
        assert!((sum - if live { 1.0 } else { 0.0 }).abs() < 1e-5, "{case:?}: row {row} sums to {sum}");
    }
    on_both(|gpu| {
        let record = |g: &mut Graph| {
            let (q, [k, _]) = (case.bind_q(g, q), case.bind_kv(g, [k, k]));
            let mask = case.mask(g);
            strix_shaders::attention_probs(g, "p", q, k, case.shape(), case.rows, keys, mask)
        };
        assert_close(&format!("probs {case:?}"), &run_on(gpu, record, |_| ()), &want, 1e-5);
    });
}

#[test]
fn attention_probs_match_reference() {
    check(Case::causal(32, 32, 128, 0, 20), 20);
    check(Case::causal(32, 32, 128, 300, 5), 345);
    check(Case::full(16, 64, 33, 257), 257);
    check(Case::causal(6, 2, 16, 5, 17), 30);
    check(Case::full(4, 16, 5, 15), 18);
    check(Case { rows: 12, ..Case::causal(3, 1, 7, 2, 9) }, 51);
    check(Case::full(1, 1, 1, 1), 1);
}
