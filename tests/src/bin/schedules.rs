//! `cargo xtask schedules [--seeds N] [--from SEED]`: conversations of nano in one cache that is too small for all, told to go
//! on in any order. Fails where one is told anything else than alone.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use strix_engine::Gpu;
use strix_tests::command::exit_code;
use strix_tests::schedules::Schedules;

#[derive(Parser)]
#[command(about = "Conversations that share one model in any order, against each alone")]
struct Args {
    /// Schedules to run.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// Seed of the first.
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn main() -> ExitCode {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<bool> {
    let gpu = Gpu::new()?;
    println!("adapter: {}", gpu.name());
    let mut schedules = Schedules::new(&gpu)?;
    let mut good = true;
    for seed in args.from..args.from.saturating_add(args.seeds) {
        if let Err(error) = schedules.run(seed) {
            println!("DIFFERS: {error:#}");
            good = false;
        }
    }
    println!("{}", schedules.counts);
    Ok(good)
}
