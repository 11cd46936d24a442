//! Operands in words: `x=f32[256x4096]:normal`.

use std::path::{Path, PathBuf};

use naga::ScalarKind;
use serde::Serialize;

use super::element::{Element, scalar_name};
use super::expression::{Expression, Variables, at_commas};
use super::npy::Array;
use super::source::Binding;
use crate::{Error, Result};

/// What an operand holds at first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "fill")]
pub enum Fill {
    /// One number.
    Value {
        /// The number.
        value: f64,
    },
    /// Numbers from `from` to less than `to`, each as likely.
    Uniform {
        /// The least.
        from: f64,
        /// More than the largest.
        to: f64,
    },
    /// Numbers whose distribution is near to the normal one: sums of four that are uniform.
    Normal {
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        deviation: f64,
    },
    /// 0, 1, 2, ...
    Index,
    /// The content of an array of NumPy's.
    #[serde(skip)]
    File(PathBuf),
}

/// An operand as it was described.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// Name of the variable.
    pub name: String,
    /// What is given to it.
    pub given: Given,
}

/// What a variable is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// An array or a texture.
    Array(Description),
    /// Numbers of a struct's member, or of all its members.
    Numbers(Vec<Expression>),
    /// A sampler: whether it interpolates.
    Sampler {
        /// Whether it does.
        linear: bool,
    },
}

/// An array in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Type of its elements; a file has its own.
    pub element: Option<Element>,
    /// Its sides; empty if the kernel or a file says them.
    pub shape: Vec<Expression>,
    /// What it holds.
    pub fill: Fill,
    /// Whether it is compared after a run.
    pub output: bool,
    /// Format of a texture.
    pub format: Option<String>,
}

impl Operand {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |reason: String| Error::Option(format!("operand {text:?}: {reason}"));
        let (name, rest) =
            text.split_once('=').filter(|(name, rest)| !name.is_empty() && !rest.is_empty()).ok_or_else(
                || fail("it is not of the form x=f32[4096]:normal, x=FILE.npy or params.n=4096".into()),
            )?;
        let given = match rest {
            "linear" | "nearest" => Given::Sampler { linear: rest == "linear" },
            _ => array(rest).map_err(&fail)?,
        };
        Ok(Self { name: name.to_owned(), given })
    }
}

fn array(text: &str) -> Result<Given, String> {
    let (what, words) = match text.split_once(".npy") {
        Some((path, rest)) => (format!("{path}.npy"), rest.strip_prefix(':').unwrap_or(rest)),
        None => {
            let (what, words) = text.split_once(':').unwrap_or((text, ""));
            (what.to_owned(), words)
        }
    };
    let mut description = Description {
        element: None,
        shape: vec![],
        fill: Fill::Value { value: 0.0 },
        output: false,
        format: None,
    };
    if let Some(path) = Some(&what).filter(|what| what.ends_with(".npy")) {
        description.fill = Fill::File(Path::new(path.trim_start_matches('@')).to_owned());
    } else if let Some((kind, sides)) =
        what.split_once('[').and_then(|(k, s)| Some((k, s.strip_suffix(']')?)))
    {
        description.element =
            Element::ALL.iter().find(|(name, _)| *name == kind).map(|(_, element)| *element);
        if description.element.is_none() {
            let texture = super::texture::FORMATS.iter().find(|format| format.name == kind);
            let texture = texture.ok_or_else(|| {
                let names: Vec<_> = Element::ALL.iter().map(|(name, _)| *name).collect();
                format!(
                    "there is no type {kind:?}; there are {}, and formats of textures such as rgba8unorm",
                    names.join(", ")
                )
            })?;
            description.format = Some(kind.to_owned());
            description.element = Some(texture.element);
        }
        description.shape = shape(sides)?;
    } else {
        let numbers = at_commas(text).into_iter().map(Expression::parse).collect::<Result<_, _>>();
        return numbers.map(Given::Numbers);
    }
    for word in at_commas(words).into_iter().map(str::trim).filter(|word| !word.is_empty()) {
        if word == "out" {
            description.output = true;
        } else if matches!(description.fill, Fill::File(_)) {
            return Err(format!("{word:?} beside a file: only out may stand there"));
        } else {
            description.fill = fill(word, description.element.unwrap_or(Element::F32))?;
        }
    }
    Ok(Given::Array(description))
}

/// Sides of an array: `256x4096`, `M,K`, `..` where the kernel says them.
fn shape(text: &str) -> Result<Vec<Expression>, String> {
    if matches!(text.trim(), "" | ".." | "...") {
        return Ok(vec![]);
    }
    let commas = at_commas(text);
    if commas.len() > 1 {
        return commas.into_iter().map(Expression::parse).collect();
    }
    // An x divides sides where each part of it is whole by itself, which it is not in max(N, 4).
    let parts = text.split(['x', '×']).map(Expression::parse).collect::<Result<Vec<_>, _>>();
    parts.or_else(|_| Ok(vec![Expression::parse(text)?]))
}

fn fill(word: &str, element: Element) -> Result<Fill, String> {
    let (name, arguments) = match word.split_once('(').and_then(|(n, a)| Some((n, a.strip_suffix(')')?))) {
        Some((name, arguments)) => (name, at_commas(arguments)),
        None => (word, vec![]),
    };
    let numbers = |defaults: [f64; 2]| match *arguments {
        [] => Ok(defaults),
        [a, b] => {
            let value = |text| Expression::parse(text)?.value(&Variables::new());
            Ok([value(a)?, value(b)?])
        }
        _ => Err(format!("{name} takes two numbers, or none")),
    };
    let (least, end) = element.range();
    match name {
        "zeros" => Ok(Fill::Value { value: 0.0 }),
        "ones" => Ok(Fill::Value { value: 1.0 }),
        "index" => Ok(Fill::Index),
        "uniform" => numbers([least, end]).map(|[from, to]| Fill::Uniform { from, to }),
        "normal" if element.is_integer() => {
            Err(format!("{} are not normal; there is uniform(0, 10)", element.name()))
        }
        "normal" => numbers([0.0, 1.0]).map(|[mean, deviation]| Fill::Normal { mean, deviation }),
        _ => match Expression::parse(word).and_then(|e| e.value(&Variables::new())) {
            Ok(value) => Ok(Fill::Value { value }),
            Err(_) => Err(format!(
                "{word:?} is no content; there are normal, normal(MEAN, DEVIATION), uniform, uniform(FROM, TO), index, zeros, \
                 ones, a number, and out"
            )),
        },
    }
}

/// An array as the device is to have it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    /// Type of its elements.
    pub(crate) element: Element,
    /// Its sides.
    pub(crate) shape: Vec<u64>,
    /// Bytes, in whole words.
    pub(crate) bytes: Vec<u8>,
    /// What it was made of, if of no file.
    pub(crate) fill: Option<Fill>,
    /// What the random numbers began with.
    pub(crate) seed: u32,
    /// Whether it is compared after a run.
    pub(crate) output: bool,
}

impl Content {
    /// Words that are given one by one.
    pub(super) fn of_bytes(mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let shape = vec![bytes.len() as u64 / 4];
        Self { element: Element::U32, shape, bytes, fill: None, seed: 0, output: false }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes of the device, of as many elements as it has, as numbers.
    pub(super) fn values_of(&self, bytes: &[u8]) -> Vec<f64> {
        self.element.values(&bytes[..(self.len() * self.element.bytes()) as usize])
    }

    /// The same with so many elements in place of each.
    pub(super) fn times(mut self, channels: u64) -> Self {
        self.shape.push(channels);
        if let Some(fill) = &self.fill {
            self.bytes = filled(fill, self.element, self.shape.iter().product(), self.seed);
        }
        self
    }
}

impl Description {
    /// Makes the array that a binding is given.
    ///
    /// # Errors
    ///
    /// If it does not fit the binding, or the file cannot be read.
    pub(super) fn content(
        &self,
        binding: &Binding,
        variables: &Variables,
        most_bytes: u64,
    ) -> Result<Content> {
        let name = &binding.name;
        let fail = |reason: String| Error::Option(format!("operand {name}: {reason}"));
        let (element, shape, bytes) = match &self.fill {
            Fill::File(path) => {
                let array = Array::load(path)?;
                (array.element, array.shape, Some(array.bytes))
            }
            _ => {
                let element = self.element.unwrap_or(Element::F32);
                let shape =
                    self.shape.iter().map(|side| side.whole(variables)).collect::<Result<Vec<_>, _>>();
                let mut shape = shape.map_err(&fail)?;
                if shape.is_empty() {
                    if binding.stride.is_some() {
                        return Err(fail(format!(
                            "the kernel leaves its length open: say it, as in {}[4096]",
                            element.name()
                        )));
                    }
                    shape = vec![binding.fixed_bytes / element.bytes()];
                }
                (element, shape, None)
            }
        };
        if let Some(scalar) = binding.scalar.filter(|scalar| self.format.is_none() && !element.fits(*scalar))
        {
            let holds = if let (ScalarKind::Bool, _) = scalar { "bool".into() } else { scalar_name(scalar) };
            return Err(fail(format!("the kernel has {holds} there, not {}", element.name())));
        }
        let len = shape.iter().try_fold(1_u64, |all, &side| all.checked_mul(side));
        let size = len.and_then(|len| len.checked_mul(element.bytes())).unwrap_or(u64::MAX);
        if size == 0 {
            return Err(fail("it has no elements".into()));
        }
        let padded = size.checked_next_multiple_of(4).unwrap_or(size);
        if padded > most_bytes {
            return Err(fail(format!("{size} bytes are more than the {most_bytes} that this device binds")));
        }
        let seed = seed_of(name);
        let mut bytes = match bytes {
            Some(bytes) => bytes,
            None => filled(&self.fill, element, len.unwrap_or(0), seed),
        };
        bytes.resize(padded as usize, 0);
        let fill = Some(self.fill.clone()).filter(|fill| !matches!(fill, Fill::File(_)));
        Ok(Content { element, shape, bytes, fill, seed, output: self.output })
    }
}

/// What the random numbers of an operand begin with: FNV-1a of its name.
fn seed_of(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Bits from an index (Ettinger's `lowbias32`); `bench.js` has the same.
fn hash(index: u32, seed: u32) -> u32 {
    let mut x = index.wrapping_add(seed);
    x = (x ^ (x >> 16)).wrapping_mul(0x21f0_aaad);
    x = (x ^ (x >> 15)).wrapping_mul(0xd35a_2d97);
    x ^ (x >> 15)
}

/// So many elements. Every operation is exact or rounds once, so that every machine has the same.
fn filled(fill: &Fill, element: Element, len: u64, seed: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((len * element.bytes()) as usize);
    for i in 0..len as u32 {
        let value = match *fill {
            Fill::Value { value } => value,
            Fill::Index => f64::from(i),
            Fill::Uniform { from, to } => {
                let value = from + (to - from) * (f64::from(hash(i, seed)) / 4_294_967_296.0);
                if element.is_integer() { value.floor() } else { value }
            }
            Fill::Normal { mean, deviation } => {
                let [a, b] = [hash(i, seed), hash(i, seed ^ 0x5bd1_e995)];
                let sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
                // Four uniform numbers below 65,536: their sum deviates by 65,536 / sqrt(3).
                mean + deviation * ((f64::from(sum) - 131_070.0) / 37_837.2)
            }
            Fill::File(_) => 0.0,
        };
        element.push(value, &mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Description {
        match Operand::parse(text).unwrap().given {
            Given::Array(description) => description,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_describe_an_operand() {
        let d = described("x=f32[256x4096]:normal");
        let sides: Vec<_> = d.shape.iter().map(|s| s.whole(&Variables::new())).collect();
        assert_eq!((d.element, sides), (Some(Element::F32), vec![Ok(256), Ok(4096)]));
        assert_eq!((d.fill, d.output), (Fill::Normal { mean: 0.0, deviation: 1.0 }, false));
        let d = described("y=u32[N*2, max(M, 4)]:out");
        assert_eq!((d.shape.len(), d.fill, d.output), (2, Fill::Value { value: 0.0 }, true));
        let d = described("y=f16[max(N,4)]:uniform(-2, 2),out");
        assert_eq!((d.shape.len(), d.fill, d.output), (1, Fill::Uniform { from: -2.0, to: 2.0 }, true));
        assert_eq!(described("w=u32[..]:uniform").fill, Fill::Uniform { from: 0.0, to: 4_294_967_296.0 });
        assert_eq!(described("x=@a/b.npy:out").fill, Fill::File("a/b.npy".into()));
        assert!(matches!(Operand::parse("params.n=N*4").unwrap().given, Given::Numbers(n) if n.len() == 1));
        assert!(matches!(Operand::parse("s=linear").unwrap().given, Given::Sampler { linear: true }));
    }

    #[test]
    fn words_that_say_nothing_are_refused() {
        for (text, part) in [
            ("x", "not of the form"),
            ("x=f33[4]", "there is no type \"f33\"; there are f32, f16"),
            ("x=f32[4]:gaussian", "\"gaussian\" is no content; there are normal"),
            ("x=f32[4]:uniform(1)", "uniform takes two numbers"),
            ("x=i32[4]:normal", "there is uniform(0, 10)"),
            ("x=a.npy:normal", "only out may stand there"),
            ("x=f32[4", "\"]\" is missing"),
        ] {
            let error = Operand::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_the_same_everywhere_and_as_they_should_be() {
        // What Node makes of the same lines of bench.js.
        let of_node = [114_555_507, 2_119_043_447, 450_870_773];
        assert_eq!([hash(0, 1), hash(12_345, 0x811c_9dc5), hash(u32::MAX, 7)], of_node);
        let normal = filled(&Fill::Normal { mean: 1.0, deviation: 2.0 }, Element::F32, 100_000, seed_of("x"));
        let values = Element::F32.values(&normal);
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.02 && (variance - 4.0).abs() < 0.05, "{mean} {variance}");
        let bytes = filled(&Fill::Uniform { from: -128.0, to: 128.0 }, Element::I8, 10_000, 3);
        let values = Element::I8.values(&bytes);
        assert!(values.contains(&-128.0) && values.contains(&127.0));
    }
}
