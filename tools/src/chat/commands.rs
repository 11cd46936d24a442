//! What a line that begins with `/` asks for.

use std::fmt::Write as _;
use std::path::Path;

use crate::{Usage, help};

/// A command, with what follows its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Image(&'a str),
    Video(&'a str),
    Retry,
    Undo,
    Clear,
    Save(&'a str),
    Load(&'a str),
    System(&'a str),
    Stats,
    Help,
    Exit,
}

/// What follows the name of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    Nothing,
    File,
    Text,
}

/// What is known of a command: its name, what follows, and what it does.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) argument: Argument,
    does: &'static str,
}

const fn known(name: &'static str, argument: Argument, does: &'static str) -> Known {
    Known { name, argument, does }
}

pub(super) const COMMANDS: [Known; 11] = [
    known("image", Argument::File, "show a picture to the model with the next question; again for more"),
    known(
        "video",
        Argument::File,
        "the same with frames of an animated GIF, WebP or PNG, as many as --frames says",
    ),
    known(
        "retry",
        Argument::Nothing,
        "answer the last question anew, with another seed where tokens are drawn",
    ),
    known("undo", Argument::Nothing, "let go of the pictures that wait, or else take back the last turn"),
    known("clear", Argument::Nothing, "forget all turns and pictures"),
    known("save", Argument::File, "write the chat to a file, its pictures as the model sees them"),
    known("load", Argument::File, "go on with a chat that was saved, in place of this one"),
    known("system", Argument::Text, "text in front of the first turn; without one, that of the model"),
    known("stats", Argument::Nothing, "positions used, rows run and reused, and speed"),
    known("help", Argument::Nothing, "this list"),
    known("exit", Argument::Nothing, "end the chat, as Ctrl-D does"),
];

/// Whether a line is a command, or at least no path: a name in the root is, and the name of a file there is not.
pub(super) fn is_command(line: &str) -> bool {
    let Some(rest) = line.strip_prefix('/') else { return false };
    let first = line.split_whitespace().next().unwrap_or(line);
    let name = rest.split(char::is_whitespace).next().unwrap_or(rest);
    !name.contains('/') && !Path::new(first).is_file()
}

/// Reads a line that begins with `/`.
///
/// # Errors
///
/// If there is no such command, with the one that was probably meant, or it lacks its file or has one too many.
pub(super) fn parse(line: &str) -> Result<Command<'_>, Usage> {
    let (name, rest) = line[1..].split_once(char::is_whitespace).unwrap_or((&line[1..], ""));
    let rest = rest.trim();
    let Some(known) = COMMANDS.iter().find(|known| known.name == name) else { return Err(unknown(name)) };
    match (known.argument, rest.is_empty()) {
        (Argument::Nothing, false) => return Err(Usage(format!("/{name} stands alone"))),
        (Argument::File, true) => {
            return Err(Usage(format!("which file? /{name} FILE; Tab completes its name")));
        }
        _ => {}
    }
    Ok(match name {
        "image" => Command::Image(rest),
        "video" => Command::Video(rest),
        "retry" => Command::Retry,
        "undo" => Command::Undo,
        "clear" => Command::Clear,
        "save" => Command::Save(rest),
        "load" => Command::Load(rest),
        "system" => Command::System(rest),
        "stats" => Command::Stats,
        "exit" => Command::Exit,
        _ => Command::Help,
    })
}

fn unknown(name: &str) -> Usage {
    let near = COMMANDS.iter().map(|known| (strsim::osa_distance(name, known.name), known.name));
    let near = near.min().filter(|(distance, _)| *distance <= 2);
    let prefix = COMMANDS.iter().find(|known| !name.is_empty() && known.name.starts_with(name));
    let meant = prefix.map(|known| known.name).or(near.map(|(_, name)| name));
    Usage(match meant {
        Some(meant) => format!("there is no command /{name}; did you mean /{meant}?"),
        None => format!(
            "there is no command /{name}; /help lists them, and a question that begins with / takes a space in front"
        ),
    })
}

/// The list of commands, in so many columns.
pub(super) fn help(columns: usize) -> String {
    let mut text = String::new();
    for Known { name, argument, does } in COMMANDS {
        let argument = match argument {
            Argument::Nothing => "",
            Argument::File => " FILE",
            Argument::Text => " TEXT",
        };
        let _ = writeln!(text, "  {:<15} {does}", format!("/{name}{argument}"));
    }
    text += "\n\
        A picture's path alone on a line, or dropped in front of a question or behind it, is as /image. A line that ends \
        in \\ goes on in the next one, and Alt-Enter begins a new one. Ctrl-C stops an answer or clears the line.";
    help::laid_out(&text, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_what_follows() {
        assert_eq!(parse("/image  a b.png ").unwrap(), Command::Image("a b.png"));
        assert_eq!(parse("/system").unwrap(), Command::System(""));
        assert_eq!(parse("/system\tBe brief.\nPlease.").unwrap(), Command::System("Be brief.\nPlease."));
        assert_eq!(parse("/help").unwrap(), Command::Help);
        for known in COMMANDS {
            let line = format!("/{}{}", known.name, if known.argument == Argument::File { " x" } else { "" });
            let is_help = parse(&line).unwrap() == Command::Help;
            assert_eq!(is_help, known.name == "help", "{line}");
        }
    }

    #[test]
    fn a_path_is_no_command() {
        for (line, want) in
            [("/image a/b.png", true), ("/imgae", true), ("/", true), ("/home/a/b.png What?", false)]
        {
            assert_eq!(is_command(line), want, "{line}");
        }
        assert!(!is_command("What is /image?") && !is_command(" /image"));
    }

    #[test]
    fn what_is_no_command_is_answered_with_the_nearest() {
        let error = |line| parse(line).unwrap_err().to_string();
        assert!(error("/imgae x").contains("did you mean /image?"));
        assert!(error("/quit").contains("did you mean /exit?"));
        assert!(error("/frobnicate").contains("/help lists them"));
        assert!(error("/sy").contains("did you mean /system?"));
        assert!(error("/").contains("no command /; /help lists them"));
        assert!(error("/image").contains("which file? /image FILE"));
        assert!(error("/clear all").contains("/clear stands alone"));
    }

    #[test]
    fn help_has_a_line_for_each_command_and_fits_a_terminal() {
        let help = help(80);
        for known in COMMANDS {
            assert!(
                help.lines()
                    .any(|line| line.trim_start().split(' ').next() == Some(&format!("/{}", known.name)))
            );
        }
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}
