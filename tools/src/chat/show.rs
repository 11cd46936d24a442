//! Pictures in the terminal, in the best way that it says it has.

use std::env;
use std::io::{self, IsTerminal, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use icy_sixel::{EncodeOptions, sixel_encode};
use image::imageops::{FilterType, resize, thumbnail};
use image::{DynamicImage, ImageFormat};
use strix_model::image::RgbImage;

use crate::{half_blocks, terminal};

/// Characters and lines that a picture takes at most.
const MOST: [u32; 2] = [48, 14];
/// Pixels of a character, about; a terminal with larger ones shows the picture smaller.
const CELL: [u32; 2] = [8, 16];
/// Bytes of a command to Kitty at most.
const KITTY_BYTES: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Choice {
    /// As the terminal says it can, else in half blocks
    Auto,
    /// Characters with two pixels each
    Blocks,
    /// Kitty's graphics protocol
    Kitty,
    /// iTerm2's inline images
    Iterm,
    Sixel,
    /// Not at all
    None,
}

/// How pictures are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Graphics {
    Blocks,
    Kitty,
    Iterm,
    Sixel,
    Not,
}

impl Graphics {
    /// What was asked for, on a terminal that may be painted.
    pub(super) fn of(choice: Choice) -> Self {
        if !io::stdout().is_terminal() {
            return Self::Not;
        }
        match choice {
            Choice::Auto if terminal::colours(&io::stdout()) => Self::said(|name| env::var(name).ok()),
            Choice::Auto | Choice::None => Self::Not,
            Choice::Blocks => Self::Blocks,
            Choice::Kitty => Self::Kitty,
            Choice::Iterm => Self::Iterm,
            Choice::Sixel => Self::Sixel,
        }
    }

    /// What a terminal says of itself in the environment. It is not asked: an answer that does not come would be waited
    /// for, and keys that are typed meanwhile would be taken for one.
    fn said(variable: impl Fn(&str) -> Option<String>) -> Self {
        let is = |name: &str, values: &[&str]| {
            variable(name).is_some_and(|value| values.iter().any(|part| value.contains(part)))
        };
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        if set("TMUX") || set("STY") || is("TERM", &["screen", "tmux"]) {
            Self::Blocks
        } else if is("TERM", &["kitty", "ghostty"])
            || is("TERM_PROGRAM", &["ghostty"])
            || set("KITTY_WINDOW_ID")
        {
            Self::Kitty
        } else if is("TERM_PROGRAM", &["iTerm", "WezTerm", "mintty", "rio", "WarpTerminal"])
            || is("LC_TERMINAL", &["iTerm"])
            || set("KONSOLE_VERSION")
        {
            Self::Iterm
        } else if is("TERM", &["sixel", "foot", "mlterm", "contour", "yaft"]) {
            Self::Sixel
        } else {
            Self::Blocks
        }
    }

    /// Shows pictures beside each other.
    pub(super) fn show(self, pictures: &[RgbImage]) -> io::Result<()> {
        if self == Self::Not || pictures.is_empty() {
            return Ok(());
        }
        let strip;
        let picture = match pictures {
            [picture] => picture,
            _ => {
                strip = beside(pictures);
                &strip
            }
        };
        let columns = u32::try_from(terminal::columns()).map_or(MOST[0], |columns| columns.min(MOST[0]));
        let mut out = terminal::stdout();
        match self.text(picture, columns) {
            Some(text) => out.write_all(text.as_bytes())?,
            None => return Ok(()),
        }
        writeln!(out)?;
        out.flush()
    }

    /// What is written to the terminal.
    fn text(self, picture: &RgbImage, columns: u32) -> Option<String> {
        let cells = fitting(picture, columns);
        let [width, height] = [cells[0] * CELL[0], cells[1] * CELL[1]];
        match self {
            Self::Not => None,
            Self::Blocks => Some(
                half_blocks::beside(std::slice::from_ref(picture), columns as usize, MOST[1] as usize)
                    .join("\n"),
            ),
            Self::Kitty => Some(kitty(&png(picture, [width, height])?, cells)),
            Self::Iterm => {
                let png = png(picture, [width, height])?;
                let [columns, rows] = cells;
                let (size, data) = (png.len(), BASE64.encode(png));
                Some(format!(
                    "\x1b]1337;File=inline=1;size={size};width={columns};height={rows};preserveAspectRatio=1:{data}\x07"
                ))
            }
            Self::Sixel => {
                let small =
                    DynamicImage::ImageRgb8(resize(picture, width, height, FilterType::Triangle)).to_rgba8();
                sixel_encode(&small, width as usize, height as usize, &EncodeOptions::default()).ok()
            }
        }
    }
}

/// Characters and lines that a picture takes, which keep its aspect.
fn fitting(picture: &RgbImage, columns: u32) -> [u32; 2] {
    let [width, height] = [picture.width(), picture.height()].map(f64::from);
    let [across, down] = [f64::from(CELL[0]), f64::from(CELL[1])];
    let scale = (f64::from(columns) * across / width).min(f64::from(MOST[1]) * down / height).min(1.0);
    [width * scale / across, height * scale / down].map(|cells| (cells.round() as u32).max(1))
}

/// A PNG of a picture, no larger than that.
fn png(picture: &RgbImage, [width, height]: [u32; 2]) -> Option<Vec<u8>> {
    // Twice the pixels of small characters: those of most terminals are larger.
    let small = picture.width() <= 2 * width && picture.height() <= 2 * height;
    let picture = if small { picture.clone() } else { thumbnail(picture, 2 * width, 2 * height) };
    let mut bytes = io::Cursor::new(vec![]);
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(bytes.into_inner())
}

/// Commands of Kitty that show a PNG and ask for no answer.
fn kitty(png: &[u8], [columns, rows]: [u32; 2]) -> String {
    let data = BASE64.encode(png);
    let chunks: Vec<_> = data.as_bytes().chunks(KITTY_BYTES).map(String::from_utf8_lossy).collect();
    let mut text = String::new();
    for (i, chunk) in chunks.iter().enumerate() {
        let first = if i == 0 { format!("a=T,f=100,c={columns},r={rows},q=2,") } else { String::new() };
        let more = u8::from(i + 1 < chunks.len());
        text += &format!("\x1b_G{first}m={more};{chunk}\x1b\\");
    }
    text
}

/// Pictures beside each other, of one height.
fn beside(pictures: &[RgbImage]) -> RgbImage {
    const HEIGHT: u32 = 96;
    const GAP: u32 = 8;
    let scaled: Vec<_> = pictures
        .iter()
        .map(|p| {
            let width = u64::from(p.width()) * u64::from(HEIGHT) / u64::from(p.height().max(1));
            resize(p, (width as u32).clamp(1, 4 * HEIGHT), HEIGHT, FilterType::Triangle)
        })
        .collect();
    let width = scaled.iter().map(|p| p.width() + GAP).sum::<u32>() - GAP;
    let mut strip = RgbImage::new(width, HEIGHT);
    let mut left = 0;
    for picture in scaled {
        image::imageops::replace(&mut strip, &picture, i64::from(left), 0);
        left += picture.width() + GAP;
    }
    strip
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Graphics {
        Graphics::said(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_terminal_says_what_it_can() {
        assert_eq!(said(&[("TERM", "xterm-256color")]), Graphics::Blocks);
        assert_eq!(said(&[("TERM", "xterm-kitty")]), Graphics::Kitty);
        assert_eq!(said(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "ghostty")]), Graphics::Kitty);
        assert_eq!(said(&[("TERM_PROGRAM", "iTerm.app")]), Graphics::Iterm);
        assert_eq!(said(&[("TERM", "xterm"), ("KONSOLE_VERSION", "250800")]), Graphics::Iterm);
        assert_eq!(said(&[("TERM", "foot")]), Graphics::Sixel);
        // Between the program and the terminal is one that passes none of it on.
        assert_eq!(said(&[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1")]), Graphics::Blocks);
        assert_eq!(
            said(&[("TERM_PROGRAM", "iTerm.app"), ("TMUX", "/tmp/tmux-0/default,1,0")]),
            Graphics::Blocks
        );
    }

    #[test]
    fn each_way_holds_the_picture() {
        let picture = RgbImage::from_fn(64, 32, |x, y| image::Rgb([x as u8 * 4, y as u8 * 8, 7]));
        let of_png = |base64: &str| {
            let bytes = BASE64.decode(base64).unwrap();
            image::load_from_memory(&bytes).unwrap().to_rgb8()
        };
        let iterm = Graphics::Iterm.text(&picture, 80).unwrap();
        let (head, data) = iterm.split_once(':').unwrap();
        assert!(head.ends_with("width=8;height=2;preserveAspectRatio=1"), "{head}");
        assert_eq!(of_png(data.strip_suffix('\x07').unwrap()), picture);
        let kitty = Graphics::Kitty.text(&picture, 80).unwrap();
        let (head, data) = kitty.split_once(';').unwrap();
        assert_eq!(head, "\x1b_Ga=T,f=100,c=8,r=2,q=2,m=0");
        assert_eq!(of_png(data.strip_suffix("\x1b\\").unwrap()), picture);
        let sixel = Graphics::Sixel.text(&picture, 80).unwrap();
        let decoded = icy_sixel::SixelImage::decode(sixel.as_bytes()).unwrap();
        // Its rows come in bands of six.
        assert_eq!([decoded.width, decoded.height], [64, 36]);
        assert_eq!(Graphics::Blocks.text(&picture, 80).unwrap().lines().count(), 14);
        assert_eq!(Graphics::Not.text(&picture, 80), None);
    }

    #[test]
    fn a_long_picture_is_sent_to_kitty_in_pieces() {
        let noise = RgbImage::from_fn(80, 80, |x, y| image::Rgb([(x * y * 7919 % 251) as u8; 3]));
        let text = Graphics::Kitty.text(&noise, 80).unwrap();
        let commands: Vec<_> = text.split_terminator("\x1b\\").collect();
        assert!(commands.len() > 1);
        let data: String = commands.iter().map(|command| command.split_once(';').unwrap().1).collect();
        assert!(commands.iter().all(|command| command.split_once(';').unwrap().1.len() <= KITTY_BYTES));
        assert_eq!(image::load_from_memory(&BASE64.decode(data).unwrap()).unwrap().to_rgb8(), noise);
    }

    #[test]
    fn pictures_beside_each_other_are_of_one_height() {
        let strip = beside(&[RgbImage::new(10, 20), RgbImage::new(40, 20)]);
        assert_eq!([strip.width(), strip.height()], [48 + 8 + 192, 96]);
        assert_eq!(fitting(&strip, 20), [20, 4]);
    }
}
