//! `cargo xtask golden [ROOT] [--together | --dtype D] [--group N] [--kv D] [--activations D]`: the engine against the original implementation's
//! recorded tensors, preprocessing, tokens and prompts. Fails where a figure falls short.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use strix_engine::Gpu;
use strix_tests::checks::{self, Identical, YARDSTICK_FACTOR};
use strix_tests::command::{Kind, Kv, RowDtype, exit_code};
use strix_tests::golden;

#[derive(Parser)]
#[command(about = "The engine against the original implementation's recorded tensors")]
struct Args {
    /// Folder laid out like tests/golden.
    root: Option<PathBuf>,
    /// Rounds the weights and measures the error against the yardstick instead.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Kind,
    /// Columns that share an int8 scale: 32, 64 or 128.
    #[arg(long)]
    group: Option<u32>,
    /// Rounds the keys and values in the cache and measures the error as well.
    #[arg(long, value_enum, default_value = "f32")]
    kv: Kv,
    /// With int8: rounds the rows that projections are given and measures the error as well.
    #[arg(long, value_enum, default_value = "f32")]
    activations: RowDtype,
    /// Runs all cases of a set as conversations at once, in one cache of pages in any order.
    #[arg(long, conflicts_with_all = ["dtype", "group", "kv", "activations"])]
    together: bool,
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn main() -> ExitCode {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<bool> {
    let root = args.root.clone().unwrap_or_else(golden::root);
    let gpu = Gpu::new()?;
    println!("adapter: {}", gpu.name());
    let mut good = true;
    if args.together {
        for set in golden::sets(&root)? {
            let report = checks::together(&gpu, &set)?;
            println!("\n{report}");
            good &= report.good();
        }
        println!("{}", if good { "all within bounds" } else { "FELL SHORT" });
        return Ok(good);
    }
    if (args.dtype, args.kv, args.activations) == (Kind::F32, Kv::F32, RowDtype::F32) {
        for set in golden::sets(&root)? {
            let report = checks::set(&gpu, &set)?;
            println!("\n{report}");
            good &= report.good();
        }
        println!();
        for (what, folder, check) in [
            ("preprocessing", "preproc", checks::preprocessing as fn(&Path) -> Result<Identical>),
            ("tokenizer and prompts", "tokenizer", checks::tokenizer),
        ] {
            let folder = root.join(folder);
            if !folder.exists() {
                println!("{what}: none recorded in {}", root.display());
                continue;
            }
            let identical = check(&folder)?;
            println!("{what}: {identical}");
            good &= identical.good();
        }
        println!("{}", if good { "all within bounds" } else { "FELL SHORT" });
        return Ok(good);
    }
    let (dtype, kv) = (args.dtype.dtype(args.group), args.kv.dtype());
    let activations = args.activations.activations();
    println!(
        "{dtype}, KV cache {kv}, activations {activations:?}: max logit error / rms / mean KL / top-1 agreement; asked at most {YARDSTICK_FACTOR} times the yardstick"
    );
    for rounding in checks::yardstick(&gpu, &root, dtype, kv, activations)? {
        println!("{rounding}");
        good &= rounding.good();
    }
    Ok(good)
}
