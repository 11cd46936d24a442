use std::time::Duration;

use strix_model::Timing;
use strix_model::image::RgbImage;

use super::*;
use crate::plan::Plan;

fn state() -> State {
    State::new(Settings::default(), Device::default())
}

/// The model that was asked for last is there.
fn loaded(state: &State, choice: Choice) -> Event {
    let loaded = Loaded { choice, plan: Plan::default(), notes: vec![], took: Duration::ZERO };
    Event::Loaded(state.last_load, loaded.into())
}

/// A window whose model waits.
fn ready() -> State {
    let mut state = state();
    state.apply(loaded(&state, Choice::Nano));
    state.wishes.clear();
    state
}

fn progress(state: &State, done_bytes: u64) -> Event {
    Event::Progress(state.last_load, Progress { what: "a".into(), done_bytes, total_bytes: 4 })
}

fn picture(name: &str) -> Picture {
    Picture::new(name, RgbImage::new(4, 4), vec![])
}

fn token(turn: TurnId, text: &str) -> Event {
    Event::Token { turn, text: text.into() }
}

fn answered(turn: TurnId, reason: FinishReason) -> Event {
    Event::Answered { turn, reason, timing: Timing::default() }
}

/// Asks, and returns the turn.
fn ask(state: &mut State, text: &str) -> TurnId {
    state.draft.text = text.into();
    state.ask();
    state.conversation.last().unwrap().id
}

fn is_set(cancel: &AtomicBool) -> bool {
    cancel.load(Ordering::Relaxed)
}

#[test]
fn the_first_start_loads_nano_and_the_next_what_was_loaded_last() {
    let mut state = state();
    assert!(matches!(&state.wishes[..], [Wish::Tell(Command::Load { choice: Choice::Nano, .. })]));
    assert!(matches!(state.phase, Phase::Loading { .. }));
    let folder = Choice::Folder("/models/owl".into());
    state.load(folder.clone());
    state.apply(loaded(&state, folder.clone()));
    assert!(matches!(state.wishes.last(), Some(Wish::Save)));
    let state = State::new(state.settings, Device::default());
    assert!(matches!(&state.phase, Phase::Loading { choice, .. } if *choice == folder));
}

#[test]
fn a_model_that_an_option_names_is_not_kept() {
    let folder = Choice::Folder("/models/owl".into());
    let settings = Settings { model: folder.clone(), ..Settings::default() };
    let mut state = State::new(settings.clone(), Device::default());
    state.wishes.clear();
    state.apply(loaded(&state, folder));
    assert!(state.wishes.is_empty() && state.settings == settings, "{:?}", state.wishes);
}

#[test]
fn an_answer_streams_into_its_turn() {
    let mut state = ready();
    state.add(picture("owl.png"));
    let turn = ask(&mut state, " what is it? ");
    let [Wish::Tell(Command::Ask { asked: Asked::New { question, pictures }, .. })] = &state.wishes[..]
    else {
        panic!("{:?}", state.wishes);
    };
    assert_eq!((question.as_str(), pictures.len()), ("what is it?", 1));
    assert!(state.draft.pictures.is_empty() && state.draft.text.is_empty());
    assert_eq!(state.during(), During::Prompt);
    state.apply(token(turn, " an"));
    state.apply(token(turn, " owl"));
    assert_eq!(state.during(), During::Tokens);
    assert_eq!(state.conversation.last().unwrap().answer.text(), "an owl");
    state.apply(answered(turn, FinishReason::Eos));
    assert!(matches!(state.phase, Phase::Ready));
}

#[test]
fn nothing_is_asked_twice_at_a_time_nor_without_a_model_or_a_question() {
    let mut state = state();
    state.draft.text = "x".into();
    state.ask();
    assert!(state.conversation.entries.is_empty() && state.draft.text == "x");
    assert_eq!(state.why_not_ask(), Some("The model is being loaded"));
    let mut state = ready();
    assert_eq!(state.why_not_ask(), Some("Write a question"));
    ask(&mut state, "one");
    state.draft.text = "two".into();
    state.ask();
    assert_eq!(state.conversation.entries.len(), 1);
    let mut state = ready();
    state.draft.text = "x".into();
    state.open(vec!["a.png".into()]);
    assert_eq!(state.why_not_ask(), Some("A picture is being read"));
    state.apply(Event::Picture(Ok(picture("a.png"))));
    assert_eq!(state.why_not_ask(), None);
}

#[test]
fn pictures_from_elsewhere_are_waited_for_too() {
    let mut state = ready();
    state.draft.text = "x".into();
    state.open(vec!["dropped.png".into()]);
    state.apply(Event::Reading(2));
    for _ in 0..2 {
        state.apply(Event::Picture(Ok(picture("chosen.png"))));
        assert_eq!(state.why_not_ask(), Some("A picture is being read"));
    }
    state.apply(Event::Picture(Ok(picture("dropped.png"))));
    assert_eq!(state.why_not_ask(), None);
}

#[test]
fn stop_cancels_the_answer_which_may_then_go_on() {
    let mut state = ready();
    let turn = ask(&mut state, "tell me");
    let Some(Wish::Tell(Command::Ask { options, .. })) = state.wishes.pop() else { panic!() };
    state.apply(token(turn, "once"));
    state.stop();
    assert!(is_set(options.cancel.as_ref().unwrap()));
    state.apply(answered(turn, FinishReason::Cancelled));
    state.more();
    assert!(matches!(&state.wishes[..], [Wish::Tell(Command::Ask { asked: Asked::More, .. })]));
    let Some(Wish::Tell(Command::Ask { options, .. })) = state.wishes.pop() else { panic!() };
    assert!(!is_set(options.cancel.as_ref().unwrap()));
    state.apply(token(turn, " upon a time"));
    assert_eq!(state.conversation.last().unwrap().answer.text(), "once upon a time");
}

#[test]
fn what_was_stopped_before_a_word_is_asked_as_new() {
    let mut state = ready();
    state.add(picture("owl.png"));
    let turn = ask(&mut state, "what?");
    state.apply(answered(turn, FinishReason::Cancelled));
    state.wishes.clear();
    state.again();
    let [Wish::Tell(Command::Ask { asked: Asked::New { pictures, .. }, .. })] = &state.wishes[..] else {
        panic!("{:?}", state.wishes);
    };
    assert_eq!(pictures.len(), 1);
    state.apply(token(turn, "a"));
    state.apply(answered(turn, FinishReason::Eos));
    state.wishes.clear();
    state.again();
    assert!(matches!(&state.wishes[..], [Wish::Tell(Command::Ask { asked: Asked::Again, .. })]));
    assert_eq!(state.conversation.last().unwrap().answer.text(), "");
}

#[test]
fn loading_can_be_cancelled_and_says_so() {
    let mut state = ready();
    state.load(Choice::Folder("/big".into()));
    let Phase::Loading { cancel, .. } = &state.phase else { panic!() };
    let cancel = cancel.clone();
    state.apply(progress(&state, 1));
    assert!(matches!(&state.phase, Phase::Loading { progress, .. } if progress.done_bytes == 1));
    state.stop();
    assert!(is_set(&cancel));
    state.apply(Event::NotLoaded(state.last_load, Choice::Folder("/big".into()), None));
    assert!(matches!(&state.phase, Phase::Empty { problem: None, .. }));
    assert_eq!(state.settings.model, Choice::Nano);
    state.draft.text = "x".into();
    assert_eq!(state.why_not_ask(), Some("Load a model first"));
}

#[test]
fn what_comes_of_an_earlier_load_is_not_of_the_present_one() {
    let [a, b] = ["/a", "/b"].map(|path| Choice::Folder(path.into()));
    for late in [
        |state: &State, a: Choice| Event::NotLoaded(state.last_load, a, None),
        |state: &State, a: Choice| loaded(state, a),
        |state: &State, _: Choice| progress(state, 3),
    ] {
        let mut state = ready();
        state.load(a.clone());
        let late = late(&state, a.clone());
        state.load(b.clone());
        state.apply(late);
        let Phase::Loading { choice, progress, .. } = &state.phase else { panic!("{:?}", state.phase) };
        assert_eq!((choice, progress.done_bytes), (&b, 0));
        assert!(state.model.is_none() && state.settings.model == Choice::Nano);
        // The same folder once more is another load.
        state.load(b.clone());
        state.apply(loaded(&state, b.clone()));
        assert!(matches!(state.phase, Phase::Ready));
    }
}

#[test]
fn another_model_ends_the_answer_and_begins_another_conversation() {
    let mut state = ready();
    let turn = ask(&mut state, "tell me");
    let Some(Wish::Tell(Command::Ask { options, .. })) = state.wishes.pop() else { panic!() };
    state.apply(token(turn, "once"));
    state.load(Choice::Folder("/big".into()));
    assert!(is_set(options.cancel.as_ref().unwrap()));
    // The answer ends after the window knows of the model.
    state.apply(answered(turn, FinishReason::Cancelled));
    assert!(matches!(state.phase, Phase::Loading { .. }));
    state.apply(loaded(&state, Choice::Folder("/big".into())));
    assert!(matches!(state.conversation.entries.last(), Some(Entry::Begun(name)) if name == "big"));
    // What was said before is no part of it.
    state.wishes.clear();
    state.more();
    state.again();
    assert!(state.wishes.is_empty());
}

#[test]
fn plans_of_what_is_no_longer_chosen_are_dropped() {
    let mut state = ready();
    state.choose_model();
    state.plan(Choice::Folder("/a".into()));
    state.plan(Choice::Folder("/b".into()));
    state.apply(Event::Planned(Choice::Folder("/a".into()), Ok(Plan::default().into())));
    let shown = |state: &State| match &state.dialog {
        Some(Dialog::Model { planned: Planned::Known(choice, _), path }) => {
            Some((choice.name(), path.clone()))
        }
        _ => None,
    };
    assert_eq!(shown(&state), None);
    state.apply(Event::Planned(Choice::Folder("/b".into()), Ok(Plan::default().into())));
    assert_eq!(shown(&state), Some(("b".into(), "/b".into())));
}

#[test]
fn a_plan_is_of_the_path_that_is_typed() {
    let mut state = ready();
    state.choose_model();
    let owl = Choice::Folder("/models/owl".into());
    let typed = |state: &State, typed: &str| match &state.dialog {
        Some(Dialog::Model { planned, .. }) => planned.typed(typed).cloned(),
        _ => None,
    };
    assert_eq!((typed(&state, ""), typed(&state, "/models/owl")), (Some(Choice::Nano), None));
    state.plan(owl.clone());
    assert_eq!((typed(&state, ""), typed(&state, " /models/owl ")), (None, Some(owl)));
    // nano has no path, and takes away the other's.
    state.plan(Choice::Nano);
    assert!(matches!(&state.dialog, Some(Dialog::Model { path, .. }) if path.is_empty()));
}

#[test]
fn a_fix_changes_the_settings_and_plans_again() {
    let mut state = ready();
    state.choose_model();
    state.wishes.clear();
    state.mend(Fix::Ctx(512), Choice::Nano);
    assert_eq!(state.settings.loading.ctx, Some(512));
    assert!(matches!(&state.wishes[..], [Wish::Save, Wish::Plan(Choice::Nano)]));
    state.dialog = None;
    state.wishes.clear();
    state.mend(Fix::KvF16, Choice::Nano);
    assert!(matches!(&state.wishes[..], [Wish::Save, Wish::Tell(Command::Load { .. })]));
}

#[test]
fn looking_asks_once_and_again_after_a_failure() {
    let mut state = ready();
    let turn = ask(&mut state, "what?");
    state.apply(token(turn, "blue"));
    state.apply(answered(turn, FinishReason::Eos));
    state.wishes.clear();
    state.look(turn);
    assert!(matches!(&state.wishes[..], [Wish::Tell(Command::Attend { .. })]));
    state.look(turn);
    assert_eq!(state.focus, None);
    state.look(turn);
    assert_eq!(state.wishes.len(), 1);
    state.apply(Event::Attended { turn, attention: Err(Problem::new("too long", "")) });
    state.look(turn);
    state.look(turn);
    assert_eq!(state.wishes.len(), 2);
}

#[test]
fn a_lost_device_opens_the_window_anew_with_all_that_was_there() {
    let mut state = ready();
    state.add(picture("owl.png"));
    let turn = ask(&mut state, "what?");
    state.draft.text = "and then?".into();
    state.open(vec!["slow.png".into()]);
    state.apply(token(turn, "an"));
    state.wishes.clear();
    state.apply(Event::Lost);
    assert!(matches!(&state.wishes[..], [Wish::Reopen]));
    state.reopened(Device::default(), "it fell off the bus");
    assert!(state.wishes.is_empty());
    let Phase::Empty { choice: Choice::Nano, problem: Some(problem) } = &state.phase else { panic!() };
    assert!(problem.is_lost && problem.what.contains("it fell off the bus"));
    let turn = state.conversation.last().unwrap();
    assert!(matches!(&turn.answer.outcome, Outcome::Failed(problem) if problem.is_lost));
    assert_eq!((turn.answer.text(), turn.pictures.len()), ("an", 1));
    // Nobody hears any more of what was being read.
    assert_eq!((state.draft.text.as_str(), state.draft.reading), ("and then?", 0));
}

#[test]
fn pictures_that_are_too_many_or_unreadable_are_said() {
    let mut state = ready();
    state.apply(Event::Reading(MOST_PICTURES + 2));
    for i in 0..=MOST_PICTURES {
        state.apply(Event::Picture(Ok(picture(&format!("{i}.png")))));
    }
    assert_eq!(state.draft.pictures.len(), MOST_PICTURES);
    assert!(state.trouble.as_ref().unwrap().what.contains("8.png"));
    state.trouble = None;
    state.apply(Event::Picture(Err(Problem::new("bad.png is damaged", ""))));
    assert_eq!(state.trouble.as_ref().unwrap().what, "bad.png is damaged");
}
