//! `strix convert`: a checkpoint into files that a device streams as they lie.

use std::path::PathBuf;

use strix_model::convert;

use crate::named::Named;
use crate::write::{Int8, Packed, Writing};

const EXAMPLES: &str = "\
Examples:
  strix convert mplug-owl2-llama2-7b mplug-owl2-int8 --dtype int8
  strix convert mplug-owl2-llama2-7b mplug-owl2-int8 --dtype int8 --group 64 --shard-size 2GiB

If it is interrupted, the same command again continues where it was.";

/// Convert a checkpoint to int8 or bf16, packed as the kernels stream it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of a checkpoint, as on Hugging Face, or its file of weights; nano is the built-in one
    source: PathBuf,
    /// Folder to write
    out: PathBuf,
    /// What weight matrices become. Norms, biases and tables stay as they are, but for f16, which becomes f32; with int8,
    /// so do the matrices of vision tower and abstractor, unless --vision is given
    #[arg(long, value_enum)]
    dtype: Packed,
    #[command(flatten)]
    int8: Int8,
    #[command(flatten)]
    writing: Writing,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let rounding = args.int8.rounding(args.dtype)?;
    let options = args.writing.options();
    let source = Named::find(&args.source)?;
    args.writing.run(&args.out, false, |progress| {
        convert::convert(source.path(), &args.out, rounding, &options, progress)
    })
}
