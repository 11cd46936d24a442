//! `strix devices`: the adapters of this machine, what they can do, and which is chosen.

use std::io::{self, Write};

use indicatif::HumanBytes;
use serde_json::{Value, json};
use strix_engine::wgpu::DeviceType;
use strix_engine::{AdapterReport, Coop, Gpu, adapters, driver, unlisted};
use strix_model::shown;

use crate::load::Adapter;
use crate::terminal::{self, BOLD, RED, colours, paint};

const EXAMPLES: &str = "\
Examples:
  strix devices
  strix devices --adapter gl
  strix devices --json | jq '.[] | select(.chosen).name'";

/// List the adapters of this machine and the one that is chosen
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    adapter: Adapter,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let options = args.adapter.options();
    let reports = adapters(&options);
    let usable = reports.iter().any(|r| r.chosen && r.missing.is_none());
    let mut out = terminal::stdout();
    // If there is none, only the error is on stdout.
    if args.json && usable {
        let list: Value = reports.iter().map(to_json).collect();
        writeln!(out, "{}", terminal::json(&format!("{list:#}")))?;
    } else if !args.json {
        for report in &reports {
            print(&mut out, report)?;
        }
    }
    drop(out);
    unlisted(&reports).into_iter().for_each(terminal::note);
    if !usable {
        Gpu::with(&options)?; // says what is wrong
    }
    Ok(crate::DONE)
}

fn print(out: &mut impl Write, report: &AdapterReport) -> io::Result<()> {
    let AdapterReport { info, limits, .. } = report;
    let painted = colours(&io::stdout());
    let mark = if report.chosen { "*" } else { " " };
    writeln!(out, "{mark} {}", paint(painted, BOLD, &shown(&info.name).to_string()))?;
    let mut row = |name: &str, value: String| writeln!(out, "    {name:<12}{value}");
    row("backend", format!("{:?}, {}", info.backend, kind(info.device_type)))?;
    row("driver", shown(&driver(info)).to_string())?;
    if let Some(bytes) = report.memory_bytes {
        let shared = if report.shares_memory { ", the host's" } else { "" };
        row("memory", format!("{}{shared}", HumanBytes(bytes)))?;
    }
    row("weights", if report.imports { "read where the file is mapped" } else { "copied" }.into())?;
    row("buffers", {
        let (buffer, binding) = (limits.max_buffer_size, limits.max_storage_buffer_binding_size);
        format!("up to {}, {} a binding", HumanBytes(buffer), HumanBytes(binding))
    })?;
    row("workgroups", {
        let (lanes, bytes) =
            (limits.max_compute_invocations_per_workgroup, limits.max_compute_workgroup_storage_size);
        format!("{lanes} invocations, {} of memory", HumanBytes(bytes.into()))
    })?;
    row("subgroups", {
        let (min, max) = (info.subgroup_min_size, info.subgroup_max_size);
        match subgroup(report) {
            Some(lanes) => format!("{lanes} lanes"),
            None if has_subgroups(report) => format!("{min} to {max} lanes"),
            None => "not used".into(),
        }
    })?;
    if let Some(coop) = report.coop {
        row("matrices", matrices(coop, report.uses_coop))?;
    }
    row("features", features(report).join(", "))?;
    match &report.missing {
        Some(missing) => row("unusable", paint(painted, RED, &shown(missing).to_string())),
        None => Ok(()),
    }
}

fn to_json(report: &AdapterReport) -> Value {
    let AdapterReport { info, limits, .. } = report;
    json!({
        "name": info.name,
        "backend": format!("{:?}", info.backend),
        "type": kind(info.device_type),
        "driver": info.driver,
        "driver_info": info.driver_info,
        "memory_bytes": report.memory_bytes,
        "shares_memory": report.shares_memory,
        "imports": report.imports,
        "features": features(report),
        "subgroup_size": subgroup(report),
        "matrices": report.coop.map(|Coop { size, f16, .. }| json!({
            "size": size, "of": if f16 { "f16" } else { "f32" }, "used": report.uses_coop
        })),
        "limits": {
            "buffer_bytes": limits.max_buffer_size,
            "storage_binding_bytes": limits.max_storage_buffer_binding_size,
            "storage_buffers_per_stage": limits.max_storage_buffers_per_shader_stage,
            "invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
            "workgroup_memory_bytes": limits.max_compute_workgroup_storage_size,
            "workgroups_per_dimension": limits.max_compute_workgroups_per_dimension,
        },
        "chosen": report.chosen,
        "unusable": report.missing,
    })
}

/// What matrices a device multiplies as units, and whether products are computed by them.
fn matrices(Coop { size, f16, .. }: Coop, used: bool) -> String {
    let numbers = if f16 { "f16" } else { "f32" };
    let used = match (used, f16) {
        (true, true) => "; many rows at once are rounded to f16, STRIX_FAMILY=tiled keeps them f32",
        (true, false) => "; many rows at once are multiplied by them",
        (false, _) => ", not used; STRIX_FAMILY=coop does",
    };
    format!("{size}x{size} of {numbers}, sums of f32{used}")
}

pub(crate) fn kind(kind: DeviceType) -> &'static str {
    match kind {
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        DeviceType::Cpu => "software",
        DeviceType::Other => "other",
    }
}

/// Kernels with subgroups need their size to be fixed.
fn subgroup(report: &AdapterReport) -> Option<u32> {
    let (min, max) = (report.info.subgroup_min_size, report.info.subgroup_max_size);
    (has_subgroups(report) && min == max).then_some(min)
}

fn has_subgroups(report: &AdapterReport) -> bool {
    report.features.contains(strix_engine::wgpu::Features::SUBGROUP)
}

fn features(report: &AdapterReport) -> Vec<String> {
    report.features.iter_names().map(|(name, _)| name.to_lowercase()).collect()
}
