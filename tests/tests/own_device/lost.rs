//! A device that is lost, in each phase: an error that says so, no panic and no wait without end, and a new model on a new
//! device that answers right.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use strix_engine::{Frames, Gpu, GpuOptions, Polling, Sharing};
use strix_model::{
    Dtype, Error, GenerateOptions, LoadOptions, Model, Remedy, SaveOptions, Source, unwatched,
};
use strix_tests::nano;

use super::shared_with;

/// Whether an error, or one that several answers share, says that the device is lost.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Engine(strix_engine::Error::Lost(_)) => true,
        Error::Shared(error) => is_lost(error),
        _ => false,
    }
}

#[track_caller]
fn lost<T>(result: Result<T, Error>) {
    match result {
        Ok(_) => panic!("a lost device gave something"),
        Err(error) => assert!(is_lost(&error), "{error:?}"),
    }
}

/// Each way to share a device, and one that Strix opened itself.
fn each_device(check: impl Fn(&dyn Fn() -> Gpu)) {
    check(&|| Gpu::with(&GpuOptions::from_env()).unwrap());
    check(&|| shared_with(Sharing::default()));
    check(&|| {
        let frames = Some(Frames::with_idle(Duration::from_millis(2)));
        let polling = Polling::Every(Duration::from_millis(5));
        shared_with(Sharing { frames, polling, ..Sharing::default() })
    });
}

/// The answer of a new model on a new device.
fn answers_anew(open: &dyn Fn() -> Gpu) {
    let model = nano::load(&open(), 256, 64);
    let sample = nano::sample("caption");
    let (ids, text) = sample.run(&mut model.session().unwrap(), &GenerateOptions::default());
    assert_eq!(ids, sample.output_ids, "{text}");
}

fn options() -> LoadOptions {
    LoadOptions { dtype: Dtype::F32, ctx: Some(256), ..LoadOptions::default() }
}

#[test]
fn while_loading() {
    each_device(|open| {
        for at in [0, 3, 20] {
            let gpu = open();
            let mut parts = 0;
            let loaded = Model::load_on(&gpu, Source::Nano, &options(), &mut |_| {
                if parts == at {
                    gpu.device().destroy();
                }
                parts += 1;
                ControlFlow::Continue(())
            });
            // What is copied to a device that does not read it is noticed at the latest with the first session.
            lost(loaded.and_then(|model| model.session()));
        }
        answers_anew(open);
    });
}

/// Destroys the device when the model has begun to compute so often.
fn destroyed_within(open: &dyn Fn() -> Gpu, submits: u64, chunk: u32, tokens: usize) {
    let gpu = open();
    // A submit a step.
    let model = nano::load_with(&gpu, &LoadOptions { slice: Duration::ZERO, chunk, ..options() });
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
        for _ in 0..tokens {
            answer.next().unwrap().unwrap();
        }
        let before = gpu.submits();
        let (gpu, ends) = (&gpu, &ends);
        scope.spawn(move || {
            while gpu.submits() < before + submits && !ends.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            gpu.device().destroy();
        });
        let last = answer.by_ref().last();
        ends.store(true, Ordering::Relaxed);
        match last {
            // It ended before the device did.
            Some(Ok(_)) => assert!(answer.finish_reason().is_some()),
            Some(Err(error)) => assert!(is_lost(&error), "{error:?}"),
            None => assert!(answer.finish_reason().is_some()),
        }
    });
    lost(model.session());
    lost(model.encode(&model.pixels(&sample.pictures()[0]).unwrap()));
    assert!(session.ask("again", &GenerateOptions::default()).map_or_else(
        |error| is_lost(&error),
        |mut answer| answer.next().is_some_and(|token| token.is_err_and(|error| is_lost(&error))),
    ));
}

#[test]
fn while_a_picture_is_encoded_a_prompt_run_and_tokens_decoded() {
    each_device(|open| {
        // The encoder has some fifty steps, the decoder some thirty.
        for submits in [1, 30, 70] {
            destroyed_within(open, submits, 16, 0);
        }
        for submits in [1, 20] {
            destroyed_within(open, submits, 64, 2);
        }
        answers_anew(open);
    });
}

#[test]
fn while_nothing_is_asked() {
    each_device(|open| {
        let gpu = open();
        let model = nano::load_with(&gpu, &options());
        let mut session = model.session().unwrap();
        gpu.device().destroy();
        let sample = nano::sample("caption");
        sample.add_pictures(&mut session);
        let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
        lost(answer.next().unwrap());
        assert!(answer.next().is_none());
        drop(answer);
        lost(model.session());
        drop((session, model));
        answers_anew(open);
    });
}

#[test]
fn while_layers_take_turns() {
    each_device(|open| {
        let too_little = LoadOptions { device_memory: Some(1), ..options() };
        let refused = Model::load_on(&open(), Source::Nano, &too_little, &mut unwatched).unwrap_err();
        let of = |remedy: &Remedy| if let Remedy::DeviceMemory(bytes) = remedy { Some(*bytes) } else { None };
        let least = refused.remedies().iter().find_map(of).unwrap();
        for tokens in [0, 2] {
            let gpu = open();
            let model = nano::load_with(&gpu, &LoadOptions { device_memory: Some(least), ..options() });
            assert!(model.memory().streams(), "{:?}", model.memory());
            let sample = nano::sample("caption");
            let mut session = model.session().unwrap();
            sample.add_pictures(&mut session);
            let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
            for _ in 0..tokens {
                answer.next().unwrap().unwrap();
            }
            gpu.device().destroy();
            // What was computed ahead may still come.
            let last = answer.by_ref().last().unwrap();
            assert!(last.as_ref().is_err_and(is_lost), "{last:?}");
        }
        answers_anew(open);
    });
}

#[test]
fn while_a_session_is_saved_or_restored() {
    each_device(|open| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("session");
        let all = SaveOptions { embeds: true, pages: true };
        let gpu = open();
        let model = nano::load_with(&gpu, &options());
        let sample = nano::sample("caption");
        let mut session = model.session().unwrap();
        sample.run(&mut session, &GenerateOptions::default());
        session.save(&file, all).unwrap();
        let saved = std::fs::read(&file).unwrap();
        gpu.device().destroy();
        lost(session.save(&file, all));
        assert_eq!(std::fs::read(&file).unwrap(), saved, "the file is as it was");
        lost(model.restore(&file));
        // What was saved goes on elsewhere.
        let model = nano::load_with(&open(), &options());
        assert_eq!(model.restore(&file).unwrap().turns(), session.turns());
    });
}
