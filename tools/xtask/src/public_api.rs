//! The public items of each library, beside the list of them that is committed: what an app's code can rely on is seen to
//! change.

use std::fs;
use std::process::{Command, Stdio};

use crate::features::LIBRARIES;
use crate::{Result, quiet};

/// Compares the libraries with their `public-api.txt`; with `--bless` writes them anew. Where the tool or a nightly compiler
/// is missing, that is said, and no error.
pub(crate) fn public_api(args: &[String]) -> Result {
    let is_to_bless = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--bless"] => true,
        _ => {
            eprintln!("error: public-api takes --bless");
            return Err(2);
        }
    };
    for (what, install) in [
        (["+nightly", "--version"], "rustup toolchain install nightly --profile minimal"),
        (["public-api", "--version"], "cargo install cargo-public-api --locked"),
    ] {
        if !quiet(rustup_cargo().args(what)) {
            println!("warning: public items are not compared: {install}");
            return if is_to_bless { Err(2) } else { Ok(()) };
        }
    }
    let mut differ = 0;
    for (folder, package) in LIBRARIES {
        let path = format!("{}/../../{folder}/public-api.txt", env!("CARGO_MANIFEST_DIR"));
        let listed = listed(package)?;
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if listed == committed {
            println!(
                "{package}: {} public items, as {folder}/public-api.txt has them",
                listed.lines().count()
            );
        } else if is_to_bless {
            fs::write(&path, listed).map_err(|error| {
                eprintln!("error: {path}: {error}");
                1
            })?;
            println!("{folder}/public-api.txt is written");
        } else if committed.is_empty() {
            println!("warning: {folder}/public-api.txt is not there yet: cargo xtask public-api --bless");
        } else {
            print_difference(&committed, &listed);
            eprintln!("error: {package}: its public items differ from {folder}/public-api.txt");
            differ += 1;
        }
    }
    if differ > 0 {
        eprintln!(
            "What an app can see has changed. If that is meant: cargo xtask public-api --bless, and CHANGELOG.md."
        );
        return Err(1);
    }
    Ok(())
}

/// The public items of a package with all its features, a line each, without what is derived and blanket.
fn listed(package: &str) -> Result<String> {
    let mut command = rustup_cargo();
    command.args(["+nightly", "public-api", "-sss", "--color", "never", "--all-features", "-p", package]);
    let done = command.stderr(Stdio::piped()).output();
    match done {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(out) => {
            eprintln!("error: cargo public-api -p {package}:\n{}", String::from_utf8_lossy(&out.stderr));
            Err(1)
        }
        Err(error) => {
            eprintln!("error: cargo public-api: {error}");
            Err(1)
        }
    }
}

fn print_difference(committed: &str, listed: &str) {
    let gone = committed.lines().filter(|line| !listed.lines().any(|other| other == *line));
    let new = listed.lines().filter(|line| !committed.lines().any(|other| other == *line));
    gone.for_each(|line| println!("- {line}"));
    new.for_each(|line| println!("+ {line}"));
}

/// cargo as rustup picks it by `+TOOLCHAIN`: that which runs this task is of one toolchain.
fn rustup_cargo() -> Command {
    let mut command = Command::new("cargo");
    command
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION");
    command
}
