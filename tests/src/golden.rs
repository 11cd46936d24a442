//! The original implementation's recorded tensors, and ours under their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use strix_engine::Gpu;
use strix_model::tokenizer::PromptId;
use strix_model::weights::FileDtype;
use strix_model::{LoadOptions, Model, Source, Trace, Weights, unwatched};

/// The sets of the copy in the repository.
pub const SETS: [&str; 6] = ["tiny", "medium", "gqa", "mamoff", "f16", "release"];

/// The copy in the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The checkpoints of a golden folder, ours first, in our order.
///
/// # Errors
///
/// If it cannot be read or holds none.
pub fn sets(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root).with_context(|| root.display().to_string())?;
    let mut sets: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.join("golden.safetensors").exists()).collect();
    sets.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (SETS.iter().position(|set| *set == name).unwrap_or(SETS.len()), name)
    });
    ensure!(!sets.is_empty(), "{}: no folder in it holds a golden.safetensors", root.display());
    Ok(sets)
}

/// One checkpoint with the recorded runs of it.
#[derive(Debug)]
pub struct Set {
    /// Its folder's name.
    pub name: String,
    /// The model on the device.
    pub model: Model,
    /// Every recorded tensor, `case/point`.
    pub tensors: BTreeMap<String, Recorded>,
    /// Names of the recorded runs.
    pub cases: Vec<String>,
}

/// A recorded tensor; integers as floats.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f32>,
}

impl Set {
    /// Loads a set on a device.
    ///
    /// # Errors
    ///
    /// If a file is missing or not what it should be.
    pub fn load(gpu: &Gpu, dir: &Path, options: &LoadOptions) -> Result<Self> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = Source::Files { config: &dir.join("hf"), weights: &dir.join("model.safetensors") };
        let model = Model::load_on(gpu, source, options, &mut unwatched)
            .with_context(|| format!("{name}: loading"))?;
        let (tensors, cases) = recorded(dir)?;
        Ok(Self { name, model, tensors, cases })
    }

    /// A recorded tensor of a run.
    ///
    /// # Errors
    ///
    /// If it was not recorded.
    pub fn recorded(&self, case: &str, point: &str) -> Result<&Recorded> {
        self.tensors
            .get(&format!("{case}/{point}"))
            .with_context(|| format!("{}: no {case}/{point}", self.name))
    }

    /// Prompt of a run.
    ///
    /// # Errors
    ///
    /// If it was not recorded.
    pub fn ids(&self, case: &str) -> Result<Vec<PromptId>> {
        let ids = self.recorded(case, "input_ids")?.values.iter();
        ids.map(|&id| PromptId::try_from(id as i64).map_err(anyhow::Error::msg)).collect()
    }

    /// Pixels of each picture of a run.
    pub fn pixels(&self, case: &str) -> Vec<&[f32]> {
        match self.tensors.get(&format!("{case}/pixel_values")) {
            Some(t) => t.values.chunks_exact(t.shape[1..].iter().product()).collect(),
            None => vec![],
        }
    }
}

/// Every tensor recorded of a checkpoint, `case/point`, and the names of its runs.
///
/// # Errors
///
/// If a file is missing or not what it should be.
pub fn recorded(dir: &Path) -> Result<(BTreeMap<String, Recorded>, Vec<String>)> {
    let manifest: serde_json::Value = read_json(&dir.join("manifest.json"))?;
    let cases = manifest["cases"].as_object().context("manifest.json: cases")?.keys().cloned().collect();
    let file = Weights::open(&dir.join("golden.safetensors"))?;
    let mut tensors = BTreeMap::new();
    for name in file.names() {
        let view = file.get(name).context("listed")?;
        let values = match (view.dtype, view.contiguous()) {
            (FileDtype::I64, Some(bytes)) => {
                bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect()
            }
            _ => view.to_f32()?,
        };
        tensors.insert(name.to_owned(), Recorded { shape: view.shape.to_vec(), values });
    }
    Ok((tensors, cases))
}

/// Parses a JSON file.
///
/// # Errors
///
/// If it cannot be read or parsed.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// What our run of a case computed, by label.
#[derive(Debug)]
pub struct Run<'a> {
    model: &'a Model,
    images: Vec<BTreeMap<String, Vec<f32>>>,
    embeds: Vec<Vec<f32>>,
    decoder: BTreeMap<String, Vec<f32>>,
    rows: usize,
}

impl<'a> Run<'a> {
    /// Runs a case with every tensor kept.
    ///
    /// # Errors
    ///
    /// If the device fails or the case does not fit the model.
    pub fn of(set: &'a Set, case: &str) -> Result<Self> {
        Self::with(&set.model, &set.pixels(case), &set.ids(case)?)
    }

    /// Runs pictures' pixels and ids with every tensor kept.
    ///
    /// # Errors
    ///
    /// If the device fails or the ids do not fit the model.
    pub fn with(model: &'a Model, pixels: &[&[f32]], ids: &[PromptId]) -> Result<Self> {
        // Of tensors written in parts, the last writing has all.
        let by_label = |trace: Trace| trace.into_iter().collect();
        let mut session = model.session()?;
        let mut run = Self { model, images: vec![], embeds: vec![], decoder: BTreeMap::new(), rows: 0 };
        for pixels in pixels {
            run.images.push(by_label(model.trace_encode(pixels)?));
            let embeds = model.encode(pixels)?;
            session.add_embeds(embeds.clone().into());
            run.embeds.push(embeds);
        }
        let places = ids.iter().filter(|&&id| id == PromptId::Picture).count();
        run.rows = ids.len() + places * (model.config().num_image_tokens() - 1);
        run.decoder = by_label(session.inspect().trace(ids)?);
        Ok(run)
    }

    /// Embeddings of each picture, `[queries + 1, hidden_size]`.
    pub fn embeds(&self) -> &[Vec<f32>] {
        &self.embeds
    }

    /// The tensor that the original calls `point`; `None` if it is no tensor of the computation.
    ///
    /// # Errors
    ///
    /// If the name is of a kind we do not know.
    pub fn point(&self, point: &str) -> Result<Option<Vec<f32>>> {
        let (part, rest) = match point.split_once('.') {
            Some(split) => split,
            None => match point {
                "inputs_embeds" => return Ok(Some(self.decoder("embed_tokens")?)),
                "logits" => return Ok(Some(self.decoder("lm_head")?)),
                "image_embeds" => return Ok(Some(self.embeds.concat())),
                "input_ids" | "pixel_values" | "modality_indicators" | "greedy_ids" | "greedy_logits" => {
                    return Ok(None);
                }
                _ => bail!("{point} is not a point we know"),
            },
        };
        let (layer, what) = match rest.strip_prefix("layer") {
            Some(rest) => {
                let (layer, what) = rest.split_once('.').unwrap_or((rest, ""));
                (layer.parse::<usize>().with_context(|| format!("{point}: layer"))?, what)
            }
            None => (0, rest),
        };
        let values = match part {
            "dec" => self.decoder_point(layer, what)?,
            "vit" | "abs" => {
                let one = |image| {
                    if part == "vit" {
                        self.vit_point(image, layer, what)
                    } else {
                        self.abs_point(image, layer, what)
                    }
                };
                let images: Option<Vec<_>> = self.images.iter().map(one).collect::<Result<_>>()?;
                images.map(|i| i.concat())
            }
            _ => None,
        };
        ensure!(values.is_some(), "{point} is not a point we know");
        Ok(values)
    }

    fn decoder(&self, label: &str) -> Result<Vec<f32>> {
        let all = self.decoder.get(label).with_context(|| format!("our run has no {label}"))?;
        let width = match label {
            "lm_head" => self.model.config().text.vocab_size,
            _ => self.model.config().text.hidden_size,
        };
        Ok(all[..self.rows * width].to_vec())
    }

    fn decoder_point(&self, i: usize, what: &str) -> Result<Option<Vec<f32>>> {
        let c = &self.model.config().text;
        let of = |name: &str| self.decoder(&format!("decoder.{i}.{name}"));
        let input = || {
            if i == 0 {
                self.decoder("embed_tokens")
            } else {
                self.decoder(&format!("decoder.{}.down_proj", i - 1))
            }
        };
        let qkv = |first: usize, width: usize| -> Result<Vec<f32>> {
            let name = format!("decoder.{i}.qkv_proj");
            let all = self.decoder.get(&name).with_context(|| format!("our run has no {name}"))?;
            let rows = all.chunks_exact(c.hidden_size + 2 * c.kv_dim()).take(self.rows);
            Ok(rows.flat_map(|row| row[first..][..width].to_vec()).collect())
        };
        // Ours has room for more positions than were run.
        let cache = |name: &str| -> Result<Vec<f32>> {
            let label = format!("decoder.{i}.{name}");
            let all = self.decoder.get(&label).with_context(|| format!("our run has no {label}"))?;
            let heads = all.chunks_exact(all.len() / c.num_key_value_heads);
            Ok(heads.flat_map(|head| head[..self.rows * c.head_dim()].to_vec()).collect())
        };
        Ok(Some(match what {
            "" => of("down_proj")?,
            "input_layernorm" | "post_attention_layernorm" => of(what)?,
            "q" => qkv(0, c.hidden_size)?,
            "attn_ctx" => of("attention")?,
            "k" => qkv(c.hidden_size, c.kv_dim())?,
            "v" => qkv(c.hidden_size + c.kv_dim(), c.kv_dim())?,
            "k_cache" | "v_cache" => cache(what)?,
            "attn_out" => minus(&of("o_proj")?, &input()?),
            "mlp_out" => minus(&of("down_proj")?, &of("o_proj")?),
            "final_norm" => self.decoder("norm")?,
            _ => return Ok(None),
        }))
    }

    fn vit_point(
        &self,
        image: &BTreeMap<String, Vec<f32>>,
        i: usize,
        what: &str,
    ) -> Result<Option<Vec<f32>>> {
        let get = |label: &str| image.get(label).cloned().with_context(|| format!("our run has no {label}"));
        let c = &self.model.config().vision;
        let of = |name: &str| get(&format!("vision.{i}.{name}"));
        let input = || if i == 0 { get("pre_layernorm") } else { get(&format!("vision.{}.fc2", i - 1)) };
        let (tokens, dim) = (c.num_tokens(), c.hidden_size);
        let cut = |mut values: Vec<f32>, width: usize, rows: usize| {
            values.truncate(rows * width);
            values
        };
        Ok(Some(match what {
            "" => cut(of("fc2")?, dim, tokens),
            "patch_conv" => transposed(&cut(get("patch_embed")?, dim, c.num_patches()), dim),
            "embeddings" => cut(get("pre_layernorm")?, dim, tokens),
            "post_layernorm" => cut(get("post_layernorm")?, dim, tokens),
            "ln1" => cut(of("input_layernorm")?, dim, tokens),
            "ln2" => cut(of("post_attention_layernorm")?, dim, tokens),
            "qkv" => cut(of("query_key_value")?, 3 * dim, tokens),
            "attn_out" => cut(minus(&of("dense")?, &input()?), dim, tokens),
            "mlp_out" => cut(minus(&of("fc2")?, &of("dense")?), dim, tokens),
            _ => return Ok(None),
        }))
    }

    fn abs_point(
        &self,
        image: &BTreeMap<String, Vec<f32>>,
        i: usize,
        what: &str,
    ) -> Result<Option<Vec<f32>>> {
        let get = |label: &str| image.get(label).cloned().with_context(|| format!("our run has no {label}"));
        let config = self.model.config();
        let c = &config.abstractor;
        let (dim, queries) = (c.hidden_size, c.num_learnable_queries);
        let keys = queries + config.vision.num_tokens();
        let of = |name: &str| get(&format!("abstractor.{i}.{name}"));
        let cut = |mut values: Vec<f32>, width: usize, rows: usize| {
            values.truncate(rows * width);
            values
        };
        Ok(Some(match what {
            "" => cut(of("w2")?, dim, queries),
            "norm1" => cut(of("kv")?, dim, queries),
            "norm2" => cut(of(what)?, dim, queries),
            "normk" => cut(of("kv")?, dim, keys)[queries * dim..].to_vec(),
            "q" => cut(of("query")?, dim, queries),
            "k" => cut(of("key")?, dim, keys),
            "v" => cut(of("value")?, dim, keys),
            "attn_ctx" => cut(of("attention")?, dim, queries),
            "ffn_ln" => cut(of("ffn_ln")?, c.intermediate_size, queries),
            "mlp_out" => cut(minus(&of("w2")?, &of("out_proj")?), dim, queries),
            "visual_fc" => cut(get("visual_fc")?, config.text.hidden_size, queries),
            _ => return Ok(None),
        }))
    }
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| values.iter().skip(column).step_by(width).copied()).collect()
}

/// Distance of our values from the original's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    /// Largest absolute difference.
    pub absolute: f32,
    /// The same relative to the original tensor's largest value.
    pub relative: f32,
}

/// Compares a tensor with the original's; NaN is infinitely far.
///
/// # Errors
///
/// If they differ in length.
pub fn distance(got: &[f32], want: &[f32]) -> Result<Distance> {
    ensure!(got.len() == want.len(), "{} elements against {}", got.len(), want.len());
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let worst = got
        .iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs())
        .fold(0.0, |m: f32, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    Ok(Distance { absolute: worst, relative: worst / scale })
}
