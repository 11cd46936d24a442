//! `strix`: asks a vision-language model questions about pictures, on any GPU.

mod answer;
mod ask;
mod bench;
mod cache;
mod completions;
mod convert;
mod demo;
mod devices;
mod export;
mod half_blocks;
mod inspect;
mod load;
mod pictures;
mod plan;
mod shader;
mod svg;
mod synth;
mod terminal;
mod tune;
mod verify;
mod write;

use std::ffi::OsString;
use std::io;
use std::panic;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use strix_model::{is_acted_on, shown_list};
use tracing_subscriber::EnvFilter;

use crate::terminal::say;

/// All went well.
const DONE: u8 = 0;
/// A fault of Strix or of the device.
const FAULT: u8 = 1;
/// Something the user can mend: an argument, a file, a prompt, the adapter.
const BAD_INPUT: u8 = 2;
/// Ctrl-C.
const INTERRUPTED: u8 = 130;

const AFTER_HELP: &str = "\
Examples:
  strix demo
  strix ask --image photo.jpg \"What is in this picture?\"
  strix convert mplug-owl2-llama2-7b mplug-owl2-int8 --dtype int8
  strix bench kernels --quick

Exit codes:
  0    done
  1    a fault of Strix or of the device
  2    bad input: arguments, files, prompt, no adapter that can do it, or output that was closed early
  130  interrupted by Ctrl-C; another signal n ends it with 128 + n

Environment:
  STRIX_ADAPTER       adapter to use, as --adapter
  STRIX_FAMILY        subgroup, tiled, plain or coop: use the kernels of that family, whatever is best here
  STRIX_NO_SUBGROUPS  1: use the kernels that need no subgroups
  STRIX_CACHE_DIR     folder for what `strix tune` finds and for compiled kernels [default: strix in the
                      user's cache folder]
  STRIX_TRACE         e.g. decoder.3: write the tensors of each step so named to strix-trace/, and replay
                      every step through its CPU reference (STRIX_LOG=info shows the first that differs)
  STRIX_LOG           what to log to stderr, e.g. info or strix_engine=debug
  NO_COLOR            print no colours
  LP_NATIVE_VECTOR_WIDTH  bits of a vector in Mesa's software driver: 512 with Mesa 22 on processors that
                          have them, unless set";

/// Asks a vision-language model questions about pictures, on any GPU.
#[derive(Parser)]
#[command(name = "strix", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Ask(Box<ask::Args>),
    Bench(Box<bench::Args>),
    Devices(devices::Args),
    Plan(plan::Args),
    Convert(convert::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Export(export::Args),
    Tune(tune::Args),
    Shader(shader::Args),
    Synth(synth::Args),
    Completions(completions::Args),
}

/// An error of the command line itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    terminal::quiet_wayland();
    wide_vectors();
    panic::set_hook(Box::new(|panic| say(&format!("error: this is a bug in Strix: {panic}"))));
    let code = panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => run(cli.command).unwrap_or_else(|error| report(&error)),
        Err(help) => {
            print_help(&help);
            u8::try_from(help.exit_code()).unwrap_or(BAD_INPUT)
        }
    });
    ExitCode::from(code.unwrap_or(FAULT))
}

/// Prints help, or what is wrong with the arguments; in colours unless an argument holds what a terminal acts on.
fn print_help(help: &clap::Error) {
    let acted_on = |arg: OsString| arg.to_string_lossy().chars().any(is_acted_on);
    match std::env::args_os().any(acted_on) {
        true => say(help.render().to_string().trim_end()),
        false => _ = help.print(),
    }
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn wide_vectors() {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
}

fn run(command: Command) -> anyhow::Result<u8> {
    if let Ok(filter) = std::env::var("STRIX_LOG") {
        let filter = EnvFilter::try_new(filter).map_err(|e| Usage(format!("STRIX_LOG: {e}")))?;
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal::log).with_ansi(false).init();
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Shader(args) => shader::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

/// Prints the chain of causes on one line and says which exit code it is.
fn report(error: &anyhow::Error) -> u8 {
    say(&format!("error: {}", words(error)));
    exit_code(error)
}

fn words(error: &anyhow::Error) -> String {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    let mut chain = String::new();
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(closed)) {
        chain = "the reader of the output left before it was complete".into();
    }
    for cause in error.chain().map(ToString::to_string) {
        // Many messages end in that of their cause.
        if chain.is_empty() {
            chain = cause;
        } else if !chain.contains(&cause) {
            chain = format!("{chain}: {cause}");
        }
    }
    shown_list(chain).to_string()
}

fn exit_code(error: &anyhow::Error) -> u8 {
    use strix_engine::Error as Engine;
    let engine = |e: &Engine| match e {
        Engine::Lost(_) | Engine::Pipeline { .. } => FAULT,
        _ => BAD_INPUT,
    };
    let model = |e: &strix_model::Error| match e {
        strix_model::Error::Engine(e) => engine(e),
        strix_model::Error::Interrupted => INTERRUPTED,
        _ => BAD_INPUT,
    };
    let known = error.chain().find_map(|cause| {
        if let Some(e) = cause.downcast_ref::<strix_model::Error>() {
            Some(model(e))
        } else if let Some(e) = cause.downcast_ref::<strix_benches::Error>() {
            Some(match e {
                strix_benches::Error::Engine(e) => engine(e),
                strix_benches::Error::Model(e) => model(e),
                _ => BAD_INPUT,
            })
        } else if let Some(e) = cause.downcast_ref::<Engine>() {
            Some(engine(e))
        } else {
            (cause.is::<io::Error>() || cause.is::<Usage>()).then_some(BAD_INPUT)
        }
    });
    known.unwrap_or(FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_what_is_written_is_kept_when_it_is_interrupted() {
        let interrupted = || anyhow::Error::new(strix_model::Error::Interrupted);
        assert_eq!(words(&interrupted()), "interrupted");
        let kept = write::kept(interrupted());
        assert_eq!(words(&kept), "interrupted; what is finished is kept: run the same again to continue");
        assert_eq!([exit_code(&interrupted()), exit_code(&kept)], [INTERRUPTED; 2]);
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_is() {
        let model = anyhow::Error::new(strix_model::Error::Prompt("too long".into()));
        assert_eq!(exit_code(&model.context("asking")), BAD_INPUT);
        assert_eq!(exit_code(&strix_engine::Error::Lost("gone".into()).into()), FAULT);
        assert_eq!(exit_code(&io::Error::from(io::ErrorKind::BrokenPipe).into()), BAD_INPUT);
        assert_eq!(exit_code(&Usage("no".into()).into()), BAD_INPUT);
        assert_eq!(exit_code(&anyhow::anyhow!("2 of 5 answers differ")), FAULT);
    }
}
