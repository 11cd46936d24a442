//! Pictures of a question, and where an answer looked in them.

use std::ops::Range;

use eframe::egui::{
    Color32, ColorImage, CornerRadius, Id, Image, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind,
    TextureHandle, TextureOptions, Ui, WidgetInfo, pos2, vec2,
};

use super::shown::Shown;
use crate::messages::TurnId;
use crate::picture::Picture;
use crate::theme::{self, palette};

/// Height of a picture that is alone, and of one among several.
const HEIGHTS: [f32; 2] = [260.0, 150.0];

/// Pictures beside each other, in as many lines as they need. `shown` is what is looked at, and the number of the first of
/// them in the conversation.
pub(super) fn row(ui: &mut Ui, pictures: &mut [Picture], shown: Option<(&Shown, usize)>) {
    if pictures.is_empty() {
        return;
    }
    let height = HEIGHTS[usize::from(pictures.len() > 1)];
    let room = ui.available_width();
    ui.horizontal_wrapped(|ui| {
        for (i, picture) in pictures.iter_mut().enumerate() {
            let scale = (height / picture.pixels.height() as f32)
                .min(room / picture.pixels.width() as f32)
                // A tiny picture is made larger, but not to a few huge squares.
                .min(4.0);
            let size = vec2(picture.pixels.width() as f32, picture.pixels.height() as f32) * scale;
            let (rect, response) = ui.allocate_exact_size(size.max(vec2(24.0, 24.0)), Sense::hover());
            response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &picture.name));
            let at = Rect::from_center_size(rect.center(), size);
            let texture = picture.texture(ui.ctx());
            let radius = CornerRadius::same(6);
            Image::new(&texture).corner_radius(radius).paint_at(ui, at);
            let line = Stroke::new(1.0, palette(ui).line);
            ui.painter().rect_stroke(at, radius, line, StrokeKind::Inside);
            let mut label =
                format!("{}, {} × {}", picture.name, picture.pixels.width(), picture.pixels.height());
            if let Some((shown, first)) = shown {
                let number = first + i;
                if number < shown.attention.pictures() {
                    let heat = heat(ui, shown, number);
                    Image::new(&heat).corner_radius(radius).paint_at(ui, at);
                    let share = shown.attention.share(number, shown.tokens.clone());
                    label += &format!("\n{:.0} % of the attention of these words", share * 100.0);
                }
            }
            for note in &picture.notes {
                label += &format!("\n{note}");
            }
            response.on_hover_text(label);
        }
    });
    ui.add_space(2.0);
}

/// What the last map was made of, and the map.
#[derive(Clone)]
struct Map {
    of: (TurnId, Range<usize>),
    texture: TextureHandle,
}

/// Where some words looked in a picture, as colours to lay over it.
fn heat(ui: &Ui, shown: &Shown, picture: usize) -> TextureHandle {
    let id = Id::unique(("heat", picture));
    let of = (shown.turn, shown.tokens.clone());
    if let Some(known) = ui.data(|data| data.get_temp::<Map>(id)).filter(|known| known.of == of) {
        return known.texture;
    }
    let heat = shown.attention.heat(picture, shown.tokens.clone());
    let grid = shown.attention.grid;
    let pixels: Vec<Color32> = heat.iter().map(|&value| theme::heat(value)).collect();
    let image = ColorImage::new([grid, grid], pixels);
    let texture = ui.ctx().load_texture(format!("heat {picture}"), image, TextureOptions::LINEAR);
    ui.data_mut(|data| data.insert_temp(id, Map { of, texture: texture.clone() }));
    texture
}

/// Side of a small picture.
const SIDE: f32 = 56.0;

/// Pictures of the next question, small, each with a button that takes it away. Returns the one to take away.
pub(super) fn thumbnails(ui: &mut Ui, pictures: &mut [Picture], reading: usize) -> Option<u64> {
    let mut removed = None;
    ScrollArea::horizontal().id_salt("thumbnails").show(ui, |ui| {
        ui.horizontal(|ui| {
            for picture in pictures {
                removed = thumbnail(ui, picture).or(removed);
            }
            for _ in 0..reading {
                let (rect, _) = ui.allocate_exact_size(vec2(SIDE, SIDE), Sense::hover());
                ui.painter().rect_filled(rect, CornerRadius::same(6), palette(ui).line);
            }
        });
    });
    removed
}

/// One of them. Returns it if it is to be taken away.
fn thumbnail(ui: &mut Ui, picture: &mut Picture) -> Option<u64> {
    let p = palette(ui);
    let width = (SIDE * picture.aspect()).clamp(SIDE * 0.6, SIDE * 2.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, SIDE), Sense::hover());
    let texture = picture.texture(ui.ctx());
    // The middle part that has the shape of the place.
    let (aspect, place) = (picture.aspect(), width / SIDE);
    let part = vec2((place / aspect).min(1.0), (aspect / place).min(1.0));
    let uv = Rect::from_center_size(pos2(0.5, 0.5), part);
    let radius = CornerRadius::same(6);
    Image::new(&texture).uv(uv).corner_radius(radius).paint_at(ui, rect);
    ui.painter().rect_stroke(rect, radius, Stroke::new(1.0, p.line), StrokeKind::Inside);
    let size = picture.pixels.dimensions();
    response.on_hover_text(format!("{}, {} × {}", picture.name, size.0, size.1));

    let close = Rect::from_center_size(rect.right_top() + vec2(-10.0, 10.0), vec2(18.0, 18.0));
    let button = ui.interact(close, Id::unique(("remove", picture.id)), Sense::click());
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Take {} away", picture.name)));
    let fill = if button.hovered() { p.danger } else { Color32::from_black_alpha(170) };
    ui.painter().circle_filled(close.center(), 8.0, fill);
    let cross = Stroke::new(1.5, Color32::WHITE);
    for side in [-1.0, 1.0] {
        let arm = vec2(3.0, 3.0 * side);
        ui.painter().line_segment([close.center() - arm, close.center() + arm], cross);
    }
    super::control("remove", button.on_hover_text("Take it away")).clicked().then_some(picture.id)
}
