//! `preprocessor_config.json`: how a picture becomes the vision tower's input.

use std::path::Path;

use super::fields::{Colours, Fields, Size, load_beside, refuse};
use super::keys::{Notes, Section};
use super::sizes::VisionConfig;
use crate::files::Beside;
use crate::json::object;
use crate::{Error, Result};

const NAME: &str = "preprocessor_config.json";

/// `preprocessor_config.json`: how a picture becomes the vision tower's input.
#[derive(Clone, Debug, PartialEq)]
pub struct PreprocessorConfig {
    /// Side the shortest edge is resized to, in pixels.
    pub size: usize,
    /// Side of the square cut from the middle, in pixels: the vision tower's `image_size`.
    pub crop_size: usize,
    /// Subtracted from red, green and blue, after scaling to 0..1.
    pub image_mean: [f64; 3],
    /// Red, green and blue are divided by it after that.
    pub image_std: [f64; 3],
}

impl PreprocessorConfig {
    /// CLIP's preprocessing for pictures of `image_size` a side.
    pub fn new(image_size: usize) -> Self {
        Self {
            size: image_size,
            crop_size: image_size,
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
        }
    }

    /// Reads a folder's `preprocessor_config.json`; without one, CLIP's values at `vision.image_size`.
    ///
    /// # Errors
    ///
    /// If the file is there and cannot be read, asks for steps that are not CLIP's, or contradicts `image_size`.
    pub fn load(dir: &Path, vision: &VisionConfig) -> Result<Self> {
        Self::load_with_notes(dir, vision).map(|(config, _)| config)
    }

    /// [`PreprocessorConfig::load`], with a line for whoever loads it on the keys that were passed over.
    ///
    /// # Errors
    ///
    /// As [`PreprocessorConfig::load`].
    pub fn load_with_notes(dir: &Path, vision: &VisionConfig) -> Result<(Self, Vec<String>)> {
        Self::beside(Beside::Dir(dir), vision)
    }

    /// [`Self::load_with_notes`] of files that may be in no folder.
    pub(crate) fn beside(files: Beside<'_>, vision: &VisionConfig) -> Result<(Self, Vec<String>)> {
        load_beside(files, NAME, |json, notes| Self::read(json, vision, notes))
    }

    /// Reads the text of a `preprocessor_config.json`.
    ///
    /// # Errors
    ///
    /// As [`PreprocessorConfig::load`].
    pub fn from_json(json: &[u8], vision: &VisionConfig) -> Result<Self> {
        Self::read(json, vision, &mut Notes::default())
            .map_err(|reason| Error::File { path: NAME.into(), reason })
    }

    pub(super) fn read(json: &[u8], vision: &VisionConfig, notes: &mut Notes) -> Result<Self, String> {
        let root = object(NAME, json)?;
        notes.judge(Section::Preprocessor, "", &root)?;
        let f = Fields { section: "", map: Some(&root) };
        let scale: f64 = f.get("rescale_factor", 1.0 / 255.0)?;
        refuse((scale * 255.0 - 1.0).abs() > 1e-9, || {
            format!("rescale_factor is {scale}; only 1/255 is supported")
        })?;

        let clip = Self::new(vision.image_size);
        let size = f.get("size", Size::Side(clip.size))?.side("size")?;
        let crop_size = f.get("crop_size", Size::Side(clip.crop_size))?.side("crop_size")?;
        refuse(crop_size != vision.image_size, || {
            format!(
                "crop_size {crop_size} contradicts config.json, whose image_size is {}",
                vision.image_size
            )
        })?;
        refuse(size < crop_size, || format!("size {size} is smaller than crop_size {crop_size}"))?;
        refuse(size > 1 << 16, || format!("size is {size}, above {}", 1 << 16))?;
        let image_mean = f.get("image_mean", Colours::Each(clip.image_mean))?.into();
        let image_std = f.get("image_std", Colours::Each(clip.image_std))?.into();
        let outside = |values: &[f64; 3], least, most| values.iter().any(|v| !(least..=most).contains(v));
        refuse(outside(&image_mean, 0.0, 1.0), || format!("image_mean is {image_mean:?}, expected 0 to 1"))?;
        refuse(outside(&image_std, 1e-6, 1e6), || {
            format!("image_std is {image_std:?}, expected 0.000001 to 1000000")
        })?;
        Ok(Self { size, crop_size, image_mean, image_std })
    }
}
