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

/// Reads pictures, in order.
pub(crate) fn open(paths: Vec<PathBuf>, report: Arc<Reporter>) {
    run(report, move |report| read(&paths, report));
}

/// Has the user choose pictures in a dialog of the system, and reads them.
pub(crate) fn choose(report: Arc<Reporter>) {
    run(report, |report| {
        let dialog =
            rfd::FileDialog::new().set_title("Open pictures").add_filter("Pictures", &picture::ENDINGS);
        chosen(&dialog.pick_files().unwrap_or_default(), report);
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
    run(report, |report| {
        if let Some(path) = rfd::FileDialog::new().set_title("Folder of a model").pick_folder() {
            report.send(Event::Chosen(path));
        }
    });
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
