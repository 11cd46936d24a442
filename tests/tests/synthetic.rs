//! A checkpoint that nobody trained behaves like one that somebody did.

use serde_json::{Map, Value, json};
use strix_model::weights::FileDtype;
use strix_model::{Config, LoadOptions, Model, Source, Weights, unwatched};
use strix_tests::golden::root;
use strix_tests::{gpu, prompt_ids, uniform};

/// As a safetensors file.
fn file(weights: &Weights) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), vec![]);
    for name in weights.names() {
        let view = weights.get(name).unwrap();
        let start = data.len();
        data.resize(start + view.byte_len(), 0);
        view.read_bytes(0, &mut data[start..]).unwrap();
        let info = json!({
            "dtype": view.dtype.to_string(), "shape": view.shape, "data_offsets": [start, data.len()],
        });
        header.insert(name.to_owned(), info);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn std(values: &[f32]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[test]
fn a_synthetic_checkpoint_has_a_spread_of_logits_and_listens_to_picture_and_words() {
    let config_dir = root().join("medium/hf");
    let config = Config::load(&config_dir).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    std::fs::write(&path, file(&Weights::synthetic(&config, FileDtype::BF16, 1))).unwrap();
    let options = LoadOptions { ctx: Some(120), chunk: 32, ..LoadOptions::default() };
    let source = Source::Files { config: &config_dir, weights: &path };
    let model = Model::load_on(gpu(), source, &options, &mut unwatched).unwrap();

    let pixels = config.vision.image_size * config.vision.image_size * 3;
    let logits = |picture: u64, ids: [i64; 5]| {
        let mut session = model.session().unwrap();
        session.add_embeds(model.encode(&uniform(picture, pixels)).unwrap().into());
        session.inspect().greedy(&prompt_ids(ids), 1).unwrap().remove(0)
    };
    let one = logits(1, [1, 5, -200, 9, 11]);
    let spread = std(&one);
    assert!((1.5..4.0).contains(&spread), "logits have a standard deviation of {spread}");
    for (what, other) in
        [("picture", logits(2, [1, 5, -200, 9, 11])), ("word", logits(1, [1, 6, -200, 9, 11]))]
    {
        let difference: Vec<f32> = one.iter().zip(&other).map(|(a, b)| a - b).collect();
        let difference = std(&difference);
        println!("another {what} changes logits by {difference}");
        assert!(difference > 0.05, "another {what} changes logits by {difference}");
    }
}
