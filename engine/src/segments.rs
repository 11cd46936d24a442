//! A run in several submits, so that streamed tensors come in between: which steps go together, and what is brought
//! while the device computes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, atomic};
use std::time::{Duration, Instant};

use crate::graph::{Graph, ValueKind};
use crate::slots::{Needed, Seat, Slots, State, Wanted};
use crate::submission::Submission;
use crate::{Gpu, Result, Streamed};

/// Steps that can be submitted together: of a stream they use at most one group.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) steps: Range<usize>,
    pub(crate) load: Option<Load>,
}

/// A group that must be in a slot before a segment runs.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Index in [`Program::streams`].
    pub(crate) stream: usize,
    pub(crate) group: usize,
    pub(crate) slot: usize,
    /// What is needed of the group.
    pub(crate) wanted: Wanted,
}

/// What the steps of a graph need of each group of streamed tensors, by stream and group: of each tensor all from the
/// first to the last byte that a step binds.
fn wanted(graph: &Graph) -> HashMap<(usize, usize), Wanted> {
    let mut all: HashMap<_, Vec<Needed>> = HashMap::new();
    for arg in graph.steps.iter().flat_map(|step| &step.args) {
        let value = &graph.values[arg.id.0 as usize];
        let ValueKind::Resident(storage) = &value.kind else { continue };
        let Some(Seat { slots, group, tensor }) = storage.seated() else { continue };
        let group = all.entry((Arc::as_ptr(slots).addr(), *group)).or_default();
        let bound = value.offset..value.offset + value.bytes;
        match group.iter_mut().find(|needed| needed.tensor == *tensor) {
            Some(Needed { range, .. }) => *range = range.start.min(bound.start)..range.end.max(bound.end),
            None => {
                let content = storage.content().cloned().expect("checked when it was seated");
                group.push(Needed { tensor: *tensor, content, range: bound });
            }
        }
    }
    let sorted = |mut group: Vec<Needed>| {
        group.sort_by_key(|needed| needed.tensor);
        group.into()
    };
    all.into_iter().map(|(key, group)| (key, sorted(group))).collect()
}

/// Cuts the steps wherever another group of a stream is needed. The groups of a stream alternate between its slots.
pub(crate) fn segments(graph: &Graph) -> (Vec<Segment>, Vec<Arc<Slots>>) {
    let mut streams: Vec<Arc<Slots>> = vec![];
    let mut uses: Vec<usize> = vec![];
    let mut segments = vec![Segment { steps: 0..0, load: None }];
    let all_wanted = wanted(graph);
    for (index, step) in graph.steps.iter().enumerate() {
        let mut used = None;
        for arg in &step.args {
            let ValueKind::Resident(storage) = &graph.values[arg.id.0 as usize].kind else { continue };
            let Some(seat) = storage.seated() else { continue };
            let known = streams.iter().position(|s| Arc::ptr_eq(s, &seat.slots));
            let at = known.unwrap_or_else(|| {
                streams.push(seat.slots.clone());
                uses.push(0);
                streams.len() - 1
            });
            let found = *used.get_or_insert((at, seat.group));
            assert_eq!(found, (at, seat.group), "{}: it uses two groups of streamed tensors", step.label);
        }
        let current = segments.last_mut().expect("there is always one");
        match (used, &current.load) {
            (Some((stream, group)), Some(load)) if (load.stream, load.group) == (stream, group) => {}
            (Some((stream, group)), _) => {
                let wanted = all_wanted[&(Arc::as_ptr(&streams[stream]).addr(), group)].clone();
                let load = Some(Load { stream, group, slot: uses[stream] % 2, wanted });
                uses[stream] += 1;
                if current.steps.is_empty() {
                    current.load = load;
                } else {
                    segments.push(Segment { steps: index..index, load });
                }
            }
            (None, _) => {}
        }
        segments.last_mut().expect("there is always one").steps.end = index + 1;
    }
    (segments, streams)
}

/// What is being recorded, and what was submitted of the same run.
#[derive(Debug)]
pub(crate) struct Queue {
    gpu: Gpu,
    /// Made when something is recorded.
    encoder: Option<wgpu::CommandEncoder>,
    /// The last submission but one, and the last.
    submitted: [Option<Submission>; 2],
}

impl Queue {
    pub(crate) fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), encoder: None, submitted: [None, None] }
    }

    /// Where to record.
    pub(crate) fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let begin = || self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.encoder.get_or_insert_with(begin)
    }

    /// Submits what is recorded, if anything is.
    pub(crate) fn submit(&mut self) -> Result<()> {
        if let Some(encoder) = self.encoder.take() {
            let last = Some(self.gpu.submit(encoder)?);
            self.submitted = [self.submitted[1].take(), last];
        }
        Ok(())
    }

    /// The last submission.
    pub(crate) fn last(&self) -> Option<Submission> {
        self.submitted[1].clone()
    }

    /// Waits until all submissions are done.
    pub(crate) fn wait_for_the_last(&self) -> Result<()> {
        self.submitted[1].as_ref().map_or(Ok(()), |last| self.gpu.wait_for(last))
    }

    /// Waits until all but the last submission is done.
    pub(crate) fn wait_for_all_but_the_last(&self) -> Result<()> {
        match &self.submitted[0] {
            Some(before) => self.gpu.wait_for(before),
            None => Ok(()),
        }
    }

    /// Copies a group from staging to its slot: in one submit, or in as many as fit between the app's frames.
    fn copy(&mut self, slots: &Slots, load: &Load) -> Result<()> {
        if !self.gpu.is_paced() {
            slots
                .pieces(&load.wanted, usize::MAX)
                .for_each(|piece| slots.copy(self.encoder(), load.slot, piece));
            return self.submit();
        }
        for piece in slots.pieces(&load.wanted, self.gpu.piece_bytes() as usize) {
            self.gpu.take_upload(piece.1.len() as u64);
            slots.copy(self.encoder(), load.slot, piece);
            self.submit()?;
        }
        Ok(())
    }

    /// Has a group in its slot before what is recorded next runs. The last submission may compute with the other
    /// slot meanwhile.
    pub(crate) fn bring(&mut self, slots: &Slots, load: &Load, state: &mut State) -> Result<()> {
        if state.has(load.slot, load.group, &load.wanted) {
            return Ok(());
        }
        // Whoever's steps used the slot, or copied from staging.
        for used in [state.used[load.slot].take(), state.staged.take()].into_iter().flatten() {
            self.gpu.wait_for(&used)?;
        }
        // When the device is done with the last one as well, it waits for us.
        let start = Instant::now();
        let done = Arc::new(atomic::AtomicU64::new(if self.submitted[1].is_none() { 0 } else { u64::MAX }));
        if self.submitted[1].is_some() {
            let done = done.clone();
            let note = move || done.store(start.elapsed().as_nanos() as u64, atomic::Ordering::Relaxed);
            self.gpu.queue().on_submitted_work_done(note);
        }
        state.holds[load.slot] = None;
        let bytes = slots.fill(load.slot, &load.wanted, || self.gpu.poll())?;
        if slots.has_staging() {
            self.copy(slots, load)?;
            state.staged = self.last();
        }
        let waited = (start.elapsed().as_nanos() as u64).saturating_sub(done.load(atomic::Ordering::Relaxed));
        state.holds[load.slot] = Some((load.group, load.wanted.clone()));
        slots.note(Streamed { bytes, waiting: Duration::from_nanos(waited) });
        Ok(())
    }
}
