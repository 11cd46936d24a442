//! What is installed, as another project finds it: by pkg-config and by CMake.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::Done;
use crate::place::{Place, has, output, run};
use crate::programs::answers;

/// `cargo xtask install`, built as the tests are.
pub(crate) fn install(place: &Place) -> Result<Done> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .current_dir(&place.root)
        .args(["run", "--quiet", "-p", "xtask", "--", "install", "--dev", "--prefix"])
        .arg(&place.prefix))?;
    Ok(Done::Ok)
}

/// The installed folder, moved: packages do not know where they were installed first.
fn moved(place: &Place) -> Result<std::path::PathBuf> {
    let to = place.empty("moved")?;
    run(Command::new("cp").arg("-a").arg(place.prefix.join(".")).arg(&to))?;
    Ok(to)
}

pub(crate) fn pkg_config(place: &Place) -> Result<Done> {
    if !has("pkg-config") {
        return Ok(Done::Skipped("there is no pkg-config".into()));
    }
    let prefix = moved(place)?;
    let source = place.capi.join("examples/ask.c");
    for package in ["strix", "strix-static"] {
        let flags = output(
            Command::new("pkg-config")
                .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
                .args(["--cflags", "--libs", package]),
        )?;
        println!("{package}: {}", flags.trim());
        let binary = place.work.join(package);
        run(Command::new("gcc")
            .arg(&source)
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(&binary)
            .arg(format!("-Wl,-rpath,{}", prefix.join("lib").display())))?;
        needs(&binary, package == "strix")?;
        answers(place, &binary)?;
    }
    Ok(Done::Ok)
}

pub(crate) fn cmake(place: &Place) -> Result<Done> {
    if !has("cmake") {
        return Ok(Done::Skipped("there is no cmake".into()));
    }
    let prefix = moved(place)?;
    // A project of its own, outside of the repository's tree of sources.
    let project = place.empty("project")?;
    for (from, to) in [
        ("check/cmake/CMakeLists.txt", "CMakeLists.txt"),
        ("examples/ask.c", "ask.c"),
        ("examples/chat.cpp", "chat.cpp"),
    ] {
        fs::copy(place.capi.join(from), project.join(to))?;
    }
    let build = project.join("build");
    run(Command::new("cmake")
        .args(["-S".as_ref(), project.as_os_str(), "-B".as_ref(), build.as_os_str()])
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())))?;
    run(Command::new("cmake").arg("--build").arg(&build))?;
    for (name, is_shared) in [("ask_shared", true), ("ask_static", false)] {
        needs(&build.join(name), is_shared)?;
        answers(place, &build.join(name))?;
    }
    for version in ["0.2", "1.0"] {
        let refused = Command::new("cmake")
            .args(["-S".as_ref(), project.as_os_str(), "-B".as_ref(), project.join("refused").as_os_str()])
            .args([format!("-DCMAKE_PREFIX_PATH={}", prefix.display()), format!("-DSTRIX_WANTED={version}")])
            .output()?;
        if refused.status.success() {
            bail!("find_package(Strix {version}) takes this version");
        }
    }
    Ok(Done::Ok)
}

/// Checks that a program needs the shared library, or not.
fn needs(binary: &Path, is_shared: bool) -> Result<()> {
    let listed = output(Command::new("readelf").arg("-d").arg(binary))?;
    if listed.contains("libstrix.so.0") != is_shared {
        bail!("{} needs:\n{listed}", binary.display());
    }
    Ok(())
}
