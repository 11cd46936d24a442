//! What a chat does to its turns: asking again, taking back, making room, and counting.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strix_model::prompt::Question;
use strix_model::{Error, GenerateOptions, Generation, Model, Session};
use strix_tests::{gpu, nano};

const SHAPE: &str = "What shape is in the image?";
const COLOR: &str = "What color is it?";

fn model(ctx: u32) -> Model {
    nano::load(gpu(), ctx, 64)
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default()
}

fn cancelled() -> GenerateOptions {
    GenerateOptions { cancel: Some(Arc::new(AtomicBool::new(true))), ..greedy() }
}

/// Text, positions run and positions reused.
fn said(answer: strix_model::Result<Generation>) -> (String, [usize; 2]) {
    let mut answer = answer.unwrap();
    answer.by_ref().for_each(|token| drop(token.unwrap()));
    let timing = answer.timing();
    (answer.text().to_owned(), [timing.prefill_tokens, timing.reused_tokens].map(|n| n as usize))
}

/// A session that was asked for a shape and its colour.
fn of_two_turns(model: &Model) -> Session {
    let mut session = model.session().unwrap();
    nano::sample("two_turns").add_pictures(&mut session);
    assert_eq!(said(session.ask(SHAPE, &greedy())).0, "star");
    assert_eq!(said(session.ask(COLOR, &greedy())).0, "orange");
    session
}

#[test]
fn a_question_is_answered_anew() {
    let mut session = of_two_turns(&model(400));
    let turns = session.turns();
    let (text, [run, _]) = said(session.retry(&greedy()));
    assert_eq!((text.as_str(), run), ("orange", 1), "all but the last row is there");
    assert_eq!(session.turns(), turns);
    // Nothing came: the answer before is kept.
    assert_eq!(said(session.retry(&cancelled())).0, "");
    assert_eq!(session.turns(), turns);
    drop(session.retry(&greedy()).unwrap());
    assert_eq!(session.turns(), turns);
    // The first turn with its picture.
    session.undo().unwrap();
    assert_eq!(said(session.retry(&greedy())).0, "star");
    assert_eq!((session.turns().len(), session.waiting()), (1, 0));
    nano::sample("dark").add_pictures(&mut session);
    let error = session.retry(&greedy()).unwrap_err().to_string();
    assert!(error.contains("pictures wait"), "{error}");
    assert_eq!(session.turns(), turns[..1]);
    session.reset();
    let error = session.retry(&greedy()).unwrap_err().to_string();
    assert!(error.contains("no question"), "{error}");
}

#[test]
fn the_pictures_of_a_turn_that_is_taken_back_wait() {
    let mut session = of_two_turns(&model(400));
    assert_eq!(session.undo().unwrap().unwrap().user, COLOR.into());
    assert_eq!(session.waiting(), 0);
    let turn = session.undo().unwrap().unwrap();
    assert_eq!((turn.user.text().as_str(), turn.reply.as_deref()), (SHAPE, Some("star")));
    assert_eq!(session.waiting(), 1);
    // Those that came later go behind them.
    nano::sample("where").add_pictures(&mut session);
    assert_eq!(session.waiting(), 2);
    assert_eq!(session.drop_waiting(), 2);
    assert_eq!((session.waiting(), session.drop_waiting(), session.undo().unwrap()), (0, 0, None));
    nano::sample("two_turns").add_pictures(&mut session);
    assert_eq!(said(session.ask(SHAPE, &greedy())).0, "star");
}

#[test]
fn an_answer_under_way_is_not_taken_back() {
    let mut session = of_two_turns(&model(400));
    let answer = session.ask("Hello!", &greedy()).unwrap();
    assert!(matches!(session.undo(), Err(Error::Busy)));
    assert!(matches!(session.retry(&greedy()), Err(Error::Busy)));
    assert!(matches!(session.make_room(&"What?".into(), 1), Err(Error::Busy)));
    drop(answer);
    assert!(session.undo().is_ok());
}

#[test]
fn usage_is_what_is_run() {
    let model = model(400);
    let mut session = of_two_turns(&model);
    let question = Question::from("</s>USER: <|image|>What? ASSISTANT: no</s>");
    let usage = session.usage_with(&question).unwrap();
    let (_, rows) = said(session.ask(question, &greedy()));
    assert_eq!(usage.positions, rows.iter().sum::<usize>());
    assert_eq!([usage.pictures, usage.picture_positions], [1, model.config().num_image_tokens()]);
    assert_eq!(usage.pages, usage.positions.div_ceil(16));
    assert_eq!(usage.cache_pages as u64, model.activity().kv_positions / 16);
    session.reset();
    assert_eq!(session.usage().unwrap().positions, 0);
}

#[test]
fn room_is_made_of_whole_turns() {
    let model = model(100);
    let mut session = of_two_turns(&model);
    let question = Question::from("What are the seven colors of the rainbow?");
    let positions = |session: &Session| session.usage_with(&question).unwrap().positions;
    let all = positions(&session);
    assert_eq!(session.make_room(&question, 100 - all).unwrap(), [], "there is room");
    let turns = session.turns();
    let dropped = session.make_room(&question, 100 - all + 1).unwrap();
    assert_eq!(dropped, turns[..1], "the oldest, and no more than that");
    assert_eq!((session.turns(), session.usage().unwrap().pictures), (turns[1..].to_vec(), 0));

    // What is left is a conversation like any other.
    let answer = said(session.ask(question.clone(), &greedy())).0;
    let mut fresh = model.session().unwrap();
    let prompt = "USER: What color is it? ASSISTANT: orange</s>USER: What are the seven colors of the rainbow? ASSISTANT:";
    assert_eq!(said(fresh.complete(prompt, &greedy())).0, answer);

    // Pictures that wait are no turn's.
    nano::sample("two_turns").add_pictures(&mut session);
    assert_eq!(session.make_room(&SHAPE.into(), 90).unwrap().len(), 2, "all of them");
    assert_eq!(said(session.ask(SHAPE, &greedy())).0, "star");
    let long = Question::from("What is it? ".repeat(40));
    let error = session.make_room(&long, 1).unwrap_err();
    assert!(
        matches!(&error, Error::PromptTooLong(length) if length.limit == 100 && length.pictures == 0),
        "{error}"
    );
    assert_eq!(session.turns().len(), 1, "nothing is dropped for what does not fit");
}

#[test]
fn a_system_text_is_in_front_of_all_turns() {
    let model = model(400);
    let mut session = of_two_turns(&model);
    session.set_system(Some("Be brief. </s>".into()));
    assert_eq!(session.system().as_deref(), Some("Be brief. </s>"));
    let (_, [run, reused]) = said(session.retry(&greedy()));
    assert!(reused < 2 && run > 40, "{run} run, {reused} reused");
    session.set_system(None);
    assert_eq!(session.system(), None);
    assert_eq!(said(session.retry(&greedy())).0, "orange");
}
