//! `strix plan`: bytes and dispatches of a model, from its config alone.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use serde_json::{Value, json};
use strix_engine::{Gpu, Target};
use strix_model::{Config, Home, LoadOptions, Located, MemoryPart, MemoryPlan, Room, Weights, nano_files};

use crate::Usage;
use crate::load::{Adapter, Storage};
use crate::named::mention_folder;
use crate::named::named;
use crate::shape::Shape;
use crate::terminal::{self, note};

const EXAMPLES: &str = "\
Examples:
  strix plan --model mplug-owl2-int8 --ctx 2048
  strix plan --model mplug-owl2-int8 --ctx 4096 --device-memory 4GiB
  strix plan --preset 8.2b --dtype int8 --group 32
  strix plan --config config.json --ctx 2048 --dtype int8 --json

Of a preset or a config alone: a plan without weights and without a device.";

/// Print what of a model will live where, and its bytes and dispatches, before anything is allocated
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true, group = clap::ArgGroup::new("of").required(true))]
pub(crate) struct Args {
    #[command(flatten)]
    shape: Shape,
    /// Folder of a model, or its file of weights, planned for the device it would run on; no weight is read. nano is the
    /// built-in one
    #[arg(short, long, value_name = "DIR", group = "of")]
    model: Option<PathBuf>,
    #[command(flatten)]
    storage: Storage,
    /// Rows of one prefill run
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(2..=4096))]
    chunk: Option<u32>,
    #[command(flatten)]
    adapter: Adapter,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let mut options = args.storage.options()?;
    options.chunk = args.chunk.unwrap_or(LoadOptions::default().chunk);
    let (config, mut notes, weights) = match (args.shape.read()?, &args.model) {
        (Some((config, notes)), _) => (config, notes, None),
        (None, None) => return Err(Usage("name a model, a config or a preset".into()).into()),
        (None, Some(model)) => match named(Some(model)) {
            Some(path) => {
                let Located { config, weights } = Located::find(path)?;
                let (config, notes) = Config::load_with_notes(&config)?;
                (config, notes, self::weights(&weights)?)
            }
            None => {
                mention_folder(model);
                let file = nano_files().into_iter().find(|(name, _)| *name == "model.safetensors");
                let weights = file.map(|(_, bytes)| Weights::from_bytes(bytes)).transpose()?;
                (Config::nano(), vec![], weights)
            }
        },
    };
    // A config alone is planned for WebGPU's default limits, no subgroups and any amount of memory.
    let gpu = match (args.adapter.options().adapter, &args.model) {
        (None, None) => None,
        _ => Some(args.adapter.open()?),
    };
    let target = gpu.as_ref().map_or_else(Target::default, Gpu::target);
    let room = match &gpu {
        Some(gpu) => Room::of(gpu, options.device_memory, weights.as_ref()),
        None => Room { budget_bytes: options.device_memory, asked: true, ..Room::default() },
    };
    let plan = strix_model::plan(&config, &options, &target, weights.as_ref(), room)?;
    notes.extend(plan.notes.iter().cloned());
    notes.iter().for_each(|line| note(line));

    let mut out = terminal::out();
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
            "kv_cache_positions": plan.kv_cache_positions,
            "kv_cache_bindings": plan.kv_cache_bindings,
            "kv_dtype": options.kv.to_string(),
            "programs": programs.collect::<Vec<_>>(),
            "memory": memory_json(&plan.memory),
            "decode_dispatches_per_layer": plan.decode_dispatches_per_layer,
            "decode_dispatches_per_layer_by_dtype": layer.collect::<Value>(),
        });
        writeln!(out, "{}", terminal::json(&format!("{plan:#}")))?;
        return Ok(crate::DONE);
    }
    print_memory(&mut out, &plan.memory, gpu.as_ref())?;
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
    let name = format!("KV cache, {} positions", plan.kv_cache_positions);
    write!(out, "{name:<26}{:>12}  {bytes} bytes as {}", human(bytes), options.kv)?;
    match plan.kv_cache_bindings {
        1 => writeln!(out)?,
        // Dispatches a decoder layer, above, are with them.
        bindings => writeln!(out, ", a layer's keys in {bindings} bindings")?,
    }
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
        "\nWith {} weights: {} dispatches a decoder layer at decode. Matrices above {} are split over bindings, and so are \
         the keys of a layer.",
        plan.dtype,
        plan.decode_dispatches_per_layer,
        human(target.max_binding_bytes)
    )?;
    Ok(crate::DONE)
}

/// The checkpoint in a folder, if there is one: a plan needs no more than a config.
fn weights(dir: &Path) -> anyhow::Result<Option<Weights>> {
    if dir.is_file() {
        return Ok(Some(Weights::open(dir)?));
    }
    let holds = |extension: &str| {
        let with = |entry: fs::DirEntry| entry.path().extension().is_some_and(|e| e == extension);
        fs::read_dir(dir).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(with)))
    };
    Ok(if holds("safetensors") || holds("bin") { Some(Weights::open(dir)?) } else { None })
}

fn home(home: Home) -> &'static str {
    match home {
        Home::Mapped => "used where the file is mapped",
        Home::Streamed => "comes from the file while it is used",
        _ => "in device buffers",
    }
}

/// The table of what lives where, against what the device has.
fn print_memory(out: &mut impl Write, memory: &MemoryPlan, gpu: Option<&Gpu>) -> io::Result<()> {
    let device = gpu.map_or("a device of WebGPU's default limits".into(), Gpu::name);
    writeln!(out, "{:<34}{:>12}{:>16}", "part", "bytes", "device memory")?;
    for part in &memory.parts {
        let [bytes, device_bytes] = [part.bytes, part.device_bytes].map(human);
        writeln!(out, "{:<34}{bytes:>12}{device_bytes:>16}  {}", part.name, home(part.home))?;
    }
    let bytes = memory.parts.iter().map(|part| part.bytes).sum();
    let budget = memory.budget_bytes.map_or("an unknown amount".into(), human);
    writeln!(
        out,
        "{:<34}{:>12}{:>16}  of {budget} on {device}",
        "together",
        human(bytes),
        human(memory.device_bytes())
    )?;
    let [resident, layers] = memory.resident_layers;
    if memory.streams() {
        writeln!(
            out,
            "{resident} of {layers} layers stay on the device; {} are streamed a token, and a prefill chunk has {} rows",
            human(memory.streamed_bytes),
            memory.chunk
        )?;
    }
    writeln!(out)
}

fn memory_json(memory: &MemoryPlan) -> Value {
    let part = |part: &MemoryPart| {
        json!({
            "name": part.name,
            "bytes": part.bytes,
            "device_bytes": part.device_bytes,
            "home": format!("{:?}", part.home).to_lowercase(),
        })
    };
    json!({
        "parts": memory.parts.iter().map(part).collect::<Vec<_>>(),
        "device_bytes": memory.device_bytes(),
        "budget_bytes": memory.budget_bytes,
        "resident_layers": memory.resident_layers[0],
        "layers": memory.resident_layers[1],
        "streamed_bytes_per_token": memory.streamed_bytes,
        "chunk": memory.chunk,
    })
}

fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}
