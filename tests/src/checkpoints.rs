//! Folders of checkpoints, and of what is none: what Strix says of each, against what is expected of it.
//!
//! A folder's file `expected` is one line: `VERDICT [PATH][: PHRASES]`.
//!
//! - `VERDICT` is `loads` (also `ok`, `accepted`) or `refused` (also `error`).
//! - `PATH`, within the folder, is what is named as the model; without it the folder itself.
//! - `PHRASES`, between semicolons, or commas where there is no semicolon, must all be in what is said, in any case of
//!   letters: of the error, or of the notes where it loads.
//!
//! A line without a verdict is phrases alone. A folder without such a file may have its line in the `expected` of the
//! folder it is in, after its own name and a colon.

mod described;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use strix_model::{Checkpoint, Source};

/// Makes the folders that the repository describes, in `tests/cases/checkpoints`, below `root`.
///
/// # Errors
///
/// If they cannot be read or written.
pub fn make(root: &Path) -> Result<()> {
    described::make(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/checkpoints"), root)
}

/// What is to come of opening a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It loads.
    Loads,
    /// It is refused with an error.
    Refused,
}

/// What is expected of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `None`: either will do.
    pub verdict: Option<Verdict>,
    /// What is named as the model, within the folder; empty: the folder.
    pub path: String,
    /// What must be said.
    pub phrases: Vec<String>,
}

/// What came of a folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// The folder, or what was named in it, below the tree's root.
    pub name: String,
    /// `None`: it panicked.
    pub verdict: Option<Verdict>,
    /// The error or the notes, fit for a terminal.
    pub said: String,
    /// The same without the folder's name, which says nothing of what is in it.
    nameless: String,
    /// What was expected, if something was.
    pub expected: Option<Expected>,
}

impl Expected {
    /// Reads a line.
    pub fn parse(line: &str) -> Self {
        let (before, after) = line.split_once(':').unwrap_or((line, ""));
        let (word, path) = before.trim().split_once(char::is_whitespace).unwrap_or((before.trim(), ""));
        let verdict = match word.to_lowercase().as_str() {
            "loads" | "loaded" | "ok" | "accepted" => Some(Verdict::Loads),
            "refused" | "refuses" | "error" => Some(Verdict::Refused),
            _ => None,
        };
        let (path, phrases) = if verdict.is_some() { (path.trim(), after) } else { ("", line) };
        let separator = if phrases.contains(';') { ';' } else { ',' };
        let phrases = phrases.split(separator).map(str::trim).filter(|phrase| !phrase.is_empty());
        Self { verdict, path: path.into(), phrases: phrases.map(str::to_owned).collect() }
    }

    /// Of a folder, if something is.
    fn of(dir: &Path) -> Option<Self> {
        let read = |path: PathBuf| std::fs::read_to_string(path).ok();
        if let Some(text) = read(dir.join("expected")) {
            return text.lines().find(|line| !line.trim().is_empty()).map(Self::parse);
        }
        let name = dir.file_name()?.to_str()?;
        let all = read(dir.parent()?.join("expected"))?;
        let line =
            all.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix(':'))?;
        Some(Self::parse(line.trim()))
    }
}

impl Found {
    /// Whether it is as expected; of what nothing is expected, whether it did not panic.
    pub fn good(&self) -> bool {
        let said = self.nameless.to_lowercase();
        let fits = |expected: &Expected| {
            expected.verdict.is_none_or(|verdict| Some(verdict) == self.verdict)
                && expected.phrases.iter().all(|phrase| said.contains(&phrase.to_lowercase()))
        };
        self.verdict.is_some() && self.expected.as_ref().is_none_or(fits)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.good(), &self.expected) {
            (true, None) => "--",
            (true, Some(_)) => "ok",
            (false, _) => "DIFFERENT",
        };
        let verdict = match self.verdict {
            Some(Verdict::Loads) => "loads",
            Some(Verdict::Refused) => "refused",
            None => "PANICKED",
        };
        write!(f, "{mark:<9} {:<34} {verdict}", self.name)?;
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        if let (false, Some(expected)) = (self.good(), &self.expected) {
            write!(f, "\n          expected {:?}: {}", expected.verdict, expected.phrases.join("; "))?;
        }
        Ok(())
    }
}

/// Opens every folder of a tree as `strix ask` would, up to where the device is needed.
///
/// # Errors
///
/// If the tree cannot be read, or there is no folder of a model in it.
pub fn examine(root: &Path) -> Result<Vec<Found>> {
    let mut found = vec![];
    walk(root, root, &mut found)?;
    ensure!(!found.is_empty(), "{}: no folder in it is a model's or has an expected line", root.display());
    Ok(found)
}

/// A folder of which something is expected is not searched for others.
fn walk(root: &Path, dir: &Path, found: &mut Vec<Found>) -> Result<()> {
    let expected = Expected::of(dir);
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    let sign = |path: &PathBuf| {
        let names = ["config.json", "adapter_config.json", "tokenizer.json"];
        let ends = ["safetensors", "bin", "pt", "pth", "ckpt", "gguf", "distcp"];
        path.file_name().is_some_and(|name| names.iter().any(|known| name == *known))
            || path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
    };
    if expected.is_some() || dir != root && paths.iter().any(sign) {
        let known = expected.is_some();
        found.push(open(root, dir, expected));
        if known {
            return Ok(());
        }
    }
    paths
        .iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
        .try_for_each(|path| walk(root, path, found))
}

fn open(root: &Path, dir: &Path, expected: Option<Expected>) -> Found {
    let path = match &expected {
        Some(Expected { path, .. }) if !path.is_empty() => dir.join(path),
        _ => dir.into(),
    };
    // As a user types it: an error names it so.
    let said = catch_unwind(AssertUnwindSafe(|| {
        Checkpoint::open(Source::Dir(&path)).map(|checkpoint| checkpoint.notes().to_vec())
    }));
    let (verdict, said) = match said {
        Ok(Ok(notes)) => (Some(Verdict::Loads), notes.join("; ")),
        Ok(Err(error)) => (Some(Verdict::Refused), error.to_string()),
        Err(panic) => (None, strix_engine::panic_text(&*panic).unwrap_or_default().to_owned()),
    };
    let nameless = said.replace(&dir.display().to_string(), ".");
    let said = said.replace(&format!("{}/", root.display()), "");
    let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
    let name = if name.is_empty() { ".".into() } else { name };
    Found { name, verdict, said: escaped(&said), nameless, expected }
}

/// Without what a terminal would obey; further lines are set in.
fn escaped(text: &str) -> String {
    let lines = text.lines().map(|line| {
        line.chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
            .collect()
    });
    lines.collect::<Vec<String>>().join("\n          ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_each_form() {
        let line = |line: &str| Expected::parse(line);
        let of = |verdict, path: &str, phrases: &[&str]| Expected {
            verdict,
            path: path.into(),
            phrases: phrases.iter().map(|&phrase| phrase.into()).collect(),
        };
        assert_eq!(line("loads"), of(Some(Verdict::Loads), "", &[]));
        assert_eq!(line("Refused: LoRA, adapter"), of(Some(Verdict::Refused), "", &["LoRA", "adapter"]));
        assert_eq!(line("error a/b.bin: x, y; z"), of(Some(Verdict::Refused), "a/b.bin", &["x, y", "z"]));
        assert_eq!(line("bitsandbytes"), of(None, "", &["bitsandbytes"]));
    }
}
