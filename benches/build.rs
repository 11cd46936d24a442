//! Says which wgpu this was built with: it does not tell at run time.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let lock = here.ancestors().map(|dir| dir.join("Cargo.lock")).find(|path| path.exists());
    let text = lock.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    if let Some(path) = lock {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let package = text.split_once("name = \"wgpu\"\nversion = \"");
    let version = package.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown");
    println!("cargo:rustc-env=STRIX_WGPU_VERSION={version}");
}
