//! From a constraint to its parser, or to what is wrong with it and where.

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use regex_syntax::ast::parse::Parser;
use serde_json::{Map, Value, json};

use super::Constraint;
use crate::{Error, Result};

/// White space between two parts of JSON.
const WHITE_SPACE: &str = r" |\n {0,40}";

/// Keys of a schema that hold schemas by name, those that hold a list of them, and those that hold one.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const SINGLE: [&str; 2] = ["items", "additionalProperties"];

/// Most parts of a schema that are looked at to tell where a fault is.
const MAX_PARTS: usize = 1000;

/// A parser at the beginning of a text.
pub(super) fn matcher(constraint: &Constraint, parsers: &ParserFactory) -> Result<Matcher> {
    let parser = match constraint {
        Constraint::Json => of_schema(&json!({}), parsers),
        Constraint::JsonSchema(text) => match serde_json::from_str(text) {
            Ok(schema) => of_schema(&schema, parsers),
            Err(error) => Err(format!("it is no JSON: {error}")),
        },
        Constraint::Regex(regex) => of_regex(regex, parsers),
        Constraint::Lark(grammar) => of_grammar(TopLevelGrammar::from_lark(grammar.clone()), parsers),
    };
    parser.map_err(|reason| Error::Constraint { what: constraint.to_string(), reason })
}

fn of_grammar(grammar: TopLevelGrammar, parsers: &ParserFactory) -> Result<Matcher, String> {
    let parser = parsers.create_parser(grammar).map_err(|error| said(&format!("{error:#}")))?;
    Ok(Matcher::new(Ok(parser)))
}

fn of_regex(regex: &str, parsers: &ParserFactory) -> Result<Matcher, String> {
    if let Err(error) = Parser::new().parse(regex) {
        let start = error.span().start;
        return Err(format!("{} at line {} column {}", error.kind(), start.line, start.column));
    }
    // An empty one would be taken for the beginning of a comment.
    of_grammar(TopLevelGrammar::from_regex(if regex.is_empty() { "()" } else { regex }), parsers)
}

fn of_schema(schema: &Value, parsers: &ParserFactory) -> Result<Matcher, String> {
    let of = |schema| of_grammar(TopLevelGrammar::from_json_schema(with_white_space(schema)), parsers);
    of(schema.clone()).map_err(|reason| {
        let place = place(schema, |part| of(part).is_err_and(|other| other == reason));
        format!("{reason}, at {place}")
    })
}

/// A schema that says how its JSON is written.
fn with_white_space(schema: Value) -> Value {
    let mut schema = if schema == Value::Bool(true) { json!({}) } else { schema };
    if let Value::Object(map) = &mut schema {
        map.entry("x-guidance").or_insert_with(|| json!({ "whitespace_pattern": WHITE_SPACE }));
    }
    schema
}

/// The innermost part of a schema that has a fault, as a reference to it.
fn place(schema: &Value, has_fault: impl Fn(Value) -> bool) -> String {
    let (mut place, mut here, mut looked_at) = ("#".to_owned(), schema, 0);
    loop {
        let inner = parts(here).into_iter().find(|(_, part)| {
            looked_at += 1;
            looked_at <= MAX_PARTS && has_fault(with_definitions(part, schema))
        });
        let Some((name, part)) = inner else { return place };
        place += &name;
        here = part;
    }
}

/// The schemas within a schema.
fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let Value::Object(map) = schema else { return vec![] };
    let named = NAMED.iter().filter_map(|key| Some((key, map.get(*key)?.as_object()?)));
    let named =
        named.flat_map(|(key, map)| map.iter().map(move |(name, part)| (format!("/{key}/{name}"), part)));
    let listed = LISTED.iter().filter_map(|key| Some((key, map.get(*key)?.as_array()?)));
    let listed = listed
        .flat_map(|(key, list)| list.iter().enumerate().map(move |(i, part)| (format!("/{key}/{i}"), part)));
    let single = SINGLE.iter().filter_map(|key| Some((format!("/{key}"), map.get(*key)?)));
    named.chain(listed).chain(single).collect()
}

/// A part of a schema that may refer to what the whole defines.
fn with_definitions(part: &Value, whole: &Value) -> Value {
    let (Value::Object(part), Value::Object(whole)) = (part, whole) else { return part.clone() };
    let definitions = whole.iter().filter(|(key, _)| ["$defs", "definitions"].contains(&key.as_str()));
    let all: Map<_, _> = definitions.chain(part).map(|(key, value)| (key.clone(), value.clone())).collect();
    Value::Object(all)
}

/// A message of llguidance in one line, without the place in its own source and the state of its parser.
pub(super) fn said(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default().trim();
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(error) => format!("{} {error}", first.trim_end_matches("regex parse error:")),
        None => first.to_owned(),
    }
}
