//! Choice of tokens.

use super::*;

#[test]
fn the_same_seed_gives_the_same_tokens_and_others_differ() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("rainbow");
    let answers: Vec<_> = (0..6).map(|seed| complete(&mut session, &sample, &wandering(seed)).ids).collect();
    for (seed, ids) in answers.iter().enumerate() {
        let again = complete(&mut session, &sample, &wandering(seed as u64)).ids;
        assert_eq!(&again, ids, "seed {seed}");
        let elsewhere = complete(&mut model.session().unwrap(), &sample, &wandering(seed as u64)).ids;
        assert_eq!(&elsewhere, ids, "seed {seed} in another session");
        let equal = answers.iter().filter(|other| *other == ids).count();
        assert_eq!(equal, 1, "seed {seed} is not alone with {ids:?}");
    }
}

#[test]
fn candidates_from_the_device_and_full_logits_give_the_same_tokens() {
    let model = model();
    let mut session = model.session().unwrap();
    for name in ["rainbow", "caption"] {
        let sample = nano::sample(name);
        for seed in 0..4 {
            let few = wandering(seed);
            // A penalty needs all logits; this one changes none by more than its last bit.
            let mut full = few.clone();
            full.sampling.repetition_penalty = 1.0 + f32::EPSILON;
            let (few, full) = (complete(&mut session, &sample, &few), complete(&mut session, &sample, &full));
            assert_eq!(few.ids, full.ids, "{name}, seed {seed}: {:?} and {:?}", few.text, full.text);
        }
        let mut full = greedy();
        full.sampling.repetition_penalty = 1.0 + f32::EPSILON;
        assert_eq!(complete(&mut session, &sample, &full).ids, sample.output_ids);
    }
}

#[test]
fn a_repetition_penalty_changes_what_is_repeated() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("rainbow");
    let mut options = greedy();
    options.sampling.repetition_penalty = 5.0;
    options.max_tokens = 24;
    let said = complete(&mut session, &sample, &options);
    let count = |ids: &[u32]| ids.iter().filter(|&&id| id == 965).count();
    assert!(count(&sample.output_ids) >= 5, "the sample has commas");
    assert!(count(&said.ids) < count(&sample.output_ids), "{:?}", said.text);
}

#[test]
fn log_probabilities_come_with_the_tokens_and_change_none() {
    let sample = nano::sample("caption");
    let model = model();
    let mut session = model.session().unwrap();
    let plain = complete(&mut session, &sample, &greedy());
    session.reset();
    sample.add_pictures(&mut session);
    let options = GenerateOptions { log_probs: Some(3), ..greedy() };
    let mut answer = session.complete(&sample.prompt, &options).unwrap();
    answer.by_ref().for_each(|token| drop(token.unwrap()));
    assert_eq!(answer.ids(), plain.ids);
    assert_eq!(answer.log_probs().len(), plain.ids.len());
    for (id, of) in plain.ids.iter().zip(answer.log_probs()) {
        // Greedy: the likeliest is chosen.
        assert_eq!((of.top.len(), of.top[0]), (3, (*id, of.chosen)));
        assert!(of.chosen <= 0.0 && of.top.is_sorted_by(|a, b| a.1 >= b.1), "{of:?}");
        assert!(of.top.iter().map(|(_, p)| p.exp()).sum::<f32>() <= 1.0 + 1e-5, "{of:?}");
    }
}

#[test]
fn a_ruled_out_token_does_not_come_and_one_that_is_not_there_is_refused() {
    let sample = nano::sample("two_turns");
    let model = model();
    let mut session = model.session().unwrap();
    let plain = complete(&mut session, &sample, &greedy());
    let with = |logit_bias| GenerateOptions {
        sampling: SamplingParams { logit_bias, ..SamplingParams::default() },
        ..greedy()
    };
    let other = complete(&mut session, &sample, &with(vec![(plain.ids[0], f32::NEG_INFINITY)]));
    assert!(!other.ids.contains(&plain.ids[0]), "{:?}", other.ids);
    let error = session.ask("What?", &with(vec![(1024, 1.0)])).unwrap_err().to_string();
    assert_eq!(error, "token 1024 is not in the vocabulary of 1024");
}
