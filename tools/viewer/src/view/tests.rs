use std::time::Duration;

use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use strix_model::{FinishReason, Timing};

use super::*;
use crate::messages::{Asked, Command, Event, Loaded};
use crate::picture::Picture;
use crate::plan::{Part, Plan};
use crate::settings::{Choice, Settings};
use crate::state::{Device, Phase, Planned, Wish};

fn plan() -> Plan {
    let part = |name, bytes| Part { name, bytes, device_bytes: bytes, is_streamed: false };
    Plan {
        parameters: 8_200_000_000,
        dtype: "int8 group 32".into(),
        ctx: 2048,
        parts: vec![part("decoder layers on the device", 7 << 30), part("KV cache", 1 << 30)],
        budget_bytes: Some(24 << 30),
        layers: [32, 32],
        notes: vec!["a note on the model".into()],
    }
}

/// A window whose model waits.
fn state() -> State {
    let mut state = State::new(Settings::default(), Device::default());
    let loaded = Loaded { choice: Choice::Nano, plan: plan(), notes: vec![], took: Duration::from_secs(1) };
    state.apply(Event::Loaded(1, loaded.into()));
    state.wishes.clear();
    state
}

fn window(size: [f32; 2], state: State) -> Harness<'static, State> {
    let mut window = Harness::builder()
        .with_size(size)
        .with_max_steps(12)
        .with_context_setup(theme::install)
        .build_ui_state(show, state);
    window.run_steps(4);
    window
}

fn picture() -> Picture {
    Picture::new("owl.png", strix_model::image::RgbImage::new(640, 480), vec![])
}

/// A conversation of one turn.
fn answered() -> State {
    let mut state = state();
    state.add(picture());
    state.draft.text = "what is it?".into();
    state.ask();
    let turn = state.conversation.last().unwrap().id;
    for text in [" an", " owl", " that", " sleeps"] {
        state.apply(Event::Token { turn, text: text.into() });
    }
    state.apply(Event::Answered { turn, reason: FinishReason::MaxTokens, timing: Timing::default() });
    state.wishes.clear();
    state
}

#[test]
fn a_question_is_written_and_asked() {
    let mut window = window([1080.0, 760.0], state());
    assert!(window.get_by_label("Ask").accesskit_node().is_disabled());
    window.get_by_role(Role::MultilineTextInput).focus();
    window.run_steps(2);
    window.get_by_role(Role::MultilineTextInput).type_text("what is it?");
    window.run_steps(4);
    window.get_by_label("Ask").click();
    window.run_steps(4);
    let wishes = &window.state().wishes;
    assert!(
        matches!(&wishes[..], [Wish::Tell(Command::Ask { asked: Asked::New { question, .. }, .. })] if question == "what is it?"),
        "{wishes:?}"
    );
    window.get_by_label("Stop").click();
    window.run_steps(4);
    window.get_by_label("looking");
}

#[test]
fn what_can_be_done_with_an_answer_is_there() {
    let mut window = window([1080.0, 760.0], answered());
    window.get_by_label("an owl that sleeps");
    for (label, wished) in [("Go on", "More"), ("Where it looked", "Attend")] {
        window.get_by_label(label).click();
        window.run_steps(4);
        let wishes = format!("{:?}", window.state().wishes);
        assert!(wishes.contains(wished), "{label}: {wishes}");
        *window.state_mut() = answered();
        window.run_steps(4);
    }
    window.get_by_label("Copy").click();
    window.run_steps(2);
}

#[test]
fn a_plan_is_shown_and_loaded() {
    let mut window = window([1080.0, 760.0], state());
    let state = window.state_mut();
    state.choose_model();
    let big = Choice::Folder("/models/big".into());
    state.plan(big.clone());
    state.apply(Event::Planned(big, Ok(plan().into())));
    state.wishes.clear();
    window.run_steps(4);
    window.get_all_by_label("8.2 billion").next().unwrap();
    window.get_by_label("a note on the model");
    window.get_by_label("Load big").click();
    window.run_steps(4);
    assert!(matches!(&window.state().phase, Phase::Loading { choice, .. } if choice.name() == "big"));
    assert!(window.state().dialog.is_none());
}

#[test]
fn the_button_of_the_models_follows_what_is_typed() {
    let mut window = window([1080.0, 760.0], state());
    let state = window.state_mut();
    state.choose_model();
    state.apply(Event::Planned(Choice::Nano, Ok(plan().into())));
    state.wishes.clear();
    window.run_steps(4);
    window.get_by_label("Load nano");
    let Some(Dialog::Model { path, .. }) = &mut window.state_mut().dialog else { panic!() };
    *path = " /models/owl".into();
    window.run_steps(4);
    assert!(window.query_by_label("Load nano").is_none());
    window.get_by_label("Look at it").click();
    window.run_steps(4);
    let owl = Choice::Folder("/models/owl".into());
    assert!(matches!(&window.state().wishes[..], [Wish::Plan(choice)] if *choice == owl));
    window.state_mut().apply(Event::Planned(owl, Ok(plan().into())));
    window.run_steps(4);
    window.get_by_label("Load owl");
}

#[test]
fn what_failed_is_not_what_is_proposed() {
    let mut state = state();
    let problem = Problem::input("nowhere is missing", "");
    state.phase = Phase::Empty { choice: Choice::Folder("/nowhere".into()), problem: Some(problem) };
    let window = window([1080.0, 760.0], state);
    let places = take_controls(&window.ctx).places;
    assert!(places["load-nano"].left() < places["load-again"].left(), "{places:?}");
    window.get_by_label("Try nowhere again");
}

#[test]
fn a_problem_has_its_advice_and_its_fix() {
    let mut window = window([1080.0, 760.0], state());
    let problem =
        Problem { fixes: vec![Fix::Ctx(512)], ..Problem::new("It does not fit.", "Take a shorter one.") };
    let state = window.state_mut();
    state.dialog =
        Some(Dialog::Model { path: String::new(), planned: Planned::Failed(Choice::Nano, problem) });
    window.run_steps(4);
    window.get_by_label("It does not fit.");
    window.get_by_label("Take a shorter one.");
    window.get_by_label("Use a context of 512").click();
    window.run_steps(4);
    assert_eq!(window.state().settings.loading.ctx, Some(512));
    assert!(matches!(window.state().wishes.last(), Some(Wish::Plan(Choice::Nano))));
}

#[test]
fn settings_are_kept_when_they_change() {
    let mut window = window([1080.0, 760.0], state());
    window.get_by_label("Settings").click();
    window.run_steps(4);
    window.get_by_label("Dark").click();
    window.run_steps(4);
    assert_eq!(window.state().settings.look, crate::settings::Look::Dark);
    assert!(matches!(window.state().wishes[..], [Wish::Save]));
}

#[test]
fn nothing_lies_outside_the_window_or_over_another_button() {
    let long = || {
        let mut state = answered();
        state.draft.text = "a question ".repeat(60);
        (0..7).for_each(|_| state.add(picture()));
        state.draft.path = Some("/a/path".repeat(30));
        state.trouble = Some(Problem::new("what is wrong ".repeat(20), "what to do ".repeat(20)));
        state
    };
    for size in [[360.0, 480.0], [420.0, 900.0], [900.0, 480.0], [1920.0, 1080.0]] {
        for (name, state) in [("empty", state()), ("answered", answered()), ("long", long())] {
            let window = window(size, state);
            let controls = take_controls(&window.ctx).places;
            assert!(controls.contains_key("question"), "{name} at {size:?}: {controls:?}");
            let screen = Rect::from_min_size(egui::Pos2::ZERO, size.into());
            // What is scrolled out of sight is elsewhere on purpose.
            let scrolled = [
                "sample-1",
                "sample-2",
                "sample-3",
                "look",
                "close-problem",
                "copy",
                "more",
                "again",
                "answer",
            ];
            let fixed: Vec<_> = controls.iter().filter(|(control, _)| !scrolled.contains(control)).collect();
            for (control, rect) in &fixed {
                assert!(
                    screen.expand(0.5).contains_rect(**rect),
                    "{control} of {name} at {size:?}: {rect:?}"
                );
                for (other, of) in fixed.iter().filter(|(other, _)| other != control) {
                    let over = rect.shrink(1.0).intersect(of.shrink(1.0));
                    assert!(!over.is_positive(), "{control} over {other} of {name} at {size:?}");
                }
            }
        }
    }
}
