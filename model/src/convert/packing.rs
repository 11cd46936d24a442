//! The work of packing a checkpoint.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use strix_engine::Target;
use strix_shaders::Activations;

use super::jobs::{Copy, Job, Pack};
use super::manifest::{Arrangement, Manifest};
use super::output;
use super::report::{Report, WriteOptions};
use super::run::Work;
use super::source::SourceFiles;
use crate::abstractor::Abstractor;
use crate::decoder::Decoder;
use crate::held::Held;
use crate::packed::{Dtype, LAYOUT_VERSION, Rounding};
use crate::parts::{Declaring, Item};
use crate::progress::OnProgress;
use crate::vision::Vision;
use crate::weights::{FileDtype, Weights};
use crate::{Config, Error, Result};

/// Everything that a model of this config is made of, in the order in which it is loaded.
pub(super) fn items(config: &Config, rounding: Rounding, weights: Option<&Weights>) -> Result<Vec<Item>> {
    // Layouts do not depend on the device; only their split over bindings does.
    let (target, stored) = (Target::default(), Held::of(weights));
    let mut declaring = Declaring::new(target, rounding, Activations::F32, stored);
    Vision::declare(&mut declaring, &config.vision)?;
    Abstractor::declare(&mut declaring, config)?;
    Decoder::declare(&mut declaring, &config.text, config.text.max_position_embeddings)?;
    Ok(declaring.finish().items())
}

/// Packs a checkpoint into `out`: a folder of safetensors files that hold weights as the kernels stream them, with
/// the config, the tokenizer and a [`Manifest`]. `source` is a folder, or a file whose folder holds its config.
///
/// If it is interrupted, by `progress` or by force, running it again with the same source and options finishes
/// the work without redoing what is done; until then `out` holds no file that looks whole.
///
/// # Errors
///
/// If the source is damaged, does not fit its config or is packed already; if `out` is in it, holds something
/// else, is being written to, or cannot be written; [`Error::Interrupted`] if `progress` breaks.
pub fn convert(
    source: &Path,
    out: &Path,
    rounding: Rounding,
    options: &WriteOptions,
    progress: OnProgress<'_>,
) -> Result<Report> {
    let out = output::outside_of(source, out)?;
    let checkpoint = SourceFiles::open(source)?;
    output::refuse_linked(source, &checkpoint, &out)?;
    if checkpoint.weights.is_packed() {
        let reason = "is converted already; `strix export` makes a plain checkpoint of it".into();
        return Err(Error::File { path: source.into(), reason });
    }
    packing(&checkpoint, rounding, options)?.run(&out, options.force, progress)
}

/// The dtype that a vector of that dtype is stored as.
fn kept(dtype: FileDtype) -> FileDtype {
    if dtype == FileDtype::F16 { FileDtype::F32 } else { dtype }
}

/// The work of packing a checkpoint.
pub(super) fn packing<'a>(
    checkpoint: &'a SourceFiles,
    rounding: Rounding,
    options: &WriteOptions,
) -> Result<Work<'a>> {
    let SourceFiles { config, weights, files, made_from } = checkpoint;
    let (dtype, group) = (rounding.dtype.word(), rounding.dtype.group());
    if rounding.vision && !matches!(rounding.dtype, Dtype::Int8 { .. }) {
        return Err(Error::Option("rounding the vision tower too needs int8".into()));
    }
    if group.is_some_and(|group| ![32, 64, 128].contains(&group)) {
        return Err(Error::out_of_range("group", group.unwrap_or(0), "32, 64 or 128"));
    }
    weights.check(config)?;
    let mut jobs: Vec<Box<dyn Job + 'a>> = vec![];
    for item in items(config, rounding, Some(weights))? {
        jobs.push(match item {
            Item::Matrix(matrix) => Box::new(Pack::new(weights, matrix)),
            Item::Table { name, is_bf16 } => {
                let dtype = if is_bf16 { FileDtype::BF16 } else { FileDtype::F32 };
                Box::new(Copy::new(weights.view(&name)?, dtype))
            }
            Item::Vector(name) => {
                let view = weights.view(&name)?;
                Box::new(Copy::new(view, kept(view.dtype)))
            }
        });
    }
    // Biases of weight sets that are equal and stored once.
    let made: HashSet<String> = jobs.iter().map(|job| job.name().to_owned()).collect();
    for spec in
        config.tensors().iter().filter(|spec| spec.name.ends_with(".bias") && !made.contains(&spec.name))
    {
        let view = weights.view(&spec.name)?;
        jobs.push(Box::new(Copy::new(view, kept(view.dtype))));
    }
    let mut made_from = made_from.clone();
    made_from.extend([
        ("layout".to_owned(), format!("strix {LAYOUT_VERSION}")),
        ("dtype".into(), dtype.into()),
        ("group".into(), group.map_or("none".into(), |group| group.to_string())),
        ("vision".into(), rounding.vision.to_string()),
        ("shard size".into(), format!("{} bytes", options.shard_bytes)),
    ]);
    let manifest = Manifest {
        layout: Arrangement::Strix,
        layout_version: LAYOUT_VERSION,
        dtype: dtype.into(),
        group,
        vision: rounding.vision,
        program: concat!("strix ", env!("CARGO_PKG_VERSION")).into(),
        made_from,
        tensors: BTreeMap::new(),
        files: BTreeMap::new(),
    };
    let (shard_bytes, files) = (options.shard_bytes, files.clone());
    Ok(Work { source: weights, jobs, shard_bytes, manifest, files })
}
