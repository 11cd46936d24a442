//! The dialog in which a model is chosen: what it is and what it takes, before it is loaded.

use eframe::egui::{Align, Button, ComboBox, Context, Id, Key, Layout, Margin, RichText, TextEdit, Ui};

use super::{busy, control, details, dialog, fact, primary, problem, section, weak};
use crate::plan::{Plan, count};
use crate::settings::{Choice, Weights};
use crate::state::{Dialog, Planned, State, Wish, typed_path};

/// Contexts that are offered.
const CONTEXTS: [u32; 6] = [256, 512, 1024, 2048, 4096, 8192];

/// Draws it.
pub(crate) fn show(ctx: &Context, state: &mut State) {
    let Some(Dialog::Model { mut path, planned }) = state.dialog.take() else { return };
    state.dialog = Some(Dialog::Model { path: path.clone(), planned: Planned::Nothing });
    let mut wanted = Wanted::default();
    let closed = dialog(ctx, "Choose a model", 520.0, |ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        let current = planned.typed(&path).cloned();
        choices(ui, state, &mut path, current.as_ref(), &mut wanted);
        // What is shown is of the path that is typed, from the first letter on.
        let current = planned.typed(&path);
        ui.add_space(6.0);
        options(ui, state, current, &mut wanted);
        ui.add_space(6.0);
        if current.is_some() {
            outcome(ui, &planned, &mut wanted);
        } else if !path.trim().is_empty() && next(ui, "look-at", "Look at it") {
            wanted.plan = Some(Choice::Folder(typed_path(&path)));
        }
    });
    state.dialog = (!closed).then_some(Dialog::Model { path, planned });
    if let Some(choice) = wanted.plan {
        state.plan(choice);
    }
    if let Some((fix, choice)) = wanted.fix {
        state.mend(fix, choice);
    }
    if let Some(choice) = wanted.load {
        state.load(choice);
    }
}

/// What was clicked.
#[derive(Default)]
struct Wanted {
    plan: Option<Choice>,
    load: Option<Choice>,
    fix: Option<(crate::problem::Fix, Choice)>,
}

/// Models to choose from.
fn choices(ui: &mut Ui, state: &mut State, path: &mut String, current: Option<&Choice>, wanted: &mut Wanted) {
    ui.horizontal_wrapped(|ui| {
        let recent = state.settings.recent.iter().map(|path| Choice::Folder(path.clone()));
        for choice in [Choice::Nano].into_iter().chain(recent) {
            let button = Button::new(choice.name()).selected(current == Some(&choice));
            let response = ui.add(button);
            let response = match &choice {
                Choice::Nano => {
                    control("model-nano", response.on_hover_text("Built in. It knows coloured shapes."))
                }
                Choice::Folder(path) => response.on_hover_text(path.display().to_string()),
            };
            if response.clicked() {
                wanted.plan = Some(choice);
            }
        }
    });
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if control("browse", ui.button("Browse…")).clicked() {
                state.wishes.push(Wish::ChooseFolder);
            }
            let edit = TextEdit::singleline(path)
                .id(Id::unique("model path"))
                .hint_text("Folder with config.json, the tokenizer and the weights")
                .margin(Margin::symmetric(8, 7))
                .desired_width(ui.available_width());
            let edit = control("model-path", ui.add(edit));
            if edit.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) && !path.trim().is_empty()
            {
                wanted.plan = Some(Choice::Folder(typed_path(path)));
            }
        });
    });
}

/// How it is loaded.
fn options(ui: &mut Ui, state: &mut State, current: Option<&Choice>, wanted: &mut Wanted) {
    let before = state.settings.loading.clone();
    let loading = &mut state.settings.loading;
    let row = |ui: &mut Ui, name: &str, add: &mut dyn FnMut(&mut Ui)| {
        ui.horizontal(|ui| {
            super::name(ui, name, 120.0);
            add(ui);
        });
    };
    row(ui, "Weights", &mut |ui| {
        ComboBox::from_id_salt("weights").selected_text(loading.weights.label()).show_ui(ui, |ui| {
            for weights in Weights::ALL {
                ui.selectable_value(&mut loading.weights, weights, weights.label());
            }
        });
    });
    row(ui, "Keys and values", &mut |ui| {
        let words = |f16| if f16 { "f16, half the memory" } else { "f32" };
        ComboBox::from_id_salt("kv").selected_text(words(loading.kv_f16)).show_ui(ui, |ui| {
            for f16 in [false, true] {
                ui.selectable_value(&mut loading.kv_f16, f16, words(f16));
            }
        });
    });
    row(ui, "Context", &mut |ui| {
        let words = |ctx: Option<u32>| ctx.map_or("as trained".to_owned(), |ctx| format!("{ctx} positions"));
        ComboBox::from_id_salt("ctx").selected_text(words(loading.ctx)).show_ui(ui, |ui| {
            let others = loading.ctx.into_iter().filter(|ctx| !CONTEXTS.contains(ctx));
            for ctx in [None].into_iter().chain(others.chain(CONTEXTS).map(Some)) {
                ui.selectable_value(&mut loading.ctx, ctx, words(ctx));
            }
        });
    });
    if *loading != before {
        state.wishes.push(Wish::Save);
        wanted.plan = wanted.plan.take().or(current.cloned());
    }
}

/// What is known of the chosen one.
fn outcome(ui: &mut Ui, planned: &Planned, wanted: &mut Wanted) {
    match planned {
        Planned::Nothing => {}
        Planned::Asked(choice) => {
            busy(ui, &format!("looking at {}", choice.name()));
        }
        Planned::Failed(choice, what) => {
            if let (Some(fix), _) = problem(ui, what, false) {
                wanted.fix = Some((fix, choice.clone()));
            }
        }
        Planned::Known(choice, plan) => {
            known(ui, choice, plan);
            ui.add_space(4.0);
            if next(ui, "load", &format!("Load {}", choice.name())) {
                wanted.load = Some(choice.clone());
            }
        }
    }
}

/// The button at the end. Returns whether it was clicked.
fn next(ui: &mut Ui, name: &'static str, words: &str) -> bool {
    let row = ui.horizontal(|ui| {
        let button = |ui: &mut Ui| control(name, ui.add(primary(ui, words))).clicked();
        ui.with_layout(Layout::right_to_left(Align::Center), button).inner
    });
    row.inner
}

fn known(ui: &mut Ui, choice: &Choice, plan: &Plan) {
    ui.spacing_mut().item_spacing.y = 4.0;
    section(ui, "What it takes");
    if let Choice::Folder(path) = choice {
        ui.add(eframe::egui::Label::new(RichText::new(path.display().to_string()).size(13.0)).truncate());
    }
    fact(ui, "parameters", &count(plan.parameters));
    fact(ui, "weights on the device", &plan.dtype);
    fact(ui, "context", &format!("{} positions", plan.ctx));
    details::memory(ui, plan);
    for note in &plan.notes {
        ui.label(weak(ui, format!("{}", strix_model::shown(note))));
    }
}
