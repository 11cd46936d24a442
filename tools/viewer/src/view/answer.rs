//! An answer: its words, how it ended, and what can be done with it.

use std::ops::Range;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::text_selection::LabelSelectionState;
use eframe::egui::{Color32, FontId, Label, Sense, Stroke, TextStyle, Ui, WidgetInfo, vec2};
use strix_model::Timing;

use super::shown::{Shown, Want};
use super::{busy, control, problem, quiet, weak};
use crate::conversation::{Answer, Gaze, Outcome, Turn};
use crate::state::{Focus, ending};
use crate::theme::palette;

/// What may be done with an answer now.
#[derive(Clone, Copy, Debug)]
pub(super) struct May {
    /// Whether it may be asked for again, or gone on with.
    pub(super) be_asked: bool,
    /// Whether the model may look into it.
    pub(super) be_looked_into: bool,
}

/// Draws it, and says what is wanted.
pub(super) fn show(
    ui: &mut Ui,
    turn: &Turn,
    focus: &mut Option<Focus>,
    shown: Option<&Shown>,
    may: May,
) -> Option<Want> {
    let answer = &turn.answer;
    words(ui, turn, focus, shown.is_some_and(|shown| shown.turn == turn.id));
    let mut want = None;
    match &answer.outcome {
        Outcome::Open => {
            busy(ui, if answer.num_tokens() == 0 { "looking" } else { "answering" });
        }
        Outcome::Failed(what) => {
            problem(ui, what, false);
            if may.be_asked && control("again", ui.button("Ask again")).clicked() {
                want = Some(Want::Again);
            }
        }
        Outcome::Done { reason, timing } => {
            let is_focused = focus.as_ref().is_some_and(|focus| focus.turn == turn.id);
            if is_focused {
                gaze(ui, answer, focus.as_ref(), shown);
            }
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
                ui.spacing_mut().button_padding = vec2(8.0, 2.0);
                ui.spacing_mut().interact_size.y = 24.0;
                let summary = summary(answer, timing, ending(reason));
                ui.label(weak(ui, summary));
                ui.add_space(6.0);
                want = buttons(ui, turn, is_focused, may);
            });
        }
    }
    want
}

fn buttons(ui: &mut Ui, turn: &Turn, is_focused: bool, may: May) -> Option<Want> {
    let answer = &turn.answer;
    let mut want = None;
    let small = |ui: &Ui, text: &str| quiet(weak(ui, text)).min_size(vec2(0.0, 24.0));
    let knows = matches!(answer.gaze, Gaze::Known(_) | Gaze::Asked);
    if answer.num_tokens() > 0 && (may.be_looked_into || knows) {
        let text = if is_focused { "Hide where it looked" } else { "Where it looked" };
        let hint = "Shows over the pictures where the words of the answer looked";
        let button = small(ui, text).selected(is_focused);
        if control("look", ui.add(button).on_hover_text(hint)).clicked() {
            want = Some(Want::Look(turn.id));
        }
    }
    if answer.num_tokens() > 0 && control("copy", ui.add(small(ui, "Copy"))).clicked() {
        ui.ctx().copy_text(answer.text().trim().to_owned());
    }
    if may.be_asked && answer.is_cut() {
        let button = ui.add(small(ui, "Go on"));
        if control("more", button.on_hover_text("More of this answer")).clicked() {
            want = Some(Want::More);
        }
    }
    if may.be_asked {
        let button = ui.add(small(ui, "Ask again"));
        if control("again", button.on_hover_text("The same question once more")).clicked() {
            want = Some(Want::Again);
        }
    }
    want
}

/// The answer's text. While it is looked into, the word below the pointer is marked, and a click keeps it.
fn words(ui: &mut Ui, turn: &Turn, focus: &mut Option<Focus>, is_shown: bool) {
    let answer = &turn.answer;
    let text = answer.text().trim_end();
    if text.is_empty() {
        return;
    }
    let word =
        focus.as_ref().filter(|focus| is_shown && focus.turn == turn.id).and_then(|focus| focus.word.clone());
    let sense = if is_shown { Sense::click() } else { Sense::hover() };
    let label = Label::new(job(ui, text, word)).wrap().sense(sense).selectable(!is_shown);
    let (at, galley, response) = label.layout_in_ui(ui);
    response.widget_info(|| WidgetInfo::labeled(eframe::egui::Role::Label, true, text));
    if is_shown && let Some(focus) = focus.as_mut().filter(|focus| focus.turn == turn.id) {
        let hovered = response.hover_pos().and_then(|pointer| {
            let place = galley.cursor_from_pos(pointer - at).index;
            let byte = text.char_indices().nth(usize::from(place)).map(|(byte, _)| byte)?;
            // Beside the end of a line is no word.
            let inside = galley.rows.iter().any(|row| row.rect().translate(at.to_vec2()).contains(pointer));
            inside.then(|| answer.word_at(byte)).flatten()
        });
        if response.clicked() {
            focus.is_pinned = hovered.is_some() && !(focus.is_pinned && focus.word == hovered);
            focus.word.clone_from(&hovered);
        } else if !focus.is_pinned {
            focus.word.clone_from(&hovered);
        }
    }
    let colour = palette(ui).text;
    if is_shown {
        ui.painter().galley(at, galley, colour);
    } else {
        LabelSelectionState::label_text_selection(ui, &response, at, galley, colour, Stroke::NONE);
    }
    control("answer", response);
}

fn job(ui: &Ui, text: &str, word: Option<Range<usize>>) -> LayoutJob {
    let p = palette(ui);
    let font = FontId { size: 16.0, ..TextStyle::Body.resolve(ui.style()) };
    let format = |background: Color32| TextFormat {
        font_id: font.clone(),
        color: p.text,
        background,
        line_height: Some(23.0),
        ..TextFormat::default()
    };
    let word = word.unwrap_or(0..0);
    let (start, end) = (word.start.min(text.len()), word.end.min(text.len()));
    let mut job = LayoutJob::default();
    let parts =
        [(0..start, Color32::TRANSPARENT), (start..end, p.mark), (end..text.len(), Color32::TRANSPARENT)];
    for (bytes, background) in parts {
        if let Some(part) = text.get(bytes).filter(|part| !part.is_empty()) {
            job.append(part, 0.0, format(background));
        }
    }
    job
}

/// Says what the maps over the pictures are of.
fn gaze(ui: &mut Ui, answer: &Answer, focus: Option<&Focus>, shown: Option<&Shown>) {
    match (&answer.gaze, shown) {
        (Gaze::Asked, _) => {
            busy(ui, "looking into the answer");
        }
        (Gaze::Failed(what), _) => {
            problem(ui, what, false);
        }
        (Gaze::Known(_), Some(shown)) => {
            let shares: f32 =
                (0..shown.attention.pictures()).map(|i| shown.attention.share(i, shown.tokens.clone())).sum();
            let word = focus.and_then(|focus| focus.word.clone()).and_then(|word| answer.text().get(word));
            let of = word.map_or_else(|| "The answer".to_owned(), |word| format!("“{word}”"));
            let hint = if word.is_none() {
                " Move over a word to see where it looked; a click keeps it."
            } else {
                ""
            };
            let pictures = if shown.attention.pictures() == 1 { "picture" } else { "pictures" };
            let words = match shown.attention.pictures() {
                0 => "No picture was there to be looked at.".to_owned(),
                _ => format!("{of} gave {:.0} % of its attention to the {pictures}.{hint}", shares * 100.0),
            };
            ui.label(weak(ui, words));
        }
        _ => {}
    }
}

/// Tokens, speed, time to the first token, and why it ended.
fn summary(answer: &Answer, timing: &Timing, ending: Option<&str>) -> String {
    let tokens = answer.num_tokens();
    let mut parts = vec![format!("{tokens} token{}", if tokens == 1 { "" } else { "s" })];
    parts.extend(timing.tokens_per_second().map(|speed| format!("{} a second", rate(speed))));
    parts.push(format!("the first after {}", seconds(timing.first_token.as_secs_f64())));
    parts.extend(ending.map(str::to_owned));
    parts.join("  ·  ")
}

/// `41.3`, `8.02`, `120`.
pub(super) fn rate(speed: f64) -> String {
    let decimals = if speed < 10.0 { 2 } else { usize::from(speed < 100.0) };
    format!("{speed:.decimals$}")
}

/// `0.21 s`, `12 s`.
fn seconds(time: f64) -> String {
    let decimals = if time < 10.0 { 2 } else { 0 };
    format!("{time:.decimals$} s")
}
