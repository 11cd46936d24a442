//! The pictures of a question, from the command line: which files, which frames, and how each becomes square.

use std::path::PathBuf;

use clap::ValueEnum;
use strix_model::image::{self, Exif, Options, Preprocess, RgbImage};

#[derive(Clone, Copy, ValueEnum)]
enum Square {
    /// Stretch, as the original does
    Resize,
    /// Pad with the mean colour
    Pad,
    /// Cut the middle out
    Crop,
}

#[derive(clap::Args)]
pub(crate) struct Pictures {
    /// A picture (PNG, JPEG, WebP, GIF, BMP, TIFF); again for more, in order
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// An animated GIF, WebP or PNG, its frames asked about as pictures, after those of --image; a still one is a frame
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Frames taken from the video, evenly spread
    #[arg(long, value_name = "N", default_value_t = 8, requires = "video", value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// How a picture becomes square
    #[arg(long, value_enum, default_value = "resize")]
    preprocess: Square,
    /// Turn photos upright as their EXIF orientation says; the original does not
    #[arg(long)]
    exif: bool,
}

impl Pictures {
    pub(crate) fn preprocess(&self) -> Preprocess {
        match self.preprocess {
            Square::Resize => Preprocess::Resize,
            Square::Pad => Preprocess::Pad,
            Square::Crop => Preprocess::Crop,
        }
    }

    /// Decodes the pictures, then the frames of the video, in that order.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<RgbImage>> {
        let exif = if self.exif { Exif::Honour } else { Exif::Ignore };
        let mut pictures =
            self.image.iter().map(|path| image::open(path, exif)).collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &self.video {
            let options = Options { exif, ..Options::default() };
            let frames = image::open_video(path, self.frames as usize, &options)?;
            pictures.extend(frames.into_iter().map(|frame| frame.pixels));
        }
        Ok(pictures)
    }
}
