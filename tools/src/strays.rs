//! Stray arguments of a question: pictures without their option, words without quotes.

use std::path::{Path, PathBuf};

use crate::Usage;

/// Endings of pictures' names.
const PICTURES: [&str; 17] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "apng", "bmp", "tif", "tiff", "heic", "heif", "avif",
    "jxl", "jp2", "svg",
];

/// Refuses a question that is a picture's name, and words after it, with what to type instead. `given` are the pictures
/// that have their option.
pub(crate) fn refuse(given: &[PathBuf], question: &str, rest: &[String]) -> Result<(), Usage> {
    let words = || std::iter::once(question).chain(rest.iter().map(String::as_str));
    let pictures: Vec<_> = words().filter(|word| is_picture(word)).collect();
    let asked: Vec<_> = words().filter(|word| !is_picture(word)).collect();
    let advice = match (&*pictures, rest.is_empty()) {
        ([], true) => return Ok(()),
        ([], false) => "a question of several words is written in quotes",
        // A name without a file may be the subject of the question.
        ([picture], true) if !Path::new(picture).exists() => return Ok(()),
        ([_], _) if given.is_empty() => "a picture is given with --image",
        _ => "pictures are given with --image each",
    };
    let given = given.iter().map(|path| path.display().to_string());
    let pictures = given.chain(pictures.iter().map(ToString::to_string));
    let pictures: String = pictures.map(|picture| format!("--image {} ", quoted(&picture, false))).collect();
    let asked = if asked.is_empty() { "What is in this picture?".to_owned() } else { asked.join(" ") };
    Err(Usage(format!("{advice}: strix ask {pictures}{}", quoted(&asked, true))))
}

/// The command to type for words that are no subcommand; `None` if there is no advice.
pub(crate) fn instead_of_command(word: &str) -> Option<String> {
    if is_picture(word) {
        return Some(format!("strix ask --image {} \"What is in this picture?\"", quoted(word, false)));
    }
    word.trim().contains(' ').then(|| format!("strix ask {}", quoted(word, true)))
}

/// Whether a word names a picture: by its ending, and by a file of that name if it has spaces.
pub(crate) fn is_picture(word: &str) -> bool {
    let path = Path::new(word);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) && (path.exists() || !word.contains(' '))
}

/// A word as a shell takes it.
fn quoted(word: &str, always: bool) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@,~".contains(c);
    if word.contains(['"', '$', '`', '\\', '!']) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else if always || !word.chars().all(plain) {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(words: &[&str]) -> String {
        let rest: Vec<_> = words[1..].iter().map(|&word| word.to_owned()).collect();
        refuse(&[], words[0], &rest).err().map_or(String::new(), |usage| usage.to_string())
    }

    #[test]
    fn what_to_type_is_said() {
        assert_eq!(advice(&["What is this?"]), "");
        assert_eq!(advice(&["missing.png"]), "", "it may be a question");
        assert!(advice(&["photo.png", "What?"]).ends_with("strix ask --image photo.png \"What?\""));
        assert!(advice(&["What?", "photo.JPG"]).ends_with("strix ask --image photo.JPG \"What?\""));
        let two = advice(&["a.png", "b c.png", "What's", "new?"]);
        assert!(two.ends_with("strix ask --image a.png \"b c.png What's new?\""), "{two}");
        let given = refuse(&["a.png".into()], "b.png", &["What?".to_owned()]).unwrap_err().to_string();
        assert!(given.ends_with("each: strix ask --image a.png --image b.png \"What?\""), "{given}");
        let words = advice(&["What", "is", "this?"]);
        assert_eq!(words, "a question of several words is written in quotes: strix ask \"What is this?\"");
        assert!(advice(&["say", "\"hi\""]).ends_with("strix ask 'say \"hi\"'"));
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/nano/samples/pair_1.png");
        assert!(advice(&[here]).ends_with("pair_1.png \"What is in this picture?\""));
    }

    #[test]
    fn questions_and_pictures_without_a_command_are_led_to_ask() {
        let asked = instead_of_command("What is this?").unwrap();
        assert_eq!(asked, "strix ask \"What is this?\"");
        assert!(instead_of_command("owl.png").unwrap().starts_with("strix ask --image owl.png"));
        assert_eq!(instead_of_command("aks"), None);
    }
}
