//! The answers that are being run: all that are decoded take a step together, and in between the prompts of others are run
//! and their pictures encoded, piece by piece.

mod live;
mod scratch;

use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use strix_engine::logged;

use crate::decoder::TOGETHER;
use crate::generate::FinishReason;
use crate::inner::{Encoder, Inner, Running};
use crate::kv_pool::Sequence;
use crate::loaded::NotBegun;
use crate::picture::Picture;
use crate::queue::Queue;
use crate::request::Request;
use crate::rows::Row;
use crate::runner::Wanted;
use crate::{Error, Result};
use live::Live;
use scratch::Scratch;

/// Everything that is run.
pub(crate) struct Batch<'m> {
    inner: &'m Arc<Inner>,
    queue: &'m Queue,
    /// The programs, while something is being run.
    runner: Option<Running<'m>>,
    /// In the order in which they were asked.
    live: Vec<Live<'m>>,
    /// What is run between two steps.
    work: Option<Work<'m>>,
    /// Time of the last step that nothing was run before.
    step_time: Duration,
    /// Compiles the vision tower.
    compiling: Option<JoinHandle<Result<()>>>,
    next_key: u64,
    scratch: Scratch,
}

/// Time between two looks at whether a thread that compiles has ended.
const LOOK: Duration = Duration::from_millis(1);

/// What is run between two steps, piece by piece.
enum Work<'m> {
    /// A picture is encoded.
    Encode { picture: Picture, encoder: Running<'m, Encoder>, began: Instant },
    /// The next so many rows of some prompts are run.
    Prefill { parts: Vec<(u64, usize)>, is_of_many: bool, wanted: Wanted },
}

impl<'m> Batch<'m> {
    pub(crate) fn new(inner: &'m Arc<Inner>, queue: &'m Queue) -> Self {
        Self {
            inner,
            queue,
            runner: None,
            live: vec![],
            work: None,
            step_time: Duration::ZERO,
            compiling: None,
            next_key: 0,
            scratch: Scratch::default(),
        }
    }

    /// Runs a step of all that are decoded, and what there is to run between two; waits if there is nothing to do. Whether
    /// there will be more.
    pub(crate) fn turn(&mut self) -> bool {
        if !self.admit() {
            return false;
        }
        if self.is_idle() {
            return true;
        }
        let (start, is_undisturbed) = (Instant::now(), self.work.is_none());
        let slice = self.inner.options.slice;
        let step = self.runner().and_then(|()| self.decode());
        // With what was submitted in between before it, a step takes longer than it is.
        if is_undisturbed || start.elapsed() < self.step_time {
            self.step_time = start.elapsed();
        }
        let has_stepped = match step {
            Ok(has_stepped) => has_stepped,
            Err(error) => {
                // What is run between two steps is for one of those that fail.
                let _ = self.abandon();
                self.fail(|_| true, error);
                true
            }
        };
        // As much time for what comes as for what is there. Layers that take turns on the device would come again for
        // every piece.
        let interleaves = has_stepped && self.inner.streams.is_empty();
        let budget = if interleaves { self.step_time.max(slice) } else { Duration::MAX };
        if let Err(error) = self.work(budget) {
            self.work = None;
            self.fail(|live| !live.decodes, error);
        }
        self.sweep();
        if self.work.is_none() {
            // Whoever looks into a session has a turn.
            self.runner = None;
        }
        true
    }

    /// Whether there is nothing to run: nobody who waits for it, and nothing left of what was run for somebody.
    fn is_idle(&self) -> bool {
        self.live.is_empty() && self.work.is_none()
    }

    /// Takes the programs.
    fn runner(&mut self) -> Result<()> {
        if self.runner.is_none() {
            self.runner = Some(self.inner.runner()?);
        }
        Ok(())
    }

    /// Begins what waits, as far as there is room, first come first served. Whether there will be more.
    fn admit(&mut self) -> bool {
        let queue = self.queue;
        let Some(mut guard) = queue.wait(self.is_idle()) else { return false };
        let state = &mut *guard;
        let mut all_ended = vec![];
        let mut at = 0;
        while let Some(request) = state.waiting.get_mut(at) {
            let ended = if request.sample.is_cancelled() {
                Ok(FinishReason::Cancelled)
            } else if self.live.len() >= TOGETHER {
                break;
            } else if self.live.iter().any(|live| live.will_hold_more_of(&request.rows)) {
                // What it begins with is being computed: soon it is there.
                at += 1;
                continue;
            } else {
                match self.start(request) {
                    Ok(sequence) => {
                        state.running.push(request.sample.feed.clone());
                        let request = state.waiting.remove(at).expect("just seen");
                        self.begin(request, sequence);
                        continue;
                    }
                    // It waits, and so do those behind it, until others end.
                    Err(NotBegun::Full(_)) if !self.live.is_empty() => {
                        if !std::mem::replace(&mut request.has_waited, true) {
                            state.waited += 1;
                        }
                        break;
                    }
                    Err(refused) => Err(refused.error(request.positions(self.inner.ctx))),
                }
            };
            let request = state.waiting.remove(at).expect("just seen");
            all_ended.push((request.sample.feed, ended));
        }
        drop(guard);
        // Whoever listens may ask, which takes the state.
        let has_ended = !all_ended.is_empty();
        all_ended.into_iter().for_each(|(feed, how)| feed.end(how, None));
        if has_ended {
            queue.tell();
        }
        true
    }

    /// Pages for a request.
    fn start(&self, request: &Request) -> std::result::Result<Sequence, NotBegun> {
        let left = request.left.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.live.iter().map(|live| &live.sequence);
        self.inner.start(&request.rows, request.positions(self.inner.ctx), &left.stamps, others)
    }

    fn begin(&mut self, request: Request, sequence: Sequence) {
        let Request { rows, pictures, left, image_encode, asked, mut sample, .. } = request;
        let (queue, held) = (self.queue, sequence.len());
        let timing = &mut sample.timing;
        timing.queued = asked.elapsed();
        timing.image_encode = image_encode;
        (timing.reused_tokens, timing.prefill_tokens) = (held as u32, (rows.len() - held) as u32);
        sample.feed.set_timing(&sample.timing);
        let last = *rows.last().expect("a prompt has a row");
        // A prompt's last row takes the same path however the prompt is cut: its bits do not depend on the chunk.
        let decodes = rows.len() - held == 1 && matches!(last, Row::Token(_));
        self.next_key += 1;
        self.live.push(Live {
            queue,
            key: self.next_key,
            rows,
            pictures,
            encoded: vec![],
            left,
            sample,
            sequence,
            decodes,
            next: [last],
            is_written: false,
            has_ended: false,
            chunks: 0,
            asked,
            since: Instant::now(),
            streamed: self.inner.streamed(),
            encode_time: Duration::ZERO,
        });
    }

    /// Runs one step of all that are decoded; whether there are any.
    fn decode(&mut self) -> Result<bool> {
        let mut ready = std::mem::take(&mut self.scratch.ready);
        ready.clear();
        let steps = |live: &Live<'_>| live.decodes && !live.has_ended && !live.sample.is_cancelled();
        ready.extend((0..self.live.len()).filter(|&at| steps(&self.live[at])));
        let (mut rest, mut stepped) = (ready.as_slice(), Ok(()));
        while !rest.is_empty() && stepped.is_ok() {
            stepped = self.step(rest).map(|number| rest = &rest[number..]);
        }
        let has_stepped = !ready.is_empty();
        self.scratch.ready = ready;
        stepped.map(|()| has_stepped)
    }

    /// Runs one step of the first of these; of how many.
    fn step(&mut self, ready: &[usize]) -> Result<usize> {
        let Self { inner, live, runner, scratch, .. } = self;
        let pass = taken(runner).decode_now(&inner.loaded, ready.len())?;
        let group = &ready[..pass.size.min(ready.len())];
        {
            let mut pages = inner.pages();
            for &at in group {
                let sequence = &mut live[at].sequence;
                pages.grow(sequence, sequence.len() + 1);
            }
        }
        let part = |at: usize| live[at].share(&live[at].next);
        let mut parts = [part(group[0]); TOGETHER];
        parts.iter_mut().zip(group).for_each(|(slot, &at)| *slot = part(at));
        let parts = &parts[..group.len()];
        pass.write(inner, parts)?;
        pass.dump(inner, parts)?;
        let wanted: Wanted = group.iter().map(|&at| live[at].sample.candidates()).collect();
        pass.begin(wanted)?;
        while !pass.program.advance(inner.options.slice)? {
            if group.iter().all(|&at| live[at].sample.is_cancelled()) {
                pass.program.abandon()?;
                return Ok(group.len());
            }
        }
        scratch.read(pass, wanted)?;
        for (row, &at) in group.iter().enumerate() {
            let live = &mut live[at];
            inner.pages().extend(&mut live.sequence, &live.next);
            live.tell(inner, scratch.scores(row, live.sample.candidates()));
        }
        Ok(group.len())
    }

    /// Goes on with what is run between two steps, for so long.
    fn work(&mut self, budget: Duration) -> Result<()> {
        let (start, slice) = (Instant::now(), self.inner.options.slice);
        if self.work.is_none() {
            self.work = self.next_work()?;
        }
        while self.work.is_some() {
            if self.is_unwanted() {
                return self.abandon();
            }
            let program = match self.work.as_mut().expect("just seen") {
                Work::Encode { encoder, .. } => &mut encoder.program,
                Work::Prefill { is_of_many, .. } => {
                    &mut taken(&mut self.runner).prefill_of(*is_of_many).program
                }
            };
            if program.advance(slice)? {
                self.end_work()?;
                return Ok(());
            }
            if start.elapsed() >= budget || budget == Duration::MAX && self.queue.has_news() {
                break;
            }
        }
        Ok(())
    }

    /// What is to be run next between two steps: a chunk of the prompts, or a picture that it needs.
    fn next_work(&mut self) -> Result<Option<Work<'m>>> {
        let waits = |live: &Live<'_>| !live.decodes && !live.has_ended && !live.sample.is_cancelled();
        let mut order: Vec<usize> = (0..self.live.len()).filter(|&at| waits(&self.live[at])).collect();
        // Whoever had fewest chunks, of those who came first.
        order.sort_by_key(|&at| self.live[at].chunks);
        let Some(&first) = order.first() else { return Ok(None) };
        let inner = self.inner;
        let size = taken(&mut self.runner).prefill.size;
        if let Some(picture) = self.live[first].next_picture(inner, size) {
            let number = self.live[first].pictures.iter().position(|other| other.id == picture.id);
            let encoding = self.encode(picture, number.unwrap_or_default())?;
            if encoding.is_some() {
                return Ok(encoding);
            }
        }
        order.retain(|&at| self.live[at].next_picture(inner, size).is_none());
        if order.is_empty() {
            return Ok(None);
        }
        let is_of_many = taken(&mut self.runner).prefill_now(&inner.loaded, order.len())?.sequences > 1;
        order.truncate(if is_of_many { TOGETHER } else { 1 });
        let parts = shares(size, order.iter().map(|&at| self.live[at].prompt_left()));
        let parts: Vec<_> = order.iter().copied().zip(parts).filter(|(_, rows)| *rows > 0).collect();
        self.prefill(&parts, is_of_many).map(Some)
    }

    /// Begins to encode a picture, which has this number in its conversation. `None` if the programs for it are being
    /// compiled, and others take steps meanwhile.
    fn encode(&mut self, picture: Picture, number: usize) -> Result<Option<Work<'m>>> {
        let inner = self.inner;
        if !inner.has_encoder() {
            if self.compiling.is_none() {
                let inner = inner.clone();
                let compile = move || inner.encoder().map(drop);
                self.compiling =
                    thread::Builder::new().name("strix compiler".into()).spawn(logged(compile)).ok();
            }
            let is_awaited = self.live.iter().any(|live| live.decodes && !live.has_ended);
            if is_awaited && self.compiling.as_ref().is_some_and(|thread| !thread.is_finished()) {
                return Ok(None);
            }
            // Who wants it no more does not wait for it, and who comes meanwhile has a turn.
            let is_wanted = |live: &Live<'_>| !live.decodes && !live.has_ended && !live.sample.is_cancelled();
            while self.compiling.as_ref().is_some_and(|thread| !thread.is_finished()) {
                if self.queue.has_news() || !self.live.iter().any(is_wanted) {
                    return Ok(None);
                }
                thread::sleep(LOOK);
            }
            // One that panics, or has no thread, is compiled below.
            if let Some(Ok(compiled)) = self.compiling.take().map(JoinHandle::join) {
                compiled?;
            }
        }
        let pixels = picture.pixels().expect("it is not encoded");
        let mut encoder = inner.encoder()?;
        encoder.set(&pixels)?;
        encoder.dump(self.inner, number)?;
        encoder.program.begin(&[])?;
        Ok(Some(Work::Encode { picture, encoder, began: Instant::now() }))
    }

    /// Begins to run so many rows of each of these prompts.
    fn prefill(&mut self, rows: &[(usize, usize)], is_of_many: bool) -> Result<Work<'m>> {
        let Self { inner, live, runner, .. } = self;
        for &(at, rows) in rows {
            let live = &mut live[at];
            let to = live.sequence.len() + rows;
            inner.pages().grow(&mut live.sequence, to);
            live.is_written = true;
        }
        let parts: Vec<_> = rows.iter().map(|&(at, rows)| live[at].share(live[at].chunk(rows))).collect();
        let pass = taken(runner).prefill_of(is_of_many);
        pass.write(inner, &parts)?;
        pass.dump(inner, &parts)?;
        let ending = rows.iter().filter(|&&(at, rows)| live[at].prompt_left() == rows);
        let wanted: Wanted = ending.map(|&(at, _)| live[at].sample.candidates()).collect();
        pass.begin(wanted)?;
        let parts = rows.iter().map(|&(at, rows)| (live[at].key, rows)).collect();
        Ok(Work::Prefill { parts, is_of_many, wanted })
    }

    /// Whether nobody wants what is being run.
    fn is_unwanted(&self) -> bool {
        let wants = |live: &Live<'_>| !live.sample.is_cancelled();
        match &self.work {
            None => false,
            Some(Work::Encode { picture, .. }) => {
                let needs = |live: &Live<'_>| live.pictures.iter().any(|other| other.id == picture.id);
                !self.live.iter().any(|live| !live.decodes && wants(live) && needs(live))
            }
            Some(Work::Prefill { parts, .. }) => {
                let is_one = |live: &Live<'_>| parts.iter().any(|(key, _)| *key == live.key);
                !self.live.iter().any(|live| is_one(live) && wants(live))
            }
        }
    }

    /// Ends what is being run, and nothing comes of it.
    fn abandon(&mut self) -> Result<()> {
        match self.work.take() {
            None => {}
            Some(Work::Encode { mut encoder, .. }) => encoder.program.abandon()?,
            Some(Work::Prefill { parts, is_of_many, .. }) => {
                taken(&mut self.runner).prefill_of(is_of_many).program.abandon()?;
                self.is_written_no_more(&parts);
            }
        }
        Ok(())
    }

    fn is_written_no_more(&mut self, parts: &[(u64, usize)]) {
        for live in self.live.iter_mut().filter(|live| parts.iter().any(|(key, _)| *key == live.key)) {
            live.is_written = false;
        }
    }

    /// Takes what was run between two steps.
    fn end_work(&mut self) -> Result<()> {
        match self.work.take() {
            None => Ok(()),
            Some(Work::Encode { picture, encoder, began }) => {
                picture.encode(encoder.keep(self.inner, picture.id)?);
                for live in self.live.iter_mut().filter(|live| !live.decodes) {
                    if live.pictures.iter().any(|other| other.id == picture.id) {
                        live.encode_time += began.elapsed();
                    }
                }
                Ok(())
            }
            Some(Work::Prefill { parts, is_of_many, wanted }) => {
                self.is_written_no_more(&parts);
                self.end_prefill(&parts, is_of_many, wanted)
            }
        }
    }

    fn end_prefill(&mut self, parts: &[(u64, usize)], is_of_many: bool, wanted: Wanted) -> Result<()> {
        let Self { inner, live, runner, scratch, .. } = self;
        scratch.read(taken(runner).prefill_of(is_of_many), wanted)?;
        for (row, &(key, rows)) in parts.iter().enumerate() {
            let Some(live) = live.iter_mut().find(|live| live.key == key) else { continue };
            let ends = live.prompt_left() == rows;
            let at = live.sequence.len();
            inner.pages().extend(&mut live.sequence, &live.rows[at..at + rows]);
            live.chunks += 1;
            if ends {
                live.decodes = true;
                live.tell(inner, scratch.scores(row, live.sample.candidates()));
            }
        }
        Ok(())
    }

    /// Ends answers with an error that they share.
    fn fail(&mut self, which: impl Fn(&Live<'_>) -> bool, error: Error) {
        let inner = self.inner;
        let mut failed: Vec<_> = self.live.iter_mut().filter(|live| which(live) && !live.has_ended).collect();
        if let [live] = failed.as_mut_slice() {
            return live.end(inner, Err(error));
        }
        let error = Arc::new(error);
        for live in failed {
            live.end(inner, Err(Error::Shared(error.clone())));
        }
    }

    /// Lets go of answers that have ended, or that nobody wants.
    fn sweep(&mut self) {
        let inner = self.inner;
        for live in &mut self.live {
            if !live.has_ended && !live.is_written && live.sample.is_cancelled() {
                live.end(inner, Ok(FinishReason::Cancelled));
            }
        }
        self.live.retain(|live| !live.has_ended);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // A lost device says nothing more, and neither does a thread that panicked.
        let _ = self.abandon();
        let error = if thread::panicking() { || Error::Stopped } else { || Error::Interrupted };
        for live in &mut self.live {
            live.end(self.inner, Err(error()));
        }
        if let Some(compiling) = self.compiling.take() {
            let _ = compiling.join();
        }
        if let Some(runner) = &mut self.runner {
            runner.settle();
        }
        self.queue.close(error);
    }
}

/// The programs, which were taken at the beginning of a turn.
fn taken<'a, 'm>(runner: &'a mut Option<Running<'m>>) -> &'a mut Running<'m> {
    runner.as_mut().expect("taken at the beginning of a turn")
}

/// How many of `size` rows each of some prompts gets, which have so many left: the same for all, and what one does not
/// need goes to the first that do.
fn shares(size: usize, left: impl ExactSizeIterator<Item = usize> + Clone) -> Vec<usize> {
    let share = (size / left.len().max(1)).max(1);
    let mut rest = size;
    let mut shares: Vec<usize> = left
        .clone()
        .map(|left| {
            let rows = left.min(share).min(rest);
            rest -= rows;
            rows
        })
        .collect();
    for (rows, left) in shares.iter_mut().zip(left) {
        let more = (left - *rows).min(rest);
        *rows += more;
        rest -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_shared_fairly_and_filled() {
        let of = |size, left: &[usize]| shares(size, left.iter().copied());
        assert_eq!(of(64, &[100]), [64]);
        assert_eq!(of(64, &[10]), [10]);
        assert_eq!(of(64, &[100, 100]), [32, 32]);
        assert_eq!(of(64, &[100, 5, 100]), [38, 5, 21]);
        assert_eq!(of(2, &[9, 9, 9]), [1, 1, 0]);
        assert_eq!(of(64, &[]), [0_usize; 0]);
    }
}
