//! Pictures against Pillow's: what each file of a folder gives, and what its `expected.json` says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use strix_model::image::{self, Exif, Options, RgbImage};

/// Most frames of an animation that are compared.
pub const MAX_FRAMES: usize = 8;

/// Most levels that a JPEG may differ by: decoders differ in the last bits.
pub const JPEG_LEVELS: u8 = 3;

/// The folder in the repository.
pub fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// What a file gives, against Pillow.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same pixels.
    Equal,
    /// Refused, with what the file is.
    Refused(String),
    /// Refused without saying what the file is, where Pillow reads it.
    Unnamed(String),
    /// Refused by Pillow too.
    BothRefuse(String),
    /// Read where Pillow does not.
    ReadAlone,
    /// Other pixels; `allowed` where a JPEG is known to be near enough.
    Different {
        /// What differs, and by how much.
        what: String,
        /// Whether it is no fault.
        allowed: bool,
    },
    /// Panicked.
    Panicked,
}

impl Verdict {
    /// Whether it is as it should be.
    pub fn good(&self) -> bool {
        match self {
            Self::Different { allowed, .. } => *allowed,
            Self::Unnamed(_) | Self::Panicked => false,
            _ => true,
        }
    }
}

/// What all files of a folder give.
#[derive(Debug, Default)]
pub struct Report {
    /// Each file of `expected.json`, in its order.
    pub verdicts: Vec<(String, Verdict)>,
}

impl Report {
    /// Whether all are as they should be.
    pub fn good(&self) -> bool {
        self.verdicts.iter().all(|(_, verdict)| verdict.good())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = [0; 7];
        for (file, verdict) in &self.verdicts {
            let (kind, line) = match verdict {
                Verdict::Equal => (0, None),
                Verdict::Refused(error) => (1, Some(format!("refused      {error}"))),
                Verdict::Different { what, .. } => (2, Some(format!("DIFFERENT    {file}: {what}"))),
                Verdict::Panicked => (3, Some(format!("PANICKED     {file}"))),
                Verdict::Unnamed(error) => (4, Some(format!("NOT NAMED    {error}"))),
                Verdict::BothRefuse(_) => (5, None),
                Verdict::ReadAlone => (6, None),
            };
            counts[kind] += 1;
            if let Some(line) = line {
                writeln!(f, "{line}")?;
            }
        }
        let [equal, refused, different, panicked, unnamed, both, alone] = counts;
        write!(
            f,
            "{} files: {equal} bit-equal, {refused} refused with the format named, {different} different, {panicked} \
             panicked, {unnamed} refused without the format's name; Pillow refuses {both} more, and {alone} that are \
             read here",
            self.verdicts.len()
        )
    }
}

/// Decodes every picture of a folder that its `expected.json` lists.
///
/// # Errors
///
/// If a file of the list or the list itself cannot be read.
pub fn check(dir: &Path) -> Result<Report> {
    let list = dir.join("expected.json");
    let json = std::fs::read(&list).with_context(|| list.display().to_string())?;
    let expected: Value = serde_json::from_slice(&json).with_context(|| list.display().to_string())?;
    let mut report = Report::default();
    for (file, entry) in expected.as_object().context("expected.json holds no object")? {
        let path = dir.join(file);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let verdict = catch_unwind(AssertUnwindSafe(|| verdict(&path, file, &bytes, entry)));
        report.verdicts.push((file.clone(), verdict.unwrap_or(Verdict::Panicked)));
    }
    Ok(report)
}

fn verdict(path: &Path, file: &str, bytes: &[u8], entry: &Value) -> Verdict {
    let picture = image::decode(file, bytes, Exif::Ignore);
    let Some(hash) = entry["sha256_rgb"].as_str() else {
        return match picture {
            Ok(_) => Verdict::ReadAlone,
            Err(error) => Verdict::BothRefuse(error.to_string()),
        };
    };
    let picture = match picture {
        Ok(picture) => picture,
        Err(error) => return refused(file, error.to_string()),
    };
    if sha256(&picture) != hash {
        let is_jpeg = bytes.starts_with(b"\xff\xd8");
        return different(path, &picture, &entry["size"], is_jpeg);
    }
    let Some(hashes) = entry["frames_sha256"].as_array() else { return Verdict::Equal };
    let hashes: Vec<_> = hashes.iter().map(|hash| hash.as_str().unwrap_or_default()).collect();
    let num_frames = entry["frames"].as_u64().map_or(hashes.len(), |frames| frames as usize);
    frames(file, bytes, hash, num_frames, &hashes)
}

/// Compares the first frames of an animation, as many as are listed.
fn frames(file: &str, bytes: &[u8], first: &str, num_frames: usize, hashes: &[&str]) -> Verdict {
    let wrong = |what| Verdict::Different { what, allowed: false };
    let frames = match image::frames(file, bytes, &Options::default()) {
        Ok(frames) => frames,
        Err(error) => return refused(file, error.to_string()),
    };
    if frames.num_frames() != num_frames {
        return wrong(format!("{} frames against {num_frames}", frames.num_frames()));
    }
    // A list whose first frame is not the first picture was made when its last frame was shown: all are that one.
    let only_last = hashes.first() != Some(&first) && hashes.iter().all(|hash| hash == &hashes[0]);
    for (i, (frame, hash)) in
        frames.zip(hashes).enumerate().take(if only_last { usize::MAX } else { MAX_FRAMES })
    {
        match frame {
            Err(error) => return refused(file, error.to_string()),
            Ok(_) if only_last && i + 1 < hashes.len() => (),
            Ok(frame) if sha256(&frame.pixels) != *hash => return wrong(format!("frame {i} differs")),
            Ok(_) => (),
        }
    }
    Verdict::Equal
}

/// Whether the error of a file says what it is.
fn refused(file: &str, error: String) -> Verdict {
    let reason = error.strip_prefix(file).unwrap_or(&error).trim_start_matches(": ");
    let named = ["is a ", "is an ", "the "].iter().any(|start| reason.starts_with(start));
    if named { Verdict::Refused(error) } else { Verdict::Unnamed(error) }
}

/// Measures a difference where Pillow's pixels lie beside the file, in `FILE.expected.png`.
fn different(path: &Path, picture: &RgbImage, size: &Value, is_jpeg: bool) -> Verdict {
    let (width, height) = picture.dimensions();
    if *size != serde_json::json!([width, height]) {
        return Verdict::Different { what: format!("{width} x {height} against {size}"), allowed: false };
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".expected.png");
    let Ok(pillows) = image::open(beside.as_ref(), Exif::Ignore) else {
        // How far off it is cannot be told, and the decoder is Pillow's own.
        return Verdict::Different { what: "no reference pixels beside it".into(), allowed: false };
    };
    if pillows.dimensions() != picture.dimensions() {
        return Verdict::Different { what: "reference pixels of another size".into(), allowed: false };
    }
    let levels = || picture.iter().zip(pillows.iter()).map(|(a, b)| a.abs_diff(*b));
    let largest = levels().max().unwrap_or(0);
    let mean = levels().map(f64::from).sum::<f64>() / levels().count().max(1) as f64;
    Verdict::Different {
        what: format!("by {largest} levels, {mean:.3} in the mean"),
        allowed: is_jpeg && largest <= JPEG_LEVELS,
    }
}

fn sha256(picture: &RgbImage) -> String {
    Sha256::digest(picture.as_raw()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_format() {
        assert!(refused("a/b.png", "a/b.png: is a PNG that is cut short".into()).good());
        assert!(!refused("a/b.png", "a/b.png: cut short".into()).good());
    }

    #[test]
    fn other_pixels_and_panics_are_faults() {
        let wrong = |allowed| Verdict::Different { what: String::new(), allowed };
        let report = |verdict| Report { verdicts: vec![("x".into(), verdict)] };
        assert!(report(Verdict::Equal).good() && report(wrong(true)).good());
        assert!(!report(wrong(false)).good() && !report(Verdict::Panicked).good());
    }
}
