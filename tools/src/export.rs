//! `strix export`: a converted folder back into a plain checkpoint.

use std::path::PathBuf;

use clap::ValueEnum;
use strix_model::convert;
use strix_model::weights::FileDtype;

use crate::named::Named;
use crate::write::Writing;

const EXAMPLES: &str = "\
Examples:
  strix export mplug-owl2-int8 mplug-owl2-hf
  strix export mplug-owl2-bin mplug-owl2-safetensors --dtype bf16";

#[derive(Clone, Copy, ValueEnum)]
enum Plain {
    Bf16,
    F32,
}

/// Write a checkpoint, converted or not, as plain safetensors for other programs
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of a checkpoint, or its file of weights; nano is the built-in one
    source: PathBuf,
    /// Folder to write
    out: PathBuf,
    /// What every tensor becomes [default: what it is stored as, and f32 where that is int8]
    #[arg(long, value_enum)]
    dtype: Option<Plain>,
    #[command(flatten)]
    writing: Writing,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let dtype = args.dtype.map(|dtype| match dtype {
        Plain::Bf16 => FileDtype::BF16,
        Plain::F32 => FileDtype::F32,
    });
    let options = args.writing.options();
    let source = Named::find(&args.source)?;
    args.writing.run(&args.out, false, |progress| {
        convert::export(source.path(), &args.out, dtype, &options, progress)
    })
}
