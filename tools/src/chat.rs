//! `strix chat`: many turns over one session, typed at a terminal or read line by line.

mod commands;
mod editor;
mod paths;
mod show;
mod talk;

use strix_model::{Checkpoint, LoadOptions, Source};

use crate::answer::Interrupt;
use crate::load::{self, Adapter, ModelArg, Storage};
use crate::pictures::Pictures;
use crate::sampling::Sampling;
use crate::terminal::whisper;
use editor::Input;
use talk::Chat;

const EXAMPLES: &str = "\
Examples:
  strix chat
  strix chat --image photo.jpg
  strix chat --model mplug-owl2 --dtype int8 --temperature 0.7 --context-shift
  strix chat < questions.txt

Lines that begin with / are commands, and /help lists them. A picture's path that is typed, pasted or dropped shows it to \
the model. A line that ends in \\ goes on in the next one. Ctrl-C stops an answer or clears the line; Ctrl-D ends the chat.

Where stdin or stdout is no terminal, each line of stdin is a question or a command, and the first that fails ends the \
chat. Lines that are typed are kept in chat_history, in the folder that STRIX_CACHE_DIR names.";

/// Talk about pictures, turn after turn
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    pictures: Pictures,
    #[command(flatten)]
    adapter: Adapter,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    sampling: Sampling,
    /// Text in front of the first turn; the models were trained without one
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Drop the oldest turns, their pictures too, when the context is full
    #[arg(long)]
    context_shift: bool,
    /// How the terminal shows pictures
    #[arg(long, value_enum, default_value = "auto", value_name = "WAY")]
    show: show::Choice,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let interrupt = Interrupt::watch()?;
    args.pictures.check(true)?;
    let options = LoadOptions { preprocess: args.pictures.preprocess(), ..args.storage.options()? };
    let generate = args.sampling.options()?;
    let checkpoint = Checkpoint::open(args.model.source())?;
    checkpoint.check_options(&options)?;
    let pictures = args.pictures.open()?;
    let gpu = args.adapter.open()?;
    args.sampling.mention_idle(&generate.sampling);
    args.model.mention(&gpu);
    let model = load::load(&gpu, Source::Checkpoint(&checkpoint), &options)?;
    model.tokenizer()?;

    let mut session = model.session()?;
    session.set_system(args.system.clone());
    let input = Input::open()?;
    if input.is_terminal() {
        let (model_name, gpu, ctx) = (&args.model, gpu.name(), model.ctx());
        whisper(&format!("{model_name} on {gpu}, {ctx} positions; /help lists the commands, Ctrl-D ends"));
    }
    let mut chat = Chat::new(session, generate, interrupt, &args.pictures, args.context_shift);
    if input.is_terminal() {
        chat.show_with(show::Graphics::of(args.show));
    }
    chat.attach(&args.pictures.names(), &pictures)?;
    chat.talk(input)
}
