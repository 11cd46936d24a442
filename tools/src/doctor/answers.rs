//! Answers that are known: those of nano, and ids of the original implementation.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use strix_engine::Gpu;
use strix_model::sampler::best;
use strix_model::tokenizer::PromptId;
use strix_model::{GenerateOptions, LoadOptions, Model, Source, Weights, unwatched};

use super::finding::{Finding, Level};
use crate::demo;

macro_rules! golden {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../../tests/golden/tiny/", $name)).as_slice())),*]
    };
}

/// Ids and pictures of the original implementation, with the weights it had.
const GOLDEN: [(&str, &[u8]); 4] =
    golden!["hf/config.json" "model.safetensors" "golden.safetensors" "manifest.json"];

/// Answers of one model.
#[derive(Serialize)]
pub(super) struct Answers {
    pub(super) model: &'static str,
    pub(super) asked: usize,
    pub(super) right: usize,
    /// What was wrong.
    pub(super) wrong: Vec<String>,
}

impl Answers {
    fn new(model: &'static str, asked: usize, wrong: Vec<String>) -> Self {
        Self { model, asked, right: asked - wrong.len(), wrong }
    }
}

/// Asks nano and the golden model all that is known of them.
pub(super) fn ask(gpu: &Gpu, findings: &mut Vec<Finding>, on: &dyn Fn(&str)) -> Vec<Answers> {
    let mut all = vec![];
    for (model, ask) in [("nano", nano as fn(&Gpu) -> anyhow::Result<Answers>), ("golden", golden)] {
        on(&format!("answers of {model}"));
        match ask(gpu) {
            Ok(answers) => {
                if !answers.wrong.is_empty() {
                    findings.push(Finding::new(
                        Level::Fault,
                        format!(
                            "{} of {} answers of {model} are wrong: {}",
                            answers.wrong.len(),
                            answers.asked,
                            answers.wrong.join("; ")
                        ),
                        "do not trust answers of this device; look at the kernels above, and report it with this output",
                    ));
                }
                all.push(answers);
            }
            Err(error) => findings.push(Finding::new(
                Level::Fault,
                format!("{model} could not be asked: {error:#}"),
                "report it with this output",
            )),
        }
    }
    all
}

/// The samples of `strix demo --all`.
fn nano(gpu: &Gpu) -> anyhow::Result<Answers> {
    let model = Model::load_on(gpu, Source::Nano, &LoadOptions::default(), &mut unwatched)?;
    let samples = demo::samples()?;
    let (asked, mut wrong) = (samples.len(), vec![]);
    for sample in samples {
        let mut session = model.session()?;
        for picture in sample.pictures()? {
            session.add_image(&picture)?;
        }
        let answer = session.complete(&sample.prompt, &GenerateOptions::default())?.finish()?;
        if answer.text != sample.expected {
            wrong.push(format!("{}: {:?}, expected {:?}", sample.name, answer.text, sample.expected));
        }
    }
    Ok(Answers::new("nano", asked, wrong))
}

#[derive(Deserialize)]
struct Manifest {
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    input_ids: Vec<PromptId>,
    greedy_ids: Vec<u32>,
}

/// Greedy ids of the original implementation.
fn golden(gpu: &Gpu) -> anyhow::Result<Answers> {
    let dir = tempfile::tempdir().context("a folder for the golden model")?;
    std::fs::create_dir(dir.path().join("hf"))?;
    for (name, bytes) in GOLDEN {
        std::fs::write(dir.path().join(name), bytes).with_context(|| name.to_owned())?;
    }
    let [config, weights, tensors] =
        ["hf", "model.safetensors", "golden.safetensors"].map(|name| dir.path().join(name));
    let source = Source::Files { config: &config, weights: &weights };
    let model = Model::load_on(gpu, source, &LoadOptions::default(), &mut unwatched)?;
    let tensors = Weights::open(&tensors)?;
    let manifest: Manifest = serde_json::from_slice(GOLDEN[3].1)?;
    let (asked, mut wrong) = (manifest.cases.len(), vec![]);
    for (name, case) in manifest.cases {
        let mut session = model.session()?;
        let view = tensors.get(&format!("{name}/pixel_values"));
        let pixels = view.map_or(Ok(vec![]), |view| view.to_f32())?;
        let c = &model.config().vision;
        for picture in pixels.chunks_exact(c.num_channels * c.image_size * c.image_size) {
            session.add_embeds(model.encode(picture)?.into());
        }
        let logits = session.inspect().greedy(&case.input_ids, case.greedy_ids.len())?;
        let ids: Vec<u32> = logits.iter().map(|logits| best(logits)).collect();
        if ids != case.greedy_ids {
            let at = ids.iter().zip(&case.greedy_ids).take_while(|(a, b)| a == b).count();
            wrong.push(format!("{name} differs from token {at} on"));
        }
    }
    Ok(Answers::new("golden", asked, wrong))
}
