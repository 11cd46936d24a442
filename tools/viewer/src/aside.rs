//! What takes time, and neither the window nor the model should wait for: each on a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use strix_engine::Gpu;
use strix_model::LoadOptions;

use crate::messages::Event;
use crate::picture::{self, Picture};
use crate::plan::Plan;
use crate::problem::Problem;
use crate::reporter::Reporter;
use crate::settings::Choice;
use crate::state::typed_path;

/// Reads pictures, in order.
pub(crate) fn open(paths: Vec<PathBuf>, report: Arc<Reporter>) {
    run(report, move |report| read(&paths, report));
}

/// Reads a picture whose path was typed.
pub(crate) fn open_typed(typed: String, report: Arc<Reporter>) {
    run(report, move |report| {
        let read = Picture::open(&typed_path(&typed));
        let is_missing = read.is_err();
        report.send(Event::Picture(read));
        if is_missing {
            report.send(Event::NotOpened(typed));
        }
    });
}

/// Has the user choose pictures in a dialog of the system, and reads them.
pub(crate) fn choose(report: Arc<Reporter>) {
    run(report, |report| {
        let dialog =
            rfd::FileDialog::new().set_title("Open pictures").add_filter("Pictures", &picture::ENDINGS);
        match dialog.pick_files().unwrap_or_default() {
            paths if paths.is_empty() => {
                check_dialog("Drop the pictures here, paste them, or type a path.", report)
            }
            paths => chosen(&paths, report),
        }
    });
}

/// Reads what was chosen outside of the window, which hears of it here.
fn chosen(paths: &[PathBuf], report: &Reporter) {
    report.send(Event::Reading(paths.len()));
    read(paths, report);
}

fn read(paths: &[PathBuf], report: &Reporter) {
    for path in paths {
        report.send(Event::Picture(Picture::open(path)));
    }
}

/// Has the user choose the folder of a model in a dialog of the system.
pub(crate) fn choose_folder(report: Arc<Reporter>) {
    run(report, |report| match rfd::FileDialog::new().set_title("Folder of a model").pick_folder() {
        Some(path) => report.send(Event::Chosen(path)),
        None => check_dialog("Type the folder's path.", report),
    });
}

/// Where nothing was chosen: says so if there is no dialog to choose in. What shows it does not tell that from cancelling.
fn check_dialog(instead: &str, report: &Reporter) {
    if let Err(why) = dialog() {
        let what = format!("This desktop has no dialog for files (xdg-desktop-portal or zenity): {why}");
        report.send(Event::Trouble(Problem::new(what, instead)));
    }
}

/// Whether the desktop's portal, or zenity in its place, has a dialog.
#[cfg(target_os = "linux")]
fn dialog() -> ashpd::zbus::Result<u32> {
    use ashpd::zbus::{Connection, Proxy};
    if std::process::Command::new("zenity").arg("--version").output().is_ok() {
        return Ok(1);
    }
    let [name, path, interface] = [
        "org.freedesktop.portal.Desktop",
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.FileChooser",
    ];
    pollster::block_on(async {
        let bus = Connection::session().await?;
        Proxy::new(&bus, name, path, interface).await?.get_property("version").await
    })
}

#[cfg(not(target_os = "linux"))]
fn dialog() -> std::io::Result<u32> {
    Ok(1)
}

/// Looks at a model. An answer may go on meanwhile.
pub(crate) fn plan(gpu: &Gpu, choice: Choice, options: LoadOptions, report: Arc<Reporter>) {
    let gpu = gpu.clone();
    run(report, move |report| {
        let plan = Plan::read(&gpu, &choice, &options).map(Box::new).map_err(Problem::from);
        report.send(Event::Planned(choice, plan));
    });
}

/// Does something that takes time, on a thread.
pub(crate) fn run(report: Arc<Reporter>, work: impl FnOnce(&Reporter) + Send + 'static) {
    let failed = report.clone();
    let begun = thread::Builder::new().name("aside".into()).spawn(move || work(&report));
    if let Err(error) = begun {
        failed.send(Event::Trouble(Problem::new(format!("No thread could be started: {error}"), "")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn a_typed_path_comes_back_where_no_picture_is() {
        let (report, events) = Reporter::new(eframe::egui::Context::default());
        let mut state = State::idle();
        state.open_typed(" /nowhere/owl.png".into());
        open_typed(" /nowhere/owl.png".into(), report);
        events.iter().for_each(|event| state.apply(event));
        assert_eq!((state.draft.reading, state.draft.path.as_deref()), (0, Some(" /nowhere/owl.png")));
        assert!(state.trouble.unwrap().text().contains("Check the path"));
    }

    #[test]
    fn pictures_of_a_dialog_are_counted_beside_those_that_are_read() {
        let (report, events) = Reporter::new(eframe::egui::Context::default());
        let mut state = State::idle();
        state.open(vec!["dropped.png".into()]);
        chosen(&["/nowhere/1.png".into(), "/nowhere/2.png".into()], &report);
        let counts: Vec<_> = events
            .try_iter()
            .map(|event| {
                state.apply(event);
                state.draft.reading
            })
            .collect();
        assert_eq!(counts, [3, 2, 1]);
    }
}
