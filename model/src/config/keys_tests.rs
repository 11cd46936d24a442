//! The tables of keys, walked: each key does what its table says, and `CONFIG.md` says the same.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::keys::{Key, Notes, Section, Use};
use super::{Config, GenerationConfig, PreprocessorConfig, legacy_of};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIG.md");

/// What a file with these keys in a section makes of it: the debug text of what was read, and the notes.
fn reads(section: Section, keys: Value) -> Result<(String, Vec<String>), String> {
    let mut notes = Notes::default();
    let nested = match section {
        Section::Visual => json!({ "visual_config": keys }),
        Section::VisionModel => json!({ "visual_config": { "visual_model": keys } }),
        Section::Abstractor => json!({ "visual_config": { "visual_abstractor": keys } }),
        Section::Rope => json!({ "rope_parameters": keys }),
        _ => keys,
    };
    let text = nested.to_string();
    let json = text.as_bytes();
    let read = match section {
        Section::Generation => {
            let text = Config::from_json(b"{}").unwrap().text;
            format!("{:?}", GenerationConfig::read(json, &text, &mut notes)?)
        }
        Section::Preprocessor => {
            let vision = Config::from_json(b"{}").unwrap().vision;
            format!("{:?}", PreprocessorConfig::read(json, &vision, &mut notes)?)
        }
        Section::Tokenizer => legacy_of(json)?.to_string(),
        _ => {
            let root: Map<String, Value> = serde_json::from_slice(json).unwrap();
            format!("{:?}", Config::read(&root, &mut notes)?)
        }
    };
    Ok((read, notes.lines("config.json")))
}

/// Every key of every section, without those of inherited tables that the section's own table has.
fn all() -> impl Iterator<Item = (Section, &'static Key)> {
    Section::ALL.into_iter().flat_map(|section| {
        let keys = section.tables().iter().copied().flatten();
        keys.filter(move |key| std::ptr::eq(section.key(key.name).unwrap(), *key))
            .map(move |key| (section, key))
    })
}

fn with(key: &Key, value: Value) -> Value {
    let mut map = Map::new();
    map.insert(key.name.into(), value);
    Value::Object(map)
}

#[test]
fn every_key_does_what_its_table_says() {
    for (section, key) in all() {
        let at = format!("{section:?} {}", key.name);
        let (nothing, _) = reads(section, json!({})).unwrap();
        assert_eq!(reads(section, with(key, Value::Null)).unwrap(), (nothing.clone(), vec![]), "{at}: null");
        // No key takes it.
        let strange = json!({ "never": ["\u{1b}[31m"] });
        match key.does {
            Use::Read
                if ["quantization_config", "compression_config", "quantization"].contains(&key.name) =>
            {
                let error = reads(section, with(key, strange)).unwrap_err();
                assert!(error.contains(key.name) && error.contains("quantised"), "{at}: {error}");
            }
            Use::Read => {
                let error = reads(section, with(key, json!([["never"]]))).unwrap_err();
                assert!(error.contains(key.name) && error.contains("never"), "{at}: {error}");
            }
            Use::Only(values) => {
                for value in values {
                    let value: Value = serde_json::from_str(value).unwrap();
                    assert_eq!(reads(section, with(key, value)).unwrap(), (nothing.clone(), vec![]), "{at}");
                }
                let error = reads(section, with(key, strange)).unwrap_err();
                let says = error.contains(key.name) && error.contains("never") && error.contains("supported");
                assert!(says && !error.contains('\u{1b}'), "{at}: {error}");
            }
            Use::NoEffect => {
                assert_eq!(reads(section, with(key, strange)).unwrap(), (nothing, vec![]), "{at}");
            }
            Use::Noted(values) => {
                for value in values {
                    let value: Value = serde_json::from_str(value).unwrap();
                    assert_eq!(reads(section, with(key, value)).unwrap(), (nothing.clone(), vec![]), "{at}");
                }
                let (read, notes) = reads(section, with(key, strange)).unwrap();
                assert_eq!(read, nothing, "{at}");
                assert!(notes.len() == 1 && notes[0].contains(key.name), "{at}: {notes:?}");
            }
        }
    }
}

#[test]
fn keys_that_no_table_has_are_named_in_one_line() {
    for section in [Section::Text, Section::Visual, Section::VisionModel, Section::Abstractor] {
        let (_, notes) = reads(section, json!({ "my_key": 1, "my\u{1b}key": 2 })).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("my_key") && !notes[0].contains('\u{1b}'), "{notes:?}");
    }
    let many: Map<String, Value> = (0..100).map(|i| (format!("key_{i}"), json!(1))).collect();
    let (_, notes) = reads(Section::Text, many.into()).unwrap();
    assert!(notes.len() == 1 && notes[0].ends_with("and 92 more"), "{notes:?}");
    // Of the sections of the towers, the choice of tokens is a leftover of the class that saved them.
    assert_eq!(reads(Section::VisionModel, json!({ "num_beams": 4, "top_k": 3 })).unwrap().1, [""; 0]);
}

#[test]
fn published_files_have_no_notes() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");
    let mut files =
        vec![format!("{tests}/spec/config_8b.json"), format!("{tests}/../model/nano/config.json")];
    let sets = ["tiny", "medium", "gqa", "mamoff", "f16", "release"];
    files.extend(sets.map(|set| format!("{tests}/golden/{set}/hf/config.json")));
    for file in files {
        let (_, notes) = Config::load_file_with_notes(file.as_ref()).unwrap();
        assert_eq!(notes, [""; 0], "{file}");
    }
}

#[test]
fn keys_that_no_table_has_are_refused_where_their_names_change_numbers() {
    for (section, key, value, path) in [
        (Section::Text, "use_softcap", json!(30.0), "use_softcap is 30.0"),
        (Section::Text, "dry_penalty", json!(2), "dry_penalty is 2"),
        (Section::VisionModel, "rope_2d", json!(true), "visual_config.visual_model.rope_2d is true"),
        (Section::Abstractor, "out_bias", json!("x"), "visual_config.visual_abstractor.out_bias is \"x\""),
        (Section::Preprocessor, "do_thumbnail", json!(true), "do_thumbnail is true"),
    ] {
        let map: Map<String, Value> = [(key.to_owned(), value)].into_iter().collect();
        let error = reads(section, map.into()).unwrap_err();
        assert!(error.contains(path) && error.contains("changes numbers"), "{key}: {error}");
        let map: Map<String, Value> = [(key.to_owned(), json!(false))].into_iter().collect();
        assert!(reads(section, map.into()).unwrap().1[0].contains(key));
    }
}

/// The tables, as `CONFIG.md` has them.
fn tables() -> Vec<String> {
    let mut tables = vec![];
    let mut seen: Vec<*const Key> = vec![];
    for table in Section::ALL.into_iter().flat_map(Section::tables) {
        if seen.contains(&table.as_ptr()) {
            continue;
        }
        seen.push(table.as_ptr());
        let mut text = String::from("| key | Strix | what is read, or why |\n|---|---|---|\n");
        for key in *table {
            let values =
                |values: &[&str]| values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(" or ");
            let does = match key.does {
                Use::Read => "read".into(),
                Use::Only([]) => "only absent".into(),
                Use::Only(allowed) => format!("only {}", values(allowed)),
                Use::NoEffect => "no effect".into(),
                Use::Noted([]) => "said in a note".into(),
                Use::Noted(allowed) => format!("said in a note, but for {}", values(allowed)),
            };
            writeln!(text, "| `{}` | {does} | {} |", key.name, key.why).unwrap();
        }
        tables.push(text);
    }
    tables
}

#[test]
fn the_document_has_these_tables() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    for table in tables() {
        assert!(document.contains(&table), "CONFIG.md lacks this table:\n\n{table}");
    }
    let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows(&document), tables().iter().map(|table| rows(table)).sum::<usize>(), "rows of no table");
}
