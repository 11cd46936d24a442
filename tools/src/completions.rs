//! `strix completions`: a completion script for a shell.

use std::io::Write;

use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  strix completions bash > ~/.local/share/bash-completion/completions/strix
  strix completions zsh > ~/.zfunc/_strix
  strix completions fish > ~/.config/fish/completions/strix.fish";

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<u8> {
    let mut script = vec![];
    clap_complete::generate(args.shell, command, "strix", &mut script);
    crate::terminal::stdout().write_all(&script)?;
    Ok(crate::DONE)
}
