//! Checks each library with none of its features, with each alone, with its defaults and with all.

use std::env;
use std::fs;
use std::process::Command;

use crate::{Result, cargo, quiet, run, sibling};

/// Folder and package of each library.
pub(crate) const LIBRARIES: [(&str, &str); 3] =
    [("engine", "strix-engine"), ("shaders", "strix-shaders"), ("model", "strix-model")];

/// A feature that is no more than others together.
pub(crate) const DEFAULT: &str = "default";

/// Checks all sets of features, those of the C interface too. What an app leaves out must be refused as the tests say.
pub(crate) fn features() -> Result {
    sets(LIBRARIES.map(|(_, package)| package).into_iter().chain(["strix-capi"]))?;
    println!("── strix-model says what was left out");
    let left_out = ["-p", "strix-model", "--no-default-features", "--lib", "left_out"];
    run(selected(&mut cargo()).args(["test", "--quiet"]).args(left_out))
}

/// The same of the libraries alone, without running anything.
pub(crate) fn libraries() -> Result {
    sets(LIBRARIES.map(|(_, package)| package))
}

/// Checks each set of features of some packages with cargo-hack; a warning is an error.
fn sets(packages: impl IntoIterator<Item = &'static str>) -> Result {
    let mut command = hack()?;
    command.args(["clippy", "--quiet", "--each-feature"]);
    command.args(packages.into_iter().flat_map(|package| ["-p", package]));
    run(command.args(["--", "-D", "warnings"]))
}

/// cargo-hack, which is installed beside what is built where there is none.
fn hack() -> Result<Command> {
    let mut installed = cargo();
    if quiet(cargo().args(["hack", "--version"])) {
        selected(&mut installed).arg("hack");
        return Ok(installed);
    }
    let root = sibling("tools");
    let program = root.join("bin").join(format!("cargo-hack{}", env::consts::EXE_SUFFIX));
    if !program.exists() {
        run(cargo().args(["install", "--quiet", "cargo-hack", "--locked", "--root"]).arg(&root))?;
    }
    let mut own = Command::new(program);
    selected(&mut own).arg("hack");
    Ok(own)
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

/// A cargo that gives a package the features that are asked for, whatever others of the workspace ask for.
fn selected(command: &mut Command) -> &mut Command {
    command.env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
}
