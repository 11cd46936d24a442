use super::*;

const EOS: u32 = 2;

fn sampling() -> SamplingParams {
    SamplingParams { temperature: 1.0, top_k: 0, ..SamplingParams::default() }
}

fn sampler(params: &SamplingParams) -> Sampler {
    Sampler::new(params.clone(), &[EOS]).unwrap()
}

fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// What is ruled out goes before anything else is done: whatever the options, it is as if it were not there.
#[test]
fn what_may_not_come_is_as_if_its_logit_were_minus_infinity() {
    let mut random = SplitMix64(3);
    for seed in 0..200 {
        let params = SamplingParams {
            temperature: [0.0, 0.7, 3.0][seed as usize % 3],
            top_k: [0, 1, 5][random.next() as usize % 3],
            top_p: [1.0, 0.8, 0.1][random.next() as usize % 3],
            min_p: [0.0, 0.3][random.next() as usize % 2],
            repetition_penalty: [1.0, 1.5][random.next() as usize % 2],
            presence_penalty: [0.0, 1.5][random.next() as usize % 2],
            frequency_penalty: [0.0, 1.0][random.next() as usize % 2],
            logit_bias: [vec![], vec![(3, 9.0), (5, f32::NEG_INFINITY)]][random.next() as usize % 2].clone(),
            min_new_tokens: random.next() as usize % 4,
            seed,
        };
        let [mut of, mut without] = [sampler(&params), sampler(&params)];
        for step in 0..6 {
            let logits: Vec<f32> = (0..40).map(|_| (random.next() % 1000) as f32 / 100.0 - 5.0).collect();
            let may_come = |id: u32| id == 7 || (id + step).is_multiple_of(3);
            let masked: Vec<f32> = (0..)
                .zip(&logits)
                .map(|(id, &logit)| if may_come(id) { logit } else { f32::NEG_INFINITY })
                .collect();
            let id = of.sample_of(&logits, may_come).unwrap();
            assert_eq!(id, without.sample(&masked).unwrap(), "{params:?}");
            assert!(may_come(id));
        }
    }
    // Broken weights are found where they may not come either.
    let mut broken = sampler(&SamplingParams::greedy());
    assert!(broken.sample_of(&[1.0, f32::NAN], |id| id == 0).is_err());
}

/// Counts of each token in `num` draws. The sampler sees each draw as its first.
fn frequencies(params: &SamplingParams, logits: &[f32], num: usize) -> Vec<f64> {
    let mut sampler = sampler(params);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..num {
        counts[sampler.sample(logits).unwrap() as usize] += 1.0;
    }
    counts.iter().map(|count| count / num as f64).collect()
}

/// The tokens that ever come.
fn support(params: &SamplingParams, logits: &[f32]) -> Vec<usize> {
    let frequencies = frequencies(params, logits, 2000);
    (0..logits.len()).filter(|&id| frequencies[id] > 0.0).collect()
}

#[test]
fn random_numbers_are_those_of_the_published_generator() {
    // First outputs of Vigna's splitmix64.c from the state 1234567.
    let mut random = SplitMix64(1_234_567);
    let want = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
    assert_eq!([0; 4].map(|_| random.next()), want);
}

#[test]
fn presence_and_frequency_lower_what_the_answer_had() {
    let greedy = SamplingParams::greedy();
    let ids = |params: &SamplingParams| {
        let mut sampler = sampler(params);
        // The prompt does not count.
        sampler.see([3]);
        [0; 6].map(|_| sampler.sample(&[0.0, 0.5, -9.0, 1.2]).unwrap())
    };
    assert_eq!(ids(&greedy), [3; 6]);
    // 1.2 - 1 is below 0.5, which becomes -0.5: below 0.2.
    let presence = SamplingParams { presence_penalty: 1.0, ..greedy.clone() };
    assert_eq!(ids(&presence), [3, 1, 3, 3, 3, 3]);
    let frequency = SamplingParams { frequency_penalty: 0.5, ..greedy.clone() };
    assert_eq!(ids(&frequency), [3, 3, 1, 3, 0, 1]);
    for params in [&presence, &frequency] {
        assert_eq!(sampler(params).candidates_needed(), None);
    }
    let error = SamplingParams { presence_penalty: -2.5, ..greedy }.validate().unwrap_err().to_string();
    assert_eq!(error, "presence_penalty is -2.5; it can be from -2 to 2");
}

#[test]
fn a_bias_is_added_and_an_infinite_one_rules_out() {
    let with = |logit_bias| SamplingParams { logit_bias, ..SamplingParams::greedy() };
    let first = |logit_bias| sampler(&with(logit_bias)).sample(&[0.0, 0.5, 1.0, 1.2]);
    assert_eq!(first(vec![(1, 1.0)]).unwrap(), 1);
    assert_eq!(first(vec![(1, 0.5), (1, 0.3)]).unwrap(), 1, "both count");
    assert_eq!(first(vec![(3, f32::NEG_INFINITY)]).unwrap(), 2);
    let none = (0..4).map(|id| (id, f32::NEG_INFINITY)).collect();
    assert!(first(none).unwrap_err().to_string().contains("no token is left"));
    let error = with(vec![(7, f32::NAN)]).validate().unwrap_err().to_string();
    assert!(error.starts_with("logit_bias is NaN for token 7"), "{error}");
}

#[test]
fn log_probabilities_are_those_of_the_model() {
    let logits = logits(&[0.1, 0.2, 0.6, 0.1]).iter().map(|logit| logit + 3.0).collect::<Vec<_>>();
    let LogProbs { chosen, top } = LogProbs::of(&logits, 1, 3);
    assert!((chosen - 0.2_f32.ln()).abs() < 1e-6);
    assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1, 0], "of equals the lowest id");
    assert!((top[0].1 - 0.6_f32.ln()).abs() < 1e-6 && top[1].1 == chosen);
    assert_eq!(LogProbs::of(&logits, 0, 0).top, []);
    assert_eq!(LogProbs::of(&logits, 0, 9).top.len(), 4);
}

#[test]
fn a_penalty_that_leaves_nothing_to_choose_by_is_named() {
    let mut sampler = sampler(&SamplingParams { repetition_penalty: 1e-40, ..SamplingParams::greedy() });
    assert_eq!(sampler.sample(&[0.0, 3.0]).unwrap(), 1);
    let error = sampler.sample(&[0.0, 3.0]).unwrap_err().to_string();
    assert!(error.starts_with("repetition_penalty is 0.0000") && error.contains("of token 1, 3,"), "{error}");
    // Broken weights are still reported.
    let error = sampler.sample(&[0.0, f32::INFINITY]).unwrap_err().to_string();
    assert!(error.contains("the weights may be damaged"), "{error}");
}

#[test]
fn greedy_takes_the_likeliest_and_of_equals_the_lowest_id() {
    let mut sampler = sampler(&SamplingParams::greedy());
    assert_eq!(sampler.sample(&[0.0, 3.0, -1.0, 3.0]).unwrap(), 1);
    assert_eq!(sampler.sample_candidates(&[(3, 3.0), (1, 3.0)]).unwrap(), 1);
    assert_eq!(sampler.candidates_needed(), Some(1));
    assert!(SamplingParams { temperature: 0.001, ..sampling() }.is_greedy());
    assert!(!SamplingParams { temperature: 0.002, ..sampling() }.is_greedy());
}

#[test]
fn frequencies_are_those_of_the_softmax() {
    let logits = [0.3_f32, -1.2, 2.0, 1.9, -4.0, 0.0, 1.0];
    for temperature in [0.2, 0.7, 1.0, 3.0] {
        let num = 40_000;
        let got = frequencies(&SamplingParams { temperature, ..sampling() }, &logits, num);
        let weights = logits.map(|logit| f64::from(logit / temperature).exp());
        let sum: f64 = weights.iter().sum();
        for (id, (got, weight)) in got.iter().zip(weights).enumerate() {
            let p = weight / sum;
            // 4.5 standard deviations of a share.
            let bound = 4.5 * (p * (1.0 - p) / num as f64).sqrt() + 1e-4;
            assert!((got - p).abs() < bound, "token {id} at {temperature}: got {got} want {p} ± {bound}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens() {
    let logits = logits(&[0.1, 0.2, 0.3, 0.4]);
    let tokens = |seed| {
        let mut sampler = sampler(&SamplingParams { seed, ..sampling() });
        (0..16).map(|_| sampler.sample(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tokens(7), tokens(7));
    assert_ne!(tokens(7), tokens(8));
    // Computed by the same steps in Python, so that a change of generator or order is seen.
    assert_eq!(tokens(0), GOLDEN_TOKENS);
}

const GOLDEN_TOKENS: [u32; 16] = [1, 2, 3, 0, 3, 3, 3, 1, 3, 0, 3, 1, 2, 2, 1, 2];

#[test]
fn top_k_keeps_that_many_and_of_equals_the_lowest_ids() {
    let params = SamplingParams { top_k: 2, ..sampling() };
    assert_eq!(support(&params, &[1.0, 2.0, 1.0, 1.0]), [0, 1]);
    assert_eq!(support(&SamplingParams { top_k: 9, ..sampling() }, &[1.0, 2.0]), [0, 1]);
}

#[test]
fn top_p_stops_once_the_sum_is_reached() {
    // Exact in binary: halves and quarters.
    let logits = [2.0_f32.ln() * 2.0, 2.0_f32.ln(), 0.0, 0.0];
    let top_p = |top_p| support(&SamplingParams { top_p, ..sampling() }, &logits);
    assert_eq!(top_p(0.49), [0]);
    assert_eq!(top_p(0.51), [0, 1]);
    assert_eq!(top_p(0.74), [0, 1]);
    assert_eq!(top_p(0.76), [0, 1, 2]);
    assert_eq!(top_p(1.0), [0, 1, 2, 3]);
    assert_eq!(top_p(f32::MIN_POSITIVE), [0]);
    // Equal logits give exact sums: the second is not needed for a half.
    assert_eq!(support(&SamplingParams { top_p: 0.5, ..sampling() }, &[0.0, 0.0]), [0]);
}

#[test]
fn top_p_counts_among_what_top_k_left() {
    // Of 0.4, 0.3, 0.3 the first two remain, as 0.57 and 0.43.
    let params = SamplingParams { top_k: 2, top_p: 0.5, ..sampling() };
    assert_eq!(support(&params, &logits(&[0.4, 0.3, 0.3])), [0]);
    let params = SamplingParams { top_k: 0, ..params };
    assert_eq!(support(&params, &logits(&[0.4, 0.3, 0.3])), [0, 1]);
}

#[test]
fn min_p_drops_what_is_less_than_its_share_of_the_likeliest() {
    let logits = logits(&[0.6, 0.3, 0.1]);
    let min_p = |min_p| support(&SamplingParams { min_p, ..sampling() }, &logits);
    assert_eq!(min_p(0.16), [0, 1, 2]);
    assert_eq!(min_p(0.17), [0, 1]);
    assert_eq!(min_p(0.51), [0]);
    assert_eq!(min_p(1.0), [0]);
    // Equal to the bound stays.
    assert_eq!(support(&SamplingParams { min_p: 1.0, ..sampling() }, &[5.0, 5.0, 4.9]), [0, 1]);
}

#[test]
fn repetition_penalty_divides_positive_logits_and_multiplies_negative_ones() {
    let params = SamplingParams { repetition_penalty: 2.0, ..SamplingParams::greedy() };
    let mut sampler = sampler(&params);
    sampler.see([0, 0, 99]);
    // 3 became 1.5, once, however often it was seen.
    assert_eq!(sampler.sample(&[3.0, 1.6, 1.0]).unwrap(), 1);
    // Now 1.5, 0.8 and 1: the token chosen counts as seen.
    assert_eq!(sampler.sample(&[1.0, 1.6, 0.9]).unwrap(), 2);
    assert_eq!(sampler.sample(&[-1.0, -1.5, -1.2, -1.9]).unwrap(), 3);
    assert_eq!(sampler.candidates_needed(), None);
    assert!(sampler.sample_candidates(&[(0, 1.0)]).is_err());
}

#[test]
fn the_end_waits_for_min_new_tokens() {
    let params = SamplingParams { min_new_tokens: 2, ..SamplingParams::greedy() };
    let mut sampler = sampler(&params);
    let logits = [0.0, 1.0, 9.0];
    assert_eq!(sampler.candidates_needed(), Some(2));
    assert_eq!(sampler.sample(&logits).unwrap(), 1);
    assert_eq!(sampler.sample_candidates(&[(EOS, 9.0), (1, 1.0)]).unwrap(), 1);
    assert_eq!(sampler.candidates_needed(), Some(1));
    assert_eq!(sampler.sample(&logits).unwrap(), EOS);
}

#[test]
fn candidates_give_the_tokens_of_the_whole_vocabulary() {
    let mut random = SplitMix64(5);
    for top_k in [1, 2, 5, 50] {
        let params = SamplingParams {
            temperature: 0.8,
            top_k,
            top_p: 0.9,
            min_p: 0.02,
            min_new_tokens: 20,
            ..sampling()
        };
        let (mut whole, mut part) = (sampler(&params), sampler(&params));
        for _ in 0..60 {
            // In steps, so that there are ties.
            let logits: Vec<f32> = (0..300).map(|_| (random.uniform() * 40.0).floor() as f32 / 4.0).collect();
            let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
            sorted.sort_by(likelier);
            sorted.truncate(part.candidates_needed().unwrap());
            assert_eq!(whole.sample(&logits).unwrap(), part.sample_candidates(&sorted).unwrap());
        }
    }
}

#[test]
fn candidates_needed_follow_the_options() {
    let needed = |params: SamplingParams| sampler(&params).candidates_needed();
    assert_eq!(needed(SamplingParams { top_k: 50, ..sampling() }), Some(50));
    assert_eq!(needed(SamplingParams { top_k: 50, min_new_tokens: 1, ..sampling() }), Some(51));
    assert_eq!(needed(sampling()), None);
    assert_eq!(needed(SamplingParams { top_k: 0, ..SamplingParams::greedy() }), Some(1));
    assert_eq!(
        needed(SamplingParams { top_k: usize::MAX, min_new_tokens: 1, ..sampling() }),
        Some(usize::MAX)
    );
}

#[test]
fn broken_logits_are_an_error_and_change_nothing() {
    for params in [SamplingParams::greedy(), sampling(), SamplingParams { top_k: 2, ..sampling() }] {
        let mut sampler = sampler(&params);
        let error = sampler.sample(&[0.0, f32::NAN, 1.0]).unwrap_err().to_string();
        assert_eq!(error, "logits: that of token 1 is NaN; the weights may be damaged");
        assert!(sampler.sample(&[0.0, f32::INFINITY]).is_err());
        assert!(sampler.sample(&[f32::NEG_INFINITY; 3]).is_err());
        assert!(sampler.sample(&[]).is_err());
        assert_eq!((sampler.num_sampled, sampler.seen.len(), sampler.random.0), (0, 0, 0));
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY, 1.0]).unwrap(), 1);
    }
}

#[test]
fn extreme_logits_and_temperatures_are_no_trouble() {
    let logits = [f32::MAX, f32::MIN, f32::MAX, 0.0];
    for temperature in [0.0011, 1.0, f32::MAX] {
        let params = SamplingParams { temperature, top_k: 3, top_p: 0.5, min_p: 0.5, ..sampling() };
        let token = sampler(&params).sample(&logits).unwrap();
        assert!(token < 4, "{token}");
    }
    let params = SamplingParams { repetition_penalty: f32::MIN_POSITIVE, ..SamplingParams::greedy() };
    let mut overflowing = sampler(&params);
    overflowing.see([0]);
    assert!(overflowing.sample(&[1e9, 0.0]).is_err());
}

#[test]
fn none_of_several_end_tokens_comes_before_min_new_tokens() {
    let params = SamplingParams { min_new_tokens: 1, ..SamplingParams::default() };
    let mut sampler = Sampler::new(params, &[EOS, 3]).unwrap();
    let logits = [0.0, 1.0, 9.0, 8.0];
    assert_eq!(sampler.candidates_needed(), Some(3));
    assert_eq!(sampler.clone().sample_candidates(&[(2, 9.0), (3, 8.0), (1, 1.0)]).unwrap(), 1);
    assert_eq!(sampler.sample(&logits).unwrap(), 1);
    assert_eq!(sampler.candidates_needed(), Some(1));
    assert_eq!(sampler.sample(&logits).unwrap(), 2);
}

#[test]
fn options_out_of_range_are_named_with_their_value() {
    let error = |params: SamplingParams| params.validate().unwrap_err().to_string();
    let base = SamplingParams::default;
    assert_eq!(
        error(SamplingParams { temperature: -0.5, ..base() }),
        "temperature is -0.5; it can be 0 or more"
    );
    assert_eq!(
        error(SamplingParams { top_p: 0.0, ..base() }),
        "top_p is 0; it can be more than 0 and at most 1"
    );
    assert_eq!(error(SamplingParams { min_p: 1.5, ..base() }), "min_p is 1.5; it can be from 0 to 1");
    assert_eq!(
        error(SamplingParams { repetition_penalty: 0.0, ..base() }),
        "repetition_penalty is 0; it can be more than 0"
    );
    for broken in [f32::NAN, f32::INFINITY] {
        assert!(SamplingParams { temperature: broken, ..base() }.validate().is_err());
        assert!(SamplingParams { repetition_penalty: broken, ..base() }.validate().is_err());
    }
    assert!(Sampler::new(SamplingParams { top_p: 1.1, ..base() }, &[EOS]).is_err());
}

#[test]
fn a_custom_sampler_is_given_what_may_come_and_chooses_one_of_it() {
    let logits: Vec<f32> = (0..100).map(|id| ((id * 37) % 100) as f32 / 10.0).collect();
    let greedy =
        |tokens: &[(u32, f32)]| tokens.iter().copied().min_by(likelier).map_or(u32::MAX, |(id, _)| id);
    let params = SamplingParams { min_new_tokens: 1, temperature: 5.0, ..SamplingParams::default() };
    let mut plain = sampler(&SamplingParams { temperature: 0.0, ..params.clone() });
    let mut all = sampler(&params).with_custom(CustomSampler::of_all(greedy));
    let mut few = sampler(&params).with_custom(CustomSampler::of_candidates(5, |tokens| {
        assert!(tokens.len() == 5 && tokens.is_sorted_by(|a, b| likelier(a, b).is_lt()), "{tokens:?}");
        tokens[0].0
    }));
    assert_eq!((all.candidates_needed(), few.candidates_needed()), (None, Some(6)));
    for may_come in [|_| true, |id: u32| id.is_multiple_of(3)] {
        let want = plain.sample_of(&logits, may_come).unwrap();
        assert_eq!(all.sample_of(&logits, may_come).unwrap(), want);
        assert_eq!(few.sample_of(&logits, may_come).unwrap(), want);
    }
    assert_eq!(few.candidates_needed(), Some(5));

    // The end token is not among what is given before min_new_tokens.
    let mut end = sampler(&params).with_custom(CustomSampler::of_all(|_| EOS));
    let error = end.sample(&logits).unwrap_err();
    assert!(matches!(error, Error::NotACandidate { token: EOS, candidates: 99 }), "{error:?}");
    let mut panics = sampler(&params).with_custom(CustomSampler::of_all(|_| panic!("no idea")));
    assert_eq!(panics.sample(&logits).unwrap_err().to_string(), "the sampler panicked: no idea");
}

#[test]
fn each_clone_of_a_custom_sampler_keeps_its_own() {
    let mut count = 0;
    let custom = CustomSampler::of_all(move |tokens| {
        count += 1;
        tokens[count].0
    });
    let [mut a, mut b] = [custom.clone(), custom].map(|custom| sampler(&sampling()).with_custom(custom));
    let sampled = [a.sample(&[0.0; 9]), a.sample(&[0.0; 9]), b.sample(&[0.0; 9])];
    assert_eq!(sampled.map(Result::unwrap), [1, 2, 1]);
}
