//! `strix doctor`: what works on this machine, how well, and what to do about the rest.

mod answers;
mod device;
mod finding;
mod kernels;
mod report;
mod speed;

use std::time::Instant;

use indicatif::ProgressBar;
use strix_benches::Versions;
use strix_engine::Gpu;
use strix_model::tune::processor::cores;
use strix_model::{Config, Dtype, LoadOptions, Room};

use crate::load::Adapter;
use crate::{DONE, FAULT, terminal};
use finding::{Finding, Level};
use report::{Device, Report};

const EXAMPLES: &str = "\
Examples:
  strix doctor
  strix doctor --adapter gl
  strix doctor --json > doctor.json";

/// Check this machine: adapters, driver, every kernel of the 8.2B model, known answers, speed and memory
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    adapter: Adapter,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let started = Instant::now();
    let options = args.adapter.options();
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let on = |what: &str| bar.set_message(what.to_owned());
    on("adapters");
    let (adapters, mut findings) = device::adapters(&options);
    let device = match args.adapter.open() {
        Ok(gpu) => Some(look_at(&gpu, &mut findings, &on)?),
        Err(error) => {
            findings.push(no_device(&error));
            None
        }
    };
    bar.finish_and_clear();
    let report = Report {
        versions: Versions::current(),
        host: format!("{} {}, {} cores", std::env::consts::OS, std::env::consts::ARCH, cores()),
        adapters,
        device,
        findings,
        seconds: started.elapsed().as_secs_f64(),
    };
    let mut out = terminal::out();
    match args.json {
        true => report::json(&mut out, &report)?,
        false => report::text(&mut out, &report)?,
    }
    let is_faulty = report.findings.iter().any(|finding| finding.level == Level::Fault);
    Ok(if is_faulty { FAULT } else { DONE })
}

/// That no device could be opened, and what to do about it.
fn no_device(error: &anyhow::Error) -> Finding {
    match error.downcast_ref() {
        Some(strix_engine::Error::NoAdapter(none)) => {
            Finding::new(Level::Fault, none.to_string(), none.advice("--adapter"))
        }
        _ => Finding::new(
            Level::Fault,
            format!("{error:#}"),
            "update its driver, or name another with --adapter",
        ),
    }
}

/// Checks a device. What fails there is a finding, and the next check is made.
fn look_at(gpu: &Gpu, findings: &mut Vec<Finding>, on: &dyn Fn(&str)) -> anyhow::Result<Device> {
    // Every key has the 8.2B model's value as its default.
    let config = Config::from_json(b"{}")?;
    let options = LoadOptions { dtype: Dtype::Int8 { group: None }, ..LoadOptions::default() };
    let (target, found) = device::properties(gpu);
    findings.extend(found);
    for adapter in gpu.passed_over() {
        findings.push(Finding::new(Level::Warning, format!("passed over {adapter}"), "update its driver"));
    }
    on("kernels of the 8.2B model beside their references");
    let kernels = kernels::check(gpu, &config, &options, findings);
    let answers = answers::ask(gpu, findings, on);
    let plan = strix_model::plan(&config, &options, &gpu.target(), None, Room::of(gpu, None, None));
    let speed = speed::measure(gpu, &config, plan.as_ref().ok(), findings, on);
    let memory = speed::memory(plan, findings);
    Ok(Device { target, kernels, answers, speed, memory })
}
