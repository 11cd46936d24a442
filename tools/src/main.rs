//! `strix`: asks a vision-language model questions about pictures, on any GPU.

mod answer;
mod ask;
mod bench;
mod cache;
mod chat;
mod completions;
mod constrain;
mod convert;
mod demo;
mod devices;
mod doctor;
mod echo;
mod export;
mod failure;
mod flags;
mod half_blocks;
mod help;
mod inspect;
mod isa;
mod load;
mod named;
mod pictures;
mod plan;
mod sampling;
mod shader;
mod shape;
mod strays;
mod svg;
mod synth;
mod system;
mod terminal;
mod tune;
mod verify;
mod writable;
mod write;

use std::panic;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

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
  strix chat --image photo.jpg
  strix convert mplug-owl2-llama2-7b mplug-owl2-int8 --dtype int8
  strix bench kernels --quick

Exit codes:
  0    done
  1    a fault of Strix or of the device
  2    bad input: arguments, files, prompt, no adapter that can do it, or output that was closed early
  130  interrupted by Ctrl-C; another signal n ends it with 128 + n

Errors are one line on stderr. With --json they are also one object on stdout, {\"error\": {\"message\", \"kind\", \
\"exit_code\"}}, whose kind is input, fault or interrupted.

Environment:
  STRIX_ADAPTER       adapter to use, as --adapter
  STRIX_FAMILY        subgroup, tiled, plain or coop: use the kernels of that family, whatever is best here
  STRIX_NO_SUBGROUPS  1: use the kernels that need no subgroups
  STRIX_CACHE_DIR     folder for what `strix tune` finds and for compiled kernels [default: strix in the user's \
                      cache folder]
  STRIX_NO_IMPORT     1: copy the weights to the device, as --no-import
  STRIX_TRACE         e.g. decoder.3: write the tensors of each step so named to strix-trace/, and replay every step \
                      through its CPU reference (STRIX_LOG=info shows the first that differs)
  STRIX_TRACE_DIR     folder for these tensors, in place of strix-trace/
  STRIX_LOG           what to log to stderr, e.g. info or strix_engine=debug
  NO_COLOR            print no colours
  LP_NATIVE_VECTOR_WIDTH
                      bits of a vector in Mesa's software driver: 512 with Mesa 22 on processors that have them, \
                      unless set";

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
    Chat(Box<chat::Args>),
    Bench(Box<bench::Args>),
    Devices(devices::Args),
    Doctor(doctor::Args),
    Plan(plan::Args),
    Convert(convert::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Export(export::Args),
    Tune(tune::Args),
    Shader(shader::Args),
    Isa(Box<isa::Args>),
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
    system::fail_instead_of_ending();
    panic::set_hook(Box::new(failure::on_panic));
    let code = panic::catch_unwind(|| {
        let program = help::fitted(Cli::command(), help::columns());
        let parsed = program.try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
        match parsed {
            Ok(cli) => run(cli.command).unwrap_or_else(|error| failure::report(&error)),
            Err(error) => failure::report_arguments(error, &Cli::command()),
        }
    });
    ExitCode::from(code.unwrap_or_else(|panic| failure::report_panic(&*panic)))
}

#[expect(unsafe_code, reason = "it changes the environment")]
fn wide_vectors() {
    // SAFETY: main has only just begun; no other thread is there to read the environment.
    unsafe { strix_engine::use_wide_vectors() };
}

fn run(command: Command) -> anyhow::Result<u8> {
    system::check_stdout()?;
    if let Ok(filter) = std::env::var("STRIX_LOG") {
        let filter = EnvFilter::try_new(filter).map_err(|e| Usage(format!("STRIX_LOG: {e}")))?;
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal::log).with_ansi(false).init();
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Shader(args) => shader::run(&args),
        Command::Isa(args) => isa::run(&args),
        Command::Synth(args) => synth::run(&args),
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of the sources below a folder.
    fn sources(dir: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| match path.is_dir() {
            true => sources(&path),
            false if path.extension().is_some_and(|e| e == "rs") => {
                vec![std::fs::read_to_string(path).unwrap()]
            }
            false => vec![],
        };
        entries.flat_map(read).collect()
    }

    #[test]
    fn help_names_every_variable_that_is_read() {
        let rooms = ["engine", "shaders", "model", "tools"];
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut seen = vec![];
        for text in rooms.iter().flat_map(|room| sources(&root.join(room).join("src"))) {
            for (at, start) in text.match_indices("\"STRIX_") {
                let name: String =
                    text[at + 1..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
                // Set while it is built, and read then.
                let built = text[..at].ends_with("env!(") || !text[at + 1 + name.len()..].starts_with('"');
                if !built && name.len() > start.len() - 1 && !seen.contains(&name) {
                    assert!(AFTER_HELP.contains(&format!("\n  {name} ")), "{name}");
                    seen.push(name);
                }
            }
        }
        assert!(seen.len() >= 7, "{seen:?}");
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
