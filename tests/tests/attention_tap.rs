//! The attention probabilities that a session writes out for inspection.

use std::collections::HashMap;

use strix_model::tokenizer::PromptId;
use strix_model::{Dtype, KvDtype, LoadOptions};
use strix_tests::golden::{Set, root};
use strix_tests::{gpu, on_both, prompt_ids};

/// Largest difference of a probability.
const BOUND: f64 = 1e-5;

#[test]
fn tapped_probabilities_are_the_softmax_of_traced_queries_and_keys() {
    on_both(|gpu| {
        for (name, kv) in [("tiny", KvDtype::F32), ("gqa", KvDtype::F32), ("gqa", KvDtype::F16)] {
            let options = LoadOptions { dtype: Dtype::F32, kv, ..LoadOptions::default() };
            let set = Set::load(gpu, &root().join(name), &options).unwrap();
            let c = set.model.config().text.clone();
            let (heads, kv_heads, dim) = (c.num_attention_heads, c.num_key_value_heads, c.head_dim());
            for case in ["image_mid", "text_only", "long"] {
                let mut session = set.model.session().unwrap();
                for pixels in set.pixels(case) {
                    session.add_embeds(set.model.encode(pixels).unwrap().into());
                }
                let ids = set.ids(case).unwrap();
                let images = ids.iter().filter(|&&id| id == PromptId::Picture).count();
                let rows = ids.len() + images * (set.model.config().num_image_tokens() - 1);
                let layers: Vec<usize> = (0..c.num_hidden_layers).rev().chain([0]).collect();
                let probs = session.inspect().attention_probs(&ids, &layers).unwrap();
                assert_eq!(probs.len(), layers.len());

                let trace: HashMap<String, Vec<f32>> =
                    session.inspect().trace(&ids).unwrap().into_iter().collect();
                for (layer, probs) in layers.iter().zip(&probs) {
                    assert_eq!(probs.len(), heads * rows * rows, "{name} {case}: layer {layer}");
                    let q = &trace[&format!("decoder.{layer}.rope")];
                    let k = &trace[&format!("decoder.{layer}.k_cache")];
                    let head_len = k.len() / kv_heads;
                    for (at, row) in probs.chunks_exact(rows).enumerate() {
                        let (head, r) = (at / rows, at % rows);
                        let what = format!("{name} {case}: layer {layer}, head {head}, row {r}");
                        let q = &q[(r * heads + head) * dim..][..dim];
                        let score = |j: usize| {
                            let k = &k[head * kv_heads / heads * head_len + j * dim..][..dim];
                            let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                            (dot / (dim as f64).sqrt()).exp()
                        };
                        let scores: Vec<f64> = (0..=r).map(score).collect();
                        let sum: f64 = scores.iter().sum();
                        for (j, &p) in row.iter().enumerate() {
                            let want = scores.get(j).map_or(0.0, |s| s / sum);
                            let error = (f64::from(p) - want).abs();
                            assert!(error <= BOUND, "{what}, key {j}: {p}, want {want}, {error:e} off");
                            assert!(j <= r || p == 0.0, "{what} sees key {j} with {p:e}");
                        }
                        let total: f64 = row.iter().map(|&p| f64::from(p)).sum();
                        assert!((total - 1.0).abs() <= BOUND, "{what} sums to {total}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_tap_takes_a_single_position_and_refuses_layers_that_are_not_there() {
    let set = Set::load(gpu(), &root().join("tiny"), &LoadOptions::default()).unwrap();
    let mut session = set.model.session().unwrap();
    assert_eq!(session.inspect().attention_probs(&prompt_ids([1]), &[1]).unwrap(), [[1.0; 4]]);
    assert_eq!(session.inspect().attention_probs(&prompt_ids([1, 2]), &[]).unwrap(), Vec::<Vec<f32>>::new());
    let error = session.inspect().attention_probs(&prompt_ids([1, 2]), &[0, 3]).unwrap_err().to_string();
    assert!(error.contains("layers is 3") && error.contains("0 to 2"), "{error}");
    let error = session.inspect().attention_probs(&prompt_ids([1, -200]), &[0]).unwrap_err().to_string();
    assert!(error.contains("0 pictures"), "{error}");
    // The session goes on as if nothing had been looked at.
    let ids = set.ids("text_only").unwrap();
    let steps = session.inspect().greedy(&ids, 1).unwrap();
    let want = set.recorded("text_only", "greedy_ids").unwrap().values[0];
    assert_eq!(strix_model::sampler::best(&steps[0]) as f32, want);
}
