//! Arithmetic on the command line: sizes, counts of work, and expected results.
//!
//! Crates for this either have no indexed operands and no sums over a range, which a matrix product needs, or are not
//! licensed as Strix is.

use std::collections::BTreeMap;
use std::fmt;

use super::tokens::{Token, tokens};

/// Values that names stand for.
pub type Variables = BTreeMap<String, f64>;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Number(f64),
    Name(String),
    /// `x[i]`: an element of an operand.
    Element(String, Box<Node>),
    Negative(Box<Node>),
    Operation(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
    /// `sum(k, n, f)`: over k from 0 to n - 1.
    Fold(Fold, String, Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    const ALL: [(&'static str, Self, u8); 13] = [
        ("||", Self::Or, 1),
        ("&&", Self::And, 2),
        ("==", Self::Equal, 3),
        ("!=", Self::NotEqual, 3),
        ("<", Self::Less, 4),
        ("<=", Self::LessEqual, 4),
        (">", Self::Greater, 4),
        (">=", Self::GreaterEqual, 4),
        ("+", Self::Add, 5),
        ("-", Self::Subtract, 5),
        ("*", Self::Multiply, 6),
        ("/", Self::Divide, 6),
        ("%", Self::Remainder, 6),
    ];

    fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |is: bool| f64::from(u8::from(is));
        match self {
            Self::Or => truth(a != 0.0 || b != 0.0),
            Self::And => truth(a != 0.0 && b != 0.0),
            Self::Equal => truth(a == b),
            Self::NotEqual => truth(a != b),
            Self::Less => truth(a < b),
            Self::LessEqual => truth(a <= b),
            Self::Greater => truth(a > b),
            Self::GreaterEqual => truth(a >= b),
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Remainder => a % b,
        }
    }
}

type Apply = fn(&[f64]) -> f64;

/// A function.
#[derive(Clone, Copy)]
struct Function {
    name: &'static str,
    apply: Apply,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const FUNCTIONS: [(&str, usize, Apply); 20] = [
    ("abs", 1, |x| x[0].abs()),
    ("sqrt", 1, |x| x[0].sqrt()),
    ("exp", 1, |x| x[0].exp()),
    ("log", 1, |x| x[0].ln()),
    ("log2", 1, |x| x[0].log2()),
    ("sin", 1, |x| x[0].sin()),
    ("cos", 1, |x| x[0].cos()),
    ("tanh", 1, |x| x[0].tanh()),
    ("floor", 1, |x| x[0].floor()),
    ("ceil", 1, |x| x[0].ceil()),
    ("round", 1, |x| x[0].round_ties_even()),
    ("f16", 1, |x| f64::from(half::f16::from_f64(x[0]))),
    ("f32", 1, |x| f64::from(x[0] as f32)),
    ("pow", 2, |x| x[0].powf(x[1])),
    ("min", 2, |x| x[0].min(x[1])),
    ("max", 2, |x| x[0].max(x[1])),
    ("ceil_div", 2, |x| (x[0] / x[1]).ceil()),
    ("shr", 2, |x| f64::from((x[0] as u32).checked_shr(x[1] as u32).unwrap_or(0))),
    ("and", 2, |x| f64::from(x[0] as u32 & x[1] as u32)),
    ("select", 3, |x| if x[2] != 0.0 { x[1] } else { x[0] }),
];

/// What is made of many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Sum,
    Largest,
    Least,
}

const FOLDS: [(&str, Fold); 3] = [("sum", Fold::Sum), ("largest", Fold::Largest), ("least", Fold::Least)];

/// What the names of an expression stand for.
pub struct Scope<'a> {
    /// Numbers.
    pub variables: &'a Variables,
    /// Elements of operands.
    pub operands: &'a BTreeMap<String, Vec<f64>>,
}

/// An evaluation: variables of its sums, and how many terms they had.
struct Run<'a> {
    scope: &'a Scope<'a>,
    own: Vec<(&'a str, f64)>,
    terms: u64,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens: &tokens, at: 0 };
        let root = parser.binary(0)?;
        match parser.peek() {
            None => Ok(Self { text: text.trim().to_owned(), root }),
            Some(token) => {
                Err(format!("{text:?}: {token} stands where it should end or go on with an operator"))
            }
        }
    }

    /// Its value.
    ///
    /// # Errors
    ///
    /// If a name stands for nothing, or an element is not there.
    pub fn value(&self, variables: &Variables) -> Result<f64, String> {
        self.in_scope(&Scope { variables, operands: &BTreeMap::new() }).map(|(value, _)| value)
    }

    /// Its value, and the terms of all sums that it took.
    ///
    /// # Errors
    ///
    /// If a name stands for nothing, or an element is not there.
    pub fn in_scope(&self, scope: &Scope<'_>) -> Result<(f64, u64), String> {
        let mut run = Run { scope, own: vec![], terms: 0 };
        let value = run.value(&self.root).map_err(|e| format!("{:?}: {e}", self.text))?;
        Ok((value, run.terms))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn whole(&self, variables: &Variables) -> Result<u64, String> {
        let value = self.value(variables)?;
        match value {
            v if v >= 0.0 && v.fract() == 0.0 && v < 9e15 => Ok(v as u64),
            _ => Err(format!("{:?} is {value}, and a whole number is needed", self.text)),
        }
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<'a> Run<'a> {
    fn value(&mut self, node: &'a Node) -> Result<f64, String> {
        Ok(match node {
            Node::Number(value) => *value,
            Node::Name(name) => self.name(name)?,
            Node::Element(name, index) => {
                let at = self.value(index)?;
                let operands = self.scope.operands;
                let values = operands.get(name).ok_or_else(|| {
                    let names: Vec<_> = operands.keys().map(String::as_str).collect();
                    format!("there is no operand {name}; there are {}", listed(&names))
                })?;
                let value = (at >= 0.0 && at.fract() == 0.0).then(|| values.get(at as usize)).flatten();
                *value.ok_or_else(|| format!("{name} has {} elements, and none at {at}", values.len()))?
            }
            Node::Negative(of) => -self.value(of)?,
            Node::Operation(operator, a, b) => {
                let a = self.value(a)?;
                let b = self.value(b)?;
                operator.apply(a, b)
            }
            Node::Call(function, arguments) => {
                let mut values = [0.0; 3];
                for (value, argument) in values.iter_mut().zip(arguments) {
                    *value = self.value(argument)?;
                }
                (function.apply)(&values[..arguments.len()])
            }
            Node::Fold(fold, name, count, term) => {
                let count = self.value(count)?;
                let mut result = match fold {
                    Fold::Sum => 0.0,
                    Fold::Largest => f64::NEG_INFINITY,
                    Fold::Least => f64::INFINITY,
                };
                self.own.push((name, 0.0));
                let place = self.own.len() - 1;
                for k in 0..count as u64 {
                    self.own[place].1 = k as f64;
                    let value = self.value(term)?;
                    match fold {
                        Fold::Sum => result += value,
                        Fold::Largest => result = f64::max(result, value),
                        Fold::Least => result = f64::min(result, value),
                    }
                }
                self.terms += count as u64;
                self.own.pop();
                result
            }
        })
    }

    fn name(&self, name: &str) -> Result<f64, String> {
        let own = self.own.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| *value);
        own.or_else(|| self.scope.variables.get(name).copied()).ok_or_else(|| {
            let names: Vec<_> = self.scope.variables.keys().map(String::as_str).collect();
            format!("{name} has no value; there are {}", listed(&names))
        })
    }
}

/// Names with commas; `none` of none.
pub(super) fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.wrong(&format!("{sign:?} is missing")))
    }

    fn wrong(&self, what: &str) -> String {
        let place = self.peek().map_or("at its end".to_owned(), |token| format!("before {token}"));
        format!("{:?}: {what} {place}", self.text)
    }

    /// Operators that bind more than `least`, from left to right.
    fn binary(&mut self, least: u8) -> Result<Node, String> {
        let mut left = self.unary()?;
        while let Some(Token::Sign(sign)) = self.peek() {
            let known = Operator::ALL.iter().find(|(text, ..)| text == sign);
            let Some((_, operator, binds)) = known.filter(|(.., binds)| *binds > least) else { break };
            self.at += 1;
            let right = self.binary(*binds)?;
            left = Node::Operation(*operator, left.into(), right.into());
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, String> {
        if self.takes("-") {
            return Ok(Node::Negative(self.unary()?.into()));
        }
        if self.takes("(") {
            let inner = self.binary(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        match self.peek().cloned() {
            Some(Token::Number(value)) => {
                self.at += 1;
                Ok(Node::Number(value))
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                self.named(name)
            }
            _ => Err(self.wrong("a number or a name is missing")),
        }
    }

    fn named(&mut self, name: String) -> Result<Node, String> {
        if self.takes("[") {
            let index = self.binary(0)?;
            self.expect("]")?;
            return Ok(Node::Element(name, index.into()));
        }
        if !self.takes("(") {
            return Ok(Node::Name(name));
        }
        if let Some((_, fold)) = FOLDS.iter().find(|(known, _)| *known == name) {
            let Some(Token::Name(variable)) = self.peek().cloned() else {
                return Err(self.wrong(&format!(
                    "{name}(k, n, ...) begins with the name of what counts, which is missing"
                )));
            };
            self.at += 1;
            self.expect(",")?;
            let count = self.binary(0)?;
            self.expect(",")?;
            let term = self.binary(0)?;
            self.expect(")")?;
            return Ok(Node::Fold(*fold, variable, count.into(), term.into()));
        }
        let mut arguments = vec![self.binary(0)?];
        while self.takes(",") {
            arguments.push(self.binary(0)?);
        }
        self.expect(")")?;
        let Some(&(name, wanted, apply)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            let names: Vec<_> = FUNCTIONS.iter().map(|f| f.0).chain(FOLDS.iter().map(|f| f.0)).collect();
            return Err(format!(
                "{:?}: there is no function {name}; there are {}",
                self.text,
                names.join(", ")
            ));
        };
        if arguments.len() != wanted {
            return Err(format!("{:?}: {name} takes {wanted} values, not {}", self.text, arguments.len()));
        }
        Ok(Node::Call(Function { name, apply }, arguments))
    }
}

/// Divides a text at its commas, those within brackets excepted.
pub fn at_commas(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, vec![]);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<f64, String> {
        let variables = [("N", 64.0), ("a", 0.5), ("wg.x", 16.0)].map(|(n, v)| (n.to_owned(), v)).into();
        let operands = [("x".to_owned(), vec![1.0, 2.0, 3.0, 4.0])].into();
        let scope = Scope { variables: &variables, operands: &operands };
        Expression::parse(text)?.in_scope(&scope).map(|(value, _)| value)
    }

    #[test]
    fn operators_bind_as_in_wgsl() {
        for (text, want) in [
            ("1 + 2 * 3", 7.0),
            ("(1+2)*3", 9.0),
            ("10 - 4 - 3", 3.0),
            ("2*N/wg.x", 8.0),
            ("-a * 2", -1.0),
            ("7 % 4 == 3 && 2 <= 1 || 1 != 2", 1.0),
            ("1e3 + 0x10", 1016.0),
            ("ceil_div(N + 1, 16)", 5.0),
            ("select(1, 2, a < 1)", 2.0),
        ] {
            assert_eq!(value(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn sums_run_over_elements() {
        assert_eq!(value("sum(k, 4, x[k] * x[3 - k])"), Ok(20.0));
        assert_eq!(value("largest(k, 4, -x[k]) + least(k, 4, x[k])"), Ok(0.0));
        assert_eq!(value("sum(i, 2, sum(j, 2, x[i*2+j]*j))"), Ok(6.0));
        assert_eq!(value("sum(k, 4, x[k] == 2)"), Ok(1.0));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("1 +", "a number or a name is missing at its end"),
            ("(1", "\")\" is missing"),
            ("1 2", "stands where it should end"),
            ("M", "M has no value; there are N, a, wg.x"),
            ("y[0]", "there is no operand y; there are x"),
            ("x[4]", "x has 4 elements, and none at 4"),
            ("sinh(1)", "there is no function sinh; there are abs"),
            ("max(1)", "max takes 2 values, not 1"),
            ("sum(3, 4, 5)", "begins with the name of what counts"),
            ("1 $ 2", "'$'"),
        ] {
            let error = value(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let whole = Expression::parse("N/3").unwrap().whole(&[("N".to_owned(), 64.0)].into()).unwrap_err();
        assert!(whole.contains("a whole number is needed"), "{whole}");
    }

    #[test]
    fn commas_in_brackets_divide_nothing() {
        assert_eq!(at_commas("ceil_div(N, 4),1,x[2,3]"), ["ceil_div(N, 4)", "1", "x[2,3]"]);
    }
}
