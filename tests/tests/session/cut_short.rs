//! Answers that are cancelled or dropped, and what survives of them.

use super::*;

#[test]
fn the_cancel_flag_ends_an_answer_with_the_text_so_far() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("rainbow");
    let flag = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(flag.clone()), ..greedy() };
    {
        let mut answer = session.ask(sample.question(), &options).unwrap();
        for _ in 0..5 {
            answer.next().unwrap().unwrap();
        }
        flag.store(true, Ordering::Relaxed);
        answer.by_ref().for_each(|token| drop(token.unwrap()));
        assert_eq!(answer.finish_reason(), Some(&FinishReason::Cancelled));
        assert!((5..=6).contains(&answer.ids().len()), "{} tokens", answer.ids().len());
        assert!(sample.output.starts_with(answer.text()) && !answer.text().is_empty());
    }
    assert_eq!(all(session.ask("What is 3 + 4?", &greedy()).unwrap()).finish, FinishReason::Eos);
}

#[test]
fn an_answer_dropped_half_way_stays_in_the_conversation() {
    let model = model();
    let mut session = model.session().unwrap();
    let partial = {
        let mut answer = session.ask("What are the seven colors of the rainbow?", &greedy()).unwrap();
        for _ in 0..6 {
            answer.next().unwrap().unwrap();
        }
        answer.text().to_owned()
    };
    let said = all(session.ask("What is 3 + 4?", &greedy()).unwrap());
    let prompt = format!(
        "USER: What are the seven colors of the rainbow? ASSISTANT: {partial}</s>USER: What is 3 + 4? ASSISTANT:"
    );
    let want = all(model.session().unwrap().complete(&prompt, &greedy()).unwrap());
    assert_eq!(said.ids, want.ids, "{:?} and {:?}", said.text, want.text);
    assert_eq!(replies(&session), [partial, said.text]);
}

#[test]
fn an_answer_dropped_before_its_first_token_was_never_asked() {
    let model = model();
    let mut session = model.session().unwrap();
    let sample = nano::sample("caption");
    sample.add_pictures(&mut session);
    drop(session.ask("Is there a red triangle in the image?", &greedy()).unwrap());
    assert_eq!(session.turns(), []);
    let said = session.ask(sample.question(), &greedy()).unwrap().finish().unwrap();
    let positions = sample.prompt_ids.len() - 1 + model.config().num_image_tokens();
    let ran = said.timing.reused_tokens + said.timing.prefill_tokens;
    assert_eq!(ran as usize, positions, "the second question only");
    assert_eq!(said.ids, sample.output_ids, "{}", said.text);
}

#[test]
fn an_answer_that_is_cancelled_before_its_start_runs_nothing_and_was_never_asked() {
    let gpu = Gpu::new().unwrap();
    let model = nano::load(&gpu, 400, 64);
    let mut session = model.session().unwrap();
    let sample = nano::sample("caption");
    sample.add_pictures(&mut session);
    let flag = Arc::new(AtomicBool::new(true));
    let options = GenerateOptions { cancel: Some(flag.clone()), ..greedy() };
    let ran = submits(&gpu, || {
        let said = all(session.ask(sample.question(), &options).unwrap());
        assert_eq!((said.ids, said.finish), (vec![], FinishReason::Cancelled));
    });
    assert_eq!((ran, session.turns()), (0, vec![]));
    flag.store(false, Ordering::Relaxed);
    let said = all(session.ask(sample.question(), &options).unwrap());
    assert_eq!(said.ids, sample.output_ids, "{}", said.text);
}

#[test]
fn a_cancel_while_pictures_are_encoded_leaves_them_for_the_next_question() {
    let gpu = Gpu::new().unwrap();
    let model = nano::load(&gpu, 400, 64);
    let sample = nano::sample("video");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let flag = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(flag.clone()), ..greedy() };
    let before = gpu.submits();
    let watcher = {
        let (gpu, flag) = (gpu.clone(), flag.clone());
        std::thread::spawn(move || {
            while gpu.submits() < before + 2 {
                std::hint::spin_loop();
            }
            flag.store(true, Ordering::Relaxed);
        })
    };
    let said = all(session.ask(sample.question(), &options).unwrap());
    watcher.join().unwrap();
    let ran = gpu.submits() - before;
    assert_eq!((said.ids, said.finish, session.turns()), (vec![], FinishReason::Cancelled, vec![]));
    flag.store(false, Ordering::Relaxed);
    let before = gpu.submits();
    let said = all(session.ask(sample.question(), &options).unwrap());
    assert_eq!(said.ids, sample.output_ids, "{}", said.text);
    assert!(ran < gpu.submits() - before, "{ran} submits before the cancel, of eight pictures");
}
