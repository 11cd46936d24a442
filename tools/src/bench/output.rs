//! Files that a run is written to, and the run that it is held against.

use std::io::Write;
use std::path::{Path, PathBuf};

use strix_benches::output::{csv, html, markdown, table};
use strix_benches::{Run, compare, save, write};

use crate::Usage;
use crate::terminal::{self, whisper};
use crate::writable::{try_file, try_folder};

/// Folder that keeps dated runs.
const RUNS: &str = "benches/runs";

/// Files that a run is written to.
#[derive(clap::Args)]
pub(super) struct Output {
    /// Write the run with all its times as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write a line a bench for spreadsheets and scripts
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    markdown: Option<PathBuf>,
    /// Write a page with the roofline and the tables; it needs no other file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// Keep JSON, Markdown and page in a folder of benches/runs named by date and device
    #[arg(long, help_heading = "Output")]
    save: bool,
    /// Keep JSON, Markdown and page in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "save", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Hold it against a stored run: a folder with a run.json, or that file
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    compare: Option<PathBuf>,
}

impl Output {
    /// Reads the stored run, and sees to it that what comes at the end can be written.
    pub(super) fn before(&self) -> anyhow::Result<Option<Run>> {
        for file in [&self.json, &self.csv, &self.markdown, &self.html].into_iter().flatten() {
            let folder = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !folder.is_dir() || file.is_dir() {
                return Err(Usage(format!("{}: no file can be written there", file.display())).into());
            }
            try_file(file)?;
        }
        let kept = self.out.as_deref().or_else(|| self.save.then_some(Path::new(RUNS)));
        if let Some(dir) = kept {
            if dir.exists() && !dir.is_dir() {
                return Err(Usage(format!("{}: it is a file, --out is a folder", dir.display())).into());
            }
            // The nearest existing folder, if this one does not exist yet.
            let there = dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
            try_folder(there)?;
        }
        Ok(self.compare.as_deref().map(Run::load).transpose()?)
    }

    /// Prints the run, writes it, and holds it against the stored one.
    pub(super) fn after(&self, run: &Run, stored: Option<&Run>) -> anyhow::Result<()> {
        let comparison = stored.map(|stored| compare(stored, run));
        let comparison = comparison.as_ref();
        write!(terminal::out(), "{}", table::page(run, comparison))?;
        let texts: [(_, &dyn Fn() -> String); 4] = [
            (&self.json, &|| run.to_json()),
            (&self.csv, &|| csv::page(run)),
            (&self.markdown, &|| markdown::page(run, comparison)),
            (&self.html, &|| html::page(run, comparison)),
        ];
        for (path, text) in texts {
            if let Some(path) = path {
                write(path, &text())?;
            }
        }
        let folder = self.out.as_deref().or_else(|| self.save.then_some(Path::new(RUNS)));
        if let Some(folder) = folder {
            let saved = save(run, comparison, folder, self.save)?;
            whisper(&format!("kept in {}", saved.dir.display()));
        }
        Ok(())
    }
}
