//! The file of the settings. What is changed in the window goes into it, and nothing else.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::problem::Problem;
use crate::settings::Settings;

/// The file, and what it holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Where it is; `None`: nowhere.
    path: Option<PathBuf>,
    kept: Settings,
    /// What was in effect when it was last looked at.
    last: Settings,
    /// Whether it holds something that was not read.
    is_damaged: bool,
}

impl Store {
    /// Reads the file. One that cannot be read is left as it is, and is said to be so.
    pub(crate) fn open(path: Option<PathBuf>) -> (Self, Option<Problem>) {
        let read = path.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read);
        let (kept, wrong) = read.map_or_else(|what| (Settings::default(), Some(what)), |kept| (kept, None));
        let is_damaged = wrong.is_some();
        let problem = wrong.zip(path.as_deref()).map(|(what, path)| {
            let what = format!("The settings could not be read, and are those of a first start: {what}");
            let bad = bad(path);
            let advice =
                format!("The first change of a setting renames that file to {}.", file_name(&bad).display());
            Problem::new(what, advice)
        });
        (Self { path, last: kept.clone(), kept, is_damaged }, problem)
    }

    /// The settings of the file.
    pub(crate) fn kept(&self) -> &Settings {
        &self.kept
    }

    /// Notes what is in effect at the start: options of the command line are no change.
    pub(crate) fn begin(&mut self, settings: &Settings) {
        self.last.clone_from(settings);
    }

    /// Writes what was changed since the last time.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written to.
    pub(crate) fn save(&mut self, now: &Settings) -> Result<(), Problem> {
        let before = self.kept.clone();
        self.kept.take_changes(&self.last, now);
        self.last.clone_from(now);
        let Some(path) = self.path.as_deref().filter(|_| self.kept != before) else { return Ok(()) };
        let written = if self.is_damaged { set_aside(path) } else { Ok(()) };
        written.and_then(|()| self.kept.write(path)).map_err(|error| {
            Problem::new(format!("The settings are not kept: {}: {error}", path.display()), "")
        })?;
        self.is_damaged = false;
        Ok(())
    }
}

/// `viewer.json.bad`.
fn bad(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bad");
    name.into()
}

fn set_aside(path: &Path) -> io::Result<()> {
    match fs::rename(path, bad(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn file_name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Choice, Look};

    #[test]
    fn only_what_is_changed_in_the_window_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("viewer.json");
        fs::write(&path, r#"{"look": "light"}"#).unwrap();
        let (mut store, wrong) = Store::open(Some(path.clone()));
        assert_eq!(wrong, None);
        // Options are over what was read.
        let mut now = Settings { look: Look::Dark, ..store.kept().clone() };
        now.loading.ctx = Some(512);
        store.begin(&now);
        store.save(&now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"look": "light"}"#);
        now.answering.temperature = 0.2;
        store.save(&now).unwrap();
        let read = Settings::read(&path).unwrap();
        assert_eq!((read.look, read.loading.ctx, read.answering.temperature), (Look::Light, None, 0.2));
        // What an option said is kept once it is chosen.
        for look in [Look::System, Look::Dark] {
            now.look = look;
            store.save(&now).unwrap();
            assert_eq!(Settings::read(&path).unwrap().look, look);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_set_aside_by_the_first_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("viewer.json");
        fs::write(&path, "{ mine").unwrap();
        let (mut store, wrong) = Store::open(Some(path.clone()));
        let wrong = wrong.unwrap().text();
        assert!(wrong.contains("viewer.json: ") && wrong.contains("to viewer.json.bad"), "{wrong}");
        let mut now = store.kept().clone();
        store.save(&now).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{ mine");
        now.model = Choice::Folder("/models/owl".into());
        store.save(&now).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("viewer.json.bad")).unwrap(), "{ mine");
        assert_eq!(Settings::read(&path).unwrap(), now);
    }
}
