//! The KV cache: what it holds is what a run of everything at once would compute.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use strix_model::{Dtype, FinishReason, GenerateOptions, LoadOptions, Session};
use strix_tests::checks::best;
use strix_tests::golden::{Set, distance, root};
use strix_tests::{gpu, nano};

/// Largest difference of a logit.
const BOUND: f32 = 1e-4;

fn load(name: &str, chunk: u32) -> Set {
    let options = LoadOptions { dtype: Dtype::F32, chunk, ..LoadOptions::default() };
    Set::load(gpu(), &root().join(name), &options).unwrap()
}

/// A session with a run's pictures.
fn session(set: &Set, case: &str) -> Session {
    let mut session = set.model.session().unwrap();
    for pixels in set.pixels(case) {
        session.add_embeds(set.model.encode(pixels).unwrap().into());
    }
    session
}

/// Logits of every position, run at once from an empty cache.
fn recompute(session: &mut Session, ids: &[i32]) -> Vec<f32> {
    let trace = session.trace(ids).unwrap();
    trace.into_iter().find(|(label, _)| label == "lm_head").expect("logits").1
}

#[test]
fn prefill_and_decode_through_the_cache_equal_a_full_recompute() {
    for name in ["tiny", "gqa", "mamoff"] {
        let set = load(name, 16);
        let vocab = set.model.config().text.vocab_size;
        for case in &set.cases {
            let mut session = session(&set, case);
            let mut ids = set.ids(case).unwrap();
            let steps = session.greedy(&ids, 16).unwrap();
            ids.extend(steps[..15].iter().map(|logits| best(logits) as i32));
            let all = recompute(&mut session, &ids);
            // Behind the last row there may be padding.
            let all = &all[..all.len() / vocab * vocab];
            let want = &all[all.len() - 16 * vocab..];
            let worst = distance(&steps.concat(), want).unwrap().absolute;
            assert!(worst <= BOUND, "{name} {case}: a logit is {worst:e} off, at most {BOUND:e}");
        }
    }
}

#[test]
fn a_prefill_in_chunks_of_any_size_equals_one_long_prefill() {
    let cases = ["long", "two_images", "image_pair_adjacent", "image_first", "image_last", "text_only"];
    let whole = load("tiny", 256);
    let once: Vec<_> =
        cases.map(|case| session(&whole, case).greedy(&whole.ids(case).unwrap(), 4).unwrap()).into();
    for chunk in [2, 3, 7, 16, 64] {
        let set = load("tiny", chunk);
        for (case, want) in cases.iter().zip(&once) {
            let got = session(&set, case).greedy(&set.ids(case).unwrap(), 4).unwrap();
            let worst = distance(&got.concat(), &want.concat()).unwrap().absolute;
            assert!(worst <= BOUND, "{case} in chunks of {chunk}: a logit is {worst:e} off");
        }
    }
}

#[test]
fn a_reset_session_answers_like_a_fresh_one() {
    let model = nano::load(gpu(), 256, 64);
    let mut session = model.session().unwrap();
    for name in ["caption", "rainbow", "two_turns", "which", "caption"] {
        let sample = nano::sample(name);
        let (ids, text) = sample.run(&mut session, &GenerateOptions::default());
        assert_eq!(ids, sample.output_ids, "{name}: {text}");
    }
}

#[test]
fn what_the_cache_holds_is_not_run_again_and_changes_no_answer() {
    let model = nano::load(gpu(), 256, 64);
    let (first, second) = (nano::sample("exist_yes"), nano::sample("caption"));
    let mut session = model.session().unwrap();
    first.add_pictures(&mut session);
    let all = GenerateOptions::default();
    let mut run = |prompt: &str| {
        let mut answer = session.complete(prompt, &all).unwrap();
        answer.by_ref().for_each(|token| drop(token.unwrap()));
        (answer.ids().to_vec(), answer.timing().prefill_tokens as usize)
    };
    let positions = |ids: &[i32]| {
        ids.iter().map(|&id| if id < 0 { model.config().num_image_tokens() } else { 1 }).sum::<usize>()
    };

    let (ids, ran) = run(&first.prompt);
    assert_eq!((ids, ran), (first.output_ids.clone(), positions(&first.prompt_ids)));

    // The same picture, another question: all before the question is there already.
    let (ids, ran) = run(&second.prompt);
    let common = first.prompt_ids.iter().zip(&second.prompt_ids).take_while(|(a, b)| a == b).count();
    assert_eq!(ids, second.output_ids);
    assert_eq!(ran, positions(&second.prompt_ids[common..]), "positions run of {}", second.prompt);

    // The same question again: its last position only.
    let (ids, ran) = run(&second.prompt);
    assert_eq!((ids, ran), (second.output_ids.clone(), 1));
}

#[test]
fn a_second_turn_runs_only_what_is_new_and_equals_a_fresh_session() {
    let model = nano::load(gpu(), 256, 64);
    let sample = nano::sample("two_turns");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let options = GenerateOptions::default();
    let ask = |session: &mut Session, question: &str| {
        let mut answer = session.ask(question, &options).unwrap();
        answer.by_ref().for_each(|token| drop(token.unwrap()));
        (answer.ids().to_vec(), answer.text().to_owned(), answer.timing().prefill_tokens)
    };
    let (_, star, ran) = ask(&mut session, "What shape is in the image?");
    assert_eq!(star, "star");
    let (ids, colour, ran_again) = ask(&mut session, "What color is it?");
    assert_eq!(ids, sample.output_ids, "{colour}");
    assert!(ran_again < ran, "{ran_again} positions run for the second turn, {ran} for the first");

    let (fresh, _) = sample.run(&mut model.session().unwrap(), &options);
    assert_eq!(ids, fresh);
}

#[test]
fn a_prompt_cancelled_between_chunks_leaves_the_session_usable() {
    let model = nano::load(gpu(), 256, 4);
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let cancel = Arc::new(AtomicBool::new(true));
    let cancelled = GenerateOptions { cancel: Some(cancel), ..GenerateOptions::default() };
    {
        let mut answer = session.ask(&sample.question(), &cancelled).unwrap();
        assert!(answer.next().is_none());
        assert_eq!(answer.finish_reason(), Some(&FinishReason::Cancelled));
        assert_eq!((answer.ids(), answer.text()), (&[][..], ""));
    }
    // The question was taken back, its picture waits, and what ran is kept.
    let mut answer = session.ask(&sample.question(), &GenerateOptions::default()).unwrap();
    answer.by_ref().for_each(|token| drop(token.unwrap()));
    assert_eq!(answer.ids(), sample.output_ids, "{}", answer.text());
    let positions = sample.prompt_ids.len() - 1 + model.config().num_image_tokens();
    assert_eq!(answer.timing().prefill_tokens as usize, positions - 4, "a chunk of 4 had run");
}

#[test]
fn prepared_ids_that_do_not_fit_the_context_are_refused() {
    let model = nano::load(gpu(), 8, 4);
    let mut session = model.session().unwrap();
    let eight = [1, 300, 301, 302, 303, 304, 305, 306];
    assert_eq!(session.greedy(&eight, 1).unwrap().len(), 1);
    for (what, error) in [
        ("9 positions", session.trace(&[&eight[..], &[307]].concat()).unwrap_err()),
        ("8 positions and 1 tokens", session.greedy(&eight, 2).unwrap_err()),
        ("0 positions", session.greedy(&[], 1).unwrap_err()),
        ("0 positions", session.attention_probs(&[], &[0]).unwrap_err()),
    ] {
        let error = error.to_string();
        assert!(error.contains(what) && error.contains("1 to 8"), "{error}");
    }
}
