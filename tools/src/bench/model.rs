//! `strix bench model`: load, image encode, prefill and decode of a model.

use std::time::Duration;

use strix_benches::Kind;
use strix_benches::model::{CONTEXTS, LENGTHS, Options, SCALING_CONTEXTS, SCALING_LENGTHS, run_model};
use strix_model::LoadOptions;

use super::options::{Deadline, On, Pace, Progress, Which, begin};
use super::output::Output;
use crate::load::Storage;

const EXAMPLES: &str = "\
Examples:
  strix bench model mplug-owl2-int8 --context 512,2048
  strix bench model --preset 8.2b --layers 4 --dtype int8 --quick
  strix bench model --preset 8.2b --layers 4 --dtype int8 --scaling --html scaling.html

Weights of a preset are made up in memory: answers mean nothing, times are those of a trained model of the shape.";

/// Time load, image encode, prefill and decode of a model: a folder, a built-in shape with made-up weights, or the small
/// model that is built in
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Contexts to decode at, the token itself counted [default: 128,512,2048]
    #[arg(long, value_name = "POSITIONS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    context: Option<Vec<u32>>,
    /// Numbers of conversations to decode together at each context
    #[arg(long, value_name = "SEQUENCES", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=16))]
    batch: Vec<u32>,
    /// Lengths of prompts to prefill [default: 64,256]
    #[arg(long, value_name = "POSITIONS", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    prefill: Option<Vec<u32>>,
    /// Rows of one prefill run
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(2..=4096))]
    chunk: Option<u32>,
    /// Do not encode a picture
    #[arg(long)]
    no_image: bool,
    /// See how times grow: decode with contexts of 128 to 4096, prefill with lengths of 64 to 2048, a layer with its
    /// depth
    #[arg(long)]
    scaling: bool,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    on: On,
}

impl Args {
    /// Contexts and lengths: those asked for, else the usual ones that the model holds.
    fn sizes(&self, trained: u32) -> [Vec<u32>; 2] {
        let [contexts, lengths]: [&[u32]; 2] = match self.scaling {
            true => [&SCALING_CONTEXTS, &SCALING_LENGTHS],
            false => [&CONTEXTS, &LENGTHS],
        };
        let usual = |all: &[u32]| all.iter().copied().filter(|&size| size <= trained).collect();
        [
            self.context.clone().unwrap_or_else(|| usual(contexts)),
            self.prefill.clone().unwrap_or_else(|| usual(lengths)),
        ]
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let deadline = Deadline::of(&args.pace);
    let of = args.which.of();
    let mut load = args.storage.options()?;
    load.chunk = args.chunk.unwrap_or(LoadOptions::default().chunk);
    let [contexts, lengths] = args.sizes(of.trained()?);
    let stored = args.output.before()?;
    let mut progress = Progress::begin()?;
    let (clock, mut run) = begin(&args.on, &args.pace, deadline, Kind::Model, &mut progress)?;
    let tasks = contexts.len() * args.batch.len() + lengths.len() + usize::from(!args.no_image);
    let (runs, each) = if args.pace.quick { ((2, 2), 1) } else { ((3, 10), 3) };
    let each = deadline.left().map_or(Duration::from_secs(each), |left| left / tasks.max(1) as u32);
    let options = Options {
        of,
        load,
        contexts,
        batches: args.batch.clone(),
        lengths,
        image: !args.no_image,
        scaling: args.scaling,
        runs,
        each,
        until: deadline.part(1.0),
        count: Some(|work| allocation_counter::measure(work).count_total),
    };
    let mut done = 0;
    let (rows, scaling) =
        run_model(&clock, &run.roofline, &options, &mut |event| progress.on(&event, &mut done, 1 + tasks))?;
    (run.rows, run.scaling) = (rows, scaling);
    if run.rows.len() < 1 + tasks {
        run.notes.push(deadline.words(run.rows.len(), 1 + tasks));
    }
    run.notes.push(format!("Of {}.", args.which.words(&args.storage)));
    run.notes.push(
        "load: the processor's time is of all threads together. Of prefill and decode the least bytes are the weights \
         and the keys and values once (a chunk of prefill); the shares are of one profiled run. host: the processor \
         time of the thread that records, submits, waits and samples."
            .into(),
    );
    let code = progress.end(&run);
    args.output.after(&run, stored.as_ref())?;
    Ok(code)
}
