//! The texts after the options in help, laid out for the terminal: clap breaks lines, and knows neither tables nor
//! commands.

use clap::Command;

/// Characters of a line of help, at most, where a terminal has as many.
const MOST_COLUMNS: usize = 100;

/// Characters of a line of help for a file or a pipe.
const COLUMNS: usize = 80;

/// A program whose help fits so many columns.
pub(crate) fn fitted(program: Command, columns: usize) -> Command {
    let text = program.get_after_help().map(|text| laid_out(&text.to_string(), columns));
    let program = match text {
        Some(text) => program.after_help(text),
        None => program,
    };
    program.term_width(columns).mut_subcommands(|command| fitted(command, columns))
}

/// Characters of a line of help.
pub(crate) fn columns() -> usize {
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(told).map_or(COLUMNS, |columns| columns.clamp(40, MOST_COLUMNS))
}

/// A text whose lines have so many columns at most.
pub(crate) fn laid_out(text: &str, columns: usize) -> String {
    text.lines().map(|line| broken(line, columns)).collect::<Vec<_>>().join("\n")
}

/// A line in as many as it takes: a row of a table is continued under its second column, and a command as a shell reads
/// it.
fn broken(line: &str, columns: usize) -> String {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let is_command = ["strix ", "curl ", "cat "].iter().any(|start| text.starts_with(start));
    let gap = text.find("  ").filter(|_| indent > 0 && !is_command);
    let column = gap.map(|gap| indent + gap + text[gap..].len() - text[gap..].trim_start().len());
    let hanging = column.unwrap_or(if is_command { indent + 4 } else { indent });
    let end = if is_command { " \\" } else { "" };

    let (mut lines, mut current) = (vec![], line[..column.unwrap_or(indent)].to_owned());
    let mut is_empty = true;
    for word in words(&line[current.len()..]) {
        let room = columns.saturating_sub(end.len());
        if !is_empty && current.chars().count() + 1 + word.chars().count() > room {
            lines.push(current + end);
            current = " ".repeat(hanging);
            is_empty = true;
        }
        if !is_empty {
            current.push(' ');
        }
        current += word;
        is_empty = false;
    }
    lines.push(current);
    lines.join("\n")
}

/// The words of a text; what is in quotes is one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let between = move |c: char| {
        match (quote, c) {
            (None, '"' | '`') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        c == ' ' && quote.is_none()
    };
    text.split(between).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command and all below it.
    fn each(command: &Command, of: &mut impl FnMut(&str, String)) {
        of(command.get_name(), command.clone().render_long_help().to_string());
        of(command.get_name(), command.clone().render_help().to_string());
        command.get_subcommands().for_each(|command| each(command, of));
    }

    #[test]
    fn every_help_fits_80_columns() {
        let mut program = fitted(<crate::Cli as clap::CommandFactory>::command(), 80);
        program.build();
        let mut seen = 0;
        each(&program, &mut |name, help| {
            seen += 1;
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {} columns: {line}", line.chars().count());
            }
        });
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn rows_hang_and_commands_go_on() {
        let text = "Environment:\n  STRIX_LOG  what to log to stderr, e.g. info\n  NO_COLOR   no colours";
        let want = "Environment:\n  STRIX_LOG  what to log to\n             stderr, e.g. info\n  NO_COLOR   no colours";
        assert_eq!(laid_out(text, 30), want);
        let text = "  strix ask --image owl.jpg \"What is this?\"";
        assert_eq!(laid_out(text, 42), "  strix ask --image owl.jpg \\\n      \"What is this?\"");
        assert_eq!(laid_out(text, 80), text);
        assert_eq!(laid_out("one two three\n\nfour", 8), "one two\nthree\n\nfour");
    }
}
