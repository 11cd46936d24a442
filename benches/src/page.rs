//! Benches as a page that runs them in a browser: kernels, operands, expected results and all it takes are in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use strix_engine::{Access, Captured, Family, Graph, Program, Target};

use crate::kernels::{Bench, Operands};
use crate::output::html::STYLE;
use crate::roofline::Arithmetic;
use crate::run::SCHEMA;
use crate::wgsl::{Element, Fill};
use crate::{Clock, Error, Result, Work};

/// Elements of an output that a page compares, at most.
const MOST_PLACES: usize = 4096;
/// Bytes of operands that a page holds of a kernel of ours.
const MOST_BYTES: usize = 16 << 20;

/// Shapes of our kernels that a page has unless others are named: small, since their operands are in it.
pub const SHAPES: [&str; 9] = [
    "gemv/1024x1024/int8",
    "gemv/1024x1024/bf16",
    "gemm/64x512x512/int8",
    "gemm/64x512x512/bf16",
    "attention/64x64x8x64/f32",
    "decode_attention/1x512x8x64/f32",
    "rms_norm/64x4096",
    "layer_norm/64x1024",
    "add/64x4096",
];

/// A page.
#[derive(Debug, Serialize)]
pub struct Page {
    schema: u32,
    strix: &'static str,
    /// Least and most runs of each bench.
    runs: [u32; 2],
    /// Time for the runs of one.
    each_ms: u32,
    /// Time that each runs before it is timed.
    warm_up_ms: u32,
    /// Kernels that measure the roofline.
    probes: Vec<PageBench>,
    benches: Vec<PageBench>,
}

/// A bench of a page.
#[derive(Clone, Debug, Serialize)]
pub struct PageBench {
    pub(crate) name: String,
    pub(crate) wgsl: String,
    pub(crate) entry: String,
    pub(crate) constants: BTreeMap<String, f64>,
    /// Features of WebGPU that it needs.
    pub(crate) features: Vec<&'static str>,
    pub(crate) grid: [u32; 3],
    pub(crate) work: Work,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) tolerance: f64,
    pub(crate) settings: BTreeMap<String, f64>,
    pub(crate) cold: bool,
    pub(crate) bindings: Vec<Binding>,
    /// Of a probe: the limit that it measures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roof: Option<&'static str>,
}

/// What a bench binds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Binding {
    pub(crate) group: u32,
    pub(crate) binding: u32,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) bytes: u64,
    pub(crate) element: Element,
    pub(crate) len: u64,
    pub(crate) seed: u32,
    /// What it is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Fill>,
    /// Else all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<Expected>,
}

/// What some elements of an output should be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Expected {
    places: Vec<u64>,
    /// `None` of what is no number.
    values: Vec<Option<f64>>,
    /// The largest of all.
    scale: f64,
    integer: bool,
}

impl Expected {
    /// Some of these values, which are at these places, or all of them one after the other.
    pub(crate) fn of(values: &[f64], places: Option<&[u64]>, integer: bool) -> Self {
        let scale = values.iter().filter(|v| v.is_finite()).fold(0.0, |most: f64, v| most.max(v.abs()));
        let count = values.len().min(MOST_PLACES);
        let picked: Vec<_> = match count {
            0 | 1 => (0..count).collect(),
            _ => (0..count).map(|n| n * (values.len() - 1) / (count - 1)).collect(),
        };
        Self {
            places: picked.iter().map(|&at| places.map_or(at as u64, |places| places[at])).collect(),
            values: picked.iter().map(|&at| Some(values[at]).filter(|v| v.is_finite())).collect(),
            scale,
            integer,
        }
    }
}

impl Binding {
    /// Bytes as the page has them.
    pub(crate) fn data(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }
}

impl Page {
    /// A page of these benches.
    pub fn new(probes: Vec<PageBench>, benches: Vec<PageBench>, quick: bool) -> Self {
        let (runs, each_ms, warm_up_ms) = if quick { ([3, 3], 500, 100) } else { ([5, 20], 2000, 300) };
        Self { schema: SCHEMA, strix: env!("CARGO_PKG_VERSION"), runs, each_ms, warm_up_ms, probes, benches }
    }

    /// Its text.
    pub fn html(&self, title: &str) -> String {
        let json = serde_json::to_string(self).expect("a page is of numbers, words and lists");
        // What would end the script's element.
        let json = json.replace('<', "\\u003c");
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        include_str!("page/page.html")
            .replace("${title}", &title)
            .replace("${style}", STYLE)
            .replace("${bench}", include_str!("page/bench.js"))
            .replace("${page}", include_str!("page/page.js"))
            .replace("${data}", &json)
    }
}

/// A kernel of ours for a page, as devices that are no processors run it, and without subgroups, which wgpu and browsers
/// name differently: a bench for each of its steps.
///
/// # Errors
///
/// If its operands are too large for a page, or the device fails.
pub fn of_kernel(clock: &Clock, bench: &Bench) -> Result<Vec<PageBench>> {
    let target = Target {
        max_binding_bytes: clock.gpu().target().max_binding_bytes.min(128 << 20),
        family: Family::Tiled,
        ..Target::default()
    };
    let mut operands = Operands::new(clock.gpu());
    let record = bench.record(&mut operands)?;
    let mut g = Graph::new(target);
    record(&mut g, false);
    let steps = Program::compile(clock.gpu(), g)?.capture()?;
    let name = bench.name();
    let single = steps.len() == 1;
    let all = steps.into_iter().enumerate().map(|(at, step)| {
        let name = if single { name.clone() } else { format!("{name}/{}", at + 1) };
        of_step(name, bench, if single { bench.work } else { Work::default() }, &step)
    });
    all.collect()
}

fn of_step(name: String, bench: &Bench, work: Work, step: &Captured) -> Result<PageBench> {
    let bytes: usize = step.tensors.iter().map(|t| t.before.len()).sum();
    if bytes > MOST_BYTES {
        let reason = format!("{bytes} bytes of operands are too many for a page, which takes {MOST_BYTES}");
        return Err(Error::Shape { shape: name, reason });
    }
    let mut tensors = step.tensors.iter();
    let mut bindings = vec![];
    for binding in &step.shader.bindings {
        let of = |kind, bytes: &[u8], element: Element, expected| Binding {
            group: 0,
            binding: binding.number,
            name: binding.name.into(),
            kind,
            bytes: bytes.len() as u64,
            element,
            len: bytes.len() as u64 / element.bytes(),
            seed: 0,
            content: None,
            data: Some(Binding::data(bytes)),
            expected,
        };
        bindings.push(match binding.access {
            Access::Uniform => of("uniform", &step.params, Element::U32, None),
            Access::Texels => {
                return Err(Error::Shape {
                    shape: name,
                    reason: "it reads texels, which a page has not".into(),
                });
            }
            access => {
                let Some(tensor) = tensors.next() else { continue };
                let floats = if tensor.is_f16 { Element::F16 } else { Element::F32 };
                let expected = tensor.after.as_deref().map(|after| {
                    let values = floats.values(after);
                    // As elsewhere, a tensor without a normal number is one of integers.
                    let integer = !values.iter().any(|v| v.is_finite() && v.abs() > 1e-37);
                    let element = if integer { Element::U32 } else { floats };
                    (element, Expected::of(&element.values(after), None, integer))
                });
                let kind = if access == Access::Read { "read" } else { "write" };
                let (element, expected) = expected.map_or((floats, None), |(element, e)| (element, Some(e)));
                of(kind, &tensor.before, element, expected)
            }
        });
    }
    let is_f16 = step.shader.wgsl.contains("enable f16");
    Ok(PageBench {
        name,
        wgsl: step.shader.wgsl.to_string(),
        entry: step.shader.name.into(),
        constants: BTreeMap::new(),
        features: if is_f16 { vec!["shader-f16"] } else { vec![] },
        grid: step.groups,
        work,
        arithmetic: bench.arithmetic,
        tolerance: if step.tensors.iter().any(|t| t.is_f16 && t.after.is_some()) { 1e-3 } else { 2e-4 },
        settings: BTreeMap::new(),
        cold: true,
        bindings,
        roof: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Run, compare};

    #[test]
    fn what_a_page_measured_in_chromium_is_a_run_to_compare_with() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/sample.json");
        let run = Run::load(path.as_ref()).unwrap();
        assert_eq!((run.device.backend.as_str(), run.rows.len(), run.num_wrong()), ("WebGPU", 2, 0));
        assert!(run.roofline.bytes_per_s > 0.0 && run.rows.iter().all(|row| row.figures.is_some()));
        let compared = compare(&run, &run);
        assert!(compared.changes.len() == 2 && compared.differences.is_empty(), "{compared:?}");
    }

    #[test]
    fn places_are_spread_over_an_output() {
        let values: Vec<f64> = (0..100_000).map(f64::from).collect();
        let expected = Expected::of(&values, None, false);
        assert_eq!((expected.places.len(), expected.places[0], expected.places[4095]), (4096, 0, 99_999));
        assert_eq!((expected.values[4095], expected.scale), (Some(99_999.0), 99_999.0));
        let some = Expected::of(&[1.0, f64::NAN], Some(&[7, 9]), true);
        assert_eq!((some.places, some.values), (vec![7, 9], vec![Some(1.0), None]));
    }
}
