//! What the window shows of its state.

mod answer;
mod composer;
mod details;
mod model;
mod pictures;
mod preferences;
mod shown;
mod top;
mod transcript;
mod welcome;

use std::collections::BTreeMap;

use eframe::egui::{
    self, Align, Align2, Button, CentralPanel, Color32, Context, CornerRadius, Frame, Id, Label, LayerId,
    Layout, Margin, Order, Panel, Rect, Response, RichText, Stroke, StrokeKind, TextStyle, Ui, Widget, vec2,
};

use crate::problem::{Fix, Problem};
use crate::state::{Dialog, State};
use crate::theme::{self, DETAILS, ROUND, WIDE, palette};

/// Draws the window.
pub(crate) fn show(ui: &mut Ui, state: &mut State) {
    let p = palette(ui);
    let is_wide = ui.available_width() >= WIDE;
    top::show(ui, state, is_wide);
    if is_wide && !state.settings.details_closed {
        let frame = Frame::new().fill(p.panel).inner_margin(Margin::same(16));
        Panel::right("details").exact_size(DETAILS).resizable(false).frame(frame).show(ui, |ui| {
            details::show(ui, state);
        });
    }
    let frame = Frame::new().fill(p.ground);
    Panel::bottom("composer")
        .frame(frame)
        .show_separator_line(false)
        .show(ui, |ui| composer::show(ui, state));
    CentralPanel::default().frame(frame).show(ui, |ui| {
        if state.conversation.entries.is_empty() {
            welcome::show(ui, state);
        } else {
            transcript::show(ui, state);
        }
    });
    match &state.dialog {
        None => {}
        Some(Dialog::Model { .. }) => model::show(ui.ctx(), state),
        Some(Dialog::Settings) => preferences::show(ui.ctx(), state),
        Some(Dialog::Details) if is_wide => state.dialog = None,
        Some(Dialog::Details) => details::show_dialog(ui.ctx(), state),
    }
    if ui.input(|input| !input.raw.hovered_files.is_empty()) {
        drop_target(ui.ctx(), palette(ui));
    }
}

/// Says that what is held over the window may be dropped.
fn drop_target(ctx: &Context, p: theme::Palette) {
    let painter = ctx.layer_painter(LayerId::new(Order::Foreground, Id::unique("drop target")));
    let rect = ctx.content_rect();
    painter.rect_filled(rect, 0, p.ground.gamma_multiply(0.85));
    let inner = rect.shrink(24.0);
    painter.rect_stroke(inner, CornerRadius::same(16), Stroke::new(2.0, p.accent), StrokeKind::Inside);
    let font = TextStyle::Heading.resolve(&ctx.global_style());
    painter.text(inner.center(), Align2::CENTER_CENTER, "Drop the pictures to ask about them", font, p.text);
}

/// Where the controls of the last frame are, by name: tests click there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Controls {
    pub(crate) places: BTreeMap<&'static str, Rect>,
    /// The one that has the keyboard.
    pub(crate) focused: Option<&'static str>,
}

/// Notes where a control is.
pub(crate) fn control(name: &'static str, response: Response) -> Response {
    // What is scrolled out of sight cannot be clicked.
    let rect = response.interact_rect.intersect(response.ctx.content_rect());
    if response.enabled() && rect.is_positive() {
        let is_focused = response.has_focus();
        response.ctx.data_mut(|data| {
            let controls = data.get_temp_mut_or_default::<Controls>(Id::NULL);
            controls.places.insert(name, rect);
            controls.focused = controls.focused.or(is_focused.then_some(name));
        });
    }
    response
}

/// Takes the notes of where the controls are.
pub(crate) fn take_controls(ctx: &Context) -> Controls {
    ctx.data_mut(|data| std::mem::take(data.get_temp_mut_or_default::<Controls>(Id::NULL)))
}

/// Text that is less important.
fn weak(ui: &Ui, text: impl Into<String>) -> RichText {
    RichText::new(text).small().color(palette(ui).weak)
}

/// The button of the one thing that is to be done next.
fn primary<'a>(ui: &Ui, text: &'a str) -> Button<'a> {
    let p = palette(ui);
    Button::new(RichText::new(text).color(p.on_accent)).fill(p.accent).stroke(Stroke::NONE)
}

/// A button that is no more than its text until the pointer is on it.
fn quiet(text: impl Into<RichText>) -> Button<'static> {
    Button::new(text.into()).frame_when_inactive(false)
}

/// A heading of a part of a panel.
fn section(ui: &mut Ui, text: &str) {
    ui.add_space(4.0);
    ui.label(RichText::new(text.to_uppercase()).size(11.0).color(palette(ui).weak).extra_letter_spacing(0.6));
}

/// The name of something that can be changed, beside it.
fn name(ui: &mut Ui, name: &str, width: f32) {
    let size = vec2(width, ui.spacing().interact_size.y);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_min_size(size);
        ui.label(weak(ui, name));
    });
}

/// A name at the left and a value at the right, which is cut if it is too long.
fn fact(ui: &mut Ui, name: &str, value: &str) {
    let size = vec2(ui.available_width(), 20.0);
    ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
        ui.set_height(size.y);
        ui.label(weak(ui, name));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            Label::new(RichText::new(value).size(13.0)).truncate().ui(ui);
        });
    });
}

/// A card with a problem, its advice and its fixes. Returns the fix that was chosen, and whether it was put away.
fn problem(ui: &mut Ui, problem: &Problem, can_close: bool) -> (Option<Fix>, bool) {
    let p = palette(ui);
    let mut chosen = None;
    let mut closed = false;
    let frame = Frame::new()
        .fill(p.danger_ground)
        .corner_radius(CornerRadius::same(ROUND))
        .inner_margin(Margin::symmetric(14, 10));
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_top(|ui| {
            let room = if can_close { 76.0 } else { 0.0 };
            ui.vertical(|ui| {
                ui.set_width((ui.available_width() - room).max(80.0));
                ui.label(RichText::new(&problem.what).color(p.danger).size(14.0));
                if !problem.advice.is_empty() {
                    ui.label(RichText::new(&problem.advice).color(p.text).size(14.0));
                }
            });
            if can_close && control("close-problem", ui.add(quiet("Close"))).clicked() {
                closed = true;
            }
        });
        if !problem.fixes.is_empty() {
            ui.horizontal_wrapped(|ui| {
                for &fix in &problem.fixes {
                    if ui.button(fix.label()).clicked() {
                        chosen = Some(fix);
                    }
                }
            });
        }
    });
    (chosen, closed)
}

/// The frame of a dialog, of this width where the window has it, with its heading. Returns whether it is to be closed.
fn dialog(ctx: &Context, name: &str, width: f32, content: impl FnOnce(&mut Ui)) -> bool {
    let screen = ctx.content_rect().size();
    let width = width.min(screen.x - 64.0);
    let id = Id::unique(("dialog", name));
    let area = egui::Modal::default_area(id).default_size(vec2(width, screen.y - 32.0));
    let frame =
        Frame::window(&ctx.global_style()).inner_margin(Margin { left: 20, right: 12, top: 18, bottom: 18 });
    let modal = egui::Modal::new(id).area(area).backdrop_color(Color32::from_black_alpha(110)).frame(frame);
    let mut done = false;
    let shown = modal.show(ctx, |ui| {
        ui.set_width(width);
        ui.horizontal(|ui| {
            ui.label(RichText::new(name).heading());
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                done = control("close-dialog", ui.add(quiet("Close"))).clicked();
            });
        });
        ui.add_space(4.0);
        // Without a least height it would stay as small as it once was.
        let most = (screen.y - 130.0).max(120.0);
        egui::ScrollArea::vertical()
            .max_height(most)
            .min_scrolled_height(most)
            .auto_shrink([false, true])
            .show(ui, |ui| {
                // The bar of a long dialog has a place of its own.
                ui.set_width(width - 8.0);
                content(ui);
            });
    });
    done || shown.should_close()
}

/// Says that something is under way.
fn busy(ui: &mut Ui, words: &str) {
    let p = palette(ui);
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 22.0;
        let (rect, _) = ui.allocate_exact_size(vec2(24.0, 22.0), egui::Sense::hover());
        let time = ui.input(|input| input.time);
        for i in 0..3 {
            let wave = ((time * 4.0 - f64::from(i) * 0.9).sin() * 0.5 + 0.5) as f32;
            let center = rect.left_center() + vec2(3.0 + 8.0 * i as f32, 0.0);
            ui.painter().circle_filled(center, 2.5, p.weak.gamma_multiply(0.35 + 0.65 * wave));
        }
        ui.label(weak(ui, words));
    });
    ui.ctx().request_repaint_after(std::time::Duration::from_millis(66));
}

/// A bar of which a part is filled.
fn bar(ui: &mut Ui, part: f32, height: f32) -> Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), egui::Sense::hover());
    let radius = CornerRadius::same((height / 2.0) as u8);
    ui.painter().rect_filled(rect, radius, p.line);
    let mut filled = rect;
    filled.set_width(rect.width() * part.clamp(0.0, 1.0));
    ui.painter().rect_filled(filled, radius, p.accent);
    response
}

#[cfg(test)]
mod tests;
