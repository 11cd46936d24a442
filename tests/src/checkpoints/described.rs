//! Folders of checkpoints, made of descriptions: hundreds of folders of small files would take four times their room.
//!
//! A description is a JSON file of a family of folders, each with its `expected` line and its files. What a file holds is
//! a text, or `{"same": "FOLDER/FILE"}`, or pieces in order:
//!
//! - a text,
//! - `{"hex": "803c", "times": 64}`: bytes, so many times, once by default,
//! - `{"deflated": "ed9c…"}`: bytes that are compressed as in a zip file, in hexadecimal digits.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::read::DeflateDecoder;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    expected: String,
    files: BTreeMap<String, Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Same { same: String },
    Pieces(Vec<Piece>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Hex {
        hex: String,
        #[serde(default = "once")]
        times: usize,
    },
    Deflated {
        deflated: String,
    },
}

fn once() -> usize {
    1
}

/// Makes the folders that the JSON files of `descriptions` describe, below `root`.
///
/// # Errors
///
/// If a description cannot be read or names what is not there, or a folder cannot be written.
pub(super) fn make(descriptions: &Path, root: &Path) -> Result<()> {
    let mut folders = BTreeMap::<String, Folder>::new();
    for entry in fs::read_dir(descriptions).with_context(|| descriptions.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let family: BTreeMap<String, Folder> =
                serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
            for (name, folder) in family {
                ensure!(folders.insert(name.clone(), folder).is_none(), "{name} is described twice");
            }
        }
    }
    for (name, folder) in &folders {
        let write = |file: &str, bytes: &[u8]| -> Result<()> {
            let path = root.join(name).join(file);
            fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
            fs::write(&path, bytes).with_context(|| path.display().to_string())
        };
        write("expected", format!("{}\n", folder.expected).as_bytes())?;
        for (file, content) in &folder.files {
            let bytes = bytes(&folders, content).with_context(|| format!("{name}/{file}"))?;
            write(file, &bytes)?;
        }
    }
    Ok(())
}

fn bytes(folders: &BTreeMap<String, Folder>, content: &Content) -> Result<Vec<u8>> {
    let pieces = match content {
        Content::Text(text) => return Ok(text.clone().into_bytes()),
        Content::Same { same } => {
            let (folder, file) = same.split_once('/').with_context(|| format!("{same}: no FOLDER/FILE"))?;
            let other = folders.get(folder).and_then(|folder| folder.files.get(file));
            return match other {
                None | Some(Content::Same { .. }) => bail!("{same} is not described itself"),
                Some(other) => bytes(folders, other),
            };
        }
        Content::Pieces(pieces) => pieces,
    };
    let mut bytes = vec![];
    for piece in pieces {
        match piece {
            Piece::Text(text) => bytes.extend(text.as_bytes()),
            Piece::Hex { hex, times } => bytes.extend(digits(hex)?.repeat(*times)),
            Piece::Deflated { deflated } => {
                DeflateDecoder::new(&*digits(deflated)?).read_to_end(&mut bytes)?;
            }
        }
    }
    Ok(bytes)
}

fn digits(hex: &str) -> Result<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(|pair| byte(pair).context("no hexadecimal digits")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_sum_of_its_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let (descriptions, root) = (dir.path().join("described"), dir.path().join("made"));
        fs::create_dir(&descriptions).unwrap();
        let text = r#"{"a": {"expected": "loads", "files": {"x/y": ["ab", {"hex": "00ff", "times": 2}], "z": "c"}},
            "b": {"expected": "refused: z", "files": {"x": {"same": "a/x/y"}, "d": [{"deflated": "4b0400"}]}}}"#;
        fs::write(descriptions.join("family.json"), text).unwrap();
        make(&descriptions, &root).unwrap();
        let read = |path: &str| fs::read(root.join(path)).unwrap();
        assert_eq!(read("a/x/y"), b"ab\0\xff\0\xff");
        assert_eq!((read("b/x"), read("b/d")), (read("a/x/y"), b"a".to_vec()));
        assert_eq!((read("a/z"), read("b/expected")), (b"c".to_vec(), b"refused: z\n".to_vec()));

        let wrong = r#"{"c": {"expected": "", "files": {"x": {"same": "a/none"}}}}"#;
        fs::write(descriptions.join("other.json"), wrong).unwrap();
        let error = format!("{:#}", make(&descriptions, &root).unwrap_err());
        assert!(error.contains("c/x: a/none is not described"), "{error}");
    }
}
