//! The dialog of the settings.

use std::ops::RangeInclusive;

use eframe::egui::style::Selection;
use eframe::egui::{Align, Context, DragValue, Layout, Response, Slider, Stroke, Ui};

use super::{control, dialog, section, weak};
use crate::settings::{Answering, Loading, Look, Slice};
use crate::state::{State, Wish};
use crate::theme::{self, palette};

/// Draws it.
pub(crate) fn show(ctx: &Context, state: &mut State) {
    let before = state.settings.clone();
    let closed = dialog(ctx, "Settings", 500.0, |ui| {
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

/// A slider whose rail is seen on the panel.
fn slider(ui: &mut Ui, value: &mut f32, range: RangeInclusive<f32>) -> Response {
    ui.scope(|ui| {
        let p = palette(ui);
        let visuals = ui.visuals_mut();
        visuals.widgets.inactive.bg_fill = p.rail;
        visuals.selection = Selection { bg_fill: p.accent, stroke: Stroke::new(1.0, p.on_accent) };
        ui.add(Slider::new(value, range).step_by(0.05))
    })
    .inner
}

fn answers(ui: &mut Ui, a: &mut Answering) {
    row(ui, "Temperature", |ui| {
        let slider = slider(ui, &mut a.temperature, 0.0..=2.0);
        control("temperature", slider.on_hover_text("0 is always the likeliest word; higher is more varied"));
    });
    row(ui, "Top p", |ui| {
        let slider = slider(ui, &mut a.top_p, 0.05..=1.0);
        slider.on_hover_text(
            "Words are drawn from the likeliest that have this probability together; 1 is all of them",
        );
    });
    row(ui, "Against repetition", |ui| {
        let slider = slider(ui, &mut a.repetition_penalty, 1.0..=2.0);
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
    row(ui, "Submit work in", |ui| {
        let custom = match loading.slice {
            Slice::Ms(_) => loading.slice,
            _ => Slice::Ms(8),
        };
        for (slice, words) in
            [(Slice::Auto, "Short slices"), (Slice::Whole, "One piece"), (custom, "Slices of")]
        {
            ui.selectable_value(&mut loading.slice, slice, words);
        }
        if let Slice::Ms(ms) = &mut loading.slice {
            ui.add(DragValue::new(ms).range(1..=1000).suffix(" ms"));
        }
    });
    ui.label(weak(
        ui,
        "The window is drawn between two slices of the model's work; in one piece the model is faster and the window stutters. \
         A change takes effect when a model is loaded.",
    ));
}
