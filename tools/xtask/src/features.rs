//! Builds each library with none of its features, with each alone, with its defaults and with all.

use std::fs;
use std::process::Command;

use crate::{Result, cargo, run};

/// Folder and package of each library.
pub(crate) const LIBRARIES: [(&str, &str); 3] =
    [("engine", "strix-engine"), ("shaders", "strix-shaders"), ("model", "strix-model")];

/// A feature that is no more than others together.
pub(crate) const DEFAULT: &str = "default";

/// Checks all sets of features; a warning is an error. What an app leaves out must be refused as the tests say, too.
pub(crate) fn features() -> Result {
    for (folder, package) in LIBRARIES {
        let features = listed(folder)?;
        let mut sets = vec![String::new()];
        sets.extend(features.iter().filter(|feature| *feature != DEFAULT).cloned());
        sets.extend((!features.is_empty()).then(|| features.join(",")));
        for set in sets {
            println!("── {package} with {}", if set.is_empty() { "no feature" } else { &set });
            run(selected().args(["clippy", "--quiet", "-p", package, "--no-default-features"]).args([
                "--features",
                &set,
                "--",
                "-D",
                "warnings",
            ]))?;
        }
    }
    println!("── strix-model says what was left out");
    run(selected().args([
        "test",
        "--quiet",
        "-p",
        "strix-model",
        "--no-default-features",
        "--lib",
        "left_out",
    ]))
}

/// The features in the manifest of a library.
pub(crate) fn listed(folder: &str) -> Result<Vec<String>> {
    let path = format!("{}/../../{folder}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(&path).map_err(|error| {
        eprintln!("error: {path}: {error}");
        1
    })?;
    let lines = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let key = |line: &str| Some(line.split_once(" = ")?.0.to_owned());
    Ok(lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).filter_map(key).collect())
}

/// cargo that gives a package the features that are asked for, whatever others of the workspace ask for.
fn selected() -> Command {
    let mut command = cargo();
    command.env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION");
    command
}
