//! An answer that is being run: what it runs next, and what becomes of the tokens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use strix_engine::Streamed;

use crate::Result;
use crate::generate::FinishReason;
use crate::inner::Inner;
use crate::kv_pool::Sequence;
use crate::picture::Picture;
use crate::pictures::Encoded;
use crate::queue::Queue;
use crate::request::{Sample, Scores};
use crate::rows::{Row, common};
use crate::runner::Share;
use crate::talk::Left;

/// Positions that are run twice rather than waited for.
const FEW: usize = 4;

/// An answer that is being run.
pub(super) struct Live<'m> {
    pub(super) queue: &'m Queue,
    pub(super) key: u64,
    /// The prompt.
    pub(super) rows: Vec<Row>,
    pub(super) pictures: Vec<Picture>,
    /// Those that were needed so far, as the decoder sees them.
    pub(super) encoded: Vec<Arc<Encoded>>,
    pub(super) left: Arc<Mutex<Left>>,
    pub(super) sample: Sample,
    pub(super) sequence: Sequence,
    /// Whether it takes part in the steps: its prompt is run, or all but one token of it was in the cache.
    pub(super) decodes: bool,
    /// What it runs in the next step.
    pub(super) next: [Row; 1],
    /// Whether a run is under way that writes to its pages.
    pub(super) is_written: bool,
    pub(super) has_ended: bool,
    /// Chunks of its prompt that were run.
    pub(super) chunks: u64,
    pub(super) asked: Instant,
    /// When its last token came, or it was begun.
    pub(super) since: Instant,
    /// What had been streamed by then.
    pub(super) streamed: Streamed,
    pub(super) encode_time: Duration,
}

impl Live<'_> {
    /// Rows of the prompt that are to be run.
    pub(super) fn prompt_left(&self) -> usize {
        self.rows.len().saturating_sub(self.sequence.len())
    }

    /// The next so many rows of the prompt.
    pub(super) fn chunk(&self, rows: usize) -> &[Row] {
        &self.rows[self.sequence.len()..][..rows]
    }

    pub(super) fn share<'a>(&'a self, rows: &'a [Row]) -> Share<'a> {
        let candidates = self.sample.candidates().unwrap_or(1);
        Share { sequence: &self.sequence, rows, pictures: &self.encoded, candidates }
    }

    /// Whether it will soon have much more of a prompt in the cache than it has now.
    pub(super) fn will_hold_more_of(&self, rows: &[Row]) -> bool {
        if self.decodes || self.has_ended || self.sample.is_cancelled() {
            return false;
        }
        // The last row is run in any case.
        let most = rows.len().saturating_sub(1);
        common(&self.rows, &rows[..most]) > self.sequence.len() + FEW
    }

    /// The first picture of its next rows that is not encoded.
    pub(super) fn next_picture(&mut self, inner: &Inner, rows: usize) -> Option<Picture> {
        let rows = self.sequence.len()..(self.sequence.len() + rows).min(self.rows.len());
        for row in &self.rows[rows] {
            let Row::Image { picture: id, .. } = *row else { continue };
            if self.encoded.iter().any(|encoded| encoded.id == id) {
                continue;
            }
            let picture = self.pictures.iter().find(|picture| picture.id == id);
            let picture = picture.expect("a prompt's rows are of its pictures");
            match picture.encoded(inner) {
                Some(encoded) => self.encoded.push(encoded),
                None => return Some(picture.clone()),
            }
        }
        None
    }

    /// Chooses the next token and tells it.
    pub(super) fn tell(&mut self, inner: &Inner, scores: Scores<'_>) {
        if self.has_ended || self.sample.is_cancelled() {
            return;
        }
        let (now, streamed) = (Instant::now(), inner.streamed());
        let (id, log_probs, finish) = match self.sample.choose(scores, inner, self.sequence.len()) {
            Ok(chosen) => chosen,
            Err(error) => return self.end(inner, Err(error)),
        };
        let (took, moved) = (now - self.since, streamed.since(self.streamed));
        let timing = &mut self.sample.timing;
        if timing.first_token.is_zero() {
            timing.image_encode += self.encode_time;
            timing.prefill = took.saturating_sub(self.encode_time);
            timing.first_token = now - self.asked + (timing.image_encode - self.encode_time);
            timing.streamed_before = moved;
        } else {
            timing.decode += took;
            timing.decode_tokens += 1;
            timing.streamed = timing.streamed.and(moved);
        }
        (self.since, self.streamed) = (now, streamed);
        self.next = [Row::Token(id)];
        if finish.is_some() {
            self.let_go(inner);
        }
        self.sample.feed.push(id, self.sample.certain(), log_probs, &self.sample.timing, finish);
    }

    /// Ends it without another token.
    pub(super) fn end(&mut self, inner: &Inner, how: Result<FinishReason>) {
        if !self.has_ended {
            self.let_go(inner);
            self.sample.feed.end(how, Some(&self.sample.timing));
        }
    }

    /// Gives its pages back.
    pub(super) fn let_go(&mut self, inner: &Inner) {
        self.has_ended = true;
        let sequence = std::mem::take(&mut self.sequence);
        let positions = sequence.len();
        let stamps = inner.pages().finish(sequence);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Left { stamps, positions };
        self.queue.let_go(&self.sample.feed);
    }
}
