//! Words and signs of an [expression](super::expression).

use std::fmt;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Name(String),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Name(name) => f.write_str(name),
            Self::Sign(sign) => write!(f, "{sign:?}"),
        }
    }
}

/// Signs, the longer ones first.
const SIGNS: [&str; 18] =
    ["||", "&&", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut rest = text.trim_start();
    let mut tokens = vec![];
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '0'..='9' | '.' => {
                let (value, len) =
                    number(rest).ok_or_else(|| format!("{text:?}: {rest:?} begins with no number"))?;
                tokens.push(Token::Number(value));
                len
            }
            c if c.is_alphabetic() || c == '_' => {
                let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
                let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
                tokens.push(Token::Name(rest[..len].to_owned()));
                len
            }
            c => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("{text:?}: {c:?} is no sign of an expression"))?;
                tokens.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

/// A number at the start of a text, and its length there.
fn number(text: &str) -> Option<(f64, usize)> {
    if let Some(hex) = text.strip_prefix("0x") {
        let len = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        return Some((u64::from_str_radix(&hex[..len], 16).ok()? as f64, len + 2));
    }
    let mut end = 0;
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(end) {
        let exponent = matches!(byte, b'e' | b'E');
        let sign = matches!(byte, b'+' | b'-') && end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        if !(byte.is_ascii_digit() || byte == b'.' || exponent || sign) {
            break;
        }
        end += 1;
    }
    Some((text[..end].parse().ok()?, end))
}
