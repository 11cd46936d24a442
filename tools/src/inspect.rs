//! `strix inspect`: what is in a checkpoint, and what rounding did to it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::HumanBytes;
use serde_json::{Value, json};
use strix_model::convert::{Inspection, RoundingError, inspect, rounding_errors, source_difference};

use crate::terminal::say;
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
    /// Folder or file of a checkpoint, converted or not
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

type Errors = Vec<(String, RoundingError)>;

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let found = inspect(&args.path)?;
    if let Some(source) = &args.source
        && let Some(difference) = source_difference(&args.path, source)?
    {
        let (path, source) = (args.path.display(), source.display());
        say(&format!("warning: {path} was not made from {source}: {difference}"));
    }
    let errors = match &args.source {
        Some(source) => Some(with_bar(|progress| rounding_errors(&args.path, source, progress))?),
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
        json!({
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "bytes": tensor.bytes,
            "file": tensor.file,
        })
    });
    let by_dtype = found.by_dtype.iter();
    let by_dtype =
        by_dtype.map(|(dtype, &(count, bytes))| (dtype, json!({ "tensors": count, "bytes": bytes })));
    let errors = errors.map(|errors| {
        let entry = |(name, error): &(String, RoundingError)| {
            let snr = Some(error.snr_db()).filter(|snr| snr.is_finite());
            json!({
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
    let object = json!({
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
    writeln!(io::stdout().lock(), "{object:#}")
}

fn print(args: &Args, found: &Inspection, errors: Option<&Errors>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let shown = if args.tensors { usize::MAX } else { SHOWN };
    let width = |names: &mut dyn Iterator<Item = &str>| names.map(str::len).max().unwrap_or(0);
    let wide = width(&mut found.tensors.iter().take(shown).map(|tensor| &*tensor.name));
    for tensor in found.tensors.iter().take(shown) {
        let (shape, bytes) = (format!("{:?}", tensor.shape), HumanBytes(tensor.bytes).to_string());
        writeln!(out, "{:<wide$}  {:<5}{shape:<26}{bytes:>12}  {}", tensor.name, tensor.dtype, tensor.file)?;
    }
    if found.tensors.len() > shown {
        writeln!(out, "and {} more (--tensors)", found.tensors.len() - shown)?;
    }
    for (name, reason) in &found.unread {
        writeln!(out, "{name}: {reason}")?;
    }
    for note in &found.notes {
        writeln!(out, "{note}")?;
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
        writeln!(out, "{dtype:<10}{count:>6} tensors{:>14}  {bytes} bytes", HumanBytes(*bytes).to_string())?;
    }
    if found.packed {
        let said = |key: &str| found.metadata.get(key).map_or("?", String::as_str);
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
        if changed.len() > shown { ", the most changed:" } else { "" }
    )?;
    let wide = width(&mut changed.iter().take(shown).map(|(name, _)| &**name)).max(8);
    writeln!(out, "{:<wide$}{:>14}{:>14}{:>10}", "", "largest", "rms relative", "SNR")?;
    for (name, error) in changed.into_iter().take(shown) {
        let (largest, rms, snr) = (error.max_abs, error.rms_relative(), error.snr_db());
        writeln!(out, "{name:<wide$}{largest:>14.3e}{rms:>14.3e}{snr:>7.1} dB")?;
    }
    Ok(())
}
