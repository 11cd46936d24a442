//! The pictures of a question, from the command line: which files, which frames, and how each becomes square.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use strix_model::image::{self, Exif, Preprocess, RgbImage};
use strix_model::prompt::sample_frames;
use strix_model::read::{read_input, read_stream};

use crate::Usage;

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
    /// A picture (PNG, JPEG, WebP, GIF, BMP, TIFF), - reads it from stdin; again for more, in order
    #[arg(short, long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// An animated GIF, its frames asked about as pictures, after those of --image
    #[arg(long, value_name = "GIF")]
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

    /// The pictures that are named, as they are.
    pub(crate) fn images(&self) -> &[PathBuf] {
        &self.image
    }

    /// Refuses what stdin cannot give twice, before it is read; `question` says whether the question comes from there.
    pub(crate) fn check(&self, question: bool) -> Result<(), Usage> {
        let named = self.image.iter().chain(&self.video).filter(|path| is_stdin(path)).count();
        match (named, question) {
            (0, _) | (1, false) => Ok(()),
            (_, true) => Err(Usage(
                "the question and a picture are both to come from stdin: write the question, or name the picture's file"
                    .into(),
            )),
            _ => Err(Usage(format!("{named} pictures are to come from stdin, which holds one: name the other files"))),
        }
    }

    /// Number of pictures, where it is known before one is read: a video tells its frames only then.
    pub(crate) fn number(&self) -> Option<usize> {
        self.video.is_none().then_some(self.image.len())
    }

    /// Decodes the pictures, then the frames of the video, in that order.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<RgbImage>> {
        let exif = if self.exif { Exif::Honour } else { Exif::Ignore };
        let open = |path: &PathBuf| image::decode(&path.display().to_string(), &read(path)?, exif);
        let mut pictures = self.image.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        if let Some(path) = &self.video {
            let name = path.display().to_string();
            let bytes = read(path)?;
            let frames = image::decode_frames(&name, &bytes)?.collect::<Result<Vec<_>, _>>()?;
            let chosen = sample_frames(frames.len(), self.frames as usize);
            pictures.extend(chosen.into_iter().map(|i| frames[i].clone()));
        }
        Ok(pictures)
    }
}

/// A file, or what comes through a pipe or stdin.
fn read(path: &Path) -> strix_model::Result<Vec<u8>> {
    match path == Path::new("-") {
        true => read_stream(io::stdin().lock(), path, image::MAX_FILE_BYTES),
        false => read_input(path, image::MAX_FILE_BYTES),
    }
}

fn is_stdin(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}
