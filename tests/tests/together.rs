//! Conversations that share a model's programs, its cache and its pictures.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::{
    Activity, Canceller, Error, Event, GenerateOptions, Generation, Inspect, LoadOptions, Model,
    SamplingParams, Session, Source, unwatched,
};
use strix_tests::schedules::Schedules;
use strix_tests::{gpu, nano};

fn model(options: LoadOptions) -> Model {
    Model::load_on(gpu(), Source::Nano, &options, &mut unwatched).expect("nano loads")
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, ..GenerateOptions::default() }
}

/// All ids of an answer, and how many positions of its prompt were in the cache and were run.
fn all(mut answer: Generation) -> (Vec<u32>, [u32; 2]) {
    answer.by_ref().for_each(|token| drop(token.expect("the device works")));
    (answer.ids().to_vec(), [answer.timing().reused_tokens, answer.timing().prefill_tokens])
}

/// A square in one of nano's colours.
fn picture(blue: u8) -> RgbImage {
    RgbImage::from_fn(112, 112, |x, y| {
        if (30..80).contains(&x) && (30..80).contains(&y) { [200, 30, blue] } else { [255; 3] }.into()
    })
}

#[test]
fn a_second_turn_runs_its_new_rows_only() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    nano::sample("two_turns").add_pictures(&mut session);
    let (first, [reused, run]) = all(session.ask("What shape is in the image?", &greedy(20)).unwrap());
    assert_eq!(reused, 0);
    let (_, [again, new]) = all(session.ask("What color is it?", &greedy(20)).unwrap());
    // What was run of the first turn: its prompt, and all that was answered but the end.
    assert_eq!(again as usize, run as usize + first.len() - 1, "{again} reused, {new} run");
}

#[test]
fn more_pictures_than_the_device_keeps_are_seen_as_they_are() {
    // The cache holds one conversation: to answer it anew, its picture is needed again.
    let model = model(narrow(96));
    let mut asked: Vec<_> = (0..80)
        .map(|number| {
            let mut session = model.session().unwrap();
            session.add_image(&picture(3 * number)).unwrap();
            (all(session.ask("What color is the square?", &greedy(4)).unwrap()).0, session)
        })
        .collect();
    let rows = model.config().num_image_tokens() as u32;
    for (ids, session) in &mut asked {
        let (again, [_, run]) = all(session.retry(&greedy(4)).unwrap());
        assert_eq!(again, *ids);
        assert!(run >= rows, "{run} rows are run, {rows} of them the picture's");
    }
    assert_eq!(model.activity().encoded_pictures, 80);
}

/// Bytes of a position in nano's cache.
fn position_bytes() -> u64 {
    let checkpoint = strix_model::Checkpoint::open(Source::Nano).expect("nano is whole");
    let text = &checkpoint.config().text;
    8 * (text.num_hidden_layers * text.num_key_value_heads * text.head_dim()) as u64
}

#[test]
fn the_same_picture_and_beginning_are_computed_once() {
    let model = model(LoadOptions::default());
    let ask = |text: &str, blue: u8| {
        let mut session = model.session().unwrap();
        session.add_image(&picture(blue)).unwrap();
        all(session.ask(text, &greedy(8)).unwrap())
    };
    let (first, [reused, whole]) = ask("What color is the square in the image?", 30);
    assert_eq!((reused, model.activity().encoded_pictures), (0, 1));
    // Another conversation: all but the last row is there.
    let (same, counts) = ask("What color is the square in the image?", 30);
    assert_eq!((same, counts, model.activity().encoded_pictures), (first.clone(), [whole - 1, 1], 1));
    // Another question about the same picture: all of the picture is there.
    let rows = model.config().num_image_tokens() as u32;
    let (_, [reused, run]) = ask("Is there a circle in the image?", 30);
    assert!(reused >= rows && run < whole, "{reused} reused, {run} run");
    assert_eq!(model.activity().encoded_pictures, 1);
    // The same text with another picture shares nothing from the picture on.
    let (_, [reused, run]) = ask("What color is the square in the image?", 90);
    assert!(reused < whole - rows && reused + run == whole, "{reused} reused");
    assert_eq!(model.activity().encoded_pictures, 2);
}

#[test]
fn what_the_cache_has_no_room_for_waits_and_what_never_fits_is_refused_with_the_numbers() {
    let page = {
        let text = &strix_model::Config::nano().text;
        16 * 2 * 4 * (text.kv_dim() * text.num_hidden_layers) as u64
    };
    let model = model(LoadOptions { kv_memory: Some(6 * page + 5), ..LoadOptions::default() });
    let room = || {
        let Activity { kv_positions, kv_positions_left, running, waiting, .. } = model.activity();
        ([kv_positions, kv_positions_left], running + waiting)
    };
    assert_eq!(room(), ([96, 96], 0));
    let [mut a, mut b] = [0, 1].map(|_| model.session().unwrap());
    let alone = b.ask("What is 3 + 4?", &greedy(50)).unwrap().finish().unwrap().ids;
    b.reset();
    // It takes five pages and may take a sixth: the next one waits for it.
    let long = SamplingParams { min_new_tokens: 60, ..SamplingParams::greedy() };
    let first = a.ask("Hello!", &GenerateOptions { sampling: long, ..greedy(60) }).unwrap();
    let second = b.ask("What is 3 + 4?", &greedy(50)).unwrap();
    assert_eq!(second.finish().unwrap().ids, alone);
    assert_eq!(model.activity().waited_for_room, 1);
    assert_eq!(first.finish().unwrap().ids.len(), 60);
    assert_eq!(room(), ([96, 96], 0));
    // More than there is at all.
    let error = b.ask("What is 3 + 4?", &greedy(100)).unwrap_err();
    let Error::PoolFull { positions, needed, left: 6, total: 6 } = error else { panic!("{error}") };
    assert!(positions > 100 && needed > 6, "{error}");
    assert!(error.to_string().contains("6 of 6 are left"), "{error}");
    assert_eq!(b.turns().len(), 1, "nothing was asked");
    let error = Model::load_on(
        gpu(),
        Source::Nano,
        &LoadOptions { kv_memory: Some(100), ..LoadOptions::default() },
        &mut unwatched,
    );
    assert!(error.unwrap_err().to_string().contains("kv_memory is 100 bytes"));
}

/// A cache too small for what was asked before forgets the oldest, and answers as ever, whatever lay on its pages.
#[test]
fn a_small_cache_of_any_content_answers_as_a_large_one() {
    let samples: Vec<_> = nano::samples().into_iter().filter(|sample| sample.images.len() <= 2).collect();
    let small = model(LoadOptions { kv_memory: Some(2 << 20), ..LoadOptions::default() });
    let mut session = small.session().unwrap();
    for (seed, sample) in (0..).zip(&samples) {
        if seed % 5 == 0 {
            session.inspect().spoil_cache(seed).unwrap();
        }
        session.reset();
        sample.add_pictures(&mut session);
        let (ids, _) = all(session.complete(&sample.prompt, &greedy(64)).unwrap());
        assert_eq!(ids, sample.output_ids, "{}", sample.name);
    }
}

#[test]
fn sessions_decoded_together_step_as_each_alone() {
    let model = model(LoadOptions::default());
    let prompts: Vec<Vec<PromptId>> = (0..5)
        .map(|i| (0..7 + 13 * i).map(|j| PromptId::Token(3 + (i * 31 + j * 7) % 900)).collect())
        .collect();
    let alone: Vec<_> =
        prompts.iter().map(|ids| model.session().unwrap().inspect().greedy(ids, 20).unwrap()).collect();
    let mut sessions: Vec<_> = prompts.iter().map(|_| model.session().unwrap()).collect();
    sessions[0].inspect().spoil_cache(9).unwrap();
    let ids: Vec<&[PromptId]> = prompts.iter().map(Vec::as_slice).collect();
    let together = Inspect::greedy_together(&mut sessions, &ids, 20).unwrap();
    for (i, (together, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!((together.len(), alone.len()), (20, 20));
        for (step, (together, alone)) in together.iter().zip(alone).enumerate() {
            let off = together.iter().zip(alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-3, "sequence {i}, step {step}: {off}");
        }
    }
}

#[test]
fn steps_together_that_cannot_be_are_refused() {
    let model = model(LoadOptions::default());
    let mut sessions: Vec<_> = (0..2).map(|_| model.session().unwrap()).collect();
    let refused = |sessions: &mut [Session], tokens: &[u32], words: &str| {
        let error = Inspect::step_together(sessions, tokens).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(&mut [], &[], "0 sessions");
    refused(&mut sessions, &[1], "2 sessions and 1 tokens");
    refused(&mut sessions, &[1, 2], "nothing was begun");
    for session in &mut sessions {
        session.inspect().fill(20).unwrap();
    }
    refused(&mut sessions, &[1, 1 << 20], "not in the vocabulary");
    assert_eq!(Inspect::step_together(&mut sessions, &[5, 5]).unwrap().len(), 2);
}

#[test]
fn several_answers_to_one_question_run_its_prompt_once() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    nano::sample("caption").add_pictures(&mut session);
    let question = nano::sample("caption").question();
    let sampling =
        |seed| SamplingParams { temperature: 3.0, seed, min_new_tokens: 12, ..SamplingParams::default() };
    let options = |seed| GenerateOptions { sampling: sampling(seed), ..greedy(12) };
    let alone: Vec<_> = (7..12)
        .map(|seed| session.fork().unwrap().ask(&question, &options(seed)).unwrap().finish().unwrap().ids)
        .collect();
    session.inspect().spoil_cache(3).unwrap();
    let samples = session.samples(&question, &options(7), 5).unwrap();
    assert_eq!(session.turns(), []);
    let mut ran = 0;
    for ((session, answer), alone) in samples.into_iter().zip(&alone) {
        let answer = answer.finish().unwrap();
        assert_eq!(answer.ids, *alone);
        assert_eq!(session.turns()[0].reply.as_deref(), Some(answer.text.as_str()));
        ran += answer.timing.prefill_tokens;
    }
    assert!(alone.iter().any(|ids| *ids != alone[0]), "seeds differ");
    let positions = nano::sample("caption").prompt_ids.len() - 1 + model.config().num_image_tokens();
    assert_eq!(ran as usize, positions + 4, "the others run its last position only");
    assert_eq!(model.activity().encoded_pictures, 1);
}

#[test]
fn a_session_is_busy_while_it_is_answered_and_others_are_not() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    let first = session.ask("What are the seven colors of the rainbow?", &greedy(40)).unwrap();
    let error = session.ask("What is 3 + 4?", &greedy(8)).unwrap_err();
    assert!(matches!(error, Error::Busy), "{error}");
    assert!(matches!(session.fork(), Err(Error::Busy)));
    let mut other = model.session().unwrap();
    assert_eq!(other.ask("What is 3 + 4?", &greedy(8)).unwrap().finish().unwrap().text, "7");
    // What is forgotten while it is answered stays forgotten.
    session.reset();
    assert!(!first.finish().unwrap().text.is_empty());
    assert_eq!(session.turns(), []);
    assert_eq!(session.ask("What is 3 + 4?", &greedy(8)).unwrap().finish().unwrap().text, "7");
}

#[test]
fn a_queue_that_is_full_refuses() {
    let model = model(LoadOptions { queue: 3, ..LoadOptions::default() });
    let long = SamplingParams { min_new_tokens: 400, ..SamplingParams::greedy() };
    let options = GenerateOptions { sampling: long, ..greedy(400) };
    let mut asked = vec![];
    let error = loop {
        let mut session = model.session().unwrap();
        match session.ask("Hello!", &options) {
            Ok(answer) => asked.push(answer),
            Err(error) => break error,
        }
        assert!(asked.len() <= 19, "sixteen run, and three wait");
    };
    assert!(matches!(error, Error::QueueFull { limit: 3 }), "{error}");
    drop(asked);
    assert_eq!(
        model.session().unwrap().ask("What is 3 + 4?", &greedy(8)).unwrap().finish().unwrap().text,
        "7"
    );
}

#[test]
fn a_callback_is_told_every_token_and_the_end_and_can_be_cancelled() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    let want =
        session.ask("What are the seven colors of the rainbow?", &greedy(40)).unwrap().finish().unwrap();
    session.reset();
    let (told, heard) = channel();
    let answer = session.ask("What are the seven colors of the rainbow?", &greedy(40)).unwrap();
    answer.listen(move |event| {
        let event = match event {
            Event::Token { id, text } => Ok((id, text.to_owned())),
            Event::Finished(answer) => Err(Some(answer.clone())),
            _ => Err(None),
        };
        // Whoever listened may be gone.
        let _ = told.send(event);
    });
    let (mut ids, mut text) = (vec![], String::new());
    let answer = loop {
        match heard.recv().unwrap() {
            Ok((id, piece)) => {
                ids.push(id);
                text += &piece;
            }
            Err(answer) => break answer.expect("it ends well"),
        }
    };
    assert_eq!((&ids, text.trim(), &answer.ids), (&want.ids, want.text.as_str(), &want.ids));
    assert_eq!(session.turns()[0].reply, Some(want.text));

    let (told, heard) = channel();
    let long = SamplingParams { min_new_tokens: 400, ..SamplingParams::greedy() };
    let canceller = session
        .ask("Hello!", &GenerateOptions { sampling: long, ..greedy(400) })
        .unwrap()
        .listen(move |event| told.send(matches!(event, Event::Finished(_))).unwrap_or(()));
    assert!(!heard.recv().unwrap(), "a token");
    canceller.cancel();
    assert!(heard.iter().any(|is_end| is_end), "it ends, and then nobody tells any more");
    assert!(heard.recv().is_err());
}

/// Room for one conversation of `ctx` positions at a time.
fn narrow(ctx: u32) -> LoadOptions {
    let kv_memory = Some(u64::from(ctx) * position_bytes());
    LoadOptions { ctx: Some(ctx), kv_memory, ..LoadOptions::default() }
}

#[test]
fn a_callback_may_ask_when_its_own_question_ends_while_it_waits() {
    let model = model(narrow(448));
    let [mut first, mut waiting, mut next] = [0; 3].map(|_| model.session().unwrap());
    let long = SamplingParams { min_new_tokens: 400, ..SamplingParams::greedy() };
    let running = first.ask("Hello!", &GenerateOptions { sampling: long, ..greedy(400) }).unwrap();
    let flag = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(flag.clone()), ..greedy(400) };
    let (told, heard) = channel();
    let answer = waiting.ask("Hello!", &options).unwrap();
    let asked = model.clone();
    answer.listen(move |event| {
        if matches!(event, Event::Finished(_)) {
            let answer = next.ask("What is 3 + 4?", &greedy(8)).unwrap();
            told.send((answer, asked.activity().waiting)).unwrap();
        }
    });
    flag.store(true, Ordering::Relaxed);
    let (answer, waiting) = heard.recv_timeout(Duration::from_secs(60)).expect("nobody waits for the queue");
    assert_eq!(waiting, 1);
    drop(running);
    assert_eq!(answer.finish().unwrap().text, "7");
}

#[test]
fn who_cancels_calls_nobody_and_the_models_thread_tells_the_end() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    let long = SamplingParams { min_new_tokens: 400, ..SamplingParams::greedy() };
    let answer = session.ask("Hello!", &GenerateOptions { sampling: long, ..greedy(400) }).unwrap();
    let lock = Arc::new(Mutex::new(()));
    let (told, heard) = channel();
    let taken = lock.clone();
    let canceller = answer.listen(move |event| {
        if matches!(event, Event::Finished(_)) {
            drop(taken.lock());
            told.send(thread::current().id()).unwrap();
        }
    });
    {
        let _held = lock.lock().unwrap();
        canceller.cancel();
    }
    assert_ne!(heard.recv_timeout(Duration::from_secs(60)).unwrap(), thread::current().id());
}

#[test]
fn a_callback_that_panics_ends_its_own_answer_and_no_other() {
    let model = model(LoadOptions::default());
    let [mut session, mut other] = [0; 2].map(|_| model.session().unwrap());
    let long = SamplingParams { min_new_tokens: 40, ..SamplingParams::greedy() };
    let beside = other.ask("Hello!", &GenerateOptions { sampling: long, ..greedy(40) }).unwrap();
    let answer = session.ask("What is 3 + 4?", &greedy(8)).unwrap();
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    answer.listen(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        panic!("a panic of an app's");
    });
    assert_eq!(beside.finish().unwrap().ids.len(), 40);
    assert_eq!(other.ask("What is 3 + 4?", &greedy(8)).unwrap().finish().unwrap().text, "7");
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn dropping_the_model_while_it_answers_ends_all() {
    let model = model(LoadOptions::default());
    let mut session = model.session().unwrap();
    let long = SamplingParams { min_new_tokens: 400, ..SamplingParams::greedy() };
    let mut answer = session.ask("Hello!", &GenerateOptions { sampling: long, ..greedy(400) }).unwrap();
    answer.next().unwrap().unwrap();
    drop((model, session, answer));
}

/// What is sent between threads and shared by them, from within an app's own nested types too: a compiler looks 128 levels
/// deep.
#[test]
fn handles_go_where_an_app_needs_them() {
    type Deep<T> = Option<Box<Option<Box<Option<Box<Option<Box<Option<Box<Option<Box<T>>>>>>>>>>>>;
    is_sent::<Deep<(Model, Session, Generation)>>();
    fn is_shared<T: Clone + Send + Sync>() {}
    fn is_sent<T: Send + 'static>() {}
    is_shared::<Model>();
    is_shared::<Canceller>();
    is_sent::<Session>();
    is_sent::<Generation>();
}

/// A few of what `cargo xtask schedules` runs.
#[test]
fn conversations_in_any_order_are_told_what_each_is_told_alone() {
    let mut schedules = Schedules::new(gpu()).unwrap();
    for seed in 0..6 {
        schedules.run(seed).unwrap();
    }
    let counts = schedules.counts;
    assert!(counts.answers > 40 && counts.cancelled > 0 && counts.waits > 0, "{counts}");
    assert!(counts.positions[0] > 100, "{counts}");
}
