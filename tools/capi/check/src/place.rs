//! Where things are, and how tools are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Folders and files of the check.
pub(crate) struct Place {
    /// The repository.
    pub(crate) root: PathBuf,
    /// The crate of the C interface.
    pub(crate) capi: PathBuf,
    /// Where it is installed for the check.
    pub(crate) prefix: PathBuf,
    /// Where programs are built, and may write.
    pub(crate) work: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).context("the repository")?.to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
        let work = target.join("capi");
        fs::create_dir_all(&work)?;
        Ok(Self { capi: root.join("tools/capi"), prefix: work.join("prefix"), work, root })
    }

    pub(crate) fn include(&self) -> PathBuf {
        self.prefix.join("include")
    }

    pub(crate) fn lib(&self) -> PathBuf {
        self.prefix.join("lib")
    }

    /// The committed header, and the text of it.
    pub(crate) fn header(&self) -> Result<(PathBuf, String)> {
        let path = self.capi.join("include/strix.h");
        let text = read(&path)?;
        Ok((path, text))
    }

    /// A picture of which nano says "A blue circle on the left."
    pub(crate) fn picture(&self) -> PathBuf {
        self.root.join("tests/nano/samples/easy_vqa_6.png")
    }

    /// An empty folder of that name.
    pub(crate) fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Whether there is a tool of that name.
pub(crate) fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success())
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Runs a tool, whose output is shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| words(command))?;
    if !status.success() {
        bail!("{status}: {}", words(command));
    }
    Ok(())
}

/// Runs a tool, and returns its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| words(command))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{}: {}\n{text}{}", out.status, words(command), String::from_utf8_lossy(&out.stderr));
    }
    Ok(text)
}

fn words(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.display().to_string());
    std::iter::once(command.get_program().display().to_string()).chain(args).collect::<Vec<_>>().join(" ")
}

/// Compares a text with the committed one, or writes it. What differs is shown.
pub(crate) fn same(path: &Path, now: &str, bless: bool) -> Result<()> {
    let before = fs::read_to_string(path).unwrap_or_default();
    if before == now {
        return Ok(());
    }
    if bless {
        fs::write(path, now)?;
        println!("written: {}", path.display());
        return Ok(());
    }
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(&before), lines(now));
    old.iter().filter(|line| !new.contains(line)).take(20).for_each(|line| println!("- {line}"));
    new.iter().filter(|line| !old.contains(line)).take(20).for_each(|line| println!("+ {line}"));
    bail!("{} is not what it should be: see above, and `cargo xtask capi --bless`", path.display())
}
