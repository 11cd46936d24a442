//! The pictures of a question, from the command line: which files, which frames, and how each becomes square.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use strix_model::image::{self, Exif, Note, Options, Preprocess, RgbImage};
use strix_model::read::{read_input, read_stream};

use crate::Usage;
use crate::terminal::say;

/// Frames taken from a video, unless it is said how many.
const FRAMES: u32 = 8;

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
    /// An animated GIF, WebP or PNG, its frames asked about as pictures, after those of --image; a still one is a frame
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Frames taken from a video, evenly spread [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    frames: Option<u32>,
    /// How a picture becomes square
    #[arg(long, value_enum, default_value = "resize")]
    preprocess: Square,
    /// Turn photos upright as their EXIF orientation says; the original does not
    #[arg(long)]
    exif: bool,
    /// Colour behind what is transparent, as CSS has them: white, #fff, #ffffff; the original drops alpha
    #[arg(long, value_name = "COLOR", value_parser = colour)]
    background: Option<Colour>,
}

#[derive(Clone, Copy)]
struct Colour([u8; 3]);

/// An opaque colour.
fn colour(text: &str) -> Result<Colour, String> {
    let accepted = "name one as CSS has them, such as white, #fff or #ffffff";
    match csscolorparser::parse(text).map(|colour| colour.to_rgba8()) {
        Ok([red, green, blue, 255]) => Ok(Colour([red, green, blue])),
        Ok(_) => Err(format!("it is transparent itself; {accepted}")),
        Err(_) => Err(format!("it is no colour; {accepted}")),
    }
}

/// Files that a note is about, in the order that they were named.
#[derive(Default)]
struct Notes(Vec<(Note, Vec<String>)>);

impl Notes {
    fn add(&mut self, file: &Path, notes: Vec<Note>) {
        for note in notes {
            let file = file.display().to_string();
            match self.0.iter_mut().find(|(known, _)| *known == note) {
                // Frames of a video are of one file.
                Some((_, files)) if files.contains(&file) => (),
                Some((_, files)) => files.push(file),
                None => self.0.push((note, vec![file])),
            }
        }
    }

    /// One line for each kind.
    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(note, files)| {
            let words = match note {
                Note::Transparent => {
                    "transparent in places, whose hidden colours show, as in the original; \
                     --background white puts a colour there"
                }
                Note::Turned => "stored turned, and shown so, as in the original; --exif turns it upright",
                Note::DeepGray => {
                    "gray of more than 8 bits: all above 255 is white, as in the original; save it with 8 bits"
                }
                _ => return None,
            };
            let (first, rest) = files.split_first()?;
            let (more, is) = match rest.len() {
                0 => (String::new(), "is"),
                more => (format!(" and {more} more"), "are"),
            };
            Some(format!("note: {first}{more} {is} {words}"))
        })
    }
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

    /// Refuses a number of frames without a video to take them from.
    pub(crate) fn check_frames(&self) -> Result<(), Usage> {
        match (self.frames, &self.video) {
            (Some(_), None) => Err(Usage("--frames takes them from a video: name it with --video".into())),
            _ => Ok(()),
        }
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

    fn options(&self) -> Options {
        let exif = if self.exif { Exif::Honour } else { Exif::Ignore };
        Options { exif, background: self.background.map(|Colour(rgb)| rgb) }
    }

    /// The files that are named, the video last.
    pub(crate) fn names(&self) -> Vec<PathBuf> {
        self.image.iter().chain(&self.video).cloned().collect()
    }

    /// Decodes the pictures, then the frames of the video, in that order.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<RgbImage>> {
        let (mut pictures, mut notes) = (vec![], Notes::default());
        for path in &self.image {
            self.decode(path, &mut pictures, &mut notes)?;
        }
        if let Some(path) = &self.video {
            self.sample(path, &mut pictures, &mut notes)?;
        }
        notes.lines().for_each(|line| say(&line));
        Ok(pictures)
    }

    /// Decodes another picture as the options say.
    pub(crate) fn one(&self, path: &Path) -> anyhow::Result<RgbImage> {
        let (mut pictures, mut notes) = (vec![], Notes::default());
        self.decode(path, &mut pictures, &mut notes)?;
        notes.lines().for_each(|line| say(&line));
        Ok(pictures.remove(0))
    }

    /// The frames of another video.
    pub(crate) fn frames(&self, path: &Path) -> anyhow::Result<Vec<RgbImage>> {
        let (mut frames, mut notes) = (vec![], Notes::default());
        self.sample(path, &mut frames, &mut notes)?;
        notes.lines().for_each(|line| say(&line));
        Ok(frames)
    }

    fn decode(&self, path: &Path, to: &mut Vec<RgbImage>, notes: &mut Notes) -> anyhow::Result<()> {
        let opened = image::decode_with(&path.display().to_string(), &read(path)?, &self.options())?;
        notes.add(path, opened.notes);
        to.push(opened.pixels);
        Ok(())
    }

    fn sample(&self, path: &Path, to: &mut Vec<RgbImage>, notes: &mut Notes) -> anyhow::Result<()> {
        let (name, frames) = (path.display().to_string(), self.frames.unwrap_or(FRAMES) as usize);
        for opened in image::sample(&name, &read(path)?, frames, &self.options())? {
            notes.add(path, opened.notes);
            to.push(opened.pixels);
        }
        Ok(())
    }
}

/// A file, or what comes through a pipe or stdin.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if let Some((scheme @ ("http" | "https" | "file" | "ftp" | "data"), _)) =
        path.to_str().and_then(|name| name.split_once(':'))
        && !path.exists()
    {
        return Err(Usage(format!(
            "{}: is an address ({scheme}:), and nothing is fetched: download it and name the file, or pipe it in: \
             curl ADDRESS | strix ask --image - \"...\"",
            path.display()
        ))
        .into());
    }
    let bytes = match path == Path::new("-") {
        true => read_stream(io::stdin().lock(), path, image::MAX_FILE_BYTES)?,
        false => read_input(path, image::MAX_FILE_BYTES)?,
    };
    match bytes.is_empty() && is_stdin(path) {
        true => Err(Usage("nothing came on stdin, where a picture was to come from".into()).into()),
        false => Ok(bytes),
    }
}

fn is_stdin(path: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"].iter().any(|name| path == Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_css() {
        for (text, rgb) in [("white", [255; 3]), ("#08f", [0, 0x88, 0xff]), ("#0180Ff", [1, 0x80, 0xff])] {
            assert_eq!(colour(text).map(|Colour(rgb)| rgb), Ok(rgb));
        }
        for text in ["", "whit", "#ff", "transparent", "#ffffff80"] {
            assert!(colour(text).is_err_and(|error| error.contains("#ffffff")), "{text}");
        }
    }

    #[test]
    fn a_kind_of_note_is_one_line() {
        let mut notes = Notes::default();
        notes.add(Path::new("a.png"), vec![Note::Transparent]);
        notes.add(Path::new("b.jpg"), vec![Note::Turned]);
        notes.add(Path::new("c.png"), vec![Note::Transparent]);
        let lines: Vec<_> = notes.lines().collect();
        assert!(
            lines[0].starts_with("note: a.png and 1 more are transparent")
                && lines[0].contains("--background")
        );
        assert!(lines[1].starts_with("note: b.jpg is stored turned") && lines[1].contains("--exif"));
        assert_eq!(lines.len(), 2);
    }
}
