//! What the user chose, kept from one start to the next.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use strix_model::{Dtype, GenerateOptions, KvDtype, LoadOptions, SamplingParams};

use crate::problem::Fix;

/// Models that were loaded lately, at most.
const MOST_RECENT: usize = 6;

/// What the window looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Look {
    /// As the system is set.
    #[default]
    System,
    Light,
    Dark,
}

/// What weight matrices become on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weights {
    /// As the files have them.
    #[default]
    Auto,
    F32,
    Bf16,
    /// One scale for an output channel.
    Int8,
    /// One scale for 32 weights.
    Int8Group32,
}

impl Weights {
    /// Every one.
    pub(crate) const ALL: [Self; 5] = [Self::Auto, Self::F32, Self::Bf16, Self::Int8, Self::Int8Group32];

    /// As the window has it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Auto => "as in the files",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int8Group32 => "int8, groups of 32",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::Auto => Dtype::Auto,
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::Int8 => Dtype::Int8 { group: None },
            Self::Int8Group32 => Dtype::Int8 { group: Some(32) },
        }
    }
}

/// How long the model may keep the device from the next frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Slice {
    /// Half a frame on a GPU. Software draws so slowly that longer ones do not show.
    #[default]
    Auto,
    /// As long as it takes.
    Whole,
    /// So many milliseconds.
    Ms(u32),
}

impl Slice {
    /// The time.
    pub(crate) fn duration(self, is_software: bool) -> Duration {
        match self {
            Self::Auto if is_software => Duration::from_millis(50),
            Self::Auto => Duration::from_millis(8),
            // Longer than any step takes.
            Self::Whole => Duration::from_secs(3600),
            Self::Ms(ms) => Duration::from_millis(u64::from(ms.max(1))),
        }
    }
}

/// What a model is: the one that is built in, or a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Choice {
    /// The small model that is part of the program.
    #[default]
    Nano,
    /// A folder, or a file of weights in one.
    Folder(PathBuf),
}

impl Choice {
    /// Its name: the folder's.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Nano => "nano".into(),
            Self::Folder(path) => path
                .file_name()
                .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
        }
    }
}

/// How a model is loaded. A change takes effect when a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Loading {
    pub(crate) weights: Weights,
    /// Whether keys and values are f16.
    pub(crate) kv_f16: bool,
    /// Positions of a conversation; `None`: as many as the model was trained for.
    pub(crate) ctx: Option<u32>,
    pub(crate) slice: Slice,
}

impl Default for Loading {
    fn default() -> Self {
        Self { weights: Weights::Auto, kv_f16: false, ctx: None, slice: Slice::Auto }
    }
}

impl Loading {
    /// The library's options, for a software device or a GPU.
    pub(crate) fn options(&self, is_software: bool) -> LoadOptions {
        LoadOptions {
            dtype: self.weights.dtype(),
            kv: if self.kv_f16 { KvDtype::F16 } else { KvDtype::F32 },
            ctx: self.ctx,
            slice: self.slice.duration(is_software),
            cache_dir: cache_dir(),
            ..LoadOptions::default()
        }
    }

    /// Makes a change that helps.
    pub(crate) fn mend(&mut self, fix: Fix) {
        match fix {
            Fix::Ctx(positions) => self.ctx = Some(positions),
            Fix::KvF16 => self.kv_f16 = true,
            Fix::DtypeAuto => self.weights = Weights::Auto,
        }
    }
}

/// How answers are made. A change takes effect with the next question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answering {
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) repetition_penalty: f32,
    pub(crate) max_tokens: u32,
    pub(crate) seed: u64,
}

impl Default for Answering {
    fn default() -> Self {
        let SamplingParams { temperature, top_p, repetition_penalty, seed, .. } = SamplingParams::default();
        Self {
            temperature,
            top_p,
            repetition_penalty,
            max_tokens: GenerateOptions::default().max_tokens,
            seed,
        }
    }
}

impl Answering {
    /// The library's options.
    pub(crate) fn options(&self) -> GenerateOptions {
        let &Self { temperature, top_p, repetition_penalty, max_tokens, seed } = self;
        let sampling =
            SamplingParams { temperature, top_p, repetition_penalty, seed, ..SamplingParams::default() };
        GenerateOptions { sampling, max_tokens, ..GenerateOptions::default() }
    }
}

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) look: Look,
    /// The model that is loaded at the next start.
    pub(crate) model: Choice,
    /// Folders that were loaded, the last one first.
    pub(crate) recent: Vec<PathBuf>,
    pub(crate) loading: Loading,
    pub(crate) answering: Answering,
    /// Whether the panel of the model and the device is closed.
    pub(crate) details_closed: bool,
}

impl Settings {
    /// Where they are kept: `viewer.json` in Strix's folder of the user's settings; `None` for a user without a home.
    pub(crate) fn default_path() -> Option<PathBuf> {
        Some(etcetera::choose_base_strategy().ok()?.config_dir().join("strix/viewer.json"))
    }

    /// Reads them; those of a first start if there are none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no settings: what is wrong.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written to.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&new, path)
    }

    /// Takes each setting that differs between `before` and `now`.
    pub(crate) fn take_changes(&mut self, before: &Self, now: &Self) {
        macro_rules! take {
            ($($($field:ident).+),+) => {
                $(if before.$($field).+ != now.$($field).+ {
                    self.$($field).+.clone_from(&now.$($field).+);
                })+
            };
        }
        take!(look, model, recent, details_closed);
        take!(loading.weights, loading.kv_f16, loading.ctx, loading.slice);
        take!(answering.temperature, answering.top_p, answering.repetition_penalty);
        take!(answering.max_tokens, answering.seed);
    }

    /// Notes that a model was loaded.
    pub(crate) fn loaded(&mut self, choice: &Choice) {
        self.model = choice.clone();
        if let Choice::Folder(path) = choice {
            self.recent.retain(|other| other != path);
            self.recent.insert(0, path.clone());
            self.recent.truncate(MOST_RECENT);
        }
    }
}

/// Strix's cache, which the command line uses too.
fn cache_dir() -> Option<PathBuf> {
    let set = std::env::var_os("STRIX_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let own = || Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("strix"));
    set.or_else(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/viewer.json");
        assert_eq!(Settings::read(&path), Ok(Settings::default()));
        let mut settings = Settings { look: Look::Dark, ..Settings::default() };
        settings.loading.ctx = Some(512);
        settings.answering.temperature = 0.2;
        settings.loaded(&Choice::Folder("/models/owl".into()));
        settings.write(&path).unwrap();
        assert_eq!(Settings::read(&path), Ok(settings));
    }

    #[test]
    fn a_file_of_another_version_keeps_what_is_known_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("viewer.json");
        fs::write(&path, r#"{"look": "light", "wings": 2}"#).unwrap();
        assert_eq!(Settings::read(&path).unwrap().look, Look::Light);
        fs::write(&path, "{").unwrap();
        assert!(Settings::read(&path).unwrap_err().contains("viewer.json"));
    }

    #[test]
    fn every_setting_is_taken_when_it_is_changed() {
        let mut now = Settings { look: Look::Dark, details_closed: true, ..Settings::default() };
        now.loaded(&Choice::Folder("/models/owl".into()));
        now.loading = Loading { weights: Weights::F32, kv_f16: true, ctx: Some(1), slice: Slice::Whole };
        let Answering { temperature, top_p, repetition_penalty, max_tokens, seed } = &mut now.answering;
        (*temperature, *top_p, *repetition_penalty) =
            (*temperature + 0.5, *top_p / 2.0, *repetition_penalty + 0.5);
        (*max_tokens, *seed) = (*max_tokens + 1, *seed + 1);
        let mut taken = Settings::default();
        taken.take_changes(&now, &now);
        assert_eq!(taken, Settings::default());
        taken.take_changes(&Settings::default(), &now);
        assert_eq!(taken, now);
    }

    #[test]
    fn recent_models_are_few_and_each_is_there_once() {
        let mut settings = Settings::default();
        for i in [1, 2, 3, 4, 5, 6, 7, 3] {
            settings.loaded(&Choice::Folder(format!("/{i}").into()));
        }
        let recent: Vec<_> = settings.recent.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(recent, ["/3", "/7", "/6", "/5", "/4", "/2"]);
        settings.loaded(&Choice::Nano);
        assert_eq!((settings.model, settings.recent.len()), (Choice::Nano, 6));
    }

    #[test]
    fn options_are_those_of_the_settings() {
        let mut loading = Loading { weights: Weights::Int8Group32, ..Loading::default() };
        assert_eq!(loading.options(false).dtype, Dtype::Int8 { group: Some(32) });
        assert_eq!(loading.options(false).slice, Duration::from_millis(8));
        loading.slice = Slice::Whole;
        assert!(loading.options(true).slice > Duration::from_secs(60));
        loading.slice = Slice::Ms(3);
        assert_eq!(loading.options(true).slice, Duration::from_millis(3));
        loading.mend(Fix::Ctx(99));
        loading.mend(Fix::KvF16);
        assert_eq!((loading.options(false).ctx, loading.options(false).kv), (Some(99), KvDtype::F16));
        let answering = Answering { temperature: 0.5, ..Answering::default() };
        assert!(answering.options().validate().is_ok());
        assert_eq!(answering.options().sampling.temperature, 0.5);
    }
}
