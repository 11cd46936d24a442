//! A part of the screen as a picture, where the platform lets its user choose one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside;
use crate::messages::Event;
use crate::picture::Picture;
use crate::problem::Problem;
use crate::reporter::Reporter;

/// Has the user choose a part of the screen, and takes it as a picture.
pub(crate) fn region_aside(report: Arc<Reporter>) {
    aside::run(report, |report| match region() {
        Ok(Some(path)) => taken(&path, report),
        Ok(None) => {}
        Err(problem) => report.send(Event::Trouble(problem)),
    });
}

/// Reads what was taken, of which the window hears here. The file is left to us.
fn taken(path: &Path, report: &Reporter) {
    report.send(Event::Reading(1));
    let read = Picture::open(path).map(|picture| picture.named("screen"));
    _ = std::fs::remove_file(path);
    report.send(Event::Picture(read));
}

/// What to do where none can be taken.
const INSTEAD: &str = "Take a screenshot as usual, and paste it here (Ctrl+V).";

/// The desktop's portal shows its own dialog, in which a part, a window or the whole screen is chosen.
#[cfg(target_os = "linux")]
fn region() -> Result<Option<PathBuf>, Problem> {
    use ashpd::desktop::ResponseError;
    use ashpd::desktop::screenshot::Screenshot;
    let taken = pollster::block_on(async {
        Screenshot::request().interactive(true).modal(true).send().await?.response()
    });
    let taken = match taken {
        Ok(taken) => taken,
        Err(ashpd::Error::Response(ResponseError::Cancelled)) => return Ok(None),
        Err(error) => {
            let what = format!(
                "This desktop takes no pictures of the screen for others (xdg-desktop-portal): {error}"
            );
            return Err(Problem::new(what, INSTEAD));
        }
    };
    let address = taken.uri().as_str();
    let no_file = || Problem::new(format!("The desktop's picture is no file: {address}"), INSTEAD);
    crate::picture::path_of_address(address).ok_or_else(no_file).map(Some)
}

/// `screencapture` has the user draw a rectangle; no file is there if that is broken off.
#[cfg(target_os = "macos")]
fn region() -> Result<Option<PathBuf>, Problem> {
    let path = std::env::temp_dir().join(format!("strix-region-{}.png", std::process::id()));
    let failed = |error: std::io::Error| Problem::new(format!("screencapture: {error}"), INSTEAD);
    std::process::Command::new("screencapture").args(["-i", "-x"]).arg(&path).status().map_err(failed)?;
    Ok(Some(path).filter(|path| path.exists()))
}

/// Windows' own tool leaves what was chosen on the clipboard.
#[cfg(windows)]
fn region() -> Result<Option<PathBuf>, Problem> {
    let failed = |error: std::io::Error| Problem::new(format!("ms-screenclip: {error}"), INSTEAD);
    std::process::Command::new("explorer.exe").arg("ms-screenclip:").status().map_err(failed)?;
    Ok(None)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn region() -> Result<Option<PathBuf>, Problem> {
    Err(Problem::new("This system lets nobody choose a part of the screen.", INSTEAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn a_picture_of_the_screen_is_counted_beside_those_that_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shot.png");
        image::RgbImage::new(4, 4).save(&path).unwrap();
        let (report, events) = Reporter::new(eframe::egui::Context::default());
        let mut state = State::idle();
        state.open(vec!["dropped.png".into()]);
        taken(&path, &report);
        events.try_iter().for_each(|event| state.apply(event));
        assert_eq!((state.draft.reading, state.draft.pictures.len()), (1, 1));
        assert_eq!(state.draft.pictures[0].name, "screen");
        assert!(!path.exists());
    }
}
