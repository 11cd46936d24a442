//! The dialog of the settings.

use eframe::egui::{Align, Context, DragValue, Layout, Slider, Ui};

use super::{control, dialog, section, weak};
use crate::settings::{Answering, Loading, Look, Slice};
use crate::state::{State, Wish};
use crate::theme;

/// Draws it.
pub(crate) fn show(ctx: &Context, state: &mut State) {
    let before = state.settings.clone();
    let closed = dialog(ctx, "Settings", 440.0, |ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        let settings = &mut state.settings;
        section(ui, "Window");
        row(ui, "Colours", |ui| {
            for (look, name, words) in [
                (Look::System, "look-system", "As the system"),
                (Look::Light, "look-light", "Light"),
                (Look::Dark, "look-dark", "Dark"),
            ] {
                control(name, ui.selectable_value(&mut settings.look, look, words));
            }
        });
        ui.add_space(6.0);
        section(ui, "Answers");
        answers(ui, &mut settings.answering);
        ui.add_space(6.0);
        section(ui, "Device");
        device(ui, &mut settings.loading);
        ui.add_space(8.0);
        ui.horizontal(|ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if control("done", ui.button("Done")).clicked() {
                    state.dialog = None;
                }
                if control("defaults", ui.add(super::quiet("Back to how it was at first"))).clicked() {
                    settings.answering = Answering::default();
                    settings.loading = Loading::default();
                }
            });
        });
    });
    if closed {
        state.dialog = None;
    }
    if state.settings != before {
        theme::choose(ctx, state.settings.look);
        state.wishes.push(Wish::Save);
    }
}

fn row(ui: &mut Ui, name: &str, add: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        super::name(ui, name, 130.0);
        add(ui);
    });
}

fn answers(ui: &mut Ui, a: &mut Answering) {
    row(ui, "Temperature", |ui| {
        let slider = ui.add(Slider::new(&mut a.temperature, 0.0..=2.0).step_by(0.05));
        control("temperature", slider.on_hover_text("0 is always the likeliest word; higher is more varied"));
    });
    row(ui, "Likeliest, in all", |ui| {
        let slider = ui.add(Slider::new(&mut a.top_p, 0.05..=1.0).step_by(0.05));
        slider.on_hover_text("top_p: words are drawn from the likeliest that have this probability together");
    });
    row(ui, "Against repetition", |ui| {
        let slider = ui.add(Slider::new(&mut a.repetition_penalty, 1.0..=2.0).step_by(0.05));
        slider.on_hover_text("repetition_penalty: 1 changes nothing");
    });
    row(ui, "Longest answer", |ui| {
        let drag = ui.add(DragValue::new(&mut a.max_tokens).range(1..=8192).speed(4).suffix(" tokens"));
        control("max-tokens", drag);
    });
    row(ui, "Seed", |ui| {
        ui.add(DragValue::new(&mut a.seed)).on_hover_text("The same seed gives the same answer");
    });
}

fn device(ui: &mut Ui, loading: &mut Loading) {
    row(ui, "Frames in between", |ui| {
        let custom = match loading.slice {
            Slice::Ms(_) => loading.slice,
            _ => Slice::Ms(8),
        };
        for (slice, words) in [(Slice::Auto, "Automatic"), (Slice::Whole, "None"), (custom, "Every")] {
            ui.selectable_value(&mut loading.slice, slice, words);
        }
        if let Slice::Ms(ms) = &mut loading.slice {
            ui.add(DragValue::new(ms).range(1..=1000).suffix(" ms"));
        }
    });
    ui.label(weak(
        ui,
        "Pieces in which the model's work is given to the device, so that the window is drawn between them. A change takes \
         effect when a model is loaded.",
    ));
}
