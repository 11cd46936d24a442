//! Jobs for a page that runs them in a browser.

use std::collections::BTreeMap;

use strix_engine::Gpu;

use super::check::Compared;
use super::element::Element;
use super::job::Job;
use super::operand::Content;
use super::source::Kind;
use super::value::Value;
use crate::page::{Binding, Expected, PageBench};
use crate::{Error, Result};

/// A job as a page has it, with what its results should be: what the references say, and without any, what this device
/// computes.
///
/// # Errors
///
/// If a browser cannot run it, or the device fails.
pub fn on_page(job: &Job, gpu: &Gpu) -> Result<PageBench> {
    let left_out = |what: &str| Error::Option(format!("{} cannot be on a page: {what}", job.name));
    let features =
        job.source.web_features().map_err(|lacks| left_out(&format!("browsers have no {lacks}")))?;
    let mut expected: BTreeMap<String, Expected> = BTreeMap::new();
    if job.outputs().next().is_some() {
        let kernel = job.kernel(gpu)?;
        let left = kernel.left(false)?;
        for compared in job.compared(&kernel, &left.outputs)? {
            expected.insert(compared.name.clone(), of(&compared));
        }
        for ((binding, content), bytes) in job.outputs().zip(&left.outputs) {
            let computed = || Expected::of(&content.values_of(bytes), None, content.element.is_integer());
            expected.entry(binding.name.clone()).or_insert_with(computed);
        }
    }
    let mut bindings = vec![];
    for (binding, value) in &job.given {
        let kind = match binding.kind {
            Kind::Uniform => "uniform",
            Kind::Storage { writes: false } => "read",
            Kind::Storage { writes: true } => "write",
            Kind::Immediate => return Err(left_out("browsers have no immediates")),
            _ => return Err(left_out("pages have no textures and samplers yet")),
        };
        let of_bytes;
        let content = match value {
            Value::Array(content) => content,
            Value::Numbers(bytes) => {
                of_bytes = Content::of_bytes(bytes.clone());
                &of_bytes
            }
            _ => return Err(left_out("pages have no textures and samplers yet")),
        };
        // Halves are rounded differently in some browsers.
        let made = content.fill.clone().filter(|_| !matches!(content.element, Element::F16 | Element::Bf16));
        bindings.push(Binding {
            group: binding.place[0],
            binding: binding.place[1],
            name: binding.name.clone(),
            kind,
            bytes: content.bytes.len() as u64,
            element: content.element,
            len: content.len(),
            seed: content.seed,
            data: if made.is_some() { None } else { Some(Binding::data(&content.bytes)) },
            content: made,
            expected: expected.remove(&binding.name),
        });
    }
    let enabled = features.contains(&"subgroups");
    Ok(PageBench {
        name: job.name.clone(),
        wgsl: if enabled {
            format!("enable subgroups; {}", job.source.text)
        } else {
            job.source.text.clone()
        },
        entry: job.entry.clone(),
        constants: job.constants.iter().map(|(name, value)| (job.source.key(name), *value)).collect(),
        features,
        grid: job.grid,
        work: job.work,
        arithmetic: job.arithmetic,
        tolerance: job.tolerance,
        settings: job.settings.clone(),
        cold: job.cold,
        bindings,
        roof: None,
    })
}

fn of(compared: &Compared) -> Expected {
    Expected::of(&compared.want, compared.places.as_deref(), compared.element.is_integer())
}
