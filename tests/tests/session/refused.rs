//! Questions that cannot be asked.

use strix_model::unwatched;

use super::*;

#[test]
fn questions_that_cannot_be_asked_change_nothing() {
    let model = nano::load(gpu(), 60, 64);
    let mut session = model.session().unwrap();
    let sample = nano::sample("caption");
    let refused = |session: &mut Session, prompt: &str, whole: bool, words: &[&str]| {
        let options = greedy();
        let result = match whole {
            true => session.complete(prompt, &options),
            false => session.ask(Question::placed(prompt), &options),
        };
        let error = result.err().unwrap_or_else(|| panic!("{prompt:?} was not refused")).to_string();
        for word in words {
            assert!(error.contains(word), "{prompt:?}: {word:?} is not in: {error}");
        }
    };
    let place = "<|image|>";
    refused(&mut session, "USER: <|image|>What? ASSISTANT:", true, &["1 <|image|> place", "0 pictures"]);
    refused(&mut session, "<|image|>What?", false, &["1 <|image|> place", "0 pictures", "give a picture"]);
    sample.add_pictures(&mut session);
    refused(&mut session, "USER: What? ASSISTANT:", true, &["0 <|image|> places", "1 picture", place]);
    refused(&mut session, "<|image|><|image|>What?", false, &["2 <|image|> places", "1 picture"]);
    let long = "What is it? ".repeat(40);
    refused(&mut session, &long, false, &["positions", "context holds 60", "1 picture of 17", "larger ctx"]);
    let hot = SamplingParams { temperature: -1.0, ..SamplingParams::default() };
    let error = session.ask("What?", &GenerateOptions { sampling: hot, ..greedy() }).unwrap_err().to_string();
    assert!(error.contains("temperature is -1"), "{error}");
    let stop = GenerateOptions { stop: vec![String::new()], ..greedy() };
    let error = session.ask("What?", &stop).unwrap_err().to_string();
    assert!(error.contains("stop string 0 of 1 is empty"), "{error}");

    let said = all(session.ask(sample.question(), &greedy()).unwrap());
    assert_eq!(said.ids, sample.output_ids, "{}", said.text);
}

#[test]
fn what_is_refused_is_refused_before_a_picture_is_encoded() {
    let gpu = Gpu::new().unwrap();
    let model = nano::load(&gpu, 60, 64);
    let mut session = model.session().unwrap();
    let picture = nano::sample("caption").pictures().remove(0);
    let refused = submits(&gpu, || {
        for _ in 0..20 {
            session.add_image(&picture).unwrap();
        }
        for (question, options) in [
            ("What?", greedy()),
            ("<|image|>", greedy()),
            ("", GenerateOptions { stop: vec![String::new()], ..greedy() }),
        ] {
            assert!(session.ask(question, &options).is_err(), "{question:?}");
            assert!(session.complete(question, &options).is_err(), "{question:?}");
        }
    });
    assert_eq!(refused, 0, "submits");
    session.reset();
    session.add_image(&picture).unwrap();
    let asked = submits(&gpu, || drop(session.ask("What?", &greedy()).unwrap()));
    assert_eq!(asked, 0, "submits before the first token is asked for");
}

#[test]
fn a_prompt_is_checked_against_files_alone() {
    let options = LoadOptions { ctx: Some(60), ..LoadOptions::default() };
    let checkpoint = Checkpoint::open(Source::Nano).unwrap();
    let sample = nano::sample("caption");
    let positions = checkpoint.check_prompt(&sample.prompt, 1, &options).unwrap();
    let model = Model::load_on(gpu(), Source::Checkpoint(&checkpoint), &options, &mut unwatched).unwrap();
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let answer = session.complete(&sample.prompt, &greedy()).unwrap().finish().unwrap();
    assert_eq!(answer.timing.prefill_tokens as usize, positions);
    let error = |prompt: &str, pictures, options: &LoadOptions| {
        checkpoint.check_prompt(prompt, pictures, options).unwrap_err().to_string()
    };
    let many = "<|image|>".repeat(150);
    assert!(error(&many, 150, &options).contains("150 pictures of 17), the context holds 60"));
    assert!(error("What?", 1, &options).contains("0 <|image|> places in the text for 1 picture"));
    let huge = LoadOptions { ctx: Some(0), ..options };
    assert!(error("What?", 0, &huge).contains("ctx is 0"));
}

#[test]
fn a_prompt_that_fails_leaves_the_chat_as_it_was() {
    let model = nano::load(gpu(), 120, 64);
    let sample = nano::sample("two_turns");
    let flag = Arc::new(AtomicBool::new(true));
    let cancelled = GenerateOptions { cancel: Some(flag), ..greedy() };
    let cold = SamplingParams { temperature: -1.0, ..SamplingParams::default() };
    let long = format!("<|image|>{}", "What is it? ".repeat(80));
    type Spoil<'a> = &'a dyn Fn(&mut Session);
    let spoils: [Spoil<'_>; 6] = [
        &|session| drop(session.complete("no place for it", &greedy()).unwrap_err()),
        &|session| drop(session.complete(&long, &greedy()).unwrap_err()),
        &|session| {
            let options = GenerateOptions { sampling: cold.clone(), ..greedy() };
            drop(session.complete(&sample.prompt, &options).unwrap_err());
        },
        &|session| {
            let said = all(session.complete("<|image|>What?", &cancelled).unwrap());
            assert_eq!((said.ids, said.finish), (vec![], FinishReason::Cancelled));
        },
        &|session| drop(session.complete("<|image|>What?", &greedy()).unwrap()),
        &|session| drop(session.ask("Is it a bird?", &cancelled).unwrap().next()),
    ];
    for (i, spoil) in spoils.iter().enumerate() {
        let mut session = model.session().unwrap();
        sample.add_pictures(&mut session);
        all(session.ask("What shape is in the image?", &greedy()).unwrap());
        let turns = session.turns().to_vec();
        spoil(&mut session);
        assert_eq!(session.turns(), turns, "{i}");
        let colour = all(session.ask("What color is it?", &greedy()).unwrap());
        assert_eq!(colour.ids, sample.output_ids, "{i}: {}", colour.text);
    }
}

#[test]
fn pixels_of_another_size_are_refused_with_the_numbers() {
    let model = model();
    let size = model.config().vision.image_size;
    let whole = vec![0.5; 3 * size * size];
    model.encode(&whole).unwrap();
    for pixels in [&whole[1..], &[], &vec![0.5; whole.len() + 1]] {
        let expected = format!("{} values; the vision tower takes 3 x {size} x {size}", pixels.len());
        for error in [
            model.encode(pixels).unwrap_err(),
            model.trace_encode(pixels).unwrap_err(),
            model.replay_encode(pixels, 1e-3).unwrap_err(),
        ] {
            assert!(error.to_string().contains(&expected), "{error}");
        }
    }
}

#[test]
fn a_prompt_one_position_too_long_is_refused_with_both_numbers() {
    let sample = nano::sample("rainbow");
    let model = nano::load(gpu(), sample.prompt_ids.len() as u32 - 1, 64);
    let mut session = model.session().unwrap();
    let error = session.complete(&sample.prompt, &greedy()).unwrap_err().to_string();
    assert!(error.contains("14 positions") && error.contains("holds 13"), "{error}");
    let shorter = all(session.complete("USER: Hello! ASSISTANT:", &greedy()).unwrap());
    assert_eq!(shorter.ids[..4], nano::sample("hello").output_ids[..4]);
}
