//! A part of the screen as a picture, where the platform lets its user choose one.

use std::sync::Arc;

use crate::aside;
use crate::messages::Event;
use crate::picture::{self, Picture};
use crate::problem::Problem;
use crate::reporter::Reporter;

/// Has the user choose a part of the screen, and takes it as a picture.
pub(crate) fn region_aside(report: Arc<Reporter>) {
    aside::run(report, |report| match region() {
        Ok(Some(picture)) => report.send(Event::Picture(Ok(picture))),
        Ok(None) => {}
        Err(problem) => report.send(Event::Trouble(problem)),
    });
}

/// What to do where none can be taken.
const INSTEAD: &str = "Take a screenshot as usual, and paste it here (Ctrl+V).";

/// The desktop's portal shows its own dialog, in which a part, a window or the whole screen is chosen.
#[cfg(target_os = "linux")]
fn region() -> Result<Option<Picture>, Problem> {
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
    let path = picture::path_of_address(taken.uri().as_str());
    let path = path.ok_or_else(|| {
        Problem::new(format!("The desktop's picture is no file: {}", taken.uri().as_str()), INSTEAD)
    })?;
    let read = Picture::open(&path).map(|picture| Some(picture.named("screen")));
    // The desktop leaves the file to us.
    _ = std::fs::remove_file(path);
    read
}

/// `screencapture` has the user draw a rectangle; no file is there if that is broken off.
#[cfg(target_os = "macos")]
fn region() -> Result<Option<Picture>, Problem> {
    let path = std::env::temp_dir().join(format!("strix-region-{}.png", std::process::id()));
    let failed = |error: std::io::Error| Problem::new(format!("screencapture: {error}"), INSTEAD);
    std::process::Command::new("screencapture").args(["-i", "-x"]).arg(&path).status().map_err(failed)?;
    if !path.exists() {
        return Ok(None);
    }
    let read = Picture::open(&path).map(|picture| Some(picture.named("screen")));
    _ = std::fs::remove_file(path);
    read
}

/// Windows' own tool leaves what was chosen on the clipboard.
#[cfg(windows)]
fn region() -> Result<Option<Picture>, Problem> {
    let failed = |error: std::io::Error| Problem::new(format!("ms-screenclip: {error}"), INSTEAD);
    std::process::Command::new("explorer.exe").arg("ms-screenclip:").status().map_err(failed)?;
    Ok(None)
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn region() -> Result<Option<Picture>, Problem> {
    Err(Problem::new("This system lets nobody choose a part of the screen.", INSTEAD))
}
