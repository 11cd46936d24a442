//! Where questions are written: pictures, text, and the button that asks.

use eframe::egui::{
    Align, Button, Frame, Id, Key, KeyboardShortcut, Layout, Margin, Modifiers, RichText, ScrollArea, Stroke,
    TextEdit, Ui, vec2,
};

use super::{bar, control, pictures, primary, problem, quiet, weak};
use crate::plan::bytes;
use crate::settings::Choice;
use crate::state::{Phase, State, Wish};
use crate::theme::{COLUMN, palette};

/// Draws it, with what is under way above.
pub(crate) fn show(ui: &mut Ui, state: &mut State) {
    let room = ui.available_width();
    let column = (room - 40.0).min(COLUMN);
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        ui.add_space((room - column) / 2.0);
        ui.vertical(|ui| {
            ui.set_width(column);
            ui.spacing_mut().item_spacing.x = 8.0;
            loading(ui, state);
            // What went wrong may take many words, and leaves the field its place all the same.
            let most = (ui.ctx().content_rect().height() * 0.32).max(80.0);
            ScrollArea::vertical().id_salt("troubles").max_height(most).show(ui, |ui| troubles(ui, state));
            writing(ui, state);
            ui.add_space(16.0);
        });
    });
}

/// How far loading is.
fn loading(ui: &mut Ui, state: &mut State) {
    let Phase::Loading { choice, progress, since, .. } = &state.phase else { return };
    let p = palette(ui);
    let part = progress.done_bytes as f32 / progress.total_bytes.max(1) as f32;
    let seconds = since.elapsed().as_secs_f64();
    // What is over in a moment needs no bar.
    if seconds < 0.3 {
        ui.ctx().request_repaint_after(std::time::Duration::from_millis(100));
        return;
    }
    let mut cancelled = false;
    Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(10)
        .inner_margin(Margin::symmetric(14, 10))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.label(RichText::new(format!("Loading {}", choice.name())));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    cancelled = control("cancel", ui.button("Cancel")).clicked();
                });
            });
            bar(ui, part, 6.0);
            let words = match progress.total_bytes {
                0 => "opening the files, compiling kernels".to_owned(),
                total => {
                    let rate = progress.done_bytes as f64 / seconds;
                    let [done, total, rate] = [progress.done_bytes, total, rate as u64].map(bytes);
                    format!("{done} of {total}, {rate} a second  ·  {}", strix_model::shown(&progress.what))
                }
            };
            ui.add(eframe::egui::Label::new(weak(ui, words)).truncate());
        });
    ui.add_space(4.0);
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(100));
    if cancelled {
        state.stop();
    }
}

/// What went wrong, and that there is no model.
fn troubles(ui: &mut Ui, state: &mut State) {
    if let Some(trouble) = state.trouble.take() {
        let (_, is_closed) = problem(ui, &trouble, true);
        state.trouble = Some(trouble).filter(|_| !is_closed);
        ui.add_space(4.0);
    }
    let Phase::Empty { choice, problem: reason } = &state.phase else { return };
    let (choice, reason) = (choice.clone(), reason.clone());
    let p = palette(ui);
    let mut fix = None;
    match &reason {
        Some(reason) => fix = problem(ui, reason, false).0,
        None => _ = ui.label(RichText::new(format!("{} is not loaded.", choice.name())).color(p.weak)),
    }
    // The same again is first, unless that would fail again.
    let is_bad = reason.as_ref().is_some_and(|reason| reason.is_input);
    let is_nano = choice == Choice::Nano;
    ui.horizontal_wrapped(|ui| {
        let mut button = |name, words: &str, is_first| {
            let button = if is_first { primary(ui, words) } else { Button::new(words) };
            control(name, ui.add(button)).clicked()
        };
        if !is_bad && button("load-again", &format!("Load {}", choice.name()), true) {
            state.load(choice.clone());
        }
        if !is_nano && button("load-nano", "Load nano", is_bad) {
            state.load(Choice::Nano);
        }
        if button("choose-model", "Choose a model…", is_bad && is_nano) {
            state.choose_model();
        }
        if is_bad && button("load-again", &format!("Try {} again", choice.name()), false) {
            state.load(choice.clone());
        }
    });
    ui.add_space(6.0);
    if let Some(fix) = fix {
        state.mend(fix, choice);
    }
}

/// The field with its pictures and buttons.
fn writing(ui: &mut Ui, state: &mut State) {
    let p = palette(ui);
    let id = Id::unique("question");
    let is_focused = ui.memory(|memory| memory.has_focus(id));
    let line = if is_focused { p.accent } else { p.line };
    let frame = Frame::new()
        .fill(p.card)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(12)
        .inner_margin(Margin { left: 14, right: 10, top: 10, bottom: 10 });
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        if !state.draft.pictures.is_empty() || state.draft.reading > 0 {
            let removed = pictures::thumbnails(ui, &mut state.draft.pictures, state.draft.reading);
            state.draft.pictures.retain(|picture| Some(picture.id) != removed);
            ui.add_space(2.0);
        }
        field(ui, state, id);
        path(ui, state);
        ui.horizontal(|ui| {
            sources(ui, state);
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| asking(ui, state));
        });
    });
}

fn field(ui: &mut Ui, state: &mut State, id: Id) {
    let hint = match (&state.draft.pictures[..], state.conversation.last()) {
        ([], None) => "Ask a question, or add a picture first",
        ([], Some(_)) => "Ask another question",
        ([_], _) => "Ask about the picture",
        _ => "Ask about the pictures",
    };
    let most = (ui.ctx().content_rect().height() * 0.25).max(48.0);
    let edit = ScrollArea::vertical().max_height(most).show(ui, |ui| {
        let edit = TextEdit::multiline(&mut state.draft.text)
            .id(id)
            .frame(Frame::NONE)
            .margin(Margin::symmetric(0, 4))
            .desired_rows(1)
            .desired_width(f32::INFINITY)
            .hint_text(hint)
            // Enter asks.
            .return_key(KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter));
        ui.add(edit)
    });
    let edit = control("question", edit.inner);
    if edit.has_focus() && ui.input(|input| input.key_pressed(Key::Enter) && input.modifiers.is_none()) {
        state.ask();
    }
    if std::mem::take(&mut state.wants_focus) && state.dialog.is_none() {
        edit.request_focus();
    }
}

/// The field of a path, while it is open.
fn path(ui: &mut Ui, state: &mut State) {
    let Some(mut typed) = state.draft.path.take() else { return };
    let mut keep = true;
    ui.horizontal(|ui| {
        let open = ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let close = control("close-path", ui.add(quiet("Close"))).clicked();
            let open = control("open-path", ui.button("Add")).clicked();
            let width = ui.available_width();
            let edit = TextEdit::singleline(&mut typed)
                .id(Id::unique("path"))
                .hint_text("Path of a picture")
                .margin(Margin::symmetric(8, 6))
                .desired_width(width);
            let edit = control("path", ui.add(edit));
            let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            keep = !close;
            open || entered
        });
        let name = typed.trim();
        if open.inner && !name.is_empty() {
            state.open_typed(name.to_owned());
            keep = false;
        }
    });
    state.draft.path = keep.then_some(typed);
}

/// Where pictures come from.
fn sources(ui: &mut Ui, state: &mut State) {
    let menu = ui.menu_button("+  Picture", |ui| {
        ui.set_min_width(190.0);
        if control("menu-open", ui.add(quiet("Open…"))).clicked() {
            state.wishes.push(Wish::ChoosePictures);
        }
        if control("menu-paste", ui.add(quiet("Paste"))).clicked() {
            state.wishes.push(Wish::Paste);
        }
        if control("menu-region", ui.add(quiet("A part of the screen"))).clicked() {
            state.wishes.push(Wish::Region);
        }
        if control("menu-path", ui.add(quiet("Type a path"))).clicked() {
            state.draft.path = Some(String::new());
            ui.memory_mut(|memory| memory.request_focus(Id::unique("path")));
        }
    });
    control("add", menu.response);
}

/// The button that asks, or stops.
fn asking(ui: &mut Ui, state: &mut State) {
    if matches!(state.phase, Phase::Answering(_)) {
        let stop = ui.button("Stop").on_hover_text("End the answer here (Esc)");
        if control("stop", stop).clicked() {
            state.stop();
        }
        return;
    }
    let reason = state.why_not_ask();
    let button = primary(ui, "Ask").min_size(vec2(64.0, 30.0));
    let ask = ui
        .add_enabled(reason.is_none(), button)
        .on_hover_text("Enter")
        .on_disabled_hover_text(reason.unwrap_or(""));
    if control("ask", ask).clicked() {
        state.ask();
    }
    if ui.available_width() > 180.0 && state.draft.text.contains('\n') {
        ui.label(weak(ui, "Shift+Enter for a new line"));
    }
}
