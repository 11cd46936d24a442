//! Back to a plain checkpoint.

use std::collections::HashMap;
use std::path::Path;

use strix_shaders::Format;

use super::jobs::{Copy, Job, Unpack};
use super::output;
use super::packing::items;
use super::report::{Report, WriteOptions};
use super::shards::Tensor;
use super::source::SourceFiles;
use super::synth::plain;
use crate::matrix::Matrix;
use crate::packed::{self, Rounding};
use crate::parts::Item;
use crate::progress::OnProgress;
use crate::weights::FileDtype;
use crate::{Error, Result};

/// Position of a checkpoint tensor in a packed projection.
struct Origin<'a> {
    matrix: &'a Matrix,
    set: u32,
    half: u32,
    first: u32,
}

/// Writes the checkpoint in `source`, converted or not, row-major under the names of the original code: what
/// transformers and other programs read. [`super::convert`] says what happens when it is interrupted.
///
/// With `dtype` every tensor becomes F32 or BF16. Without it each stays as it is stored, and int8 becomes F32:
/// `scale · q`, rounded to f32 where the product needs it. So an exported bf16 or f32 folder loads to the same
/// bits as the converted one; of int8, the numbers are those that the kernels compute with, up to the order in
/// which they multiply.
///
/// # Errors
///
/// If the source is damaged or does not fit its config, or as [`super::convert`].
pub fn export(
    source: &Path,
    out: &Path,
    dtype: Option<FileDtype>,
    options: &WriteOptions,
    progress: OnProgress<'_>,
) -> Result<Report> {
    let out = output::outside_of(source, out)?;
    let checkpoint = SourceFiles::open(source)?;
    output::refuse_linked(source, &checkpoint, &out)?;
    let SourceFiles { config, weights, .. } = &checkpoint;
    weights.check(config)?;
    let items = match weights.is_packed() {
        true => items(config, Rounding::default(), Some(weights))?,
        false => vec![],
    };
    let specs: HashMap<String, Vec<usize>> =
        config.tensors().into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let mut origins = HashMap::new();
    for item in &items {
        let Item::Matrix(matrix) = item else { continue };
        for (set, halves) in matrix.modules.iter().enumerate() {
            for (half, modules) in halves.iter().enumerate() {
                let mut first = 0;
                for module in modules {
                    let name = format!("{module}.weight");
                    let rows = specs.get(&name).and_then(|shape| shape.first());
                    let rows = rows.map_or(matrix.layout.n, |&rows| rows as u32);
                    // Weight sets that were equal are stored once.
                    let set = (set as u32).min(matrix.layout.sets - 1);
                    // Rows that the sets share are taken from the first.
                    origins.entry(name).or_insert(Origin { matrix, set, half: half as u32, first });
                    first += rows;
                }
            }
        }
    }
    let job = |name: &str| -> Result<Box<dyn Job + '_>> {
        if let Some(view) = weights.get(name) {
            return Ok(Box::new(Copy::new(view, dtype.unwrap_or(view.dtype))));
        }
        let missing = || Error::Tensor { name: name.into(), reason: "is not in the checkpoint".into() };
        let Origin { matrix, set, half, first } = origins.get(name).ok_or_else(missing)?;
        let weight = weights.view(&packed::weight_name(&matrix.label))?;
        let scales = match matrix.layout.groups() {
            0 => vec![],
            _ => weights.view(&packed::scale_name(&matrix.label))?.to_f32()?,
        };
        let stored = if matrix.layout.format == Format::Bf16 { FileDtype::BF16 } else { FileDtype::F32 };
        let shape = specs.get(name).cloned().unwrap_or_default();
        let tensor = Tensor { name: name.into(), dtype: dtype.unwrap_or(stored), shape };
        Ok(Box::new(Unpack {
            tensors: [tensor],
            weight,
            scales,
            layout: matrix.layout,
            set: *set,
            half: *half,
            first: *first,
        }))
    };
    let named = dtype.map_or("mixed".into(), |dtype| dtype.to_string());
    plain(&checkpoint, named, options, job)?.run(&out, options.force, progress)
}
