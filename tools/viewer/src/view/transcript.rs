//! The conversation: questions with their pictures, and answers.

use eframe::egui::{RichText, ScrollArea, Separator, Ui};

use super::shown::{Shown, Want};
use super::{answer, pictures, weak};
use crate::conversation::Entry;
use crate::messages::TurnId;
use crate::state::{Phase, State};
use crate::theme::COLUMN;

/// Draws it.
pub(crate) fn show(ui: &mut Ui, state: &mut State) {
    let room = ui.available_width();
    let column = (room - 40.0).min(COLUMN);
    let mut want = None;
    ScrollArea::vertical().auto_shrink(false).stick_to_bottom(true).show(ui, |ui| {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.add_space((room - column) / 2.0);
            ui.vertical(|ui| {
                ui.set_width(column);
                ui.spacing_mut().item_spacing.x = 8.0;
                ui.add_space(18.0);
                want = turns(ui, state);
                ui.add_space(14.0);
            });
        });
    });
    match want {
        None => {}
        Some(Want::Again) => state.again(),
        Some(Want::More) => state.more(),
        Some(Want::Look(turn)) => state.look(turn),
    }
}

fn turns(ui: &mut Ui, state: &mut State) -> Option<Want> {
    let shown = Shown::of(state);
    let is_ready = matches!(state.phase, Phase::Ready);
    let last = state.conversation.last().map(|turn| turn.id);
    let ids: Vec<_> = state.conversation.turns().map(|turn| turn.id).collect();
    // For each turn, the number of its first picture in what the model was shown, if the shown answer could see it.
    let first_picture = |id: TurnId| {
        let seen_by = shown.as_ref()?.turn;
        let sees = state.conversation.are_together(id, seen_by) && id <= seen_by;
        sees.then(|| state.conversation.pictures_before(id))
    };
    let first_pictures: Vec<_> = ids.iter().map(|&id| first_picture(id)).collect();
    let live: Vec<_> = ids.iter().map(|&id| state.conversation.is_live(id)).collect();

    let mut want = None;
    let mut follows_turn = false;
    let mut number = 0;
    for entry in &mut state.conversation.entries {
        let turn = match entry {
            Entry::Begun(name) => {
                begun(ui, name);
                follows_turn = false;
                continue;
            }
            Entry::Turn(turn) => turn,
        };
        if follows_turn {
            ui.add_space(8.0);
            ui.add(Separator::default().spacing(1.0));
            ui.add_space(10.0);
        }
        follows_turn = true;
        ui.push_id(turn.id, |ui| {
            let of = shown.as_ref().zip(first_pictures[number]);
            pictures::row(ui, &mut turn.pictures, of);
            ui.label(RichText::new(&turn.question).size(16.5).strong());
            let may = answer::May {
                be_asked: is_ready && last == Some(turn.id),
                be_looked_into: is_ready && live[number],
            };
            want = answer::show(ui, turn, &mut state.focus, shown.as_ref(), may).or(want);
        });
        number += 1;
    }
    want
}

/// The line at which another conversation begins.
fn begun(ui: &mut Ui, name: &str) {
    ui.add_space(14.0);
    ui.add(Separator::default().spacing(1.0));
    ui.vertical_centered(|ui| {
        ui.label(weak(ui, format!("{name} was loaded. It knows nothing of what is above.")));
    });
    ui.add_space(12.0);
}
