//! Pages of the KV cache: who has them, and what is known to be on them. Nothing here knows a device.

use std::collections::BTreeSet;

use strix_shaders::cursors::PAGE;

use crate::Error;
use crate::rows::{Row, common};
use crate::sampler::SplitMix64;

/// Positions of a page.
pub(crate) const POSITIONS: usize = PAGE as usize;

/// A page at the time when it became known, which tells it from itself with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    page: u32,
    learned: u64,
}

/// What is known of a page: that it holds some rows, after those of the pages before it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Number of rows; 0 where nothing is known.
    rows: usize,
    /// The page before it.
    parent: Option<u32>,
    /// One of the pages behind it.
    child: Option<u32>,
    /// Another page behind the same.
    sibling: Option<u32>,
    /// Sequences that read it. Who holds a page holds those before it too.
    holders: u32,
    learned: u64,
    /// When it was let go last: a page is let go after those behind it.
    let_go: u64,
}

/// Pages of one pool. Each is free, some sequence's own, or known; known pages that nobody holds make room when it is
/// needed, those let go longest ago first.
#[derive(Debug)]
pub(crate) struct Pages {
    free: Vec<u32>,
    /// By page.
    known: Vec<Known>,
    /// Rows of all pages.
    rows: Vec<Row>,
    /// One of the known pages that begin a sequence.
    root: Option<u32>,
    /// Known pages that nobody holds, in the order in which they make room.
    idle: BTreeSet<(u64, u32)>,
    /// Pages that sequences may still ask for.
    promised: usize,
    clock: u64,
}

/// What a sequence has of the pool.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// In the order of positions.
    pages: Vec<u32>,
    /// Number of the first of them that are known, and held.
    known: usize,
    /// What its positions hold.
    rows: Vec<Row>,
    /// Pages that it may still ask for.
    promised: usize,
    /// Whether others may read what it leaves, and it what they left.
    shares: bool,
    /// The page that its last one is to be a copy of.
    copied: Option<u32>,
}

/// A known page that begins as a sequence goes on.
#[derive(Clone, Copy, Debug)]
struct Like {
    page: u32,
    /// Rows of it that are the sequence's.
    common: usize,
    /// Whether it may be written over: nobody holds it, and nothing is behind it, or it is the sequence's own.
    is_free: bool,
}

/// There is no room for a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// Pages it would need beside those that are known.
    pub needed: usize,
    /// Pages there are for it.
    pub left: usize,
    /// Pages in all.
    pub total: usize,
}

impl Full {
    /// The error of a sequence that may come to so many positions.
    pub(crate) fn error(self, positions: usize) -> Error {
        let Self { needed, left, total } = self;
        Error::PoolFull { positions, needed, left, total }
    }
}

impl Sequence {
    fn with_room(positions: usize, shares: bool) -> Self {
        let pages = positions.div_ceil(POSITIONS);
        let (pages, rows) = (Vec::with_capacity(pages), Vec::with_capacity(pages * POSITIONS));
        Self { pages, known: 0, rows, promised: 0, shares, copied: None }
    }

    /// Number of positions.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The last of its known pages.
    fn last_known(&self) -> Option<&u32> {
        self.pages[..self.known].last()
    }

    /// The page behind as many as `rows` begin with, if it begins as they do, and goes on with `next`.
    fn like(&self, rows: &[Row], next: &[Row]) -> Option<Like> {
        let rest = self.rows.strip_prefix(rows).filter(|_| self.shares)?;
        let page = *self.pages.get(rows.len() / POSITIONS)?;
        let common = common(rest, next).min(POSITIONS);
        Some(Like { page, common, is_free: false })
    }

    /// What its positions hold.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The page whose content must come to its last page before anything is run, while the pool is locked.
    pub(crate) fn copied(&mut self) -> Option<[u32; 2]> {
        Some([self.copied.take()?, *self.pages.last()?])
    }

    /// Its pages, in the order of positions.
    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages
    }
}

impl Pages {
    /// A pool of so many pages, all free.
    pub(crate) fn new(total: u32) -> Self {
        Self {
            // The first comes first.
            free: (0..total).rev().collect(),
            known: vec![Known::default(); total as usize],
            rows: vec![Row::Token(0); total as usize * POSITIONS],
            root: None,
            idle: BTreeSet::new(),
            promised: 0,
            clock: 0,
        }
    }

    /// Refuses a sequence of so many positions that are more than all pages hold.
    pub(crate) fn fits(&self, positions: usize) -> Result<(), Error> {
        let (needed, total) = (positions.div_ceil(POSITIONS), self.total());
        if needed > total { Err(Full { needed, left: total, total }.error(positions)) } else { Ok(()) }
    }

    /// Positions in all, and those of the pages that are left.
    pub(crate) fn positions(&self) -> [u64; 2] {
        [self.total(), self.left()].map(|pages| (pages * POSITIONS) as u64)
    }

    /// Pages that nobody has or may ask for.
    pub(crate) fn left(&self) -> usize {
        (self.free.len() + self.idle.len()).saturating_sub(self.promised)
    }

    /// Pages in all.
    pub(crate) fn total(&self) -> usize {
        self.known.len()
    }

    /// Begins a sequence that may come to `most` positions, with what is known of its first rows: [`Sequence::len`] says
    /// how many, and at least the last of `rows` is left to run.
    ///
    /// `own` is what the same conversation left behind: a page of it that does not go on as it did may be written over. Of
    /// another's page that does not, the part in common is to be copied ([`Sequence::copied`]); so is that of `others`,
    /// which are being run, and whose last pages are not known yet.
    pub(crate) fn start<'a>(
        &mut self,
        rows: &[Row],
        most: usize,
        own: &[Stamp],
        others: impl Iterator<Item = &'a Sequence>,
    ) -> Result<Sequence, Full> {
        let mut sequence = Sequence::with_room(most, true);
        let reusable = &rows[..rows.len().saturating_sub(1)];
        while let Some(next) = reusable.get(sequence.len()..sequence.len() + POSITIONS)
            && let Some(page) = self.known_behind(sequence.last_known(), |rows| rows == next)
        {
            self.hold(page);
            sequence.pages.push(page);
            sequence.known += 1;
            sequence.rows.extend(next);
        }
        let next = &reusable[sequence.len()..];
        let like = self.begun_like(next, sequence.last_known(), own);
        let like = others.filter_map(|other| other.like(&sequence.rows, next)).fold(like, |best, other| {
            if other.common > best.map_or(0, |best| best.common) { Some(other) } else { best }
        });
        let taken = like.is_some_and(|like| like.is_free);
        if let Err(full) = self.promise(&mut sequence, most, usize::from(taken)) {
            self.finish(sequence);
            return Err(full);
        }
        if let Some(Like { page, common, is_free }) = like {
            let rows = &next[..common];
            // What is not known is another's, who will not let go of it now.
            let is_known = self.known[page as usize].rows > 0;
            if is_free {
                self.forget(page);
                sequence.pages.push(page);
                sequence.rows.extend(rows);
            } else if !is_known || self.has_room_beside(page) {
                if is_known {
                    self.hold(page);
                }
                let positions = sequence.len() + 1;
                self.grow(&mut sequence, positions);
                if is_known {
                    self.let_go(page);
                }
                sequence.copied = Some(page);
                sequence.rows.extend(rows);
            }
        }
        Ok(sequence)
    }

    /// Begins a sequence of up to `most` positions that shares nothing.
    pub(crate) fn start_apart(&mut self, most: usize) -> Result<Sequence, Full> {
        let mut sequence = Sequence::with_room(most, false);
        self.reserve(&mut sequence, most)?;
        Ok(sequence)
    }

    /// Promises a sequence the pages for `most` positions, beyond those it has or was promised.
    pub(crate) fn reserve(&mut self, sequence: &mut Sequence, most: usize) -> Result<(), Full> {
        self.promise(sequence, most, 0)
    }

    /// The same, where it will have `taken` pages more.
    fn promise(&mut self, sequence: &mut Sequence, most: usize, taken: usize) -> Result<(), Full> {
        let has = sequence.pages.len() + sequence.promised + taken;
        let needed = most.div_ceil(POSITIONS).saturating_sub(has);
        // What it holds may have been promised to others.
        if self.promised + needed + taken > self.free.len() + self.idle.len() {
            return Err(Full { needed, left: self.left().saturating_sub(taken), total: self.total() });
        }
        self.promised += needed;
        sequence.promised += needed;
        Ok(())
    }

    /// Sees to it that a sequence has pages for so many positions.
    ///
    /// # Panics
    ///
    /// If they are more than it was promised.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence, positions: usize) {
        while sequence.pages.len() * POSITIONS < positions {
            assert!(sequence.promised > 0, "{positions} positions of a sequence that was promised fewer");
            sequence.promised -= 1;
            self.promised -= 1;
            let page = self.free.pop().unwrap_or_else(|| self.make_room());
            sequence.pages.push(page);
        }
    }

    /// Notes what was written behind a sequence's positions, for which it has pages.
    pub(crate) fn extend(&mut self, sequence: &mut Sequence, rows: &[Row]) {
        sequence.rows.extend(rows);
        let full = sequence.rows.len() / POSITIONS;
        for at in sequence.known..if sequence.shares { full } else { 0 } {
            let rows = &sequence.rows[at * POSITIONS..][..POSITIONS];
            let own = sequence.pages[at];
            match self.known_behind(sequence.last_known(), |known| known == rows) {
                // Another sequence had the same first: one page does, and the promises of others still hold.
                Some(same) => {
                    self.free.push(own);
                    sequence.pages[at] = same;
                }
                None => self.learn(own, sequence.last_known().copied(), rows),
            }
            self.hold(sequence.pages[at]);
            sequence.known += 1;
        }
    }

    /// Takes away the last position of a sequence that shares nothing, and returns what it held.
    pub(crate) fn shorten(&mut self, sequence: &mut Sequence) -> Option<Row> {
        debug_assert!(!sequence.shares, "what others may read stays");
        sequence.rows.pop()
    }

    /// Lets go of a sequence; returns what it left. What its pages hold stays known until their room is needed.
    pub(crate) fn finish(&mut self, sequence: Sequence) -> Vec<Stamp> {
        let Sequence { pages, known, rows, promised, shares, .. } = sequence;
        self.promised -= promised;
        let before = self.free.len();
        let (known, own) = pages.split_at(known);
        let mut known = known.to_vec();
        let rest = rows.get(known.len() * POSITIONS..).unwrap_or_default();
        for (at, &page) in own.iter().enumerate() {
            if at == 0 && shares && !rest.is_empty() {
                match self.known_behind(known.last(), |rows| rows.starts_with(rest)) {
                    Some(other) => {
                        self.free.push(page);
                        self.hold(other);
                        known.push(other);
                    }
                    None => {
                        self.learn(page, known.last().copied(), rest);
                        self.hold(page);
                        known.push(page);
                    }
                }
            } else {
                self.free.push(page);
            }
        }
        // The next sequence gets them in the same order.
        self.free[before..].reverse();
        for &page in known.iter().rev() {
            self.let_go(page);
        }
        known.iter().map(|&page| Stamp { page, learned: self.known[page as usize].learned }).collect()
    }

    /// Gives the free pages out in another order.
    pub(crate) fn shuffle(&mut self, seed: u64) {
        let mut random = SplitMix64(seed);
        for last in (1..self.free.len()).rev() {
            self.free.swap(last, (random.next() % (last as u64 + 1)) as usize);
        }
    }

    /// Lets go of a sequence whose last page does not hold what it was to.
    pub(crate) fn abandon(&mut self, mut sequence: Sequence) {
        sequence.rows.truncate(sequence.known * POSITIONS);
        self.finish(sequence);
    }

    /// Forgets what is known of pages that nobody holds.
    pub(crate) fn clear(&mut self) {
        while !self.idle.is_empty() {
            let page = self.make_room();
            self.free.push(page);
        }
    }

    /// What a known page holds.
    fn rows_of(&self, page: u32) -> &[Row] {
        &self.rows[page as usize * POSITIONS..][..self.known[page as usize].rows]
    }

    /// The known pages behind one, or those that begin a sequence.
    fn behind(&self, page: Option<&u32>) -> impl Iterator<Item = u32> + '_ {
        let first = page.map_or(self.root, |&page| self.known[page as usize].child);
        std::iter::successors(first, |&page| self.known[page as usize].sibling)
    }

    /// A known page behind one, or one that begins a sequence, whose rows are such.
    fn known_behind(&self, page: Option<&u32>, is: impl Fn(&[Row]) -> bool) -> Option<u32> {
        self.behind(page).find(|&page| is(self.rows_of(page)))
    }

    /// The known page behind one that begins most like `rows`.
    fn begun_like(&self, rows: &[Row], page: Option<&u32>, own: &[Stamp]) -> Option<Like> {
        let like = |page: u32| {
            let known = &self.known[page as usize];
            let stamp = Stamp { page, learned: known.learned };
            let is_free = known.holders == 0 && (known.child.is_none() || own.contains(&stamp));
            let common = common(self.rows_of(page), rows);
            Like { page, common, is_free }
        };
        let best = self.behind(page).map(like).max_by_key(|like| (like.common, like.is_free));
        best.filter(|like| like.common > 0)
    }

    /// Whether a page can be had without that one.
    fn has_room_beside(&self, page: u32) -> bool {
        let last = |other: u32| other != page && self.known[other as usize].child.is_none();
        !self.free.is_empty() || self.idle.iter().any(|&(_, other)| last(other))
    }

    fn learn(&mut self, page: u32, parent: Option<u32>, rows: &[Row]) {
        self.clock += 1;
        self.rows[page as usize * POSITIONS..][..rows.len()].copy_from_slice(rows);
        let first = match parent {
            Some(parent) => &mut self.known[parent as usize].child,
            None => &mut self.root,
        };
        let sibling = first.replace(page);
        let (rows, learned) = (rows.len(), self.clock);
        self.known[page as usize] = Known { rows, parent, sibling, learned, ..Known::default() };
    }

    fn hold(&mut self, page: u32) {
        let known = &mut self.known[page as usize];
        if known.holders == 0 {
            self.idle.remove(&(known.let_go, page));
        }
        known.holders += 1;
    }

    fn let_go(&mut self, page: u32) {
        self.clock += 1;
        let known = &mut self.known[page as usize];
        known.holders -= 1;
        if known.holders == 0 {
            known.let_go = self.clock;
            self.idle.insert((known.let_go, page));
        }
    }

    /// Forgets a page that nobody holds, and all behind it; those are free.
    fn forget(&mut self, page: u32) {
        while let Some(child) = self.known[page as usize].child {
            self.forget(child);
            self.free.push(child);
        }
        let Known { parent, sibling, let_go, .. } = std::mem::take(&mut self.known[page as usize]);
        self.idle.remove(&(let_go, page));
        let before = self.behind(parent.as_ref()).find(|&p| self.known[p as usize].sibling == Some(page));
        let link = match before {
            Some(before) => &mut self.known[before as usize].sibling,
            None => match parent {
                Some(parent) => &mut self.known[parent as usize].child,
                None => &mut self.root,
            },
        };
        *link = sibling;
    }

    /// The page that was let go longest ago, of which nothing is known any more.
    fn make_room(&mut self) -> u32 {
        let last = |(_, page): &&(u64, u32)| self.known[*page as usize].child.is_none();
        let (_, page) = *self.idle.iter().find(last).expect("no more pages are promised than there are");
        self.forget(page);
        page
    }
}

#[cfg(test)]
#[path = "kv_pool/tests.rs"]
mod tests;
