//! Sharing: who polls, and work between frames.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use strix_engine::{Frames, Gpu, Polling, Sharing, wgpu};
use strix_model::{GenerateOptions, LoadOptions, Model, Source, unwatched};
use strix_tests::nano;

use super::{plain_device, shared_with};

/// Asks nano for the caption of its sample, and expects the original's tokens.
fn answers(model: &Model) {
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    let (ids, text) = sample.run(&mut session, &GenerateOptions::default());
    assert_eq!(ids, sample.output_ids, "{text}");
}

#[test]
fn every_way_to_wait_gives_the_same_answer() {
    for polling in [
        Polling::Wait,
        Polling::Every(Duration::from_micros(100)),
        // Nobody else polls: it is Strix that looks, a few times.
        Polling::Every(Duration::from_millis(20)),
    ] {
        let gpu = shared_with(Sharing { polling, ..Sharing::default() });
        answers(&nano::load(&gpu, 256, 64));
    }
}

/// Polls for a model that never does, until it is dropped.
struct Polled<'a>(&'a AtomicBool);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_app_that_polls_is_enough() {
    let gpu = shared_with(Sharing { polling: Polling::Every(Duration::MAX), ..Sharing::default() });
    let (device, ends) = (gpu.device().clone(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                device.poll(wgpu::PollType::Poll).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let _ends = Polled(&ends);
        answers(&nano::load(&gpu, 256, 64));
    });
}

/// Frames of an app on the device: each is a submit of its own. Until it is dropped.
struct Drawing {
    frames: Frames,
    ends: AtomicBool,
    drawn: AtomicU64,
}

impl Drawing {
    fn draw(&self, gpu: &Gpu) {
        while !self.ends.load(Ordering::Relaxed) {
            gpu.queue().submit([]);
            self.drawn.fetch_add(1, Ordering::Relaxed);
            self.frames.frame();
            thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Ends<'a>(&'a Drawing);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::Relaxed);
    }
}

#[test]
fn between_frames_it_loads_and_answers_the_same_and_takes_no_more_turns_than_there_are_frames() {
    let frames = Frames::with_idle(Duration::from_secs(3600));
    let sharing = Sharing { frames: Some(frames.clone()), upload_bytes: 1 << 20, ..Sharing::default() };
    let gpu = shared_with(sharing);
    let drawing = Drawing { frames: frames.clone(), ends: AtomicBool::new(false), drawn: AtomicU64::new(0) };
    // The first frame comes before any work.
    frames.frame();
    thread::scope(|scope| {
        scope.spawn(|| drawing.draw(&gpu));
        let _ends = Ends(&drawing);
        let options =
            LoadOptions { ctx: Some(256), slice: Duration::from_millis(5), ..LoadOptions::default() };
        let model = Model::load_on(&gpu, Source::Nano, &options, &mut unwatched).unwrap();
        let bytes = model.weight_bytes();
        let loaded = frames.turns();
        assert!(loaded >= bytes >> 20, "{loaded} turns for {bytes} bytes");
        let mut session = model.session().unwrap();
        let (ids, text) = nano::sample("caption").run(&mut session, &GenerateOptions::default());
        assert!(!ids.is_empty() && !text.is_empty());
        let turns = frames.turns();
        assert!(turns > loaded, "answers take turns");
        assert!(turns <= drawing.drawn.load(Ordering::Relaxed) + 1, "{turns} turns");
    });
}

/// A frame for each turn: weights, a picture, a prompt and tokens all wait for the next.
#[test]
fn without_another_frame_there_is_no_other_turn() {
    let frames = Frames::with_idle(Duration::from_secs(3600));
    let sharing = Sharing { frames: Some(frames.clone()), upload_bytes: 256 << 10, ..Sharing::default() };
    let gpu = shared_with(sharing);
    let (mut drawn, mut ahead) = (1, 0);
    frames.frame();
    thread::scope(|scope| {
        let answered = scope.spawn(|| {
            let slice = Duration::from_millis(1);
            let options = LoadOptions { ctx: Some(256), slice, ..LoadOptions::default() };
            answers(&Model::load_on(&gpu, Source::Nano, &options, &mut unwatched).unwrap());
        });
        while !answered.is_finished() {
            // Time in which a turn without a frame would be taken.
            thread::sleep(Duration::from_millis(1));
            let turns = frames.turns();
            ahead = ahead.max(turns.saturating_sub(drawn));
            if turns >= drawn {
                drawn = turns + 1;
                frames.frame();
            }
        }
    });
    assert_eq!(ahead, 0, "turns without a frame");
    assert!(drawn > 20, "{drawn} turns");
}

#[test]
fn an_app_that_draws_nothing_is_not_waited_for() {
    let frames = Frames::new();
    let gpu = shared_with(Sharing { frames: Some(frames), ..Sharing::default() });
    answers(&nano::load(&gpu, 256, 64));
}

#[test]
fn a_session_begins_while_another_is_answered() {
    let frames = Frames::with_idle(Duration::from_secs(3600));
    let gpu = shared_with(Sharing { frames: Some(frames.clone()), ..Sharing::default() });
    let model = nano::load(&gpu, 256, 64);
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    sample.add_pictures(&mut session);
    // From here on no turn comes but by a frame: the answer waits in the middle of its run, with the programs in use.
    frames.frame();
    let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
    while model.activity().running == 0 {
        thread::yield_now();
    }
    drop(model.session().unwrap());
    // An app draws on.
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                frames.frame();
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(answer.next().unwrap().is_ok());
        answer.canceller().cancel();
        drop(answer);
        ends.store(true, Ordering::Relaxed);
    });
    frames.frame();
}

#[test]
fn a_cancelled_picture_does_not_wait_for_programs_that_are_in_use_or_compiled() {
    let frames = Frames::with_idle(Duration::from_secs(3600));
    let gpu = shared_with(Sharing { frames: Some(frames.clone()), ..Sharing::default() });
    let model = nano::load(&gpu, 256, 64);
    let sample = nano::sample("caption");
    let mut session = model.session().unwrap();
    let pixels = model.pixels(&sample.pictures()[0]).unwrap();
    // From here on no turn comes but by a frame.
    frames.frame();
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let encoding = scope.spawn(|| model.encode(&pixels).unwrap());
        // It compiles the encoder, or runs it, and waits for a frame.
        while frames.turns() == 0 {
            thread::yield_now();
        }
        sample.add_pictures(&mut session);
        let mut answer = session.ask(sample.question(), &GenerateOptions::default()).unwrap();
        while model.activity().running == 0 {
            thread::yield_now();
        }
        answer.canceller().cancel();
        assert!(answer.next().is_none());
        while model.activity().running > 0 {
            thread::yield_now();
        }
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                frames.frame();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let embeds = encoding.join();
        answers(&model);
        ends.store(true, Ordering::Relaxed);
        assert!(!embeds.unwrap().is_empty());
    });
    // Nobody draws any more, and the model ends all the same.
    frames.frame();
    drop((session, model));
}

/// Numbers of buffers, bind groups, textures and pipelines that wgpu has on the device, and its bytes of buffers.
fn alive(device: &wgpu::Device) -> [isize; 5] {
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let counters = device.get_internal_counters().hal;
    [
        counters.buffers.read(),
        counters.bind_groups.read(),
        counters.textures.read(),
        counters.compute_pipelines.read(),
        counters.buffer_memory.read(),
    ]
}

#[test]
fn a_model_that_is_dropped_leaves_nothing_on_the_apps_device() {
    let (device, queue) = plain_device();
    let before = alive(&device);
    for frames in [None, Some(Frames::new())] {
        let sharing = Sharing { frames, ..Sharing::default() };
        let gpu = Gpu::share(device.clone(), queue.clone(), sharing).unwrap();
        let own = alive(&device);
        let mut loaded = [0; 5];
        let mut left = [0; 5];
        for round in 0..3 {
            let model = nano::load(&gpu, 256, 64);
            answers(&model);
            let all = alive(&device);
            drop(model);
            let now = alive(&device);
            assert!(all.iter().zip(now).take(2).all(|(all, now)| *all > now), "{all:?} {now:?}");
            if round > 0 {
                assert_eq!((all, now), (loaded, left), "round {round}");
            }
            (loaded, left) = (all, now);
        }
        // What stays is the device's: its kernels and the staging of uploads.
        assert!(left[0] - own[0] <= 4, "{own:?} {left:?}");
        drop(gpu);
        // What wgpu makes a device with goes with the first submit.
        let after = alive(&device);
        assert!(after.iter().zip(before).all(|(after, before)| *after <= before), "{before:?} {after:?}");
    }
}
