//! Files of a run: whole or not at all.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::compare::Comparison;
use crate::output::{html, markdown};
use crate::run::{Kind, Run};
use crate::{Error, Result};

/// The folder that a run was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The folder.
    pub dir: PathBuf,
    /// Its files.
    pub files: Vec<PathBuf>,
}

/// Writes a file under another name and renames it, so that it never exists in part, and a link in its place is replaced,
/// not followed. A pipe or a device, such as `/dev/stdout`, is written to.
///
/// # Errors
///
/// If it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let fail = |source| Error::Io { path: path.to_owned(), source };
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return fs::write(path, text).map_err(fail);
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".strix-bench-").tempfile_in(dir).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    // Temporary files are their owner's alone; this one is not temporary.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(fail)?;
    }
    file.persist(path).map(drop).map_err(|e| fail(e.error))
}

/// Writes `run.json`, `README.md` and `index.html` to `out`, or to `runs/DATE-DEVICE` below it, with a number behind if
/// that is taken.
///
/// # Errors
///
/// If they cannot be written.
pub fn save(run: &Run, comparison: Option<&Comparison>, out: &Path, dated: bool) -> Result<Saved> {
    let dir = if dated { free(&out.join(name(run))) } else { out.to_owned() };
    fs::create_dir_all(&dir).map_err(|source| Error::Io { path: dir.clone(), source })?;
    let mut files = vec![];
    for (name, text) in [
        ("run.json", run.to_json()),
        ("README.md", markdown::page(run, comparison)),
        ("index.html", html::page(run, comparison)),
    ] {
        let path = dir.join(name);
        write(&path, &text)?;
        files.push(path);
    }
    Ok(Saved { dir, files })
}

/// `2026-11-26-llvmpipe-kernels`: the date, and the adapter's name up to what it says of itself in brackets.
fn name(run: &Run) -> String {
    let date = run.date.get(..10).unwrap_or("undated");
    let adapter = run.device.adapter.split('(').next().unwrap_or("").to_lowercase();
    let words: Vec<_> =
        adapter.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let kind = match run.kind {
        Kind::Kernels => "kernels",
        Kind::Model => "model",
        Kind::Wgsl => "wgsl",
        Kind::Device => "device",
    };
    [&[date], words.as_slice(), &[kind]].concat().join("-")
}

/// The path, or the first with a number behind it that nothing has.
fn free(path: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{n}"));
        path.with_file_name(name)
    };
    let mut candidates = std::iter::once(path.to_owned()).chain((2..).map(numbered));
    candidates.find(|path| !path.exists()).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{row, run};

    #[test]
    fn a_run_is_kept_under_its_date_and_device() {
        let dir = tempfile::tempdir().unwrap();
        let run = run(vec![row("gemm/1x2x3/int8", &[1.0, 2.0])]);
        let saved = save(&run, None, dir.path(), true).unwrap();
        assert!(saved.dir.ends_with("2026-11-26-llvmpipe-test-co-kernels"), "{saved:?}");
        assert_eq!(Run::load(&saved.dir).unwrap(), run);
        // A second one of the day does not replace it.
        let again = save(&run, None, dir.path(), true).unwrap();
        assert!(again.dir.ends_with("2026-11-26-llvmpipe-test-co-kernels-2"), "{again:?}");
        let names: Vec<_> = fs::read_dir(&saved.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_a_device_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, null] = ["file", "link", "null"].map(|name| dir.path().join(name));
        fs::write(&file, "mine").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write(&link, "a page").unwrap();
        write(&null, "a page").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(fs::read_to_string(&link).unwrap(), "a page");
        assert!(fs::symlink_metadata(&null).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&dir.path().join("no/such.json"), "").unwrap_err().to_string();
        assert!(error.contains("no/such.json"), "{error}");
    }
}
