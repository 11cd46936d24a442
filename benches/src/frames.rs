//! The benches of frames: what an app that draws on the device has of it while a model is loaded, encodes a picture, runs a
//! prompt and decodes.
//!
//! A frame is a small pass of the app's own, submitted when its time comes and waited for. It also destroys a buffer: wgpu
//! locks for that what it locks to present a surface, which no bench could do without a screen.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use strix_engine::{Frames, Gpu, Polling, Sharing, wanted_features, wanted_limits, wgpu};
use strix_model::image::RgbImage;
use strix_model::tokenizer::PromptId;
use strix_model::{GenerateOptions, LoadOptions, Model, SamplingParams};

use crate::model::{Loadable, Of};
use crate::{Clock, Error, Result};

/// Longest frame that is waited for.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The model.
    pub of: Of<'a>,
    /// Options of loading it.
    pub load: LoadOptions,
    /// Time from one frame to the next.
    pub every: Duration,
    /// Slice of what is paced.
    pub slice: Duration,
    /// Bytes of weights between two frames.
    pub upload_bytes: u64,
    /// Positions of the prompt.
    pub prompt: u32,
    /// Tokens that are decoded.
    pub tokens: u32,
}

/// A way to share the device with an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Way {
    /// Work is submitted as a whole, and waited for within wgpu: as if nobody drew.
    Whole,
    /// In slices, waited for without holding anything of wgpu's.
    Slices,
    /// The same, and a slice after each frame.
    Frames,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Whole, Self::Slices, Self::Frames];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "as a whole",
            Self::Slices => "in slices",
            Self::Frames => "between frames",
        }
    }
}

/// Frames during one phase.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How the device was shared; `None`: nobody computed.
    pub way: Option<Way>,
    /// What was computed.
    pub phase: &'static str,
    /// How long that took, in milliseconds.
    pub took_ms: f64,
    /// Number of frames.
    pub frames: usize,
    /// Of the times from the beginning of a frame until it is done: half are no longer than this, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 are no longer.
    pub p99_ms: f64,
    /// The longest.
    pub worst_ms: f64,
    /// The longest time that a call of wgpu's held the app's thread.
    pub held_ms: f64,
    /// Frames that were not done when the next was due.
    pub late: usize,
}

/// What somebody who watches is told.
#[derive(Debug)]
pub enum Event<'a> {
    /// What comes next.
    Next(&'a str),
    /// What was measured.
    Row(&'a Row),
}

/// Measures; `on` is told of it, and may break off before what comes next.
///
/// # Errors
///
/// If the model cannot be loaded, or the device fails.
pub fn run_frames(
    adapter: &wgpu::Adapter,
    options: &Options<'_>,
    on: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Row>> {
    let source = Loadable::open(&options.of)?;
    let mut rows = vec![];
    if on(Event::Next("once, so that drivers have what they keep of kernels")).is_break() {
        return Ok(rows);
    }
    {
        let (device, queue) = open(adapter)?;
        let clock = Clock::new(&Gpu::share(device, queue, Sharing::default())?);
        first_answer(&source.load(&clock, &options.load)?, options)?;
    }
    for way in Way::ALL {
        if on(Event::Next(way.name())).is_break() {
            break;
        }
        let (device, queue) = open(adapter)?;
        let frames = Frames::new();
        let sharing = match way {
            Way::Whole => Sharing { polling: Polling::Wait, ..Sharing::default() },
            Way::Slices => Sharing::default(),
            Way::Frames => Sharing {
                frames: Some(frames.clone()),
                upload_bytes: options.upload_bytes,
                ..Sharing::default()
            },
        };
        let slice = if way == Way::Whole { Duration::from_secs(3600) } else { options.slice };
        let load = LoadOptions { slice, ..options.load.clone() };
        let app = App::new(device.clone(), queue.clone(), frames, options.every);
        let gpu = Gpu::share(device, queue, sharing)?;
        thread::scope(|scope| {
            let drawing = scope.spawn(|| app.draw());
            let mut watched = |row: Row| {
                // Nobody computes in the first of each: one of them will do.
                if row.way.is_some() || way == Way::Whole {
                    // It may break off when the device is another's again.
                    let _ = on(Event::Row(&row));
                    rows.push(row);
                }
            };
            let measured = phases(&app, &gpu, &source, &load, options, way, &mut watched);
            app.ends.store(true, Ordering::Relaxed);
            drawing.join().unwrap_or_else(|_| Err(Error::Option("the app's thread panicked".into())))?;
            measured
        })?;
    }
    Ok(rows)
}

/// A device as an app asks for it that knows of Strix.
fn open(adapter: &wgpu::Adapter) -> Result<(wgpu::Device, wgpu::Queue)> {
    let descriptor = wgpu::DeviceDescriptor {
        required_features: wanted_features(adapter),
        required_limits: wanted_limits(adapter),
        ..Default::default()
    };
    let opened = pollster::block_on(adapter.request_device(&descriptor));
    opened.map_err(|error| Error::Option(format!("no device: {error}")))
}

fn phases(
    app: &App,
    gpu: &Gpu,
    source: &Loadable<'_>,
    load: &LoadOptions,
    options: &Options<'_>,
    way: Way,
    seen: &mut dyn FnMut(Row),
) -> Result<()> {
    app.phase(seen, None, "idle", || {
        thread::sleep(Duration::from_secs(1));
        Ok(())
    })?;
    let clock = Clock::new(gpu);
    let way = Some(way);
    let model = app.phase(seen, way, "load", || source.load(&clock, load))?;
    app.phase(seen, way, "first answer", || first_answer(&model, options))?;
    app.phase(seen, way, "encode", || encode(&model, 1))?;
    app.phase(seen, way, "prefill", || answer(&model, 2, options.prompt, 1))?;
    app.phase(seen, way, "decode", || answer(&model, 3, 4, options.tokens))?;
    Ok(())
}

/// What nothing was run before.
fn first_answer(model: &Model, options: &Options<'_>) -> Result<()> {
    encode(model, 0)?;
    answer(model, 1, options.prompt.min(64), 2)
}

/// Encodes a picture.
fn encode(model: &Model, colour: u8) -> Result<()> {
    let size = model.config().vision.image_size as u32;
    let picture = RgbImage::from_fn(size, size, |x, y| [x as u8, y as u8, colour].into());
    model.encode(&model.pixels(&picture)?)?;
    Ok(())
}

/// Runs a prompt of so many positions, and decodes so many tokens.
fn answer(model: &Model, first: u32, positions: u32, tokens: u32) -> Result<()> {
    let vocab = model.config().text.vocab_size as u32;
    let positions = positions.min(model.ctx().saturating_sub(tokens)).max(1);
    let ids: Vec<_> =
        (0..positions).map(|i| PromptId::Token(3 + (first * 131 + 7 * i) % (vocab - 3))).collect();
    let sampling = SamplingParams { min_new_tokens: tokens as usize, ..SamplingParams::greedy() };
    let options = GenerateOptions { sampling, max_tokens: tokens, ..GenerateOptions::default() };
    model.session()?.complete_ids(&ids, &options)?.finish()?;
    Ok(())
}

/// An app that draws.
struct App {
    device: wgpu::Device,
    queue: wgpu::Queue,
    frames: Frames,
    every: Duration,
    ends: AtomicBool,
    seen: Mutex<Vec<Frame>>,
    drawn: AtomicU64,
}

/// Milliseconds of a frame.
#[derive(Clone, Copy)]
struct Frame {
    /// From its beginning until it is done.
    took: f64,
    /// In the longest call of wgpu's.
    held: f64,
}

impl App {
    fn new(device: wgpu::Device, queue: wgpu::Queue, frames: Frames, every: Duration) -> Self {
        let (ends, seen, drawn) = (AtomicBool::new(false), Mutex::default(), AtomicU64::new(0));
        Self { device, queue, frames, every, ends, seen, drawn }
    }

    /// Draws until it is told to end.
    fn draw(&self) -> Result<()> {
        let target = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("the app's window"),
            size: wgpu::Extent3d { width: 640, height: 480, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            view_formats: &[],
        });
        let view = target.create_view(&wgpu::TextureViewDescriptor::default());
        let mut due = Instant::now();
        while !self.ends.load(Ordering::Relaxed) {
            let frame = self.frame(&view)?;
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
            self.drawn.fetch_add(1, Ordering::Relaxed);
            // As a display does it: one that is late waits for the next time.
            due += self.every;
            while due < Instant::now() {
                due += self.every;
            }
            thread::sleep(due - Instant::now());
        }
        Ok(())
    }

    fn frame(&self, view: &wgpu::TextureView) -> Result<Frame> {
        let start = Instant::now();
        let held = std::cell::Cell::new(Duration::ZERO);
        let timed = |call: &mut dyn FnMut()| {
            let start = Instant::now();
            call();
            held.set(held.get().max(start.elapsed()));
        };
        timed(&mut || {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            drop(encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color::BLUE),
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..Default::default()
            }));
            self.queue.submit([encoder.finish()]);
        });
        timed(&mut || {
            let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("in place of a presented texture"),
                size: 16,
                usage: wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            buffer.destroy();
        });
        self.frames.frame();
        let done = Arc::new(AtomicBool::new(false));
        let told = done.clone();
        self.queue.on_submitted_work_done(move || told.store(true, Ordering::Relaxed));
        while !done.load(Ordering::Relaxed) {
            if start.elapsed() > LONGEST {
                return Err(Error::Option("a frame was not done after an hour".into()));
            }
            self.device.poll(wgpu::PollType::Poll).map_err(|error| Error::Option(error.to_string()))?;
            thread::sleep(Duration::from_micros(100));
        }
        let [took, held] = [start.elapsed(), held.get()].map(|time| time.as_secs_f64() * 1e3);
        Ok(Frame { took, held })
    }

    /// Runs something, and tells what frames were like meanwhile.
    fn phase<T>(
        &self,
        rows: &mut dyn FnMut(Row),
        way: Option<Way>,
        phase: &'static str,
        run: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.after_a_frame();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let start = Instant::now();
        let result = run()?;
        let took_ms = start.elapsed().as_secs_f64() * 1e3;
        // The frame that is under way began meanwhile.
        self.after_a_frame();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let mut took: Vec<_> = seen.iter().map(|frame| frame.took).collect();
        took.sort_by(f64::total_cmp);
        let quantile = |part: f64| {
            let at = (part * took.len() as f64).ceil() as usize;
            took.get(at.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        let due = self.every.as_secs_f64() * 1e3;
        rows(Row {
            way,
            phase,
            took_ms,
            frames: took.len(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            worst_ms: quantile(1.0),
            held_ms: seen.iter().map(|frame| frame.held).fold(0.0, f64::max),
            late: took.iter().filter(|took| **took > due).count(),
        });
        Ok(result)
    }

    /// Waits until the frame that is under way is done.
    fn after_a_frame(&self) {
        let before = self.drawn.load(Ordering::Relaxed);
        let began = Instant::now();
        while self.drawn.load(Ordering::Relaxed) == before && began.elapsed() < LONGEST {
            thread::sleep(Duration::from_micros(200));
        }
    }
}
