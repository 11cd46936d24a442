//! `strix.h` as cbindgen writes it, in a form that is good to read.

use std::path::Path;

use anyhow::{Context, Result};

/// The header of the crate in a folder.
pub(crate) fn generate(krate: &Path) -> Result<String> {
    let mut bytes = vec![];
    cbindgen::generate(krate).context("cbindgen")?.write(&mut bytes);
    let mut header = named(&shorter(&without_places(&String::from_utf8(bytes)?)));
    // Rust locks within them; to C they are changed.
    for changed in ["StrixSession", "StrixGeneration", "StrixCanceller"] {
        header = header.replace(&format!("const {changed} *"), &format!("{changed} *"));
    }
    Ok(header)
}

/// The same without typedefs for places of results: C knows them as pointers to pointers.
fn without_places(header: &str) -> String {
    let mut places = vec![];
    let mut text = String::new();
    for line in header.lines() {
        let place =
            line.strip_prefix("typedef ").and_then(|rest| rest.strip_suffix("Place;")).and_then(|rest| {
                let (of, name) = rest.split_once(" **")?;
                Some((format!("{name}Place "), format!("{of} **")))
            });
        match place {
            Some(place) => {
                // What is said of it goes too.
                if text.ends_with("*/\n") {
                    text.truncate(text.rfind("/**").unwrap_or(text.len()));
                }
                places.push(place);
            }
            None => text = text + line + "\n",
        }
    }
    // The longest first: one may be the end of another.
    places.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    places.iter().fold(text, |text, (name, of)| text.replace(&format!(" {name}"), &format!(" {of}")))
}

/// The same with a name for each struct, so that it can be declared ahead.
fn named(header: &str) -> String {
    let lines: Vec<&str> = header.lines().collect();
    let name_behind = |at: usize| {
        let end = lines[at..].iter().find_map(|line| line.strip_prefix("} "));
        end.and_then(|name| name.strip_suffix(';')).unwrap_or_default()
    };
    let line = |(at, line): (usize, &&str)| match *line {
        "typedef struct {" => format!("typedef struct {} {{\n", name_behind(at)),
        line => format!("{line}\n"),
    };
    lines.iter().enumerate().map(line).collect()
}

/// The same with comments of one line on one line, and no more than one empty line.
fn shorter(header: &str) -> String {
    let mut lines: Vec<String> = vec![];
    for line in header.lines() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        if trimmed == "*/"
            && let [.., open, only] = lines.as_slice()
            && open.trim() == "/**"
            && let Some(words) = only.trim().strip_prefix("* ")
        {
            let whole = format!("{}/** {words} */", indent.strip_suffix(' ').unwrap_or(indent));
            lines.truncate(lines.len() - 2);
            lines.push(whole);
        } else if !(trimmed.is_empty() && lines.last().is_some_and(String::is_empty)) {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// A struct of the header, by its name and those of its fields.
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) fields: Vec<String>,
}

/// The structs that callers know the inside of.
pub(crate) fn structs(header: &str) -> Vec<Struct> {
    let mut found = vec![];
    let mut open: Option<Struct> = None;
    for line in header.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ").and_then(|rest| rest.strip_suffix(" {")) {
            open = Some(Struct { name: name.to_owned(), fields: vec![] });
        } else if line.starts_with('}') {
            found.extend(open.take());
        } else if let (Some(open), Some(field)) = (&mut open, line.strip_suffix(';')) {
            let name = field.rsplit([' ', '*']).next().unwrap_or_default();
            open.fields.push(name.to_owned());
        }
    }
    found
}

/// The enums of the header, with their values.
pub(crate) fn enums(header: &str) -> Vec<String> {
    let value = |line: &str| {
        let (name, _) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        name.starts_with("STRIX_").then(|| name.to_owned())
    };
    header.lines().filter_map(value).collect()
}

/// The functions of the header: each as it is declared, on one line, and its name.
pub(crate) fn functions(header: &str) -> Vec<(String, String)> {
    let Some((_, declared)) = header.split_once("extern \"C\" {") else { return vec![] };
    let mut found = vec![];
    let mut open = String::new();
    for line in declared.lines() {
        let starts = line.contains(" strix_") || line.contains("*strix_");
        let is_comment = line.starts_with("/*") || line.starts_with(" *");
        if !is_comment && (starts || !open.is_empty()) {
            if !open.is_empty() {
                open.push(' ');
            }
            open += line.trim();
            if let Some(whole) = open.strip_suffix(';') {
                let name = whole.split('(').next().and_then(|head| head.rsplit([' ', '*']).next());
                found.push((whole.to_owned(), name.unwrap_or_default().to_owned()));
                open.clear();
            }
        }
    }
    found
}
