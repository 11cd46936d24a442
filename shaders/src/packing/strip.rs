//! Strips of a packed matrix that fit a binding.

use std::ops::Range;

use crate::packing::{BLOCK, Layout};

impl Layout {
    /// Strips whose weights do not exceed `max_bytes`: all of it; else the first set, then the blocks of the others,
    /// each cut along `n`. Column counts are multiples of 16 but for the last of a set.
    pub fn split(&self, max_bytes: u64) -> Vec<Strip> {
        if self.words() * 4 <= max_bytes {
            return vec![Strip { first: 0, first_block: 0, image: false, layout: *self }];
        }
        let halves = if self.gated { 2 } else { 1 };
        let per_block = u64::from(self.block_words()) * 4 * u64::from(halves);
        let columns =
            u32::try_from(max_bytes / per_block).unwrap_or(u32::MAX / BLOCK).clamp(1, u32::MAX / BLOCK)
                * BLOCK;
        let of_set = |set: u32| {
            let start = if set == 0 { 0 } else { self.shared };
            (start..self.n).step_by(columns as usize).map(move |first| Strip {
                first,
                first_block: self.index_of(first / BLOCK * halves, set),
                image: set > 0,
                layout: Self { n: columns.min(self.n - first), ..self.of_one() },
            })
        };
        (0..self.sets).flat_map(of_set).collect()
    }
}

/// Some output columns of a matrix, within a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    /// First output column.
    pub first: u32,
    /// Place of its first block in the whole.
    pub(super) first_block: u32,
    /// Whether it is the second set's, apart from the first: for image rows alone, whose columns the first set's
    /// strip has written before.
    pub image: bool,
    /// Its shape.
    pub layout: Layout,
}

impl Strip {
    /// Its blocks among those of all sets, by their [indices](Layout::index_of).
    pub fn blocks(&self) -> Range<u32> {
        self.first_block..self.first_block + self.layout.num_blocks()
    }

    /// The set and the row of the whole that are those of the strip.
    pub(super) fn source(&self, set: u32, row: u32) -> (u32, u32) {
        (if self.image { 1 } else { set }, self.first + row)
    }

    /// The strip that rows of text read: the blocks of the first set, which come first.
    pub(super) fn of_text(self) -> Option<Self> {
        (!self.image).then(|| Self { layout: self.layout.of_one(), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn a_strip_never_exceeds_the_limit_and_strips_cover_all_blocks_in_order() {
        for (gated, sets, shared) in [(false, 2, 0), (true, 1, 0), (false, 2, 400), (false, 2, 992)] {
            let layout = Layout { n: 1000, k: 100, sets, shared, gated, format: Format::Bf16 };
            for limit in [1, 20_000, 33_000, 200_000, u64::MAX] {
                let strips = layout.split(limit);
                let smallest = Layout { n: 16, ..layout.of_one() }.words() * 4;
                assert!(strips.iter().all(|p| p.layout.words() * 4 <= limit.max(smallest)), "{limit}");
                let mut first_block = 0;
                for strip in &strips {
                    assert_eq!(strip.first_block, first_block, "{limit}");
                    first_block += strip.layout.num_blocks();
                }
                assert_eq!(first_block, layout.num_blocks());
                let columns =
                    |image| -> u32 { strips.iter().filter(|p| p.image == image).map(|p| p.layout.n).sum() };
                let apart = if sets == 2 && limit < layout.words() * 4 { 1000 - shared } else { 0 };
                assert_eq!([false, true].map(columns), [1000, apart], "{limit}");
            }
        }
    }
}
