//! Several sessions of one model.

use super::*;

#[test]
fn two_sessions_of_a_model_do_not_disturb_each_other() {
    let model = model();
    let samples = [nano::sample("rainbow"), nano::sample("difference"), nano::sample("three")];
    let mut sessions: Vec<_> = samples.iter().map(|_| model.session().unwrap()).collect();
    let mut answers = vec![];
    for (sample, session) in samples.iter().zip(&mut sessions) {
        sample.add_pictures(session);
        answers.push(session.complete(&sample.prompt, &greedy()).unwrap());
    }
    // A token from each in turn.
    while answers.iter().any(|answer| answer.finish_reason().is_none()) {
        for answer in &mut answers {
            if let Some(token) = answer.next() {
                token.unwrap();
            }
        }
    }
    for (sample, answer) in samples.iter().zip(&answers) {
        assert_eq!(answer.ids(), sample.output_ids, "{}: {}", sample.name, answer.text());
    }
}

#[test]
fn sessions_run_on_threads_of_their_own() {
    let model = model();
    let threads: Vec<_> = ["rainbow", "caption", "which"]
        .map(|name| {
            let (model, sample) = (model.clone(), nano::sample(name));
            std::thread::spawn(move || {
                let mut session = model.session().unwrap();
                (complete(&mut session, &sample, &greedy()).ids, sample)
            })
        })
        .into();
    for thread in threads {
        let (ids, sample) = thread.join().unwrap();
        assert_eq!(ids, sample.output_ids, "{}", sample.name);
    }
    // A session moves, too.
    let mut session = model.session().unwrap();
    let moved = std::thread::spawn(move || complete(&mut session, &nano::sample("hello"), &greedy()).text);
    assert_eq!(moved.join().unwrap(), nano::sample("hello").output);
}
