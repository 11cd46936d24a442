//! Answers of a form that is asked for.

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::{output, prints};

fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_answer_has_the_form_that_is_asked_for() {
    let schema = r#"{"type": "object", "properties": {"sum": {"type": "integer", "maximum": 99, "minimum": 10}},
        "required": ["sum"], "additionalProperties": false}"#;
    // A file as some editors write it.
    let schema_file = file("schema.json", &format!("\u{feff}{schema}"));
    for schema in [schema, &schema_file] {
        let answer = prints(&["ask", "--json-schema", schema, "What is 3 + 4?"]);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{answer}: {e}"));
        assert!(answer["sum"].as_u64().is_some_and(|sum| (10..100).contains(&sum)), "{answer}");
    }
    let answer = prints(&["ask", "--json", "--regex", "[0-9]{3}", "--temperature", "2", "What is 3 + 4?"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["finish_reason"], "complete");
    assert!(answer["answer"].as_str().is_some_and(|a| a.len() == 3 && a.parse::<u32>().is_ok()), "{answer}");
    let grammar = file("sum.lark", "start: \"seven\" | \"8\"\n");
    let answer = prints(&["ask", "--grammar", &grammar, "What is 3 + 4?"]);
    assert!(["seven\n", "8\n"].contains(&answer.as_str()), "{answer:?}");
}

#[test]
fn a_form_that_cannot_be_is_refused_in_a_line_that_says_where() {
    let grammar = file("bad.lark", "start: \"a\" rest\n");
    let (long, missing) = (file("long.json", &" ".repeat(5 << 20)), "no-such-file.json");
    for (args, words) in [
        (["--json-schema", r#"{"type": "strin"}"#], "JSON schema: Invalid type: strin, at #"),
        (["--json-schema", "{\n1}"], "line 2 column 1"),
        (["--json-schema", missing], missing),
        (["--json-schema", &long], "above 4194304 bytes"),
        (["--regex", "a("], "regex: unclosed group at line 1 column 2"),
        (["--grammar", &grammar], "grammar: at 1(12): unknown name: \"rest\""),
    ] {
        // The model is not there either: what is wrong is said before it is looked for.
        let out = output(&[&["ask", "--model", "no-such-model", "hello"], args.as_slice()].concat());
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
        let errors: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(matches!(errors[..], [error] if error.contains(words)), "{args:?}: {stderr}");
    }
    let both = output(&["ask", "--regex", "a", "--grammar", "b", "hello"]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8(both.stderr).unwrap().contains("cannot be used with"));
}
