//! Submissions, and waiting for them: within wgpu, or without holding anything of wgpu's.
//!
//! A wait within wgpu 30 holds its lock of destroyed resources. Presenting a surface takes that lock for itself, and so waits
//! as long; what comes after it, submits among them, then waits too. On a device that an app draws with, Strix therefore
//! sleeps on a signal of its own and polls without waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::submission::{Signal, Submission};
use crate::{Error, Gpu, Polling, Result};

/// Longest sleep between two looks at a device.
const LONGEST: Duration = Duration::from_secs(1);

impl Gpu {
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<Submission> {
        self.submit_all([encoder.finish()])
    }

    fn submit_all<const N: usize>(&self, buffers: [wgpu::CommandBuffer; N]) -> Result<Submission> {
        self.inner.submits.fetch_add(1, Ordering::Relaxed);
        let index = self.guarded(|| self.inner.queue.submit(buffers))?;
        let done = match self.inner.sharing.polling {
            Polling::Wait => None,
            Polling::Every(_) => {
                let done = Arc::new(Signal::default());
                let told = done.clone();
                self.guarded(|| self.inner.queue.on_submitted_work_done(move || told.set()))?;
                Some(done)
            }
        };
        Ok(Submission { index, done })
    }

    fn poll_as(&self, kind: wgpu::PollType) -> Result<()> {
        let done = self.guarded(|| self.inner.device.poll(kind))?;
        done.map(drop).map_err(|error| self.lose(error))
    }

    /// Waits until the device has done that submission and those before it. What was to be mapped after it is mapped then.
    pub(crate) fn wait_for(&self, submission: &Submission) -> Result<()> {
        let (Some(done), Polling::Every(every)) = (&submission.done, self.inner.sharing.polling) else {
            let submission_index = Some(submission.index.clone());
            return self.poll_as(wgpu::PollType::Wait { submission_index, timeout: None });
        };
        // Not with a wait of no length: wgpu 30 panics where one ends while another thread polls.
        while !done.is_set() {
            self.poll()?;
            done.wait(every.min(LONGEST));
        }
        // Whoever found the end may have done so before the mapping was asked for.
        self.poll()
    }

    /// Runs the callbacks of what the device has done, without waiting.
    pub(crate) fn poll(&self) -> Result<()> {
        self.poll_as(wgpu::PollType::Poll)
    }

    /// Waits until the device has done all that was submitted.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn wait(&self) -> Result<()> {
        match self.inner.sharing.polling {
            Polling::Wait => self.poll_as(wgpu::PollType::wait_indefinitely()),
            Polling::Every(_) => self.submit_all([]).and_then(|last| self.wait_for(&last)),
        }
    }

    /// Waits until the device has done all that was submitted, but no longer than so.
    ///
    /// # Errors
    ///
    /// If it takes longer, or the device is lost. After the first no more must be asked of the device, nor must it be
    /// dropped: both would wait for what it is at.
    pub fn wait_within(&self, limit: Duration, label: &str) -> Result<()> {
        let kind = wgpu::PollType::Wait { submission_index: None, timeout: Some(limit) };
        match self.guarded(|| self.inner.device.poll(kind))? {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                self.inner.lost.store(true, Ordering::Relaxed);
                Err(Error::TooLong { label: label.into(), limit })
            }
            Err(error) => Err(self.lose(error)),
        }
    }

    /// Waits for the app's next frame, where it tells of them.
    pub(crate) fn turn(&self) {
        if let Some(frames) = &self.inner.sharing.frames {
            frames.turn();
        }
    }

    /// Whether an app may draw with it.
    pub(crate) fn is_shared(&self) -> bool {
        self.inner.sharing.polling != Polling::Wait
    }

    /// Whether work is submitted between frames.
    pub(crate) fn is_paced(&self) -> bool {
        self.inner.sharing.frames.is_some()
    }
}

/// What is left of a turn between two frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    end: Option<Instant>,
}

impl Turn {
    /// Device time left for work that is expected to take so long, of turns of a `slice`. Waits for the next turn where too
    /// little is left.
    pub(crate) fn take(&mut self, gpu: &Gpu, slice: Duration, expected: Duration) -> Duration {
        let left = self.end.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        if !left.is_zero() && expected <= left {
            return left;
        }
        gpu.turn();
        self.end = Instant::now().checked_add(slice);
        slice
    }
}
