//! The message of a command that fails, and its exit code.

use std::any::Any;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use serde_json::{Value, json};
use strix_model::{is_acted_on, shown, shown_list};

use crate::terminal::{self, say};
use crate::{BAD_INPUT, DONE, FAULT, INTERRUPTED, Usage, flags, strays, system};

/// The system's shortage, once a panic has told of it. Panics of other threads that follow tell of the same.
static SHORTAGE: OnceLock<&str> = OnceLock::new();

/// Whether errors are printed as JSON too: if `--json` is a switch, not a file to write.
pub(crate) fn as_json() -> bool {
    let mut args = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    args.next().is_some_and(|command| command != "bench") && args.any(|arg| arg == "--json")
}

/// Prints the chain of causes on one line and says which exit code it is.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    let (words, code) = (words(error), exit_code(error));
    say(&format!("error: {words}"));
    tell(&words, code);
    code
}

/// Prints help, or what is wrong with the arguments; says which exit code it is.
pub(crate) fn report_arguments(mut error: Error, program: &Command) -> u8 {
    let code = u8::try_from(error.exit_code()).unwrap_or(BAD_INPUT);
    if code == DONE {
        // Help that nobody can read is no success.
        let printed = system::check_stdout().map_err(anyhow::Error::from);
        let printed = printed.and_then(|()| Ok(error.print().map_err(terminal::of_stdout)?));
        return printed.map_or_else(|error| report(&error), |()| code);
    }
    let question = suggest(&mut error, program)
        .map(|instead| format!("there is no such command; to ask a question, write: {instead}"));
    if let Some(words) = question.or_else(|| misplaced(&error)) {
        let words = shown(words).to_string();
        say(&format!("error: {words}"));
        tell(&words, code);
        return code;
    }
    // Colours are printed, unless an argument holds characters that a terminal acts on.
    let acted_on: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .filter(|arg| arg.chars().any(is_acted_on))
        .collect();
    let text = escaped(&error.render().to_string(), &acted_on);
    match acted_on.is_empty() {
        false => say(text.trim_end()),
        true => _ = error.print(),
    }
    tell(text.trim_end().trim_start_matches("error: "), code);
    code
}

/// A message of clap's, in which line ends are layout unless they come of an argument.
fn escaped(text: &str, args: &[String]) -> String {
    let parts = |arg: &String| {
        let value = arg.split_once('=').map(|(_, value)| value.to_owned());
        // The rest of a one-letter option is its value.
        let rest = arg.strip_prefix('-').and_then(|rest| rest.get(1..)).map(str::to_owned);
        [Some(arg.clone()), value, rest].into_iter().flatten()
    };
    let mut parts: Vec<String> =
        args.iter().flat_map(parts).filter(|part| part.chars().any(is_acted_on)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.iter().fold(text.to_owned(), |text, part| text.replace(part, &shown(part).to_string()))
}

/// Reports a panic as a fault of Strix, unless it is one of a driver, which becomes an error, or of the system.
pub(crate) fn on_panic(panic: &PanicHookInfo<'_>) {
    if strix_engine::is_guarded() {
        return;
    }
    let shortage = system::shortage(text(panic.payload()));
    if SHORTAGE.get().is_some() {
        return;
    }
    match shortage {
        Some(shortage) if SHORTAGE.set(shortage).is_ok() => say(&format!("error: {shortage}")),
        Some(_) => {}
        None => say(&format!("error: this is a bug in Strix: {}", shown(panic))),
    }
}

/// Reports a panic that ended the command; returns the exit code.
pub(crate) fn report_panic(panic: &(dyn Any + Send)) -> u8 {
    let (words, code) = match SHORTAGE.get() {
        Some(shortage) => ((*shortage).to_owned(), BAD_INPUT),
        None => (format!("this is a bug in Strix: {}", text(panic)), FAULT),
    };
    tell(&words, code);
    code
}

/// Message of a panic.
fn text(panic: &(dyn Any + Send)) -> &str {
    strix_engine::panic_text(panic).unwrap_or("a panic")
}

/// Prints an error as one JSON object on stdout, if JSON was asked for.
fn tell(message: &str, code: u8) {
    if as_json() {
        let text = terminal::json(&object(message, code).to_string());
        // The reader of stdout has at least the exit code.
        _ = writeln!(io::stdout(), "{text}");
    }
}

fn object(message: &str, code: u8) -> Value {
    let kind = match code {
        BAD_INPUT => "input",
        INTERRUPTED => "interrupted",
        _ => "fault",
    };
    json!({ "error": { "message": message, "kind": kind, "exit_code": code } })
}

/// Adds the command that was meant, where clap finds none: two letters in the wrong order are too far apart for it.
/// Returns what to type where a question or a picture stands in a command's place.
fn suggest(error: &mut Error, program: &Command) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    if let Some(instead) = strays::instead_of_command(word) {
        return Some(instead);
    }
    if error.get(ContextKind::SuggestedSubcommand).is_none() {
        let near = |name: &&str| strsim::osa_distance(word, name) <= 1 + name.len() / 6;
        let near: Vec<_> =
            program.get_subcommands().map(Command::get_name).filter(near).map(str::to_owned).collect();
        if !near.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(near));
        }
    }
    None
}

/// The command to type if a model is named with an option that the command lacks, or without the one it has.
fn misplaced(error: &Error) -> Option<String> {
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else { return None };
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let command = args.first()?.as_str();
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match command {
        "inspect" | "convert" | "export" | "verify" if found == "-m" || found == "--model" => {
            let value = args.iter().find_map(|arg| arg.strip_prefix("--model=").map(ToOwned::to_owned));
            let after = || args.iter().skip_while(|arg| arg != &found).nth(1).cloned();
            let name = value.or_else(after).unwrap_or_else(|| "FOLDER".into());
            let more = match command {
                "convert" => " OUT --dtype int8",
                "export" => " OUT",
                _ => "",
            };
            Some(format!("{command} takes the model without an option: strix {command} {name}{more}"))
        }
        "plan" | "tune" if !found.starts_with('-') => {
            Some(format!("{command} takes a model with --model: strix {command} --model {found}"))
        }
        _ => None,
    }
}

/// The chain of causes on one line.
pub(crate) fn words(error: &anyhow::Error) -> String {
    let closed = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    let mut chain = String::new();
    if error.chain().any(|cause| cause.downcast_ref().is_some_and(closed)) {
        chain = "the reader of the output left before it was complete".into();
    }
    for cause in error.chain().map(flags::words) {
        // Many messages end with the message of their cause.
        if chain.is_empty() {
            chain = cause;
        } else if !chain.contains(&cause) {
            chain = format!("{chain}: {cause}");
        }
    }
    shown_list(chain).to_string()
}

/// Which exit code an error is.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    fn of(is_fault: bool) -> u8 {
        if is_fault { FAULT } else { BAD_INPUT }
    }
    fn model(e: &strix_model::Error) -> u8 {
        match e {
            strix_model::Error::Shared(e) => model(e),
            strix_model::Error::Interrupted => INTERRUPTED,
            _ => of(e.is_fault()),
        }
    }
    let known = error.chain().find_map(|cause| {
        if let Some(e) = cause.downcast_ref::<strix_model::Error>() {
            Some(model(e))
        } else if let Some(e) = cause.downcast_ref::<strix_benches::Error>() {
            Some(match e {
                strix_benches::Error::Engine(e) => of(e.is_fault()),
                strix_benches::Error::Model(e) => model(e),
                _ => BAD_INPUT,
            })
        } else if let Some(e) = cause.downcast_ref::<strix_engine::Error>() {
            Some(of(e.is_fault()))
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
    fn only_what_is_written_is_kept_when_it_is_interrupted() {
        let interrupted = || anyhow::Error::new(strix_model::Error::Interrupted);
        assert_eq!(words(&interrupted()), "interrupted");
        let kept = crate::write::kept(interrupted());
        assert_eq!(words(&kept), "interrupted; what is finished is kept: run the same again to continue");
        assert_eq!([exit_code(&interrupted()), exit_code(&kept)], [INTERRUPTED; 2]);
    }

    #[test]
    fn what_an_argument_holds_is_escaped_in_a_message() {
        let args = ["--x=a\nb".to_owned(), "-ic\x1b[1md".to_owned()];
        let text = "error: 'a\nb' for --x\n  tip: '--x=a\nb', 'c\x1b[1md'\n";
        assert_eq!(escaped(text, &args), "error: 'a\\nb' for --x\n  tip: '--x=a\\nb', 'c\\x1b[1md'\n");
    }

    #[test]
    fn an_error_is_told_as_json() {
        let error = json!({ "error": { "message": "a", "kind": "input", "exit_code": 2 } });
        assert_eq!(object("a", BAD_INPUT), error);
        assert_eq!(object("a", INTERRUPTED)["error"]["kind"], "interrupted");
        assert_eq!(object("a", FAULT)["error"]["kind"], "fault");
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_is() {
        let model = anyhow::Error::new(strix_model::Error::EmptyPrompt);
        assert_eq!(exit_code(&model.context("asking")), BAD_INPUT);
        assert_eq!(exit_code(&strix_model::Error::Stopped.into()), FAULT);
        let lost = || strix_engine::Error::Lost("gone".into());
        assert_eq!(exit_code(&lost().into()), FAULT);
        // Also where several answers share the run that failed.
        let shared = strix_model::Error::Shared(std::sync::Arc::new(lost().into()));
        assert_eq!(exit_code(&shared.into()), FAULT);
        assert_eq!(exit_code(&io::Error::from(io::ErrorKind::BrokenPipe).into()), BAD_INPUT);
        assert_eq!(exit_code(&Usage("no".into()).into()), BAD_INPUT);
        assert_eq!(exit_code(&anyhow::anyhow!("2 of 5 answers differ")), FAULT);
    }
}
