//! JSON that anyone may have written: a byte order mark is passed over, and a key that is there twice is refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::read::without_bom;

/// The object in `file`, of which no key is there twice at any depth: readers differ in which of the two they take.
///
/// # Errors
///
/// If it is no JSON, no object, or a key is there twice: which, and where.
pub(crate) fn object(file: &str, json: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(without_bom(json)) {
        Ok(Unique(Value::Object(map))) => Ok(map),
        Ok(Unique(other)) => Err(format!("not a JSON object but {}; copy {file} again", kind_of(&other))),
        Err(e) => Err(fault(file, json, &e)),
    }
}

/// What is wrong with the text of `file` in which serde_json found that fault, and what to do.
pub(crate) fn fault(file: &str, json: &[u8], e: &serde_json::Error) -> String {
    if let Some(encoding) = other_encoding(json) {
        return format!("is {encoding}, and JSON is UTF-8: save {file} as UTF-8");
    }
    if without_bom(json).trim_ascii().is_empty() {
        return format!("is empty; copy {file} again");
    }
    if e.is_data() {
        return e.to_string();
    }
    let json = without_bom(json);
    let text = match std::str::from_utf8(json) {
        Ok(text) => text,
        Err(bad) => {
            let (at, byte) = (bad.valid_up_to(), json[bad.valid_up_to()]);
            return format!("is not UTF-8, as JSON is: byte {at} is 0x{byte:02x}; save {file} as UTF-8");
        }
    };
    let place = format!("at line {} column {}", e.line(), e.column());
    if e.is_eof() {
        return format!("not JSON: it ends in the middle, {place}; copy {file} again");
    }
    match foreign(text, e.line(), e.column()) {
        Some((what, todo)) => format!("{what} {place} is no JSON; {todo}"),
        None => format!("not JSON: {e}; mend it there, or copy {file} again"),
    }
}

/// The encoding of a text that is not UTF-8, by its byte order mark, or by the zeros beside its ASCII.
fn other_encoding(json: &[u8]) -> Option<&'static str> {
    let begin = json.first_chunk::<4>().copied().unwrap_or([b' '; 4]);
    match begin {
        [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] | [_, 0, 0, 0] | [0, 0, 0, _] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, _, 0] | [0, _, 0, _] => Some("UTF-16"),
        _ => None,
    }
}

/// What is at a place that other languages have and JSON does not, and what to do.
fn foreign(text: &str, line: usize, column: usize) -> Option<(String, &'static str)> {
    let line_text = text.split('\n').nth(line.checked_sub(1)?)?;
    let at = column.saturating_sub(1);
    // For -Infinity serde_json gives the position of the I.
    let at = if at > 0 && line_text.as_bytes().get(at - 1) == Some(&b'-') { at - 1 } else { at };
    let rest = line_text.get(at..)?;
    if ["//", "/*", "#"].iter().any(|sign| rest.starts_with(sign)) {
        return Some(("a comment".into(), "take comments out"));
    }
    if rest.starts_with('\'') {
        return Some(("a text in single quotes".into(), "write it in double quotes"));
    }
    if rest.starts_with(['}', ']']) {
        return Some((format!("a comma before {}", &rest[..1]), "take that comma out"));
    }
    let end = rest.char_indices().find(|&(i, c)| !(c.is_ascii_alphanumeric() || i == 0 && c == '-'));
    let word = &rest[..end.map_or(rest.len(), |(end, _)| end)];
    match word {
        "NaN" | "Infinity" | "-Infinity" | "nan" | "inf" | "-inf" => {
            Some((word.into(), "write a number, or take the key out"))
        }
        "True" | "False" | "None" => {
            Some((format!("{word} of Python"), "write true, false or null, or save it with json.dump"))
        }
        "undefined" => Some((word.into(), "write null, or take the key out")),
        _ => None,
    }
}

/// A value in a message, cut where it is long.
pub(crate) fn brief(value: &Value) -> String {
    const MOST: usize = 120;
    let text = crate::shown(value).to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ..", &text[..end]),
        None => text,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value whose objects have each key once.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Once).map(Self)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = vec![];
        while let Some(Unique(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            // The key comes before its value is read, so that the message gives the position of the key.
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("{key:?} is there twice, keep one of them")));
            }
            let Unique(value) = object.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        let text = r#"{"a": [1, -2, 2.5, 1e300, 18446744073709551615, true, null, "x\n"], "b": {"a": {}}}"#;
        let want: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(object("it", text.as_bytes()).unwrap(), want);
        assert_eq!(object("it", format!("\u{feff}{text}").as_bytes()).unwrap(), want);
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"c": {"a": 1, "\u0061": 2}}]}"#] {
            let error = object("it", text.as_bytes()).unwrap_err();
            assert!(error.contains("\"a\" is there twice") && error.contains("line 1 column"), "{error}");
        }
        let error = object("it", "{\"\u{1b}[31m\": 1, \"\u{1b}[31m\": 1}".as_bytes()).unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn what_is_no_object_is_said() {
        for (text, word) in [
            ("[]", "a list"),
            ("3", "a number"),
            ("{", "in the middle"),
            ("", "empty"),
            ("{} {}", "trailing"),
        ] {
            let error = object("it", text.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        // serde_json bounds the depth, and so the stack.
        assert!(object("it", "[".repeat(1 << 20).as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_json_is_said_with_what_to_do() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (text, words) in [
            (b"".to_vec(), "is empty; copy it again"),
            (b"\xef\xbb\xbf \n".to_vec(), "is empty"),
            (utf16("\u{feff}{}"), "is UTF-16, and JSON is UTF-8: save it as UTF-8"),
            (utf16("{ }"), "is UTF-16"),
            (b"{\0\0\0}\0\0\0".to_vec(), "is UTF-32"),
            (b"{\"a\": \"\xfc\"}".to_vec(), "is not UTF-8, as JSON is: byte 7 is 0xfc"),
            (b"{\"a\": [1".to_vec(), "ends in the middle, at line 1 column 8; copy it again"),
            (
                b"{\"a\": 1, // one\n\"b\": 2}".to_vec(),
                "a comment at line 1 column 10 is no JSON; take comments out",
            ),
            (b"{\"a\": 1 /* one */}".to_vec(), "a comment at line 1 column 9"),
            (b"# one\n{}".to_vec(), "a comment at line 1 column 1"),
            (b"{}\n// one".to_vec(), "a comment at line 2 column 1"),
            (b"{\n\"a\": NaN}".to_vec(), "NaN at line 2 column 6 is no JSON; write a number"),
            (b"{\"a\": [1, -Infinity]}".to_vec(), "-Infinity at line 1"),
            (b"{'a': 1}".to_vec(), "single quotes at line 1 column 2 is no JSON; write it in double quotes"),
            (b"{\"a\": None}".to_vec(), "None of Python at line 1 column 7"),
            (b"{\"a\": 1,}".to_vec(), "a comma before } at line 1 column 9 is no JSON; take that comma out"),
            (b"{\"a\": [1,\n]}".to_vec(), "a comma before ] at line 2 column 1"),
            (b"{\"a\" 1}".to_vec(), "expected `:` at line 1 column 6; mend it there, or copy it again"),
            (b"[NaN]".to_vec(), "NaN"),
        ] {
            let error = object("it", &text).unwrap_err();
            assert!(error.contains(words), "{}: {error}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn shown_values_are_short_and_escaped() {
        assert_eq!(brief(&serde_json::json!({"a": "b"})), r#"{"a":"b"}"#);
        assert!(brief(&Value::String("x".repeat(1000))).len() < 200);
        assert!(!brief(&Value::String("\u{9b}31m".into())).contains('\u{9b}'));
    }
}
