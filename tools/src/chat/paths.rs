//! Paths of pictures within what is typed: as a shell has them, as a terminal pastes what is dropped on it, and as URLs.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use crate::{Usage, strays};

/// What a line holds: pictures at its ends, and the text between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dropped<'a> {
    pub(super) pictures: Vec<PathBuf>,
    pub(super) text: &'a str,
}

/// Takes the pictures off a line. A line of nothing but files that exist is pictures; at either end of a text, only what
/// is written in full (`/home/…`, `~/…`, `file://…`, in quotes or not) is one: a text may name a file and mean its name.
///
/// # Errors
///
/// If an address is where a picture could be: nothing is fetched.
pub(super) fn dropped(line: &str) -> Result<Dropped<'_>, Usage> {
    let mut text = line.trim();
    if let Some(address) = [text.split_whitespace().next(), text.split_whitespace().last()]
        .into_iter()
        .flatten()
        .find(|word| is_address(word) && (*word == text || strays::is_picture(word)))
    {
        return Err(Usage(format!(
            "{address} is an address, and nothing is fetched: download it, and name the file"
        )));
    }
    if let Some(pictures) = all_files(text) {
        return Ok(Dropped { pictures, text: "" });
    }
    let (mut before, mut behind) = (vec![], vec![]);
    while let Some((picture, rest)) = first(text) {
        before.push(picture);
        text = rest;
    }
    while let Some((rest, picture)) = last(text) {
        behind.push(picture);
        text = rest;
    }
    before.extend(behind.into_iter().rev());
    Ok(Dropped { pictures: before, text })
}

/// # Errors
///
/// If a word is an address: nothing is fetched.
pub(super) fn refuse_address(word: &str) -> Result<(), Usage> {
    match is_address(word) {
        true => Err(Usage(format!(
            "{word} is an address, and nothing is fetched: download it, and name the file"
        ))),
        false => Ok(()),
    }
}

/// The files that follow a command: one with spaces in its name, or several as a shell takes them.
pub(super) fn named(text: &str) -> Vec<PathBuf> {
    if let Some(path) = path(text) {
        return vec![path];
    }
    match shlex::split(text) {
        Some(words) if !words.is_empty() && !cfg!(windows) => words.iter().map(|word| home(word)).collect(),
        _ => vec![home(text)],
    }
}

/// The one file that follows a command.
///
/// # Errors
///
/// If several do.
pub(super) fn one(text: &str) -> Result<PathBuf, Usage> {
    match <[PathBuf; 1]>::try_from(named(text)) {
        Ok([path]) => Ok(path),
        Err(_) => Err(Usage("that is more than one file: a name with spaces is written in quotes".into())),
    }
}

/// The files of a line that is nothing else, where one of them is a picture by its name.
fn all_files(line: &str) -> Option<Vec<PathBuf>> {
    let one = || path(line).filter(|path| is_picture(path)).map(|path| vec![path]);
    let several = || {
        let words = shlex::split(line)?;
        let paths: Vec<_> =
            words.iter().filter_map(|word| path(word)).filter(|path| is_picture(path)).collect();
        (!paths.is_empty() && paths.len() == words.len()).then_some(paths)
    };
    one().or_else(several)
}

/// The picture that a text begins with, and the rest.
fn first(text: &str) -> Option<(PathBuf, &str)> {
    is_full(text).then_some(())?;
    let ends = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    ends.chain([text.len()]).find_map(|end| Some((picture(&text[..end])?, text[end..].trim_start())))
}

/// The picture that a text ends with, and what is before it.
fn last(text: &str) -> Option<(&str, PathBuf)> {
    let starts = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8());
    starts
        .filter(|&start| is_full(&text[start..]))
        .find_map(|start| Some((text[..start].trim_end(), picture(&text[start..])?)))
}

fn picture(word: &str) -> Option<PathBuf> {
    path(word).filter(|path| is_picture(path))
}

fn is_picture(path: &Path) -> bool {
    path.is_file() && strays::is_picture(&path.to_string_lossy())
}

/// Whether a path is written from a root, as terminals paste what is dropped on them.
fn is_full(text: &str) -> bool {
    let bare = text.trim_start_matches(['\'', '"']);
    let drive = bare.get(1..3).is_some_and(|colon| matches!(colon, ":\\" | ":/"));
    bare.starts_with('/') || bare.starts_with("~/") || bare.starts_with("file://") || (cfg!(windows) && drive)
}

/// The file that a word names, if it is there: as it is, without its quotes, as a shell reads it, or as a URL.
fn path(word: &str) -> Option<PathBuf> {
    let word = word.trim();
    let there = |path: PathBuf| (!path.as_os_str().is_empty() && path.exists()).then_some(path);
    let quoted = ['\'', '"'].iter().find_map(|&quote| word.strip_prefix(quote)?.strip_suffix(quote));
    let as_shell = || match shlex::split(word)?.as_slice() {
        [one] => Some(home(one)),
        _ => None,
    };
    there(home(word))
        .or_else(|| there(home(quoted?)))
        .or_else(|| there(as_shell()?))
        .or_else(|| there(of_url(quoted.unwrap_or(word))?))
}

/// The path of a `file:` URL of this machine.
fn of_url(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("file://")?;
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = percent_decode_str(path).decode_utf8().ok()?;
    // file:///C:/a.png
    let path = if cfg!(windows) { path.trim_start_matches('/') } else { &path };
    Some(path.into())
}

/// A path whose `~` is the home directory.
fn home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => path.into(),
    }
}

fn is_address(word: &str) -> bool {
    word.starts_with("http://") || word.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with pictures of these names.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| std::fs::write(dir.path().join(name), b"").unwrap());
        dir
    }

    #[test]
    #[cfg(unix)]
    fn a_dropped_path_is_a_picture_however_it_is_written() {
        let dir = folder(&["a b's.png", "c.jpg", "notes.txt"]);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (spaced, plain) = (path("a b's.png"), path("c.jpg"));
        let quoted = format!("\"{spaced}\"");
        let escaped = spaced.replace(' ', "\\ ").replace('\'', "\\'");
        let url = format!("file://{}", spaced.replace(' ', "%20"));
        for written in [&spaced, &quoted, &escaped, &url] {
            let want = |text| Dropped { pictures: vec![spaced.clone().into()], text };
            assert_eq!(dropped(&format!(" {written} \n")).unwrap(), want(""), "{written}");
            let asked = format!("{written} What's this?");
            assert_eq!(dropped(&asked).unwrap(), want("What's this?"), "{written}");
            let asked = format!("What's this? {written}");
            assert_eq!(dropped(&asked).unwrap(), want("What's this?"), "{written}");
            let both = format!("{written} {plain}");
            assert_eq!(dropped(&both).unwrap().pictures, [&spaced, &plain].map(PathBuf::from), "{written}");
            assert_eq!(named(written), [PathBuf::from(&spaced)], "{written}");
        }
        assert_eq!(named(&format!("{plain} {escaped}")).len(), 2);
        assert_eq!(named("missing file.png").len(), 2);
        // Files that are no pictures by their names, and pictures that are not there, are text.
        for text in [&path("notes.txt"), &path("missing.png"), "What is 3 + 4?", "it's", ""] {
            assert_eq!(dropped(text).unwrap(), Dropped { pictures: vec![], text }, "{text}");
        }
    }

    #[test]
    fn a_text_may_name_a_file() {
        let here = "../tests/nano/samples/pair_1.png";
        assert_eq!(dropped(here).unwrap().pictures, [PathBuf::from(here)]);
        let text = format!("What is in {here}");
        assert_eq!(dropped(&text).unwrap(), Dropped { pictures: vec![], text: &text });
    }

    #[test]
    fn addresses_are_refused_by_name() {
        for line in
            ["https://example.org/owl", "What is in http://example.org/owl.png", "http://a/b.gif What?"]
        {
            let error = dropped(line).unwrap_err().to_string();
            assert!(error.contains("is an address") && error.starts_with("http"), "{error}");
        }
        assert!(dropped("What is https://example.org for?").is_ok());
        assert!(dropped("Do you know https://example.org").is_ok());
    }
}
