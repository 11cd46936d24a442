//! `strix demo`: the built-in model answers questions about its sample pictures.

use std::io::{self, Stdout, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use strix_model::image::{self, Exif, RgbImage};
use strix_model::{FinishReason, GenerateOptions, LoadOptions, Source, shown};

use crate::answer::{self, Spinner};
use crate::load::{self, Adapter};
use crate::terminal::{self, BOLD, DIM, GREEN, RED, colours, columns, paint};
use crate::{half_blocks, svg, writable};

const SAMPLES: &str = include_str!("../../tests/nano/samples/samples.json");

macro_rules! pictures {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../tests/nano/samples/", $name)).as_slice())),*]
    };
}

const PICTURES: [(&str, &[u8]); 17] = pictures![
    "easy_vqa_6.png" "easy_vqa_39.png" "single_96.png" "drawing_640x480.png" "tall_300x500.png" "dark_200x150.png"
    "pair_1.png" "pair_2.png" "video_0.png" "video_1.png" "video_2.png" "video_3.png" "video_4.png" "video_5.png"
    "video_6.png" "video_7.png" "empty_112.png"
];

/// Samples that are shown without --all.
const HANDFUL: [&str; 5] = ["caption", "where", "difference", "video", "rainbow"];

/// Lines that pictures may take.
const PICTURE_ROWS: usize = 12;
/// Characters that pictures may take.
const PICTURE_COLUMNS: usize = 78;

/// Show the built-in model answering questions about its sample pictures
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strix demo\n  strix demo --all --adapter nvidia")]
pub(crate) struct Args {
    /// All samples, not a handful
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    adapter: Adapter,
    /// Also draw what was printed, in colours, into this SVG file
    #[arg(long, value_name = "FILE", hide = true)]
    svg: Option<PathBuf>,
}

/// One question; nano's card says which of them it answers correctly.
#[derive(Deserialize)]
pub(crate) struct Sample {
    pub(crate) name: String,
    images: Vec<String>,
    pub(crate) prompt: String,
    pub(crate) expected: String,
    correct: bool,
}

impl Sample {
    /// Its pictures.
    pub(crate) fn pictures(&self) -> anyhow::Result<Vec<RgbImage>> {
        self.images.iter().map(|name| open(name)).collect()
    }
}

/// Samples that nano answers correctly.
pub(crate) fn samples() -> anyhow::Result<Vec<Sample>> {
    let samples: Vec<Sample> = serde_json::from_str(SAMPLES).context("samples.json")?;
    Ok(samples.into_iter().filter(|sample| sample.correct).collect())
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let samples = samples()?;
    let chosen = |s: &&Sample| args.all || HANDFUL.contains(&s.name.as_str());
    if let Some(path) = &args.svg {
        writable::try_file(path)?;
    }
    let gpu = args.adapter.open()?;
    let model = load::load(&gpu, Source::Nano, &LoadOptions::default())?;
    let options =
        GenerateOptions { cancel: Some(answer::cancelled_by_ctrl_c()?), ..GenerateOptions::default() };

    let mut screen = Screen::new(args.svg.is_some());
    let mut drawn: &[String] = &[];
    let (mut asked, mut right, mut tokens, mut time) = (0, 0, 0, Duration::ZERO);
    for sample in samples.iter().filter(chosen) {
        let pictures = sample.pictures()?;
        if sample.images != drawn {
            screen.draw(&sample.images, &pictures)?;
            drawn = &sample.images;
        }
        let (earlier, question) = turns(&sample.prompt);
        for (question, answer) in earlier {
            screen.row("question", question)?;
            screen.row("answer", answer)?;
        }
        screen.row("question", &question)?;

        let waiting = Spinner::start("looking");
        let mut session = model.session()?;
        for picture in &pictures {
            session.add_image(picture)?;
        }
        let mut answer = session.complete(&sample.prompt, &options)?;
        screen.label("answer")?;
        answer::stream(&mut answer, waiting, |text| screen.print(&terminal::answer(text)))?;
        screen.print("\n")?;
        if matches!(answer.finish_reason(), Some(FinishReason::Cancelled)) {
            return Ok(crate::INTERRUPTED);
        }
        let same = answer.text() == sample.expected;
        let verdict = if same { screen.paint(GREEN, "✓") } else { screen.paint(RED, "✗ not the same") };
        screen.row("expected", format!("{} {verdict}", sample.expected))?;
        screen.print("\n")?;
        asked += 1;
        right += u32::from(same);
        tokens += answer.timing().decode_tokens;
        time += answer.timing().decode;
    }
    let rate = f64::from(tokens) / time.as_secs_f64();
    let last = format!("{right} of {asked} as expected · {} · {rate:.0} tokens/s", shown(gpu.name()));
    let last = screen.paint(DIM, &last);
    screen.print(&format!("{last}\n"))?;
    if let Some(path) = &args.svg {
        strix_benches::write(path, &svg::render(&screen.printed))?;
    }
    if right < asked {
        bail!("{} of {asked} answers are not the expected ones", asked - right);
    }
    Ok(crate::DONE)
}

fn open(name: &str) -> anyhow::Result<RgbImage> {
    let bytes = PICTURES.iter().find(|p| p.0 == name).with_context(|| format!("{name} is not built in"))?.1;
    Ok(image::decode(name, bytes, Exif::Ignore)?)
}

/// Earlier questions with their answers, and the last question, without the template around them.
fn turns(prompt: &str) -> (Vec<(String, &str)>, String) {
    let mut turns: Vec<_> = prompt
        .split("USER: ")
        .filter_map(|turn| turn.split_once(" ASSISTANT:"))
        .map(|(question, answer)| (question.replace("<|image|>", ""), answer.trim().trim_end_matches("</s>")))
        .collect();
    let question = turns.pop().map_or_else(|| prompt.to_owned(), |turn| turn.0);
    (turns, question)
}

/// Stdout, and a copy of what went there.
struct Screen {
    out: Stdout,
    painted: bool,
    printed: String,
}

impl Screen {
    fn new(always_painted: bool) -> Self {
        let out = io::stdout();
        let painted = always_painted || colours(&out);
        Self { out, painted, printed: String::new() }
    }

    fn print(&mut self, text: &str) -> io::Result<()> {
        self.printed.push_str(text);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn paint(&self, sgr: u8, text: &str) -> String {
        paint(self.painted, sgr, text)
    }

    fn label(&mut self, label: &str) -> io::Result<()> {
        let label = self.paint(BOLD, &format!("{label:<10}"));
        self.print(&label)
    }

    fn row(&mut self, label: &str, text: impl AsRef<str>) -> io::Result<()> {
        self.label(label)?;
        self.print(&format!("{}\n", text.as_ref()))
    }

    fn draw(&mut self, names: &[String], pictures: &[RgbImage]) -> io::Result<()> {
        if self.painted {
            let columns = columns().min(PICTURE_COLUMNS);
            for line in half_blocks::beside(pictures, columns, PICTURE_ROWS) {
                self.print(&format!("{line}\n"))?;
            }
            return Ok(());
        }
        for (name, picture) in names.iter().zip(pictures) {
            self.row("picture", format!("{name} ({} x {})", picture.width(), picture.height()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_of_a_correct_sample_is_built_in() {
        let samples: Vec<Sample> = serde_json::from_str(SAMPLES).unwrap();
        for name in samples.iter().filter(|s| s.correct).flat_map(|s| &s.images) {
            assert!(open(name).is_ok(), "{name}");
        }
        for name in HANDFUL {
            assert!(samples.iter().any(|s| s.correct && s.name == name), "{name}");
        }
    }

    #[test]
    fn turns_are_told_apart() {
        let (earlier, last) = turns("USER: <|image|>What? ASSISTANT: star</s>USER: What color? ASSISTANT:");
        assert_eq!(earlier, [("What?".to_owned(), "star")]);
        assert_eq!(last, "What color?");
    }
}
