//! A process on a GPU that is not there: the driver, what it is told, and the shim in place of the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::gpus::{Fake, Suite};

/// Name of the folder of libraries, and of the dynamic linker in it, on this processor.
pub(crate) fn platform() -> Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("x86_64-linux-gnu", "ld-linux-x86-64.so.2")),
        "aarch64" => Ok(("aarch64-linux-gnu", "ld-linux-aarch64.so.1")),
        other => bail!("drivers are fetched for x86_64 and aarch64, not for {other}"),
    }
}

/// The root of a suite that has a file, whether it was unpacked or is a whole system.
fn root(drivers: &Path, suite: Suite, file: &Path) -> Option<PathBuf> {
    let dir = drivers.join(suite.folder());
    [dir.join("root"), dir].into_iter().find(|root| root.join(file).exists())
}

/// A file that came with the newest drivers, by its place in Debian.
///
/// # Errors
///
/// If it is not in the folder of drivers.
pub fn newest(drivers: &Path, file: &str) -> Result<PathBuf> {
    let root = root(drivers, Suite::Unstable, file.as_ref());
    Ok(root.with_context(|| format!("{}: {file} is not there", drivers.display()))?.join(file))
}

/// The folder of a suite's libraries that has this one.
fn libraries(drivers: &Path, suite: Suite, library: &str) -> Result<Option<PathBuf>> {
    let (triple, _) = platform()?;
    let folder = Path::new("usr/lib").join(triple);
    Ok(root(drivers, suite, &folder.join(library)).map(|root| root.join(folder)))
}

/// Whether the driver of a GPU is in a folder.
pub fn is_there(drivers: &Path, fake: &Fake) -> bool {
    suites(fake).any(|suite| matches!(libraries(drivers, suite, &library(fake)), Ok(Some(_))))
}

/// Where its driver is looked for, the first first.
fn suites(fake: &Fake) -> impl Iterator<Item = Suite> {
    let other = (fake.suite == Suite::Backports && !fake.computes()).then_some(Suite::Unstable);
    [Some(fake.suite), other].into_iter().flatten()
}

fn library(fake: &Fake) -> String {
    format!("libvulkan_{}.so", fake.driver)
}

/// A command of a program on a GPU. The folder must live as long as the process.
///
/// # Errors
///
/// If the driver is not in the folder of drivers, or a temporary folder cannot be made.
pub fn command(drivers: &Path, fake: &Fake, program: &Path) -> Result<(Command, TempDir)> {
    let drivers = fs::canonicalize(drivers).unwrap_or_else(|_| drivers.to_owned());
    let library = library(fake);
    let roots: Vec<_> = suites(fake)
        .filter_map(|suite| libraries(&drivers, suite, &library).transpose())
        .collect::<Result<_>>()?;
    let libraries = roots.into_iter().next();
    let libraries = libraries
        .with_context(|| format!("{}: {library} is not there, which {fake} needs", drivers.display()))?;
    let own = tempfile::Builder::new().prefix("strix-isa-").tempdir()?;
    let icd = own.path().join("icd.json");
    let described = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": libraries.join(&library), "api_version": "1.4.0" },
    });
    fs::write(&icd, described.to_string())?;
    let shim = fake.shim.map(|shim| find(&libraries, &format!("lib{shim}_noop_drm_shim.so"))).transpose()?;
    let (_, linker) = platform()?;
    let linker = libraries.join(linker);
    // Built against another C library than the machine's: the linker beside them starts the program with all of theirs.
    // Where they came alone they are for the machine's own.
    let mut command = if linker.exists() {
        let mut command = Command::new(linker);
        command.arg("--library-path").arg(&libraries);
        if let Some(shim) = shim {
            command.arg("--preload").arg(shim);
        }
        command.arg(program).env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD");
        command
    } else {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", &libraries);
        if let Some(shim) = shim {
            command.env("LD_PRELOAD", shim);
        }
        command
    };
    command.envs(fake.variable);
    command.env("VK_DRIVER_FILES", &icd).env("VK_ICD_FILENAMES", &icd).env_remove("VK_ADD_DRIVER_FILES");
    // Nothing that is found on this machine is to stand in for a driver that fails.
    command.env("WGPU_BACKEND", "vulkan").env_remove("STRIX_ADAPTER");
    if !fake.computes() {
        // Of an adapter that is named it is not asked whether it computes.
        command.env("STRIX_ADAPTER", "(vulkan)");
    }
    command.env("MESA_SHADER_CACHE_DISABLE", "true").env("STRIX_CACHE_DIR", own.path().join("cache"));
    command.env("XDG_RUNTIME_DIR", own.path());
    Ok((command, own))
}

/// A command of a program that was fetched with the newest drivers: `spirv-val`.
///
/// # Errors
///
/// If it is not in the folder of drivers.
pub fn tool(drivers: &Path, name: &str) -> Result<Command> {
    let (triple, linker) = platform()?;
    let linker = fs::canonicalize(newest(drivers, &format!("usr/lib/{triple}"))?)?.join(linker);
    let mut command = Command::new(&linker);
    command.arg("--library-path").args(linker.parent()).arg(newest(drivers, &format!("usr/bin/{name}"))?);
    Ok(command)
}

/// A file below a folder.
fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    fn below(dir: &Path, name: &str) -> Option<PathBuf> {
        let here = dir.join(name);
        if here.exists() {
            return Some(here);
        }
        let entries = fs::read_dir(dir).ok()?.flatten();
        let dirs = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path());
        dirs.into_iter().find_map(|dir| below(&dir, name))
    }
    below(dir, name).with_context(|| format!("{}: {name} is not below", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpus;

    fn gpu(name: &str) -> &'static Fake {
        gpus::find(&[name]).unwrap()[0]
    }

    /// A folder of drivers with empty files.
    fn drivers(files: &[&str]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let (triple, _) = platform().unwrap();
        for file in files {
            let path = dir.path().join(file.replace("LIB", &format!("usr/lib/{triple}")));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        command
            .get_envs()
            .find(|(n, _)| *n == name)
            .and_then(|(_, v)| Some(v?.to_string_lossy().into_owned()))
    }

    #[test]
    fn a_driver_alone_runs_with_the_machines_own_libraries() {
        let dir = drivers(&[
            "backports/root/LIB/libvulkan_radeon.so",
            "backports/root/LIB/mesa/libamdgpu_noop_drm_shim.so",
        ]);
        let (command, own) = command(dir.path(), gpu("navi31"), Path::new("/bin/strix")).unwrap();
        assert_eq!(command.get_program(), "/bin/strix");
        assert_eq!(variable(&command, "AMDGPU_GPU_ID").as_deref(), Some("navi31"));
        assert_eq!(variable(&command, "STRIX_ADAPTER").as_deref(), Some("(vulkan)"));
        assert!(variable(&command, "LD_PRELOAD").unwrap().ends_with("mesa/libamdgpu_noop_drm_shim.so"));
        let icd = fs::read_to_string(variable(&command, "VK_DRIVER_FILES").unwrap()).unwrap();
        assert!(icd.contains("libvulkan_radeon.so"), "{icd}");
        drop(own);
    }

    #[test]
    fn a_driver_with_all_it_needs_runs_under_the_linker_beside_it() {
        for root in ["unstable/root", "unstable"] {
            let (_, linker) = platform().unwrap();
            let names = ["libvulkan_nouveau.so", "libnouveau_noop_drm_shim.so", linker];
            let files = names.map(|name| format!("{root}/LIB/{name}"));
            let dir = drivers(&files.each_ref().map(String::as_str));
            let (command, _own) = command(dir.path(), gpu("ampere"), Path::new("/bin/strix")).unwrap();
            let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
            assert!(command.get_program().to_string_lossy().contains("ld-linux"), "{command:?}");
            assert_eq!((words[0].as_str(), words[4].as_str()), ("--library-path", "/bin/strix"), "{words:?}");
            assert_eq!(variable(&command, "NOUVEAU_CHIPSET").as_deref(), Some("172"));
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = drivers(&["unstable/LIB/libvulkan_radeon.so"]);
        assert!(is_there(dir.path(), gpu("navi31")) && !is_there(dir.path(), gpu("m1")));
        assert!(!is_there(dir.path(), gpu("lavapipe-25")));
        let error = command(dir.path(), gpu("m1"), Path::new("strix")).unwrap_err().to_string();
        assert!(error.contains("libvulkan_asahi.so") && error.contains("m1"), "{error}");
        let error = command(dir.path(), gpu("navi31"), Path::new("strix")).unwrap_err().to_string();
        assert!(error.contains("libamdgpu_noop_drm_shim.so"), "{error}");
    }
}
