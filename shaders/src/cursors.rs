//! The rows of a run: of which sequence each is, at which position, and where sequences lie in the cache.

use strix_engine::{Graph, Resident, Tensor};

/// Positions of a page of the cache.
pub const PAGE: u32 = 16;

/// Sequence and position of a row that is not live.
pub const NOT_LIVE: u32 = u32::MAX;

/// The rows of a run, and the pages of their sequences.
///
/// Live rows come first: those of sequence 0, then those of sequence 1, and so on. Each sequence's are at consecutive
/// positions; it may have none. Position `p` of sequence `s` is slot `pages[s, p / 16] · 16 + p % 16` of the cache
/// ([`KvCache`](crate::KvCache)). No page that a row of the run writes is in two sequences. All are read at run time.
#[derive(Clone, Copy, Debug)]
pub struct Cursors {
    /// `[rows, 2]`: sequence and position of each row, both [`NOT_LIVE`] where it is not live.
    pub rows: Tensor<u32, 2>,
    /// `[sequences + 1, 2]`: first row of each sequence and its position; after them the number of live rows.
    pub runs: Tensor<u32, 2>,
    /// `[sequences, pages]`: the pages of each sequence, in the order of positions.
    pub pages: Tensor<u32, 2>,
}

/// Rows of a sequence in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Position of the first of them.
    pub start: u32,
    /// Number of them.
    pub rows: u32,
}

impl Cursors {
    /// Inputs for runs of up to `rows` rows of up to `sequences` sequences, each of up to `positions` positions.
    pub fn input(g: &mut Graph, rows: u32, sequences: u32, positions: u32) -> Self {
        Self {
            rows: g.input("cursors", [rows, 2]),
            runs: g.input("runs", [sequences + 1, 2]),
            pages: g.input("pages", [sequences, positions.div_ceil(PAGE)]),
        }
    }

    /// Of `rows` rows, the first `live` of which are one sequence's from position `start` on; its `pages` pages are in
    /// order.
    pub fn in_order(g: &mut Graph, rows: u32, start: u32, live: u32, pages: u32) -> Self {
        Self::of(g, rows, &[Run { start, rows: live }], &(0..pages).collect::<Vec<_>>())
    }

    /// Of `rows` rows of these sequences, with these pages of each.
    ///
    /// # Panics
    ///
    /// If there are more rows of sequences, no sequences, or not as many pages of each.
    pub fn of(g: &mut Graph, rows: u32, runs: &[Run], pages: &[u32]) -> Self {
        let (mut by_row, mut by_sequence) = (vec![], vec![]);
        Self::write(runs, rows, runs.len(), &mut by_row, &mut by_sequence);
        let sequences = runs.len() as u32;
        Self {
            rows: g.bind(&Resident::from_slice("cursors", [rows, 2], &by_row)),
            runs: g.bind(&Resident::from_slice("runs", [sequences + 1, 2], &by_sequence)),
            pages: g.bind(&Resident::from_slice("pages", [sequences, pages.len() as u32 / sequences], pages)),
        }
    }

    /// Content of [`Cursors::rows`] and [`Cursors::runs`] with room for so many rows and sequences, into vectors that are
    /// there already, in place of what they hold.
    ///
    /// # Panics
    ///
    /// If there are more.
    pub fn write(
        runs: &[Run],
        rows: u32,
        sequences: usize,
        by_row: &mut Vec<u32>,
        by_sequence: &mut Vec<u32>,
    ) {
        by_row.clear();
        by_sequence.clear();
        for (run, sequence) in runs.iter().zip(0..) {
            by_sequence.extend([by_row.len() as u32 / 2, run.start]);
            by_row.extend((run.start..run.start + run.rows).flat_map(|position| [sequence, position]));
        }
        let live = by_row.len() as u32 / 2;
        assert!(
            live <= rows && runs.len() <= sequences,
            "{runs:?}: room for {rows} rows of {sequences} sequences"
        );
        by_row.resize(2 * rows as usize, NOT_LIVE);
        for _ in runs.len()..=sequences {
            by_sequence.extend([live, 0]);
        }
    }

    /// Asserts that it is for so many rows; returns how many sequences it holds, and pages of each.
    pub(crate) fn check(self, kernel: &str, rows: u32) -> [u32; 2] {
        let [sequences, pages] = self.pages.shape();
        assert_eq!(self.rows.shape(), [rows, 2], "{kernel}: cursors");
        assert_eq!(self.runs.shape(), [sequences + 1, 2], "{kernel}: runs");
        [sequences, pages]
    }
}

/// Sequence and position of a row, if it is live and its sequence has a page for it.
pub(crate) fn live(cursors: &[u32], row: usize, sequence_pages: u32) -> Option<[u32; 2]> {
    let cursor = [cursors[2 * row], cursors[2 * row + 1]];
    (cursor[0] != NOT_LIVE && cursor[1] < sequence_pages * PAGE).then_some(cursor)
}

/// Where in the cache a position of a sequence is.
pub(crate) fn slot(pages: &[u32], sequence_pages: u32, sequence: u32, position: u32) -> usize {
    (pages[(sequence * sequence_pages + position / PAGE) as usize] * PAGE + position % PAGE) as usize
}
