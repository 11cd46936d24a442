//! The bar at the top: what the window is, the model, and what can be opened.

use eframe::egui::{
    Align, Button, Color32, Frame, Layout, Margin, Panel, Pos2, RichText, Sense, Shape, Stroke, Ui, vec2,
};

use super::{control, quiet};
use crate::state::{Dialog, Phase, State, Wish};
use crate::theme::{Palette, palette};

/// Draws it.
pub(crate) fn show(ui: &mut Ui, state: &mut State, is_wide: bool) {
    let p = palette(ui);
    let frame = Frame::new().fill(p.panel).inner_margin(Margin::symmetric(14, 8));
    Panel::top("top").frame(frame).show(ui, |ui| {
        ui.horizontal(|ui| {
            owl(ui, p);
            let is_narrow = ui.available_width() < 340.0;
            if ui.available_width() > 560.0 {
                ui.label(RichText::new("Strix").size(17.0).strong());
                ui.add_space(4.0);
            }
            model(ui, state, if is_narrow { 90.0 } else { 240.0 });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if is_narrow {
                    let menu = ui.menu_button("Menu", |ui| others(ui, state, is_wide));
                    control("menu", menu.response);
                } else {
                    others(ui, state, is_wide);
                }
            });
        });
    });
}

/// What else can be opened, from right to left.
fn others(ui: &mut Ui, state: &mut State, is_wide: bool) {
    if control("settings", ui.add(quiet("Settings"))).clicked() {
        state.dialog = Some(Dialog::Settings);
    }
    if control("details", ui.add(quiet("Details"))).clicked() {
        if is_wide {
            state.settings.details_closed ^= true;
            state.wishes.push(Wish::Save);
        } else {
            state.dialog = Some(Dialog::Details);
        }
    }
    let can_begin = !state.conversation.entries.is_empty() && !matches!(state.phase, Phase::Answering(_));
    let new = ui.add_enabled(can_begin, quiet("New"));
    let new = new.on_hover_text("Begin a new conversation: the model forgets this one");
    if control("new", new).clicked() {
        state.begin_anew();
    }
}

/// The button of the model: its name, or what is being loaded.
fn model(ui: &mut Ui, state: &mut State, beside: f32) {
    let name = match (&state.phase, &state.model) {
        (Phase::Loading { choice, .. }, _) => format!("loading {}…", choice.name()),
        (_, Some(model)) => model.choice.name(),
        (_, None) => "no model".into(),
    };
    // A long name is cut where the buttons at the right begin.
    let most = (ui.available_width() - beside).clamp(60.0, 320.0);
    let mut button = Button::new(RichText::new(format!("{name}     "))).truncate();
    button = button.min_size(vec2(0.0, 30.0));
    let response = ui.scope(|ui| {
        ui.set_max_width(most);
        ui.add(button)
    });
    let response = response.inner.on_hover_text("Choose a model");
    let tip = response.rect.right_center() + vec2(-13.0, 2.5);
    let down = [vec2(-4.0, -5.0), vec2(4.0, -5.0), vec2(0.0, 0.0)].map(|corner| tip + corner);
    ui.painter().add(Shape::convex_polygon(down.into(), palette(ui).weak, Stroke::NONE));
    if control("model", response).clicked() {
        state.choose_model();
    }
}

/// Two eyes and a beak.
fn owl(ui: &mut Ui, p: Palette) {
    let (rect, _) = ui.allocate_exact_size(vec2(30.0, 26.0), Sense::hover());
    let painter = ui.painter();
    let center = rect.center();
    for side in [-1.0, 1.0] {
        let eye = center + vec2(7.0 * side, -1.0);
        painter.circle(eye, 6.5, Color32::TRANSPARENT, Stroke::new(2.0, p.accent));
        painter.circle_filled(eye, 2.5, p.text);
    }
    let beak: Vec<Pos2> =
        [vec2(-2.5, 4.5), vec2(2.5, 4.5), vec2(0.0, 9.5)].into_iter().map(|at| center + at).collect();
    painter.add(Shape::convex_polygon(beak, p.accent, Stroke::NONE));
}
