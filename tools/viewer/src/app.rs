//! The window: events of the system and of the model become the state, and its wishes are done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eframe::egui::{self, Event as Input, Key, Ui, ViewportCommand};
use strix_engine::Gpu;

use crate::drive::Drive;
use crate::log::Log;
use crate::messages::Event;
use crate::picture::{self, Picture};
use crate::problem::Problem;
use crate::reporter::Reporter;
use crate::settings::Settings;
use crate::state::{Device, Phase, State, Wish};
use crate::store::Store;
use crate::worker::Worker;
use crate::{aside, device, screen, theme, view};

/// What outlives a window: a lost device takes the window with it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) state: Option<State>,
    /// The device of the window that is open.
    pub(crate) device: Option<wgpu::Device>,
    /// Why it was lost, if it was; wgpu tells of it on any thread.
    pub(crate) lost: Lost,
    pub(crate) log: Option<Log>,
    pub(crate) drive: Option<Drive>,
    pub(crate) store: Store,
}

/// Why a device was lost, once it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost(Arc<Mutex<Option<String>>>);

impl Lost {
    /// Notes it, unless a reason is known.
    fn note(&self, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| reason.to_owned());
    }

    /// Whether it is.
    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What a window is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) settings: Settings,
    pub(crate) pictures: Vec<std::path::PathBuf>,
    /// Whether the model computes between frames: on a GPU, unless something else is asked for.
    pub(crate) paced: Option<bool>,
    /// What is wrong with the settings' file.
    pub(crate) trouble: Option<Problem>,
    /// What each tensor of a model waits for, to see it being loaded.
    pub(crate) slow_loading: Option<Duration>,
    /// Tokens after which the device is destroyed, for tests of that.
    pub(crate) lose_device_after: Option<u32>,
}

/// A window.
pub(crate) struct App {
    state: State,
    kept: Rc<RefCell<Kept>>,
    opening: Opening,
    events: Receiver<Event>,
    report: Arc<Reporter>,
    gpu: Option<Gpu>,
    worker: Option<Worker>,
    frames: strix_engine::Frames,
    log: Option<Log>,
    drive: Option<Drive>,
    is_closing: Arc<AtomicBool>,
    /// Frames in which a paste that was asked for may still come.
    pasting: u8,
    /// Where the controls were in the frame before.
    places: BTreeMap<&'static str, egui::Rect>,
}

impl App {
    /// Opens it on a device, with what was kept of the window before.
    pub(crate) fn new(cc: &eframe::CreationContext<'_>, kept: Rc<RefCell<Kept>>, opening: Opening) -> Self {
        theme::install(&cc.egui_ctx);
        let (report, events) = Reporter::new(cc.egui_ctx.clone());
        let frames = strix_engine::Frames::new();
        let is_closing = Arc::new(AtomicBool::new(false));
        let opened =
            open_device(cc, &report, opening.paced, &frames, &kept.borrow().lost, is_closing.clone());
        let device = opened.as_ref().map_or_else(
            |_| Device::default(),
            |gpu| Device { name: gpu.name(), is_software: gpu.target().is_cpu },
        );
        let (mut state, log, drive) = {
            let mut kept = kept.borrow_mut();
            kept.device = cc.wgpu_render_state.as_ref().map(|state| state.device.clone());
            let lost = kept.lost.take();
            let state = match (kept.state.take(), lost) {
                (Some(mut state), lost) => {
                    state.reopened(device, &lost.unwrap_or_default());
                    state
                }
                (None, _) => {
                    let mut state = State::new(opening.settings.clone(), device);
                    state.trouble.clone_from(&opening.trouble);
                    if !opening.pictures.is_empty() {
                        state.open(opening.pictures.clone());
                    }
                    state
                }
            };
            (state, kept.log.take(), kept.drive.take())
        };
        theme::choose(&cc.egui_ctx, state.settings.look);
        let started = opened.and_then(|gpu| {
            let worker = Worker::start(gpu.clone(), report.clone(), opening.slow_loading);
            worker
                .map(|worker| (gpu, worker))
                .map_err(|error| Problem::new(format!("No thread could be started: {error}"), ""))
        });
        let (gpu, worker) = match started {
            Ok((gpu, worker)) => (Some(gpu), Some(worker)),
            Err(problem) => {
                state.wishes.clear();
                state.phase = Phase::Empty { choice: state.settings.model.clone(), problem: Some(problem) };
                (None, None)
            }
        };
        Self {
            state,
            kept,
            opening,
            events,
            report,
            gpu,
            worker,
            frames,
            log,
            drive,
            is_closing,
            pasting: 0,
            places: BTreeMap::new(),
        }
    }

    /// Does what the state asks for.
    fn grant(&mut self, ctx: &egui::Context) {
        for wish in std::mem::take(&mut self.state.wishes) {
            let report = self.report.clone();
            match wish {
                Wish::Tell(command) => {
                    if let Some(worker) = &self.worker {
                        worker.send(command);
                    }
                }
                Wish::Plan(choice) => {
                    if let Some(gpu) = &self.gpu {
                        aside::plan(gpu, choice, self.state.loading_options(), report);
                    }
                }
                Wish::ChoosePictures => aside::choose(report),
                Wish::ChooseFolder => aside::choose_folder(report),
                Wish::Open(paths) => aside::open(paths, report),
                Wish::Region => screen::region_aside(report),
                Wish::OpenTyped(typed) => aside::open_typed(typed, report),
                Wish::Paste => {
                    ctx.send_viewport_cmd(ViewportCommand::RequestPaste);
                    ctx.request_repaint();
                    // It comes with the next frame but one.
                    self.pasting = 3;
                }
                Wish::Save => self.save(),
                Wish::Reopen => self.close(ctx, "it was lost"),
            }
        }
    }

    fn save(&mut self) {
        let saved = self.kept.borrow_mut().store.save(&self.state.settings);
        self.state.trouble = saved.err().or(self.state.trouble.take());
    }

    /// Closes the window, to be opened anew.
    fn close(&mut self, ctx: &egui::Context, reason: &str) {
        if !self.is_closing.swap(true, Ordering::Relaxed) {
            self.kept.borrow().lost.note(reason);
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    }

    /// Pictures that are dropped or pasted, and keys that work everywhere.
    fn take_input(&mut self, ctx: &egui::Context) {
        let (dropped, pasted, escape) = ctx.input(|input| {
            let dropped: Vec<_> =
                input.raw.dropped_files.iter().map(|file| file.path().to_path_buf()).collect();
            let pasted: Vec<_> = input.raw.events.iter().filter_map(pasted).collect();
            (dropped, pasted, input.key_pressed(Key::Escape))
        });
        if !dropped.is_empty() {
            self.state.open(dropped);
        }
        for pasted in pasted {
            match pasted {
                Pasted::Picture(Some(picture)) => self.state.add(picture),
                Pasted::Picture(None) => {
                    self.state.trouble = Some(Problem::new("The clipboard's picture is empty.", ""));
                }
                Pasted::Files(paths) => self.state.open(paths),
            }
        }
        if escape && self.state.dialog.is_none() {
            match self.state.phase {
                Phase::Answering(_) => self.state.stop(),
                _ => self.state.focus = None,
            }
        }
    }

    /// Loses the device on purpose, when it was asked for.
    fn lose(&mut self) {
        let Some(after) = self.opening.lose_device_after else { return };
        if let (Phase::Answering(answering), Some(gpu)) = (&self.state.phase, &self.gpu)
            && answering.tokens >= after
        {
            self.opening.lose_device_after = None;
            gpu.device().destroy();
        }
    }
}

/// What a clipboard held.
enum Pasted {
    Picture(Option<Picture>),
    Files(Vec<std::path::PathBuf>),
}

fn pasted(event: &Input) -> Option<Pasted> {
    match event {
        Input::PasteImage(image) => Some(Pasted::Picture(Picture::pasted(image))),
        Input::Paste(text) => {
            Some(picture::named_files(text)).filter(|paths| !paths.is_empty()).map(Pasted::Files)
        }
        _ => None,
    }
}

fn is_paste(event: &Input) -> bool {
    matches!(event, Input::Paste(_) | Input::PasteImage(_))
}

/// What is wrong with a paste of pictures that was asked for. Text that names none is taken out.
fn check_paste(events: &mut Vec<Input>) -> Option<Problem> {
    let advice = "Copy a picture, or the path of one, and paste again.";
    let Some(at) = events.iter().position(is_paste) else {
        return Some(Problem::input("The clipboard holds neither a picture nor a path.", advice));
    };
    if pasted(&events[at]).is_some() {
        return None;
    }
    events.remove(at);
    Some(Problem::input("The clipboard holds text that is no path of a picture.", advice))
}

/// The window's device, for models; what goes wrong with it is told.
fn open_device(
    cc: &eframe::CreationContext<'_>,
    report: &Arc<Reporter>,
    paced: Option<bool>,
    frames: &strix_engine::Frames,
    lost: &Lost,
    is_closing: Arc<AtomicBool>,
) -> Result<Gpu, Problem> {
    let Some(state) = &cc.wgpu_render_state else {
        return Err(Problem::new("The window has no wgpu device.", "Install your GPU's driver."));
    };
    let (lost, told) = (lost.clone(), report.clone());
    state.device.set_device_lost_callback(move |_, reason| {
        lost.note(&reason);
        told.send(Event::Lost);
    });
    let trouble = report.clone();
    state.device.on_uncaptured_error(Arc::new(move |error| {
        let text = error.to_string();
        if text.contains("Surface::configure") && is_closing.load(Ordering::Relaxed) {
            return;
        }
        if text.contains("Surface::configure") {
            // The device was too busy for the window's new size. The next frame asks again.
            return eprintln!("note: {}", text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let what = format!("The device reports: {text}");
        trouble.send(Event::Trouble(Problem::new(what, "If it comes back, please report it.")));
    }));
    let is_software = state.adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    let frames = paced.unwrap_or(!is_software).then(|| frames.clone());
    device::share(state, frames)
        .map_err(|error| Problem::new(error.to_string(), "Choose another with --adapter."))
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        // The frame before this one was submitted.
        self.frames.frame();
        if ctx.input(|input| input.viewport().close_requested()) {
            self.is_closing.store(true, Ordering::Relaxed);
        }
        while let Ok(event) = self.events.try_recv() {
            self.state.apply(event);
        }
        self.lose();
        self.grant(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.take_input(&ctx);
        if matches!(self.state.phase, Phase::Answering(_)) {
            self.state.frames.note(Instant::now(), self.state.during());
            // Software draws for as long as a model computes: it draws no more often than there is something to see.
            if !self.state.device.is_software {
                ctx.request_repaint();
            }
        }
        view::show(ui, &mut self.state);
        let controls = view::take_controls(&ctx);
        // What grew or moved finds its place in the next frame.
        if self.places != controls.places {
            self.places.clone_from(&controls.places);
            ctx.request_repaint();
        }
        if let Some(log) = &mut self.log {
            log.note(&self.state, &controls, ctx.pixels_per_point());
        }
        if let Some(drive) = &mut self.drive {
            ctx.request_repaint();
            if drive.step(&mut self.state) {
                self.is_closing.store(true, Ordering::Relaxed);
                ctx.send_viewport_cmd(ViewportCommand::Close);
            }
        }
        self.grant(&ctx);
    }

    fn raw_input_hook(&mut self, ctx: &egui::Context, input: &mut egui::RawInput) {
        if self.pasting > 0 {
            self.pasting = if input.events.iter().any(is_paste) { 0 } else { self.pasting - 1 };
            if self.pasting == 0 {
                self.state.trouble = check_paste(&mut input.events).or(self.state.trouble.take());
            }
            ctx.request_repaint();
        }
        // A path that was pasted is a picture, not text for the field that has the keyboard.
        let is_file = |event: &Input| matches!(pasted(event), Some(Pasted::Files(_)));
        if let Some(at) = input.events.iter().position(is_file) {
            let event = input.events.remove(at);
            if let Some(Pasted::Files(paths)) = pasted(&event) {
                self.state.open(paths);
            }
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        theme::ground(visuals).to_normalized_gamma_f32()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.state.stop();
        // The thread ends what it does and lets go of the device before the window does.
        self.worker = None;
        let mut kept = self.kept.borrow_mut();
        kept.log = self.log.take();
        kept.drive = self.drive.take();
        // It may turn out later that the device is lost.
        kept.state = Some(std::mem::replace(&mut self.state, State::idle()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_of_no_picture_is_said() {
        let text = || Input::Paste("what is it?".into());
        let image = || Input::PasteImage(Arc::new(egui::ColorImage::filled([1, 1], egui::Color32::RED)));
        let check =
            |mut events: Vec<Input>| (check_paste(&mut events).map(|problem| problem.what), events.len());
        let says = |(what, left): &(Option<String>, usize), word: &str| {
            what.as_ref().is_some_and(|what| what.contains(word)) && *left == 0
        };
        assert!(says(&check(vec![]), "neither"));
        assert!(says(&check(vec![text()]), "text"));
        assert_eq!(check(vec![image()]), (None, 1));
    }
}
