//! `strix verify`: reads a converted folder again.

use std::io::Write;
use std::path::PathBuf;

use indicatif::HumanBytes;
use strix_model::convert::{Problem, verify};
use strix_model::shown;

use crate::Usage;
use crate::named::named;
use crate::terminal::{json, out, say};
use crate::write::with_bar;

const EXAMPLES: &str = "\
Examples:
  strix verify mplug-owl2-int8";

/// Tensors that are named unless all are asked for.
const SHOWN: usize = 10;

/// Check every tensor of a folder that strix wrote against its checksum, its manifest and its config
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder that strix convert, export or synth wrote
    folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    if named(Some(&args.folder)).is_none() && !args.folder.exists() {
        let words = "nano is the built-in model, and no folder that strix wrote: strix convert nano OUT --dtype int8 writes one";
        return Err(Usage(words.into()).into());
    }
    let found = with_bar(|progress| verify(&args.folder, progress))?;
    let good = found.problems.is_empty();
    let mut out = out();
    if args.json {
        let problems: Vec<_> = found
            .problems
            .iter()
            .map(
                |problem| serde_json::json!({ "file": problem.file, "tensor": problem.tensor, "reason": problem.reason }),
            )
            .collect();
        let found = serde_json::json!({
            "good": good,
            "tensors": found.num_tensors,
            "files": found.num_files,
            "bytes_in_all": found.total_bytes,
            "good_bytes": found.good_bytes,
            "problems": problems,
        });
        writeln!(out, "{}", json(&format!("{found:#}")))?;
    } else if good {
        writeln!(
            out,
            "{}: {} tensors in {} files, {} of tensors, all as they were written",
            shown(args.folder.display()),
            found.num_tensors,
            found.num_files,
            HumanBytes(found.total_bytes)
        )?;
    } else {
        let tensors = found.problems.iter().filter(|problem| problem.tensor.is_some()).skip(SHOWN);
        let hidden: Vec<&Problem> = tensors.collect();
        for problem in found.problems.iter().filter(|problem| !hidden.contains(problem)) {
            say(&format!("{}/{problem}", shown(args.folder.display())));
        }
        if !hidden.is_empty() {
            say(&format!("and {} more tensors (--json lists them)", hidden.len()));
        }
    }
    if good {
        return Ok(crate::DONE);
    }
    let problems = match found.problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    say(&format!("error: {}: {problems}", shown(args.folder.display())));
    Ok(crate::BAD_INPUT)
}
