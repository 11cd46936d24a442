//! A checkpoint that nobody trained: every tensor of a config, computed where it is read.
//!
//! The real size is tested with it on machines that hold no real checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::FileDtype;
use super::computed::{Computed, Levels, Spread, hash_name};
use super::entry::{At, TensorEntry};
use super::tensors::Weights;
use crate::Config;

impl Weights {
    /// Every tensor that a checkpoint of this config must hold, without a file: values are computed when they are
    /// read, the same ones for the same seed, name and entry, whatever is read around them.
    ///
    /// They are roughly normal (the sum of four uniform bytes, at most 3.45 standard deviations from the mean) and
    /// rounded to `dtype`. Their spread keeps activations near 1 through all layers, lets every layer matter and
    /// gives logits a standard deviation of about 2.5:
    ///
    /// | tensors | mean | standard deviation | so that |
    /// |---|---|---|---|
    /// | projections `[n, k]` | 0 | 1 / √k | rows of 1 give rows of 1 |
    /// | `q_proj`, `query` | 0 | 2 / √k | scores have 2: attention picks some keys, it does not average all |
    /// | `query_key_value` | 0 | √2 / √k | the same, of one matrix for all three |
    /// | `o_proj`, `down_proj`, `dense`, `fc2`, `out_proj`, `w2` | 0 | 1 / √(2 · layers · k) | two in each layer add up to 1 over all |
    /// | `embed_tokens`, `vit_eos` | 0 | 0.5 | what all layers add is as large |
    /// | `visual_fc` | 0 | 0.5 / √k | a picture's rows are like those of words |
    /// | `lm_head` | 0 | 2.5 / √k | logits have 2.5 |
    /// | `embed_tokens`, tied | 0 | 2.5 / √k | it is `lm_head` |
    /// | `cls_token`, `query_embeds` | 0 | 1 | a norm follows |
    /// | `position_embedding` | 0 | 0.5 | places differ, patches still count |
    /// | gains of norms | 1 | 0.1 | |
    /// | biases | 0 | 0.05 | |
    ///
    /// # Panics
    ///
    /// If `dtype` is not F32, F16 or BF16.
    pub fn synthetic(config: &Config, dtype: FileDtype, seed: u64) -> Self {
        let mut weights = Self::empty(Path::new("synthetic checkpoint"));
        let mut known: BTreeMap<[u64; 2], Arc<Levels>> = BTreeMap::new();
        for spec in config.tensors().into_iter().filter(|spec| spec.required) {
            let spread = spread(config, &spec.name, &spec.shape);
            let levels = known
                .entry([spread.mean.to_bits(), spread.std.to_bits()])
                .or_insert_with(|| Arc::new(Levels::new(spread, dtype)));
            let stream = Computed { seed: hash_name(seed, &spec.name), levels: levels.clone() };
            let entry = TensorEntry { file: 0, dtype, shape: spec.shape, at: At::Computed(stream) };
            weights.tensors.insert(spec.name, entry);
        }
        weights
    }
}

fn spread(config: &Config, name: &str, shape: &[usize]) -> Spread {
    let around_0 = |std| Spread { mean: 0.0, std };
    let (module, kind) = name.rsplit_once('.').unwrap_or(("", name));
    let last =
        module.split('.').rfind(|part| *part != "multiway" && part.parse::<u32>().is_err()).unwrap_or("");
    let layers = match () {
        () if name.contains("vision_model.") => config.vision.num_hidden_layers,
        () if name.contains("visual_abstractor.") => config.abstractor.num_hidden_layers,
        () => config.text.num_hidden_layers,
    } as f64;
    // Columns: all axes but the outermost.
    let k = shape.iter().skip(1).product::<usize>() as f64;
    match (last, kind) {
        (_, "bias") => around_0(0.05),
        (_, "cls_token" | "query_embeds") => around_0(1.0),
        (_, "position_embedding" | "vit_eos") => around_0(0.5),
        _ if shape.len() == 1 => Spread { mean: 1.0, std: 0.1 },
        ("embed_tokens", _) if config.text.tie_word_embeddings => around_0(2.5 / k.sqrt()),
        ("embed_tokens", _) => around_0(0.5),
        ("lm_head", _) => around_0(2.5 / k.sqrt()),
        ("visual_fc", _) => around_0(0.5 / k.sqrt()),
        ("q_proj" | "query", _) => around_0(2.0 / k.sqrt()),
        ("query_key_value", _) => around_0((2.0 / k).sqrt()),
        ("o_proj" | "down_proj" | "dense" | "fc2" | "out_proj" | "w2", _) => {
            around_0(1.0 / (2.0 * layers * k).sqrt())
        }
        _ => around_0(1.0 / k.sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "model.layers.1.mlp.gate_proj.weight";

    fn config() -> Config {
        Config::from_json(include_bytes!("../../nano/config.json")).unwrap()
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        for dtype in [FileDtype::F32, FileDtype::F16, FileDtype::BF16] {
            let weights = Weights::synthetic(&config(), dtype, 7);
            let view = weights.get(NAME).unwrap();
            let whole = view.to_f32().unwrap();
            let mut bytes = vec![0; view.byte_len()];
            view.read_bytes(0, &mut bytes).unwrap();
            let size = dtype.bitsize() / 8;
            for (start, len) in
                [(0, 1), (1, 1), (0, 2), (1, 2), (5, 64), (6, 63), (whole.len() - 1, 1), (3, 0)]
            {
                let mut part = vec![f32::NAN; len];
                view.read_f32(start, &mut part).unwrap();
                assert_eq!(part, whole[start..start + len], "{dtype}: {len} from {start}");
                let mut part = vec![0xaa; len * size];
                view.read_bytes(start, &mut part).unwrap();
                assert_eq!(part, bytes[start * size..][..len * size], "{dtype}: {len} from {start}");
            }
        }
    }

    #[test]
    fn values_are_those_of_a_file_of_that_dtype() {
        for dtype in [FileDtype::F32, FileDtype::F16, FileDtype::BF16] {
            let weights = Weights::synthetic(&config(), dtype, 7);
            let view = weights.get(NAME).unwrap();
            let mut bytes = vec![0; view.byte_len()];
            view.read_bytes(0, &mut bytes).unwrap();
            let shape = view.shape.to_vec();
            let header = format!(
                r#"{{"x":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[0,{}]}}}}"#,
                bytes.len()
            );
            let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes].concat();
            let stored = Weights::from_bytes(file).unwrap();
            assert_eq!(stored.get("x").unwrap().to_f32().unwrap(), view.to_f32().unwrap(), "{dtype}");
        }
    }

    #[test]
    fn seeds_and_names_give_other_values_and_nothing_else_does() {
        let values = |seed, name: &str| {
            Weights::synthetic(&config(), FileDtype::F32, seed).get(name).unwrap().to_f32().unwrap()
        };
        let same =
            |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64;
        let one = values(1, NAME);
        assert_eq!(one, values(1, NAME));
        for other in [values(2, NAME), values(1, "model.layers.0.mlp.gate_proj.weight")] {
            assert!(same(&one, &other) < 0.01, "{}", same(&one, &other));
        }
        // Every version computes the same values, so that a measurement can be repeated.
        assert_eq!(one[..4], [0.034685582, 0.0394698, -0.05681259, -0.09807647]);
    }

    #[test]
    fn spreads_are_those_of_the_table() {
        let config = config();
        let weights = Weights::synthetic(&config, FileDtype::F32, 3);
        weights.check(&config).unwrap();
        for name in weights.names() {
            let view = weights.get(name).unwrap();
            let want = spread(&config, name, view.shape);
            let values = view.to_f32().unwrap();
            let n = values.len() as f64;
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let std = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
            // Five standard errors.
            let room = 5.0 * want.std / n.sqrt();
            assert!((mean - want.mean).abs() < room, "{name}: mean {mean}, expected {want:?}");
            assert!((std - want.std).abs() < room, "{name}: std {std}, expected {want:?}");
        }
        let std = |name: &str| spread(&config, name, weights.get(name).unwrap().shape).std;
        let (d, layers) = (config.text.hidden_size as f64, config.text.num_hidden_layers as f64);
        assert_eq!(std("lm_head.weight"), 2.5 / d.sqrt());
        assert_eq!(std("model.layers.0.self_attn.k_proj.multiway.1.weight"), 1.0 / d.sqrt());
        assert_eq!(std("model.layers.0.self_attn.o_proj.weight"), 1.0 / (2.0 * layers * d).sqrt());
        assert_eq!(std("model.layers.0.input_layernorm.multiway.0.weight"), 0.1);
    }

    #[test]
    fn neighbours_are_independent() {
        let weights = Weights::synthetic(&config(), FileDtype::F32, 3);
        let values = weights.get("lm_head.weight").unwrap().to_f32().unwrap();
        let variance: f32 = values.iter().map(|v| v * v).sum();
        for apart in [1, 2, 3, 64, 1000] {
            let product: f32 = values.iter().zip(&values[apart..]).map(|(a, b)| a * b).sum();
            let limit = 5.0 / (values.len() as f32).sqrt();
            assert!((product / variance).abs() < limit, "{apart} apart: {}", product / variance);
        }
    }
}
