//! Ends of answers, and the text that comes before.

use super::*;

#[test]
fn min_new_tokens_keeps_an_answer_from_ending() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("sum");
    assert_eq!(sample.output_ids.len(), 3);
    let mut options = greedy();
    options.sampling.min_new_tokens = 10;
    options.max_tokens = 20;
    let said = complete(&mut session, &sample, &options);
    assert!(!said.ids[..10].contains(&2), "{:?}", said.ids);
    assert_eq!(said.ids[..2], sample.output_ids[..2]);
}

#[test]
fn max_tokens_ends_an_answer() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("caption");
    for max_tokens in [0, 1, 5, 12, 100] {
        let said = complete(&mut session, &sample, &GenerateOptions { max_tokens, ..greedy() });
        let want = &sample.output_ids[..sample.output_ids.len().min(max_tokens as usize)];
        assert_eq!(said.ids, want, "at most {max_tokens}");
        // The twelfth is the end token: it ends the answer before the limit does.
        let reason = if max_tokens < 12 { FinishReason::MaxTokens } else { FinishReason::Eos };
        assert_eq!(said.finish, reason, "at most {max_tokens}");
    }
}

#[test]
fn a_full_context_ends_an_answer() {
    let sample = nano::sample("rainbow");
    let prompt = sample.prompt_ids.len();
    for room in [0, 1, 6] {
        let model = nano::load(gpu(), (prompt + room) as u32, 64);
        let said = complete(&mut model.session().unwrap(), &sample, &greedy());
        // One token comes from the prompt's last row, one from each position after it.
        assert_eq!(said.ids, sample.output_ids[..room + 1], "room for {room}");
        assert_eq!(said.finish, FinishReason::Context, "room for {room}");
    }
}

#[test]
fn stop_strings_end_an_answer_even_across_tokens() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("rainbow");
    let whole = "The seven colors of the rainbow are red, orange, yellow, green, blue, indigo and violet.";
    assert_eq!(sample.output, whole);
    for stop in [", or", "d, orange, y", "red", "seven colors", "indigo and violet.", "T", "e"] {
        let options = GenerateOptions { stop: vec!["never".into(), stop.into()], ..greedy() };
        let said = complete(&mut session, &sample, &options);
        let want = whole[..whole.find(stop).unwrap()].trim();
        assert_eq!(said.text, want, "stop at {stop:?}");
        assert_eq!(said.finish, FinishReason::Stop(stop.into()));
        assert_eq!(said.pieces.concat().trim(), want, "nothing of {stop:?} was shown");
    }
    // What only began like a stop string is shown in the end.
    let options = GenerateOptions { stop: vec!["violet.!".into(), "indigo or".into()], ..greedy() };
    let said = complete(&mut session, &sample, &options);
    assert_eq!((said.text.as_str(), said.finish), (whole, FinishReason::Eos));
}

#[test]
fn the_pieces_that_stream_are_the_text() {
    let model = model();
    let mut session = model.session().unwrap();
    for sample in nano::samples() {
        let said = complete(&mut session, &sample, &greedy());
        assert_eq!(said.pieces.concat(), sample.output, "{}", sample.name);
        assert_eq!(said.pieces.len(), said.ids.len(), "{}: a piece a token", sample.name);
    }
    for seed in 0..8 {
        let said = complete(&mut session, &nano::sample("hello"), &wandering(seed));
        assert_eq!(said.pieces.concat().trim(), said.text, "seed {seed}");
    }
}

#[test]
fn one_token_has_no_speed() {
    let model = model();
    let mut session = model.session().unwrap();
    let mut answer = session.ask("Hello!", &GenerateOptions { max_tokens: 2, ..greedy() }).unwrap();
    answer.next().unwrap().unwrap();
    assert_eq!(answer.timing().tokens_per_second(), None);
    answer.next().unwrap().unwrap();
    assert!(answer.timing().tokens_per_second() > Some(0.0));
}
