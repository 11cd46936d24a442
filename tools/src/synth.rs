//! `strix synth`: a checkpoint of made-up values.

use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::HumanBytes;
use strix_model::convert::{Synthesis, free_bytes, synthesize};
use strix_model::weights::FileDtype;

use crate::Usage;
use crate::shape::Shape;
use crate::terminal::whisper;
use crate::write::{Int8, Packed, Writing};

const EXAMPLES: &str = "\
Examples:
  strix synth --preset 8.2b --dtype int8 synthetic-int8
  strix synth --preset 8.2b --dtype bf16 --layout hf --layers 4 synthetic-hf
  strix synth --config config.json --dtype f32 --seed 7 synthetic

Its answers mean nothing; sizes, speed and memory are those of a trained model.";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Packed, as strix convert writes it
    Strix,
    /// Row-major, as on Hugging Face
    Hf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ValueDtype {
    Int8,
    Bf16,
    F16,
    F32,
}

/// clap's usage is longer than a line.
const USAGE: &str = "\
strix synth [OPTIONS] --dtype <DTYPE> --preset <PRESET> <OUT>
       strix synth [OPTIONS] --dtype <DTYPE> --config <FILE> <OUT>";

/// Write a checkpoint of made-up values, to try the real size where there is no trained model
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE, allow_negative_numbers = true, group = clap::ArgGroup::new("of").required(true))]
pub(crate) struct Args {
    /// Folder to write
    out: PathBuf,
    #[command(flatten)]
    shape: Shape,
    /// What weight matrices are; f16 only with --layout hf, int8 only without
    #[arg(long, value_enum)]
    dtype: ValueDtype,
    #[command(flatten)]
    int8: Int8,
    /// How tensors are arranged
    #[arg(long, value_enum, default_value = "strix")]
    layout: Layout,
    /// Other seeds, other values
    #[arg(long, default_value = "0", value_name = "N", value_parser = crate::load::whole::<u64>)]
    seed: u64,
    /// Another number of decoder layers
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..))]
    layers: Option<u32>,
    #[command(flatten)]
    writing: Writing,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let (dtype, rounding) = match (args.layout, args.dtype) {
        (Layout::Strix, ValueDtype::Int8) => (FileDtype::BF16, Some(args.int8.rounding(Packed::Int8)?)),
        (Layout::Strix, ValueDtype::Bf16) => (FileDtype::BF16, Some(args.int8.rounding(Packed::Bf16)?)),
        (Layout::Strix, ValueDtype::F32) => (FileDtype::F32, Some(args.int8.rounding(Packed::F32)?)),
        (Layout::Strix, ValueDtype::F16) => {
            return Err(Usage("--dtype f16 needs --layout hf: the kernels have no f16 weights".into()).into());
        }
        (Layout::Hf, ValueDtype::Int8) => {
            return Err(
                Usage("--dtype int8 needs --layout strix: a plain checkpoint is of floats".into()).into()
            );
        }
        (Layout::Hf, stored) => {
            args.int8.refuse()?;
            let dtype = match stored {
                ValueDtype::Bf16 => FileDtype::BF16,
                ValueDtype::F16 => FileDtype::F16,
                _ => FileDtype::F32,
            };
            (dtype, None)
        }
    };
    let config = args.shape.json()?.unwrap_or_default();
    let mut synthesis = Synthesis { config, dtype, seed: args.seed, rounding };
    if let Some(layers) = args.layers {
        synthesis.set_layers(layers as usize)?;
    }
    let options = args.writing.options();
    let needed = HumanBytes(synthesis.bytes(&options)?);
    match free_bytes(&args.out) {
        Some(free) => whisper(&format!("{needed} to be written, {} free", HumanBytes(free))),
        None => whisper(&format!("{needed} to be written")),
    }
    args.writing.run(&args.out, true, |progress| synthesize(&synthesis, &args.out, &options, progress))
}
