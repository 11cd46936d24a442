//! Pictures: read on threads of their own, kept as pixels for the model and as a texture for the window.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eframe::egui::{self, ColorImage, TextureHandle, TextureOptions};
use image::imageops::{FilterType, resize};
use strix_model::image::{self as reader, Exif, Note, Options, RgbImage};

use crate::problem::Problem;

/// Longest side of what is shown: sharp at the size that pictures have in the window, on dense screens too.
const SHOWN_SIDE: u32 = 1024;

/// Endings of files that are read.
pub(crate) const ENDINGS: [&str; 9] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "jfif"];

/// A picture that was read.
#[derive(Clone)]
pub(crate) struct Picture {
    /// Its number. No two have the same.
    pub(crate) id: u64,
    /// The file's name, or where it came from.
    pub(crate) name: String,
    pub(crate) pixels: Arc<RgbImage>,
    /// What its user may want to know.
    pub(crate) notes: Vec<&'static str>,
    shown: Arc<ColorImage>,
    texture: Option<TextureHandle>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}, {})", self.id, self.name)
    }
}

impl Picture {
    /// A picture of these pixels.
    pub(crate) fn new(name: impl Into<String>, pixels: RgbImage, notes: Vec<&'static str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (width, height) = pixels.dimensions();
        let longest = width.max(height);
        let color = |pixels: &RgbImage| {
            ColorImage::from_rgb([pixels.width() as usize, pixels.height() as usize], pixels.as_raw())
        };
        let shown = if longest > SHOWN_SIDE {
            let side =
                |side: u32| (u64::from(side) * u64::from(SHOWN_SIDE) / u64::from(longest)).max(1) as u32;
            color(&resize(&pixels, side(width), side(height), FilterType::Triangle))
        } else {
            color(&pixels)
        };
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            pixels: pixels.into(),
            notes,
            shown: shown.into(),
            texture: None,
        }
    }

    /// Decodes a picture.
    ///
    /// # Errors
    ///
    /// If it is none that is read.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let opened = reader::decode_with(name, bytes, &options())?;
        Ok(Self::new(short(name), opened.pixels, opened.notes.iter().filter_map(note).collect()))
    }

    /// Reads a picture file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is none that is.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let opened = reader::open_with(path, &options()).map_err(|error| Problem::of_picture(&error))?;
        let notes = opened.notes.iter().filter_map(note).collect();
        Ok(Self::new(short(&path.display().to_string()), opened.pixels, notes))
    }

    /// What a clipboard held, upon white where it is transparent.
    pub(crate) fn pasted(image: &ColorImage) -> Option<Self> {
        let [width, height] = image.size.map(|side| side as u32);
        let over = |colour: u8, alpha: u8| colour.saturating_add(255 - alpha);
        // Colours of egui are multiplied by their alpha.
        let rgb = image.pixels.iter().flat_map(|p| [p.r(), p.g(), p.b()].map(|c| over(c, p.a()))).collect();
        let pixels = RgbImage::from_raw(width, height, rgb).filter(|_| width > 0 && height > 0)?;
        Some(Self::new("pasted", pixels, vec![]))
    }

    /// The same under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Width over height.
    pub(crate) fn aspect(&self) -> f32 {
        let (width, height) = self.pixels.dimensions();
        width as f32 / height.max(1) as f32
    }

    /// Its texture in this window.
    pub(crate) fn texture(&mut self, ctx: &egui::Context) -> TextureHandle {
        let make =
            || ctx.load_texture(format!("picture {}", self.id), self.shown.clone(), TextureOptions::LINEAR);
        self.texture.get_or_insert_with(make).clone()
    }

    /// Lets go of what belongs to a window that is gone.
    pub(crate) fn drop_texture(&mut self) {
        self.texture = None;
    }
}

/// Upright, and upon white, as other windows show it.
fn options() -> Options {
    Options { exif: Exif::Honour, background: Some([255; 3]) }
}

fn note(note: &Note) -> Option<&'static str> {
    match note {
        Note::DeepGray => Some("its gray has more than 8 bits; what is above 255 is white"),
        _ => None,
    }
}

fn short(name: &str) -> String {
    let path = Path::new(name);
    path.file_name().map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Files that a text names, as file managers copy them: a path or a `file://` address a line. Nothing if one of the lines
/// is anything else.
pub(crate) fn named_files(text: &str) -> Vec<PathBuf> {
    let file = |line: &str| {
        let path = if line.starts_with("file://") { path_of_address(line)? } else { PathBuf::from(line) };
        let ending = path.extension()?.to_string_lossy().to_lowercase();
        (ENDINGS.contains(&ending.as_str()) && path.is_absolute() && path.is_file()).then_some(path)
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(file).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// The path of a `file://` address.
pub(crate) fn path_of_address(address: &str) -> Option<PathBuf> {
    let rest = address.strip_prefix("file://")?;
    unescaped(rest.strip_prefix("localhost").unwrap_or(rest)).map(PathBuf::from)
}

/// `%20` as a space.
fn unescaped(address: &str) -> Option<String> {
    let bytes = address.as_bytes();
    let mut out = vec![];
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::Color32;

    #[test]
    fn large_pictures_are_shown_small_and_asked_about_whole() {
        let picture = Picture::new("x", RgbImage::new(3000, 10), vec![]);
        assert_eq!(picture.shown.size, [1024, 3]);
        assert_eq!(picture.pixels.dimensions(), (3000, 10));
        assert_eq!(picture.aspect(), 300.0);
    }

    #[test]
    fn what_is_pasted_lies_upon_white() {
        let mut image = ColorImage::filled([2, 1], Color32::from_rgb(10, 20, 30));
        image.pixels[1] = Color32::from_rgba_unmultiplied(255, 0, 0, 0);
        let picture = Picture::pasted(&image).unwrap();
        assert_eq!(picture.pixels.as_raw()[..], [10, 20, 30, 255, 255, 255]);
        assert!(Picture::pasted(&ColorImage::default()).is_none());
    }

    #[test]
    fn files_are_told_from_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("an owl.PNG");
        std::fs::write(&path, "").unwrap();
        let address = format!("file://{}\r\n", path.display()).replace(' ', "%20");
        assert_eq!(named_files(&address), std::slice::from_ref(&path));
        assert_eq!(named_files(&path.display().to_string()), std::slice::from_ref(&path));
        assert_eq!(named_files(&format!("{address}what is it?")), Vec::<PathBuf>::new());
        assert_eq!(named_files("an owl.png"), Vec::<PathBuf>::new());
        assert_eq!(named_files(""), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let problem = Picture::decode("notes.png", b"hello").unwrap_err();
        assert!(problem.what.contains("notes.png"), "{problem:?}");
    }
}
