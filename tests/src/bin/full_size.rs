//! `cargo xtask full-size [--only N,..] [--dir DIR] [--keep] [--save DIR]`: the 8.2B model's size on this machine.
//! Fails where a figure falls short.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use strix_model::Dtype;
use strix_tests::command::exit_code;
use strix_tests::full_size::Plan;

#[derive(Parser)]
#[command(about = "Conversion, loading, answers and arithmetic at the size of the 8.2B model")]
struct Args {
    /// Points: 1 conversion, 2 loading, 3 an answer, 4 a small device, 5 the arithmetic.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 3, 4, 5],
          value_parser = clap::value_parser!(u8).range(1..=5))]
    only: Vec<u8>,
    /// Folder for the models: 16.4 GB while converting, then 8.8 GB.
    #[arg(long, default_value = "target/full-size")]
    dir: PathBuf,
    /// Positions of the KV cache in points 2 to 4.
    #[arg(long, default_value_t = 512)]
    ctx: u32,
    /// Keep the source of the conversion.
    #[arg(long)]
    keep: bool,
    /// Write the results here too, as Markdown and JSON.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Weights of point 5: f32, bf16, int8, int8:32, int8:64 or int8:128.
    #[arg(long, value_name = "DTYPE", value_delimiter = ',', value_parser = dtype,
          default_values = ["f32", "bf16", "int8", "int8:32"])]
    dtype: Vec<Dtype>,
    /// The strix binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    strix: Option<PathBuf>,
    /// Arguments that `strix ask` takes as well.
    #[arg(last = true, value_name = "ARGS")]
    ask: Vec<String>,
}

fn dtype(text: &str) -> Result<Dtype, String> {
    Ok(match text.split_once(':') {
        None if text == "f32" => Dtype::F32,
        None if text == "bf16" => Dtype::Bf16,
        None if text == "int8" => Dtype::Int8 { group: None },
        Some(("int8", group)) => Dtype::Int8 { group: Some(group.parse().map_err(|e| format!("{e}"))?) },
        _ => return Err("it is f32, bf16, int8 or int8:32".into()),
    })
}

fn main() -> ExitCode {
    exit_code(run(Args::parse()))
}

fn run(args: Args) -> Result<bool> {
    let beside = || -> Result<PathBuf> {
        let own = std::env::current_exe().context("the place of this binary")?;
        Ok(own.with_file_name(format!("strix{}", std::env::consts::EXE_SUFFIX)))
    };
    let strix = args.strix.map_or_else(beside, Ok)?;
    let plan = Plan {
        points: args.only,
        dir: args.dir,
        ctx: args.ctx,
        keep: args.keep,
        strix,
        ask: args.ask,
        dtypes: args.dtype,
    };
    let findings = plan.run()?;
    println!("{}", findings.markdown());
    if let Some(dir) = &args.save {
        findings.save(dir)?;
    }
    println!("{}", if findings.good() { "all within bounds" } else { "FELL SHORT" });
    Ok(findings.good())
}
