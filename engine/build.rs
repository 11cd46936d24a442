//! Tells the engine which naga translates its kernels: what was measured with one may not hold for another.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let places = ["OUT_DIR", "CARGO_MANIFEST_DIR"].map(|name| env::var_os(name).map(PathBuf::from));
    let above = |place: &PathBuf| place.ancestors().map(|dir| dir.join("Cargo.lock")).find(|p| p.exists());
    // The lock file of whoever is built; a build folder elsewhere leaves that of this workspace.
    let lock = places.iter().flatten().find_map(above);
    let version = lock.as_deref().and_then(naga).unwrap_or_else(|| "unknown".into());
    if let Some(lock) = lock {
        println!("cargo:rerun-if-changed={}", lock.display());
    }
    println!("cargo:rustc-env=STRIX_NAGA_VERSION={version}");
}

/// The newest naga of a lock file.
fn naga(lock: &Path) -> Option<String> {
    let text = fs::read_to_string(lock).ok()?;
    let entries = text.split("[[package]]").filter(|entry| entry.contains("\nname = \"naga\"\n"));
    let version = |entry: &str| {
        entry.lines().find_map(|l| l.strip_prefix("version = ").map(|v| v.trim_matches('"').into()))
    };
    entries.filter_map(version).last()
}
