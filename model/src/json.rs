//! JSON that anyone may have written: a byte order mark is passed over, and a key that is there twice is refused.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The text without the byte order mark that editors on Windows put in front.
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// The object in `file`, of which no key is there twice at any depth: readers differ in which of the two they take.
///
/// # Errors
///
/// If it is no JSON, no object, or a key is there twice: which, and where.
pub(crate) fn object(file: &str, json: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(without_mark(json)) {
        Ok(Unique(Value::Object(map))) => Ok(map),
        Ok(Unique(other)) => Err(format!("not a JSON object but {}; copy {file} again", kind_of(&other))),
        Err(e) if e.is_data() => Err(e.to_string()),
        Err(e) => Err(format!("not a JSON object: {e}; copy {file} again")),
    }
}

/// A value in a message: escaped, and cut where it is long.
pub(crate) fn shown(value: &Value) -> String {
    const MOST: usize = 120;
    let text = value.to_string();
    let mut shown = String::new();
    // Beyond what JSON itself escapes, a terminal takes other characters as orders too.
    for c in text.chars().take(MOST) {
        if c.is_control() { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    if text.chars().nth(MOST).is_some() {
        shown.push_str(" ..");
    }
    shown
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
            // Before its value is read, so that the place in the message is that of the key.
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
        for (text, word) in
            [("[]", "a list"), ("3", "a number"), ("{", "EOF"), ("", "EOF"), ("{} {}", "trailing")]
        {
            let error = object("it", text.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        // serde_json bounds the depth, and so the stack.
        assert!(object("it", "[".repeat(1 << 20).as_bytes()).is_err());
    }

    #[test]
    fn shown_values_are_short_and_escaped() {
        assert_eq!(shown(&serde_json::json!({"a": "b"})), r#"{"a":"b"}"#);
        assert!(shown(&Value::String("x".repeat(1000))).len() < 200);
        assert!(!shown(&Value::String("\u{9b}31m".into())).contains('\u{9b}'));
    }
}
