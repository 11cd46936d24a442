//! `cargo xtask pictures [DIR]`: every picture of a folder against what Pillow makes of it. Fails where a lossless one
//! differs, one panics, or one that Pillow reads is refused without its format's name.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use strix_tests::command::exit_code;
use strix_tests::pictures;

#[derive(Parser)]
#[command(about = "Pictures against what Pillow makes of them")]
struct Args {
    /// Folder with an `expected.json` in the form of tests/cases.
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let dir = Args::parse().dir.unwrap_or_else(pictures::cases);
    exit_code(pictures::check(&dir).map(|report| {
        println!("{report}");
        report.good()
    }))
}
