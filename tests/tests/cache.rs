//! The KV cache: what it holds is what a run of everything at once would compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strix_model::sampler::best;
use strix_model::tokenizer::PromptId;
use strix_model::{Activations, Dtype, FinishReason, GenerateOptions, KvDtype, LoadOptions, Model, Session};
use strix_tests::checks::{self, YARDSTICK_SETS};
use strix_tests::golden::{SETS, Set, distance, root};
use strix_tests::{gpu, nano, on_both, prompt_ids};

const DTYPES: [KvDtype; 2] = [KvDtype::F32, KvDtype::F16];

/// Largest difference of a logit. Other kernels round in other places, and what is stored as f16 may then fall
/// to the other side: some elements are off by one step of f16.
fn bound(kv: KvDtype) -> f32 {
    match kv {
        KvDtype::F32 => 1e-4,
        KvDtype::F16 => 2e-3,
    }
}

fn load(name: &str, kv: KvDtype, chunk: u32) -> Set {
    let options = LoadOptions { dtype: Dtype::F32, kv, chunk, ..LoadOptions::default() };
    Set::load(gpu(), &root().join(name), &options).unwrap()
}

fn load_nano(kv: KvDtype, chunk: u32) -> Model {
    let options = LoadOptions { dtype: Dtype::F32, kv, ctx: Some(256), chunk, ..LoadOptions::default() };
    nano::load_with(gpu(), &options)
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
fn recompute(session: &mut Session, ids: &[PromptId]) -> Vec<f32> {
    let trace = session.inspect().trace(ids).unwrap();
    trace.into_iter().find(|(label, _)| label == "lm_head").expect("logits").1
}

#[test]
fn prefill_and_decode_through_the_cache_equal_a_full_recompute() {
    for (name, kv) in ["tiny", "gqa", "mamoff"].into_iter().flat_map(|name| DTYPES.map(|kv| (name, kv))) {
        let set = load(name, kv, 16);
        let vocab = set.model.config().text.vocab_size;
        for case in &set.cases {
            let mut session = session(&set, case);
            let mut ids = set.ids(case).unwrap();
            let steps = session.inspect().greedy(&ids, 16).unwrap();
            ids.extend(steps[..15].iter().map(|logits| PromptId::Token(best(logits))));
            let all = recompute(&mut session, &ids);
            // Behind the last row there may be padding.
            let all = &all[..all.len() / vocab * vocab];
            let want = &all[all.len() - 16 * vocab..];
            let worst = distance(&steps.concat(), want).unwrap().absolute;
            assert!(worst <= bound(kv), "{name} {case}, {kv}: a logit is {worst:e} off");
        }
    }
}

#[test]
fn a_prefill_in_chunks_of_any_size_equals_one_long_prefill() {
    let cases = ["long", "two_images", "image_pair_adjacent", "image_first", "image_last", "text_only"];
    for kv in DTYPES {
        let whole = load("tiny", kv, 256);
        let once: Vec<_> = cases
            .map(|case| session(&whole, case).inspect().greedy(&whole.ids(case).unwrap(), 4).unwrap())
            .into();
        for chunk in [2, 3, 7, 16, 64] {
            let set = load("tiny", kv, chunk);
            for (case, want) in cases.iter().zip(&once) {
                let got = session(&set, case).inspect().greedy(&set.ids(case).unwrap(), 4).unwrap();
                let worst = distance(&got.concat(), &want.concat()).unwrap().absolute;
                assert!(worst <= bound(kv), "{case} in chunks of {chunk}, {kv}: a logit is {worst:e} off");
            }
        }
    }
}

#[test]
fn a_reset_session_answers_like_a_fresh_one() {
    for kv in DTYPES {
        let model = load_nano(kv, 64);
        let mut session = model.session().unwrap();
        for name in ["caption", "rainbow", "two_turns", "which", "caption"] {
            let sample = nano::sample(name);
            let (ids, text) = sample.run(&mut session, &GenerateOptions::default());
            assert_eq!(ids, sample.output_ids, "{name}, {kv}: {text}");
        }
    }
}

/// Rounding keys and values to f16 costs something, and less than rounding all weights to f16 costs the original.
#[test]
fn a_cache_of_f16_costs_no_more_than_the_yardstick() {
    on_both(|gpu| {
        let results = checks::yardstick(gpu, &root(), Dtype::F32, KvDtype::F16, Activations::F32).unwrap();
        assert_eq!(results.len(), YARDSTICK_SETS.len());
        for result in results {
            let ratio = result.worst_ratio().expect("a row of the yardstick");
            assert!(ratio <= 1.0, "{result}");
            assert!(result.error[1] > 3e-4, "nothing was rounded: {result}");
        }
    });
}

/// Every recorded step has a margin of at least 0.08 to the second token.
#[test]
fn a_cache_of_f16_changes_no_greedy_id_of_any_golden_set() {
    let options = LoadOptions { dtype: Dtype::F32, kv: KvDtype::F16, chunk: 32, ..LoadOptions::default() };
    on_both(|gpu| {
        for name in SETS {
            let report = checks::greedy_steps(gpu, &root().join(name), &options).unwrap();
            assert_eq!(report.ids_equal, report.runs, "{report}");
            let worst = &report.points["greedy_logits"];
            assert!(report.runs > 0 && worst.error < 0.02, "{report}");
        }
    });
}

#[test]
fn a_cache_of_f16_is_traced_and_replayed_as_numbers() {
    let (exact, rounded) = (load("gqa", KvDtype::F32, 32), load("gqa", KvDtype::F16, 32));
    let ids = exact.ids("long").unwrap();
    let [exact, rounded] = [&exact, &rounded].map(|set| session(set, "long").inspect().trace(&ids).unwrap());
    for name in ["decoder.0.k_cache", "decoder.0.v_cache"] {
        let of =
            |trace: &strix_model::Trace| trace.iter().find(|(label, _)| label == name).unwrap().1.clone();
        let (exact, rounded) = (of(&exact), of(&rounded));
        let off = distance(&rounded, &exact).unwrap().relative;
        assert!(off > 1e-5 && off < 1.0 / 1024.0, "{name} is {off:e} off");
    }
    for kv in DTYPES {
        let set = load("gqa", kv, 32);
        assert_eq!(session(&set, "long").inspect().replay(&ids, 1e-4).unwrap(), None, "{kv}");
    }
}

#[test]
fn what_the_cache_holds_is_not_run_again_and_changes_no_answer() {
    DTYPES.iter().for_each(|&kv| reuse(&load_nano(kv, 64)));
}

fn reuse(model: &Model) {
    let (first, second) = (nano::sample("exist_yes"), nano::sample("caption"));
    let mut session = model.session().unwrap();
    first.add_pictures(&mut session);
    let all = GenerateOptions::default();
    let mut run = |prompt: &str| {
        let mut answer = session.complete(prompt, &all).unwrap();
        answer.by_ref().for_each(|token| drop(token.unwrap()));
        (answer.ids().to_vec(), answer.timing().prefill_tokens as usize)
    };
    let positions = |ids: &[PromptId]| {
        ids.iter().map(|id| id.token().map_or(model.config().num_image_tokens(), |_| 1)).sum::<usize>()
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
    DTYPES.iter().for_each(|&kv| second_turn(&load_nano(kv, 64)));
}

fn second_turn(model: &Model) {
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

    let mut other = model.session().unwrap();
    other.inspect().spoil_cache(1).unwrap();
    let (fresh, _) = sample.run(&mut other, &options);
    assert_eq!(ids, fresh);
}

#[test]
fn a_prompt_cancelled_between_chunks_leaves_the_session_usable() {
    let model = nano::load(gpu(), 256, 4);
    let sample = nano::sample("caption");
    let positions = sample.prompt_ids.len() - 1 + model.config().num_image_tokens();
    // When the flag is seen is up to the system: it is set again, a little later, until some chunks ran and some did not.
    let ran = (1..200)
        .map(|submits| cancelled_after(&model, &sample, submits))
        .find(|ran| (1..positions).contains(ran));
    assert!(ran.is_some_and(|ran| ran.is_multiple_of(4)), "{ran:?} of {positions} positions, in chunks of 4");
}

/// Sets the flag once so many submits were made, asks again without it, and returns the positions that the first question left.
fn cancelled_after(model: &Model, sample: &nano::Sample, submits: u64) -> usize {
    let mut session = model.session().unwrap();
    // What an earlier question left would be used.
    session.inspect().spoil_cache(submits).unwrap();
    sample.add_pictures(&mut session);
    let cancel = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(cancel.clone()), ..GenerateOptions::default() };
    let mut first = session.ask(sample.question(), &options).unwrap();
    let (before, ended) = (gpu().submits(), AtomicBool::new(false));
    let cancelled = std::thread::scope(|scope| {
        scope.spawn(|| {
            while gpu().submits() < before + submits && !ended.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            cancel.store(true, Ordering::Relaxed);
        });
        let token = first.next();
        ended.store(true, Ordering::Relaxed);
        token.is_none()
    });
    if !cancelled {
        return usize::MAX;
    }
    assert_eq!(first.finish_reason(), Some(&FinishReason::Cancelled));
    assert_eq!((first.ids(), first.text()), (&[][..], ""));
    drop(first);
    // The question was taken back, its picture waits, and what ran is kept.
    let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
    answer.by_ref().for_each(|token| drop(token.unwrap()));
    assert_eq!(answer.ids(), sample.output_ids, "{}", answer.text());
    sample.prompt_ids.len() - 1 + model.config().num_image_tokens() - answer.timing().prefill_tokens as usize
}

#[test]
fn prepared_ids_that_do_not_fit_the_context_are_refused() {
    let model = nano::load(gpu(), 8, 4);
    let mut session = model.session().unwrap();
    let eight = prompt_ids([1, 300, 301, 302, 303, 304, 305, 306]);
    assert_eq!(session.inspect().greedy(&eight, 1).unwrap().len(), 1);
    for (what, error) in [
        (
            "of 8 positions is full, and 9 are needed",
            session.inspect().trace(&[&eight[..], &eight[..1]].concat()).unwrap_err(),
        ),
        ("of 8 positions is full, and 9 are needed", session.inspect().greedy(&eight, 2).unwrap_err()),
        ("the prompt is empty", session.inspect().greedy(&[], 1).unwrap_err()),
        ("the prompt is empty", session.inspect().attention_probs(&[], &[0]).unwrap_err()),
    ] {
        let error = error.to_string();
        assert!(error.contains(what), "{error}");
    }
}
