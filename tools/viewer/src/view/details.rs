//! The panel of the model and the device: what it is, what it takes, how fast it is.

use eframe::egui::{Context, RichText, ScrollArea, Ui, vec2};

use super::answer::rate;
use super::{bar, dialog, fact, section, weak};
use crate::frames::During;
use crate::plan::{Plan, bytes, count};
use crate::state::State;
use crate::theme::palette;

/// Draws it as a dialog, for narrow windows.
pub(crate) fn show_dialog(ctx: &Context, state: &mut State) {
    if dialog(ctx, "Details", 340.0, |ui| parts(ui, state)) {
        state.dialog = None;
    }
}

/// Draws it beside the conversation.
pub(crate) fn show(ui: &mut Ui, state: &State) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| parts(ui, state));
}

fn parts(ui: &mut Ui, state: &State) {
    ui.spacing_mut().item_spacing.y = 4.0;
    speed(ui, state);
    ui.add_space(8.0);
    section(ui, "Model");
    if let Some(model) = &state.model {
        let plan = &model.plan;
        fact(ui, "name", &model.choice.name());
        fact(ui, "parameters", &count(plan.parameters));
        fact(ui, "weights", &plan.dtype);
        fact(ui, "context", &format!("{} positions", plan.ctx));
        fact(ui, "loaded in", &format!("{:.1} s", model.took.as_secs_f64()));
        for note in &model.notes {
            ui.label(weak(ui, note));
        }
    } else {
        ui.label(weak(ui, "none"));
    }
    ui.add_space(8.0);
    section(ui, "Device");
    ui.label(RichText::new(&state.device.name).size(13.0));
    if let Some(model) = &state.model {
        ui.add_space(8.0);
        section(ui, "Memory");
        memory(ui, &model.plan);
    }
}

/// Tokens a second, and how the window fares meanwhile.
fn speed(ui: &mut Ui, state: &State) {
    section(ui, "Speed");
    let p = palette(ui);
    let speed = state.speed().map_or_else(|| "–".to_owned(), rate);
    ui.horizontal(|ui| {
        ui.label(RichText::new(speed).size(26.0).color(p.text));
        ui.add_space(-2.0);
        ui.label(weak(ui, "tokens a second"));
    });
    let frames = state.frames.summary(&[During::Prompt, During::Tokens]);
    if frames.frames > 0 {
        let ms = |time: f64| format!("{time:.0} ms");
        fact(ui, "frames: half within", &ms(frames.p50));
        fact(ui, "99 of 100 within", &ms(frames.p99));
        fact(ui, "the longest", &ms(frames.worst));
    }
}

/// What the device's memory holds, part by part.
pub(super) fn memory(ui: &mut Ui, plan: &Plan) {
    let taken = plan.device_bytes();
    let words = match plan.budget_bytes {
        Some(budget) => {
            bar(ui, taken as f32 / budget.max(1) as f32, 6.0);
            format!("{} of {} free", bytes(taken), bytes(budget))
        }
        None => format!("{} in all", bytes(taken)),
    };
    ui.label(weak(ui, words));
    ui.add_space(2.0);
    for part in plan.parts.iter().filter(|part| part.bytes > 0) {
        let name = match part.is_streamed {
            true => format!("{}, from the file", part.name),
            false => part.name.to_owned(),
        };
        fact(ui, &name, &bytes(part.device_bytes));
    }
    if plan.streams() {
        let [resident, all] = plan.layers;
        ui.label(weak(
            ui,
            format!(
                "{resident} of {all} layers stay on the device; the others come from the file for each token."
            ),
        ));
    }
    ui.allocate_space(vec2(0.0, 2.0));
}
