//! `strix inspect`: what is in a checkpoint, and what rounding did to it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::HumanBytes;
use serde_json::Value;
use strix_model::convert::{Inspection, RoundingError, inspect, rounding_errors, source_difference};
use strix_model::shown;

use crate::named::Named;
use crate::terminal::{json, out, say, stdout};
use crate::write::with_bar;

const EXAMPLES: &str = "\
Examples:
  strix inspect mplug-owl2-llama2-7b
  strix inspect model.safetensors --tensors
  strix inspect mplug-owl2-int8 --source mplug-owl2-llama2-7b --json";

/// Tensors printed of each kind unless all are asked for.
const SHOWN: usize = 10;

/// List what a checkpoint holds: tensors, parameters by part, bytes by dtype, and what rounding changed
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder or file of a checkpoint, converted or not; nano is the built-in one
    path: PathBuf,
    /// Checkpoint that a converted folder was made from: print how far each tensor is from it
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Print every tensor
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Columns of the names; formats take no more than 65,535, and people less.
const MAX_WIDTH: usize = 100;

type Errors = Vec<(String, RoundingError)>;

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let path = Named::find(&args.path)?;
    let found = inspect(path.path())?;
    let source = args.source.as_deref().map(Named::find).transpose()?;
    if let (Some(source), Some(named)) = (&source, &args.source)
        && let Some(difference) = source_difference(path.path(), source.path())?
    {
        let (path, source) = (args.path.display(), named.display());
        say(&format!("warning: {path} was not made from {source}: {difference}"));
    }
    let errors = match &source {
        Some(source) => Some(with_bar(|progress| rounding_errors(path.path(), source.path(), progress))?),
        None => None,
    };
    match args.json {
        true => print_json(&found, errors.as_ref())?,
        false => print(args, &found, errors.as_ref())?,
    }
    Ok(crate::DONE)
}

fn print_json(found: &Inspection, errors: Option<&Errors>) -> io::Result<()> {
    let tensors = found.tensors.iter().map(|tensor| {
        serde_json::json!({
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "bytes": tensor.bytes,
            "file": tensor.file,
        })
    });
    let by_dtype = found.by_dtype.iter();
    let by_dtype = by_dtype
        .map(|(dtype, &(count, bytes))| (dtype, serde_json::json!({ "tensors": count, "bytes": bytes })));
    let errors = errors.map(|errors| {
        let entry = |(name, error): &(String, RoundingError)| {
            let snr = Some(error.snr_db()).filter(|snr| snr.is_finite());
            serde_json::json!({
                "name": name,
                "max_abs": error.max_abs,
                "rms_relative": error.rms_relative(),
                "snr_db": snr,
            })
        };
        errors.iter().map(entry).collect::<Vec<_>>()
    });
    let parts = found.parts.as_ref().map(|parts| parts.iter().copied().collect::<BTreeMap<_, _>>());
    let total = found.parts.as_ref().map(|parts| parts.iter().map(|(_, count)| count).sum::<u64>());
    let object = serde_json::json!({
        "packed": found.packed,
        "metadata": found.metadata,
        "bytes": found.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>(),
        "by_dtype": by_dtype.collect::<BTreeMap<_, Value>>(),
        "parameters": total,
        "parameters_by_part": parts,
        "tensors": tensors.collect::<Vec<_>>(),
        "unread": found.unread,
        "notes": found.notes,
        "rounding": errors,
    });
    writeln!(stdout(), "{}", json(&format!("{object:#}")))
}

fn print(args: &Args, found: &Inspection, errors: Option<&Errors>) -> io::Result<()> {
    let mut out = out();
    let most = if args.tensors { usize::MAX } else { SHOWN };
    let listed = &found.tensors[..found.tensors.len().min(most)];
    let wide = width(listed.iter().map(|tensor| &tensor.name));
    for tensor in listed {
        let (name, dtype, file) = (shown(&tensor.name), shown(&tensor.dtype), shown(&tensor.file));
        let (shape, bytes) = (format!("{:?}", tensor.shape), HumanBytes(tensor.bytes).to_string());
        writeln!(out, "{name:<wide$}  {dtype:<5}{shape:<26}{bytes:>12}  {file}")?;
    }
    if found.tensors.len() > most {
        writeln!(out, "and {} more (--tensors)", found.tensors.len() - most)?;
    }
    for (name, reason) in &found.unread {
        writeln!(out, "{}: {}", shown(name), shown(reason))?;
    }
    for note in &found.notes {
        writeln!(out, "{}", shown(note))?;
    }
    if let Some(parts) = &found.parts {
        writeln!(out)?;
        let total = ("all", parts.iter().map(|(_, count)| count).sum());
        for (part, count) in parts.iter().chain([&total]) {
            writeln!(out, "{part:<32}{count:>16} parameters")?;
        }
    }
    writeln!(out)?;
    for (dtype, (count, bytes)) in &found.by_dtype {
        let dtype = shown(dtype);
        writeln!(out, "{dtype:<10}{count:>6} tensors{:>14}  {bytes} bytes", HumanBytes(*bytes).to_string())?;
    }
    if found.packed {
        let said = |key: &str| shown(found.metadata.get(key).map_or("?", String::as_str));
        writeln!(out, "converted to {}, layout {}", said("strix.dtype"), said("strix.layout"))?;
    }
    let Some(errors) = errors else { return Ok(()) };
    let mut changed: Vec<&(String, RoundingError)> = errors.iter().filter(|(_, e)| e.max_abs > 0.0).collect();
    if !args.tensors {
        changed.sort_by(|(_, a), (_, b)| b.rms_relative().total_cmp(&a.rms_relative()));
    }
    writeln!(
        out,
        "\n{} of {} tensors were changed by rounding{}",
        changed.len(),
        errors.len(),
        if changed.len() > most { ", the most changed:" } else { "" }
    )?;
    let wide = width(changed.iter().take(most).map(|(name, _)| name)).max(8);
    writeln!(out, "{:<wide$}{:>14}{:>14}{:>10}", "", "largest", "rms relative", "SNR")?;
    for (name, error) in changed.into_iter().take(most) {
        let name = shown(name);
        let (largest, rms, snr) = (error.max_abs, error.rms_relative(), error.snr_db());
        writeln!(out, "{name:<wide$}{largest:>14.3e}{rms:>14.3e}{snr:>7.1} dB")?;
    }
    Ok(())
}

/// Characters of the longest of these names as they are shown. One endless name does not push the others off.
fn width<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    names.map(|name| shown(name).to_string().chars().count()).max().unwrap_or(0).min(MAX_WIDTH)
}
