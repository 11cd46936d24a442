//! Results against what they should be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::element::Element;
use super::expression::{Expression, Scope, Variables};
use super::npy::Array;
use crate::run::Check;
use crate::{Error, Result};

/// Terms of sums that a check by an expression may take: some seconds.
const MOST_TERMS: u64 = 20_000_000;
/// Elements that such a check looks at, at most.
const MOST_ELEMENTS: u64 = 1 << 20;

/// What results are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The output; the only one if it is not named.
    pub output: Option<String>,
    /// What it should be.
    pub expected: Expected,
}

/// What an output should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// An array of NumPy's.
    File(PathBuf),
    /// What another kernel makes of the same operands.
    Kernel(PathBuf),
    /// What an expression says of each element.
    Expression(Expression),
}

impl Reference {
    /// Reads `ref.npy`, `ref.wgsl`, an expression, or one of them after `NAME=`.
    ///
    /// # Errors
    ///
    /// If it is none of them.
    pub fn parse(text: &str) -> Result<Self> {
        let name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let named = text.split_once('=').filter(|(n, rest)| name(n.trim()) && !rest.starts_with('='));
        let (output, rest) = match named {
            Some((output, rest)) => (Some(output.trim().to_owned()), rest),
            None => (None, text),
        };
        let path = Path::new(rest);
        let expected = match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Expected::File(path.to_owned()),
            Some("wgsl") => Expected::Kernel(path.to_owned()),
            _ => Expected::Expression(
                Expression::parse(rest).map_err(|e| Error::Option(format!("check {e}")))?,
            ),
        };
        Ok(Self { output, expected })
    }
}

/// An output and where it is compared.
pub(super) struct Compared {
    /// Its name.
    pub(super) name: String,
    /// Type of its elements.
    pub(super) element: Element,
    /// What it is at the places that were looked at.
    pub(super) got: Vec<f64>,
    /// What it should be there.
    pub(super) want: Vec<f64>,
    /// The places, if not all were looked at.
    pub(super) places: Option<Vec<u64>>,
    /// Elements that it has.
    pub(super) len: usize,
}

impl Compared {
    /// Against an array.
    ///
    /// # Errors
    ///
    /// If it is of another size.
    pub(super) fn with_file(name: &str, element: Element, got: Vec<f64>, path: &Path) -> Result<Self> {
        let want = Array::load(path)?;
        if want.values().len() != got.len() {
            let reason = format!("it has {} elements, and {name} has {}", want.values().len(), got.len());
            return Err(Error::Kernel { path: path.to_owned(), reason });
        }
        let len = got.len();
        Ok(Self { name: name.into(), element, got, want: want.values(), places: None, len })
    }

    /// Against an expression of the element's index `i` and its coordinates `i0`, `i1`, ...
    ///
    /// # Errors
    ///
    /// If the expression has no value.
    pub(super) fn with_expression(
        name: &str,
        element: Element,
        shape: &[u64],
        got: &[f64],
        expression: &Expression,
        variables: &Variables,
        operands: &BTreeMap<String, Vec<f64>>,
    ) -> Result<Self> {
        let fail = |reason: String| Error::Option(format!("check of {name}: {reason}"));
        let at = |i: u64| {
            let mut variables = variables.clone();
            variables.insert("i".into(), i as f64);
            let mut rest = i;
            for (axis, side) in shape.iter().enumerate().rev() {
                variables.insert(format!("i{axis}"), (rest % side) as f64);
                rest /= side;
            }
            expression.in_scope(&Scope { variables: &variables, operands }).map_err(&fail)
        };
        let len = got.len() as u64;
        let (_, terms) = at(0)?;
        let most = (MOST_TERMS / terms.max(1)).clamp(64, MOST_ELEMENTS).min(len);
        // Evenly spread, the first and the last among them.
        let places: Vec<u64> = match most == len {
            true => (0..len).collect(),
            false => (0..most)
                .map(|n| (u128::from(n) * u128::from(len - 1) / u128::from(most - 1)) as u64)
                .collect(),
        };
        let want = places.iter().map(|&i| at(i).map(|(value, _)| value)).collect::<Result<_>>()?;
        let found = places.iter().map(|&i| got[i as usize]).collect();
        let places = Some(places).filter(|_| most < len);
        Ok(Self { name: name.into(), element, got: found, want, places, len: got.len() })
    }

    /// What they differ by, in parts of the largest expected value and as root mean squares, and the worst element in
    /// words. Integers are equal or wrong.
    pub(super) fn check(&self, tolerance: f64) -> (Check, Option<String>) {
        let scale = self.want.iter().filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()));
        let (mut worst, mut at, mut squares, mut expected) = (0.0_f64, 0, 0.0, 0.0);
        for (i, (&got, &want)) in self.got.iter().zip(&self.want).enumerate() {
            let same = got == want || got.is_nan() && want.is_nan();
            let error = match got - want {
                _ if same => 0.0,
                error if error.is_finite() => error.abs(),
                _ => f64::INFINITY,
            };
            if error > worst {
                (worst, at) = (error, i);
            }
            squares += error * error;
            expected += if want.is_finite() { want * want } else { 0.0 };
        }
        let part = |error: f64, of: f64| if error == 0.0 { 0.0 } else { error / of };
        let (max, rms) = (part(worst, scale), part(squares.sqrt(), f64::sqrt(expected)));
        let wrong = if self.element.is_integer() { worst > 0.0 } else { max > tolerance || max.is_nan() };
        if !wrong {
            return (Check::Right { max, rms }, None);
        }
        let number = |value: f64| Some(value).filter(|value| value.is_finite());
        let place = self.places.as_ref().map_or(at as u64, |places| places[at]);
        let words =
            format!("{}: element {place} is {}, and {} is expected", self.name, self.got[at], self.want[at]);
        (Check::Wrong { max: number(max), rms: number(rms) }, Some(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(element: Element, got: &[f64], want: &[f64]) -> (Check, Option<String>) {
        Compared {
            name: "y".into(),
            element,
            got: got.to_vec(),
            want: want.to_vec(),
            places: None,
            len: got.len(),
        }
        .check(1e-3)
    }

    #[test]
    fn floats_may_differ_a_little_and_integers_may_not() {
        assert!(matches!(compared(Element::F32, &[1.0005, 2.0], &[1.0, 2.0]).0, Check::Right { .. }));
        let (check, words) = compared(Element::F32, &[1.0, 2.5], &[1.0, 2.0]);
        assert!(matches!(check, Check::Wrong { max: Some(max), .. } if max == 0.25), "{check:?}");
        assert_eq!(words.unwrap(), "y: element 1 is 2.5, and 2 is expected");
        assert!(compared(Element::U32, &[1e9 + 1.0], &[1e9]).0.is_wrong());
        assert!(compared(Element::F32, &[f64::NAN], &[1.0]).0.is_wrong());
        assert!(compared(Element::F32, &[1.0], &[f64::NAN]).0.is_wrong());
        assert!(!compared(Element::F32, &[f64::INFINITY], &[f64::INFINITY]).0.is_wrong());
        assert!(compared(Element::F32, &[1.0], &[0.0]).0.is_wrong());
    }

    #[test]
    fn references_are_files_kernels_or_expressions() {
        let of = |text| Reference::parse(text).unwrap();
        assert_eq!(of("y=ref.npy").expected, Expected::File("ref.npy".into()));
        assert_eq!(of("ref.wgsl"), Reference { output: None, expected: Expected::Kernel("ref.wgsl".into()) });
        assert!(matches!(of("y=a*x[i]"), Reference { output: Some(y), .. } if y == "y"));
        assert!(matches!(of("i==1"), Reference { output: None, expected: Expected::Expression(_) }));
        assert!(Reference::parse("y=a*").unwrap_err().to_string().contains("check"));
    }

    #[test]
    fn a_dear_expression_is_looked_at_in_places() {
        let expression = Expression::parse("sum(k, N, x[k]) + i1").unwrap();
        let variables = [("N".to_owned(), 4096.0)].into();
        let operands = [("x".to_owned(), vec![0.0; 4096])].into();
        let got: Vec<_> = (0..8192).map(|i| f64::from(i % 64)).collect();
        let compared = Compared::with_expression(
            "y",
            Element::F32,
            &[128, 64],
            &got,
            &expression,
            &variables,
            &operands,
        )
        .unwrap();
        let places = compared.places.as_ref().unwrap();
        assert_eq!((places.len(), places[0], *places.last().unwrap()), (4882, 0, 8191));
        assert!(!compared.check(0.0).0.is_wrong());
    }
}
