//! Bounds of loops: what follows `//~ trips:` in a rendered text, arithmetic over numbers and fields of `Params`.
//!
//! `+`, `-`, `*`, `/`, `//` (rounded down) and parentheses, as in MiniJinja, which is done with a text when it is rendered:
//! a bound is counted at every recorded dispatch.

/// A bound, parsed once.
#[derive(Debug)]
pub(crate) enum Bound {
    Number(f64),
    /// A word of `Params`.
    Field(usize),
    Binary(char, Box<Self>, Box<Self>),
}

impl Bound {
    /// Parses a bound that may name these fields of `Params`, if they are u32.
    pub(crate) fn parse(text: &str, fields: &[(&str, bool)]) -> Result<Self, String> {
        let mut tokens = tokens(text).ok_or_else(|| format!("trips `{text}`: no arithmetic"))?;
        tokens.reverse();
        let bound = sum(&mut tokens, fields).map_err(|e| format!("trips `{text}`: {e}"))?;
        match tokens.pop() {
            None => Ok(bound),
            Some(token) => Err(format!("trips `{text}`: {token:?} is too much")),
        }
    }

    /// Its value, given the words of `Params`.
    pub(crate) fn value(&self, params: &[u32]) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Field(at) => f64::from(params[*at]),
            Self::Binary(operator, a, b) => {
                let (a, b) = (a.value(params), b.value(params));
                match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    '/' => a / b,
                    _ => (a / b).floor(),
                }
            }
        }
    }
}

/// Number, name, operator (`//` as `|`) or parenthesis.
#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Sign(char),
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let taken = if end > 0 {
            tokens.push(Token::Word(&rest[..end]));
            end
        } else if rest.starts_with("//") {
            tokens.push(Token::Sign('|'));
            2
        } else {
            "+-*/()".contains(first).then(|| tokens.push(Token::Sign(first)))?;
            1
        };
        rest = rest[taken..].trim_start();
    }
    Some(tokens)
}

/// Reads operands that these operators join, from the left. Tokens are taken from the end.
fn joined<'a>(
    tokens: &mut Vec<Token<'a>>,
    operators: &str,
    mut operand: impl FnMut(&mut Vec<Token<'a>>) -> Result<Bound, String>,
) -> Result<Bound, String> {
    let mut all = operand(tokens)?;
    while let Some(&Token::Sign(sign)) = tokens.last()
        && operators.contains(sign)
    {
        tokens.pop();
        all = Bound::Binary(sign, Box::new(all), Box::new(operand(tokens)?));
    }
    Ok(all)
}

fn sum(tokens: &mut Vec<Token<'_>>, fields: &[(&str, bool)]) -> Result<Bound, String> {
    joined(tokens, "+-", |tokens| joined(tokens, "*/|", |tokens| operand(tokens, fields)))
}

fn operand(tokens: &mut Vec<Token<'_>>, fields: &[(&str, bool)]) -> Result<Bound, String> {
    match tokens.pop() {
        Some(Token::Word(word)) => {
            if let Ok(number) = word.parse::<u32>() {
                return Ok(Bound::Number(number.into()));
            }
            let at = fields.iter().position(|&field| field == (word, true));
            at.map(Bound::Field).ok_or_else(|| format!("{word} is no u32 of Params"))
        }
        Some(Token::Sign('(')) => {
            let inside = sum(tokens, fields)?;
            match tokens.pop() {
                Some(Token::Sign(')')) => Ok(inside),
                _ => Err("a parenthesis is not closed".into()),
            }
        }
        other => Err(format!("an operand is missing before {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[(&str, bool)] = &[("k", true), ("eps", false), ("head_dim", true)];

    #[test]
    fn a_bound_is_counted_as_it_is_written() {
        let value = |text| Bound::parse(text, FIELDS).unwrap().value(&[100, 0, 7]);
        assert_eq!(value("64 * 8"), 512.0);
        assert_eq!(value("(k + 31) // 32 * 8 / 64 + 1"), 1.5);
        assert_eq!(value("k - 2 - 3"), 95.0, "from the left");
        assert_eq!(value("((k + 31) // 32 + 1) * ((head_dim + 3) // 4)"), 10.0);
    }

    #[test]
    fn what_is_no_bound_is_refused_with_its_text() {
        let error = |text| Bound::parse(text, FIELDS).unwrap_err();
        for (text, reason) in [
            ("eps * 2", "eps is no u32 of Params"),
            ("lanes + 1", "lanes is no u32"),
            ("(k + 1", "not closed"),
            ("k +", "missing"),
            ("k 2", "too much"),
            ("k % 2", "no arithmetic"),
        ] {
            assert!(error(text).contains(reason) && error(text).contains(text), "{}", error(text));
        }
    }
}
