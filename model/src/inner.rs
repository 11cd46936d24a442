//! A loaded checkpoint with its programs.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strix_engine::{Program, Tensor};

use crate::encoder::RecordedEncoder;
use crate::loaded::Loaded;
use crate::pictures::{Encoded, PictureId, Pixels};
use crate::runner::Runner;
use crate::{Error, Result, trace};

/// A model, as its handles share it.
pub(crate) struct Inner {
    pub(crate) loaded: Arc<Loaded>,
    /// Compiled with the first session.
    runner: Mutex<Option<Runner>>,
    /// Whether that was done, for those who must not wait for whoever runs them.
    has_runner: AtomicBool,
    /// Compiled with the first picture.
    encoder: Mutex<Option<Encoder>>,
}

impl Deref for Inner {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Inner {
    /// Without programs yet.
    pub(crate) fn new(loaded: Loaded) -> Self {
        Self {
            loaded: Arc::new(loaded),
            runner: Mutex::default(),
            has_runner: AtomicBool::new(false),
            encoder: Mutex::default(),
        }
    }

    /// The programs, compiled when they are first needed.
    pub(crate) fn runner(&self) -> Result<Running<'_>> {
        let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if runner.is_none() {
            *runner = Some(self.compile()?);
            self.has_runner.store(true, Ordering::Release);
        }
        Ok(Running(runner))
    }

    /// Compiles the programs if they are not. Does not wait for whoever runs them.
    pub(crate) fn need_runner(&self) -> Result<()> {
        match self.has_runner.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.runner().map(drop),
        }
    }

    fn compile(&self) -> Result<Runner> {
        let runner = Runner::compile(&self.loaded)?;
        if let Some(prefix) = trace::trace_prefix() {
            self.with_encoder(|encoder| {
                let programs = [&encoder.program].into_iter().chain(runner.programs());
                trace::check_prefix(&prefix, programs.flat_map(Program::written))
            })?;
        }
        Ok(runner)
    }

    /// Whether the vision tower and the abstractor are compiled. Not while somebody compiles or runs them.
    pub(crate) fn has_encoder(&self) -> bool {
        self.encoder.try_lock().is_ok_and(|encoder| encoder.is_some())
    }

    /// The vision tower and the abstractor, compiled when they are first needed.
    pub(crate) fn encoder(&self) -> Result<Running<'_, Encoder>> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        if encoder.is_none() {
            let planned = self.planned().encode.take();
            let target = self.gpu.target();
            let recorded =
                planned.filter(|recorded| *recorded.graph.target() == target).unwrap_or_else(|| {
                    RecordedEncoder::new(target, &self.config, &self.vision, &self.abstractor)
                });
            let RecordedEncoder { graph, pixels, embeds } = recorded;
            *encoder = Some(Encoder { program: Program::compile(&self.gpu, graph)?, pixels, embeds });
        }
        Ok(Running(encoder))
    }

    /// Encodes a picture that is not kept.
    pub(crate) fn encode(&self, id: PictureId, pixels: &Pixels) -> Result<Arc<Encoded>> {
        self.with_encoder(|encoder| {
            encoder.set(pixels)?;
            encoder.program.run_while(&[], self.options.slice, &|| true)?;
            encoder.keep(self, id)
        })
    }

    pub(crate) fn with_encoder<R>(&self, run: impl FnOnce(&mut Encoder) -> Result<R>) -> Result<R> {
        run(&mut *self.encoder()?)
    }
}

/// Programs of a model, as long as nobody else runs them.
pub(crate) struct Running<'a, T = Runner>(MutexGuard<'a, Option<T>>);

impl<T> Deref for Running<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("compiled before it is given")
    }
}

impl<T> DerefMut for Running<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("compiled before it is given")
    }
}

/// The compiled vision tower and abstractor.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) program: Program,
    pixels: Tensor<f32, 3>,
    pub(crate) embeds: Tensor<f32, 2>,
}

impl Encoder {
    /// Sets the picture of the next run, wherever it is.
    pub(crate) fn set(&mut self, pixels: &Pixels) -> Result<()> {
        match pixels {
            Pixels::Host(pixels) => self.write(pixels),
            Pixels::Device(pixels) => Ok(self.program.write_from(self.pixels, &pixels.untyped())?),
        }
    }

    /// Sets the picture of the next run.
    pub(crate) fn write(&mut self, pixels: &[f32]) -> Result<()> {
        let [channels, height, width] = self.pixels.shape();
        if pixels.len() != self.pixels.len() {
            return Err(Error::Image {
                name: "image".into(),
                reason: format!(
                    "{} values; the vision tower takes {channels} x {height} x {width}, {} values, as Model::pixels \
                     gives them",
                    pixels.len(),
                    self.pixels.len()
                ),
            });
        }
        self.program.write(self.pixels, pixels);
        Ok(())
    }

    /// Keeps the picture that the last run encoded. It stays on the device.
    pub(crate) fn keep(&self, loaded: &Loaded, id: PictureId) -> Result<Arc<Encoded>> {
        let bytes = 4 * self.embeds.len() as u64;
        let end = bytemuck::cast_slice(&loaded.vit_eos);
        loaded.pictures().keep(id, |rows, at| {
            self.program.copy_to(self.embeds, rows, at)?;
            let last = at + bytes..at + bytes + end.len() as u64;
            Ok(loaded.gpu.write_ranges(rows, &[last], end)?)
        })
    }

    /// What the last run gave, and the row that ends every image: `[queries + 1, hidden_size]`.
    pub(crate) fn read(&self, loaded: &Loaded) -> Result<Vec<f32>> {
        let mut embeds = self.program.read(self.embeds)?;
        embeds.extend(&loaded.vit_eos);
        Ok(embeds)
    }

    /// Writes to files what `STRIX_TRACE` names of the picture that was set.
    pub(crate) fn dump(&mut self, loaded: &Loaded, number: usize) -> Result<()> {
        match trace::trace_prefix() {
            None => Ok(()),
            Some(prefix) => trace::dump(&mut self.program, loaded, &[], &prefix, &format!("picture{number}")),
        }
    }
}
