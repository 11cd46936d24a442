//! The embedded model and its recorded samples.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use strix_engine::Gpu;
use strix_model::image::{self, Exif, RgbImage};
use strix_model::tokenizer::PromptId;
use strix_model::{Dtype, GenerateOptions, LoadOptions, Model, Session, Source, unwatched};

/// A prompt, its pictures and what the original answers greedily.
#[derive(Clone, Debug, Deserialize)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// File names of its pictures.
    pub images: Vec<String>,
    /// The whole prompt.
    pub prompt: String,
    /// Ids of the prompt.
    pub prompt_ids: Vec<PromptId>,
    /// Ids of the answer, the end token included.
    pub output_ids: Vec<u32>,
    /// Text of the answer.
    pub output: String,
}

/// The folder of the samples.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nano/samples")
}

/// All samples.
///
/// # Panics
///
/// If the file is not what it should be.
pub fn samples() -> Vec<Sample> {
    let text = std::fs::read(dir().join("samples.json")).expect("samples.json");
    serde_json::from_slice(&text).expect("samples.json")
}

/// The sample of that name.
///
/// # Panics
///
/// If there is none.
pub fn sample(name: &str) -> Sample {
    samples().into_iter().find(|s| s.name == name).unwrap_or_else(|| panic!("no sample {name}"))
}

/// nano with f32 weights.
///
/// # Panics
///
/// If it cannot be loaded.
pub fn load(gpu: &Gpu, ctx: u32, chunk: u32) -> Model {
    load_with(gpu, &LoadOptions { dtype: Dtype::F32, ctx: Some(ctx), chunk, ..LoadOptions::default() })
}

/// nano.
///
/// # Panics
///
/// If it cannot be loaded.
pub fn load_with(gpu: &Gpu, options: &LoadOptions) -> Model {
    Model::load_on(gpu, Source::Nano, options, &mut unwatched).expect("nano loads")
}

impl Sample {
    /// Its pictures.
    ///
    /// # Panics
    ///
    /// If one cannot be read.
    pub fn pictures(&self) -> Vec<RgbImage> {
        let open = |name: &String| image::open(&dir().join(name), Exif::Ignore).expect("a sample's picture");
        self.images.iter().map(open).collect()
    }

    /// Adds its pictures to a session.
    ///
    /// # Panics
    ///
    /// If the device fails.
    pub fn add_pictures(&self, session: &mut Session) {
        for picture in self.pictures() {
            session.add_image(&picture).expect("a picture is encoded");
        }
    }

    /// The question of its only turn, without places for pictures.
    pub fn question(&self) -> String {
        let turn = self.prompt.trim_start_matches("USER: ").trim_end_matches("ASSISTANT:");
        turn.replace("<|image|>", "").trim().to_owned()
    }

    /// Ids and text that a session gives for it, from a fresh start.
    ///
    /// # Panics
    ///
    /// If the device fails.
    pub fn run(&self, session: &mut Session, options: &GenerateOptions) -> (Vec<u32>, String) {
        session.reset();
        self.add_pictures(session);
        let mut answer = session.complete(&self.prompt, options).expect("the sample's prompt fits");
        for token in answer.by_ref() {
            token.expect("a token");
        }
        (answer.ids().to_vec(), answer.text().to_owned())
    }
}
