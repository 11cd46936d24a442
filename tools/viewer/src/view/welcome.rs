//! What is there before anything was asked: what can be done, and questions to try.

use eframe::egui::{
    Align, CornerRadius, CursorIcon, Direction, Id, Image, Label, Layout, Rect, RichText, Role, ScrollArea,
    Sense, Stroke, StrokeKind, Ui, UiBuilder, Widget, WidgetInfo, pos2, vec2,
};

use super::{control, weak};
use crate::picture::Picture;
use crate::settings::Choice;
use crate::state::{Phase, State};
use crate::theme::{ROUND, palette};

/// A question that nano answers.
struct Sample {
    name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
    question: &'static str,
}

macro_rules! files {
    ($($file:literal),*) => {
        &[$(($file, include_bytes!(concat!("../../../../tests/nano/samples/", $file)))),*]
    };
}

const SAMPLES: [Sample; 3] = [
    Sample { name: "sample-1", files: files!["drawing_640x480.png"], question: "Describe the image." },
    Sample {
        name: "sample-2",
        files: files!["pair_1.png", "pair_2.png"],
        question: "What is the difference?",
    },
    Sample { name: "sample-3", files: files!["dark_200x150.png"], question: "What shape is in the image?" },
];

/// Widest card of a question to try.
const CARD: f32 = 224.0;
/// Distance between cards.
const GAP: f32 = 12.0;
/// Heights of a card's pictures and of its words.
const HEIGHTS: [f32; 2] = [116.0, 44.0];

/// The pictures of the questions, read once a window.
#[derive(Clone)]
struct Pictures(Vec<Vec<Picture>>);

impl Pictures {
    fn read() -> Self {
        let of = |sample: &Sample| {
            let picture = |(name, bytes): &(&str, &[u8])| Picture::decode(name, bytes).ok();
            sample.files.iter().filter_map(picture).collect()
        };
        Self(SAMPLES.iter().map(of).collect())
    }
}

/// Draws it.
pub(crate) fn show(ui: &mut Ui, state: &mut State) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let is_nano = state.model.as_ref().is_some_and(|model| model.choice == Choice::Nano);
        let height = if is_nano { 330.0 } else { 90.0 };
        ui.add_space(((ui.available_height() - height) / 2.4).clamp(16.0, 220.0));
        ui.vertical_centered(|ui| {
            ui.label(RichText::new("Ask about a picture").size(28.0));
            ui.add_space(2.0);
            let words = "Drop, open or paste one, write a question, and press Enter.";
            ui.label(RichText::new(words).color(palette(ui).weak));
        });
        if is_nano {
            samples(ui, state);
        }
        ui.add_space(16.0);
    });
}

/// Cards with questions that nano knows the answers to.
fn samples(ui: &mut Ui, state: &mut State) {
    let id = Id::unique("sample pictures");
    let known = ui.data(|data| data.get_temp::<Pictures>(id));
    let Pictures(mut pictures) = known.unwrap_or_else(Pictures::read);
    ui.add_space(24.0);
    ui.vertical_centered(|ui| {
        ui.label(weak(ui, "nano, the built-in model, is tiny and knows coloured shapes. Try it:"));
    });
    ui.add_space(8.0);
    let number = SAMPLES.len() as f32;
    let room = ui.available_width() - 40.0;
    let card = ((room - GAP * (number - 1.0)) / number).min(CARD);
    // Narrower, a card's words would be broken up: the cards go below each other.
    let (columns, card) = if card >= 150.0 { (SAMPLES.len(), card) } else { (1, room.min(CARD)) };
    let is_ready = matches!(state.phase, Phase::Ready);
    let mut chosen = None;
    for row in 0..SAMPLES.len() / columns {
        let whole = card * columns as f32 + GAP * (columns as f32 - 1.0);
        let size = vec2(ui.available_width(), HEIGHTS.iter().sum());
        let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
        for column in 0..columns {
            let i = row * columns + column;
            let left = rect.center().x - whole / 2.0 + (card + GAP) * column as f32;
            let at = Rect::from_min_size(pos2(left, rect.top()), vec2(card, size.y));
            if sample_card(ui, at, &SAMPLES[i], &mut pictures[i], is_ready) {
                chosen = Some(i);
            }
        }
        ui.add_space(4.0);
    }
    if let Some(i) = chosen {
        state.draft.text = SAMPLES[i].question.into();
        state.draft.pictures = pictures[i].clone();
        state.ask();
    }
    ui.data_mut(|data| data.insert_temp(id, Pictures(pictures)));
}

/// Pictures with their question below. Returns whether it was clicked.
fn sample_card(ui: &mut Ui, rect: Rect, sample: &Sample, pictures: &mut [Picture], is_ready: bool) -> bool {
    let p = palette(ui);
    let sense = if is_ready { Sense::click() } else { Sense::hover() };
    let response = ui.interact(rect, Id::unique(sample.name), sense);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, is_ready, format!("Try: {}", sample.question)));
    let is_hot = is_ready && (response.hovered() || response.has_focus());
    let line = Stroke::new(1.0, if is_hot { p.accent } else { p.line });
    ui.painter().rect(rect, CornerRadius::same(ROUND), p.card, line, StrokeKind::Inside);

    let [above, below] = HEIGHTS;
    let room = Rect::from_min_size(rect.min, vec2(rect.width(), above)).shrink(10.0);
    let each = room.width() / pictures.len().max(1) as f32;
    for (i, picture) in pictures.iter_mut().enumerate() {
        let texture = picture.texture(ui.ctx());
        let size = texture.size_vec2();
        let scale = ((each - 4.0) / size.x).min(room.height() / size.y);
        let center = pos2(room.left() + each * (i as f32 + 0.5), room.center().y);
        let at = Rect::from_center_size(center, size * scale);
        Image::new(&texture).corner_radius(CornerRadius::same(5)).paint_at(ui, at);
    }

    let words =
        Rect::from_min_max(pos2(rect.left(), rect.bottom() - below), rect.max).shrink2(vec2(8.0, 4.0));
    let layout = Layout::centered_and_justified(Direction::TopDown);
    let mut ui = ui.new_child(UiBuilder::new().max_rect(words).layout(layout));
    let text = RichText::new(sample.question).size(13.5);
    Label::new(text).selectable(false).wrap().halign(Align::Center).ui(&mut ui);
    let response = if is_ready { response.on_hover_cursor(CursorIcon::PointingHand) } else { response };
    control(sample.name, response).clicked()
}
