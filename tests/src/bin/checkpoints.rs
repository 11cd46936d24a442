//! `cargo xtask checkpoints [DIR]`: every folder of a tree, what Strix says of it, against its `expected` line. Fails where
//! one differs or panics.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use strix_tests::checkpoints;
use strix_tests::command::exit_code;

const FORM: &str = "\
A folder's file `expected` is one line: VERDICT [PATH][: PHRASES]
  VERDICT  loads (ok, accepted) or refused (error)
  PATH     what is named as the model, within the folder; without it the folder itself
  PHRASES  between semicolons (or commas, where there is no semicolon): each must be in what is said
A line without a verdict is phrases alone. Folders without a line are listed with what is said of them.";

#[derive(Parser)]
#[command(about = "What Strix says of every folder of a tree, against its expected line", after_help = FORM)]
struct Args {
    /// The tree [default: the folders that tests/cases/checkpoints describes]
    root: Option<PathBuf>,
    /// Write the folders that tests/cases/checkpoints describes to DIR first, and keep them
    #[arg(long, value_name = "DIR", conflicts_with = "root")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<bool> {
    let made = tempfile::tempdir()?;
    let root = match (&args.root, &args.write) {
        (Some(root), _) => root.as_path(),
        (None, write) => {
            let root = write.as_deref().unwrap_or(made.path());
            checkpoints::make(root)?;
            root
        }
    };
    // A panic is told of below, by the folder it is of.
    std::panic::set_hook(Box::new(|_| ()));
    let found = checkpoints::examine(root)?;
    for found in &found {
        println!("{found}");
    }
    let different = found.iter().filter(|found| !found.good()).count();
    let expected = found.iter().filter(|found| found.expected.is_some()).count();
    println!("\n{} folders, {expected} with an expected line: {different} different", found.len());
    Ok(different == 0)
}
