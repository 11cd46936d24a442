//! `strix plan`: bytes and dispatches of a model, from its config alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::HumanBytes;
use serde_json::{Value, json};
use strix_engine::Target;
use strix_model::{Config, LoadOptions};

use crate::load::{Adapter, Storage};

const EXAMPLES: &str = "\
Examples:
  strix plan --config config.json --ctx 2048
  strix plan --model mplug-owl2 --ctx 2048 --dtype int8 --json";

/// Print the bytes and dispatches of a model, without its weights and without a device
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("of").required(true))]
pub(crate) struct Args {
    /// A config.json
    #[arg(long, value_name = "FILE", group = "of")]
    config: Option<PathBuf>,
    /// Folder of a model; only its config.json is read
    #[arg(long, value_name = "DIR", group = "of")]
    model: Option<PathBuf>,
    #[command(flatten)]
    storage: Storage,
    /// Rows of one prefill run
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,
    // Without one: WebGPU's default limits, no subgroups.
    #[command(flatten)]
    adapter: Adapter,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let mut options = args.storage.options()?;
    options.chunk = args.chunk.unwrap_or(LoadOptions::default().chunk);
    let config = match (&args.config, &args.model) {
        (Some(file), _) => Config::from_json(&fs::read(file).with_context(|| file.display().to_string())?)?,
        (_, dir) => Config::load(dir.as_deref().unwrap_or(Path::new(".")))?,
    };
    let target = match args.adapter.options().adapter {
        Some(_) => args.adapter.open()?.target(),
        None => Target::default(),
    };
    let plan = strix_model::plan(&config, &options, &target)?;

    let mut out = io::stdout().lock();
    if args.json {
        let weights: Value = plan.weights.iter().map(|w| (w.dtype.clone(), w.bytes)).collect();
        let layer = plan.weights.iter().map(|w| (w.dtype.clone(), w.decode_dispatches_per_layer));
        let programs = plan.programs.iter().map(|(name, usage)| {
            json!({
                "name": name,
                "dispatches": usage.dispatches,
                "activation_bytes": usage.activation_bytes,
                "unshared_activation_bytes": usage.unshared_bytes,
                "input_bytes": usage.input_bytes,
            })
        });
        let plan = json!({
            "ctx": plan.ctx,
            "dtype": plan.dtype,
            "weight_bytes": weights,
            "kv_cache_bytes": plan.kv_cache_bytes,
            "kv_dtype": options.kv.to_string(),
            "programs": programs.collect::<Vec<_>>(),
            "decode_dispatches_per_layer": plan.decode_dispatches_per_layer,
            "decode_dispatches_per_layer_by_dtype": layer.collect::<Value>(),
        });
        writeln!(out, "{plan:#}")?;
        return Ok(crate::DONE);
    }
    for w in &plan.weights {
        let (name, layer) = (format!("weights, {}", w.dtype), w.decode_dispatches_per_layer);
        let bytes = format!("{} bytes", w.bytes);
        writeln!(
            out,
            "{name:<26}{:>12}  {bytes:<19}{layer:>3} dispatches a decoder layer at decode",
            human(w.bytes)
        )?;
    }
    let bytes = plan.kv_cache_bytes;
    let name = format!("KV cache, {} positions", plan.ctx);
    writeln!(out, "{name:<26}{:>12}  {bytes} bytes as {}", human(bytes), options.kv)?;
    writeln!(
        out,
        "\n{:<26}{:>12}{:>14}{:>14}{:>12}",
        "program", "dispatches", "activations", "unshared", "inputs"
    )?;
    for (name, usage) in &plan.programs {
        let [activations, unshared, inputs] =
            [usage.activation_bytes, usage.unshared_bytes, usage.input_bytes].map(human);
        writeln!(out, "{name:<26}{:>12}{activations:>14}{unshared:>14}{inputs:>12}", usage.dispatches)?;
    }
    writeln!(
        out,
        "\nWith {} weights: {} dispatches a decoder layer at decode. Matrices above {} are split over bindings.",
        plan.dtype,
        plan.decode_dispatches_per_layer,
        human(target.max_binding_bytes)
    )?;
    Ok(crate::DONE)
}

fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
