//! The CPU reference of the whole layers against every recorded tensor of the original implementation.

use strix_model::tokenizer::PromptId;
use strix_model::{Config, LoadOptions, Weights};
use strix_tests::golden::{self, distance, root};
use strix_tests::reference::{Points, Reference};

/// The original computed in f32, and its sums reach no further.
const BOUND: f32 = 5e-6;

fn agrees(name: &str) {
    let dir = root().join(name);
    let config = Config::load(&dir.join("hf")).unwrap();
    let weights = Weights::open(&dir.join("model.safetensors")).unwrap();
    let reference = Reference::new(&config, &weights, &LoadOptions::default()).unwrap();
    let (tensors, cases) = golden::recorded(&dir).unwrap();
    let (mut compared, mut worst) = (0, 0.0_f32);
    for case in cases {
        let of = |point: &str| tensors.get(&format!("{case}/{point}"));
        let mut points = Points::default();
        let mut images = vec![];
        if let Some(pixels) = of("pixel_values") {
            for pixels in pixels.values.chunks_exact(pixels.shape[1..].iter().product()) {
                let features = reference.vision(pixels, &mut points).unwrap();
                images.push(reference.abstractor(&features, &mut points).unwrap());
            }
        }
        let ids = of("input_ids").unwrap().values.iter();
        let ids: Vec<_> = ids.map(|&id| PromptId::try_from(id as i64).unwrap()).collect();
        reference.decoder(&ids, &images, &mut points).unwrap();

        for (point, want) in
            tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(&format!("{case}/"))?, t)))
        {
            if ["input_ids", "pixel_values", "modality_indicators", "greedy_ids", "greedy_logits"]
                .contains(&point)
            {
                continue;
            }
            let ours = points.0.get(point).unwrap_or_else(|| panic!("{name}/{case}: no {point}"));
            let error = distance(ours, &want.values).unwrap().relative;
            assert!(error <= BOUND, "{name}/{case}/{point}: {error:e} of the largest value > {BOUND:e}");
            compared += 1;
            worst = worst.max(error);
        }
    }
    println!("{name}: {compared} tensors, worst {worst:e}");
    assert!(compared >= 60, "{name}: only {compared} tensors");
}

#[test]
fn the_cpu_reference_is_the_original_on_tiny() {
    agrees("tiny");
}

#[test]
fn the_cpu_reference_is_the_original_with_fewer_key_heads() {
    agrees("gqa");
}

#[test]
fn the_cpu_reference_computes_the_position_tables_that_a_checkpoint_lacks() {
    agrees("release");
}
