//! Where a packed matrix has what: see [`crate::packing`].

use crate::generated::variants::X;
use crate::packing::{BLOCK, Format, STEP};

/// Shape of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Output columns (rows of the matrix; of one half of it when gated).
    pub n: u32,
    /// Input columns.
    pub k: u32,
    /// Matrices of this shape, one a modality.
    pub sets: u32,
    /// First output columns that the sets have in common, a multiple of 16; they are held once.
    pub shared: u32,
    /// Whether each output has a gate row and an up row.
    pub gated: bool,
    /// How weights are stored.
    pub format: Format,
}

impl Layout {
    /// Blocks of 16 packed rows in a set.
    pub fn blocks(&self) -> u32 {
        self.n.div_ceil(BLOCK) * if self.gated { 2 } else { 1 }
    }

    /// Packed rows in a set, padding included.
    pub fn packed_rows(&self) -> u32 {
        self.blocks() * BLOCK
    }

    /// 32-column steps of a row.
    pub fn steps(&self) -> u32 {
        self.k.div_ceil(STEP)
    }

    /// What projections are specialised by: whether rows of x begin at multiples of 4 elements.
    pub(crate) fn x(&self) -> X {
        if self.k.is_multiple_of(4) { X::Vec4 } else { X::Scalar }
    }

    fn chunks(&self) -> u32 {
        self.steps() * STEP / self.format.chunk()
    }

    /// Words of a block of one set.
    pub(super) fn block_words(&self) -> u32 {
        self.chunks() * BLOCK * 4
    }

    /// Blocks that all sets share.
    pub fn shared_blocks(&self) -> u32 {
        self.shared / BLOCK
    }

    /// Place of block `block` of a set among those of all sets.
    pub fn index_of(&self, block: u32, set: u32) -> u32 {
        let own = block >= self.shared_blocks();
        block + if own { set * (self.blocks() - self.shared_blocks()) } else { 0 }
    }

    /// Block and set at a index: the inverse of [`Layout::index_of`].
    pub fn at_index(&self, index: u32) -> (u32, u32) {
        match index.checked_sub(self.blocks()) {
            None => (index, 0),
            Some(after) => {
                let own = self.blocks() - self.shared_blocks();
                (self.shared_blocks() + after % own, 1 + after / own)
            }
        }
    }

    /// Blocks of all sets.
    pub fn num_blocks(&self) -> u32 {
        self.blocks() + (self.sets - 1) * (self.blocks() - self.shared_blocks())
    }

    /// Sizes of the packed weights: blocks of all sets, chunks, rows, elements of 16 bytes.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.num_blocks(), self.chunks(), BLOCK, self.format.chunk()].map(|size| size as usize)
    }

    /// Sizes of their scales: blocks of all sets, one, rows; of groups blocks, loads, rows, groups a load.
    pub fn scale_shape(&self) -> Vec<usize> {
        let load = self.groups_a_load();
        let mut shape = vec![self.num_blocks(), self.groups().div_ceil(load), BLOCK, load];
        shape.truncate(if load == 1 { 3 } else { 4 });
        shape.into_iter().map(|size| size as usize).collect()
    }

    /// Where the scale of a group of row `row` of the block at `index` is among all.
    pub(crate) fn scale_index(&self, index: usize, group: usize, row: usize) -> usize {
        let load = self.groups_a_load() as usize;
        index * self.block_scales() as usize + (group / load * BLOCK as usize + row) * load + group % load
    }

    /// Groups of a row whose scales are loaded together.
    fn groups_a_load(&self) -> u32 {
        if matches!(self.format, Format::Int8 { group: Some(_) }) { 4 } else { 1 }
    }

    /// Scales of a block of one set.
    pub(super) fn block_scales(&self) -> u32 {
        self.groups().next_multiple_of(self.groups_a_load()) * BLOCK
    }

    /// Words of the packed weights.
    pub fn words(&self) -> u64 {
        u64::from(self.num_blocks()) * u64::from(self.block_words())
    }

    /// The same layout of one set alone.
    pub(super) fn of_one(&self) -> Self {
        Self { sets: 1, shared: 0, ..*self }
    }

    /// Scales of a row.
    pub fn groups(&self) -> u32 {
        match self.format {
            Format::Int8 { group: Some(group) } => (self.steps() * STEP).div_ceil(group),
            Format::Int8 { group: None } => 1,
            Format::F32 | Format::Bf16 => 0,
        }
    }

    /// Numbers among its scales, padding included.
    pub fn scales(&self) -> u32 {
        self.num_blocks() * self.block_scales()
    }

    /// Bytes on the device, scales included, bias not.
    pub fn bytes(&self) -> u64 {
        self.words() * 4 + u64::from(self.scales()) * 4
    }

    /// Bytes that rows of one modality read of it.
    pub fn set_bytes(&self) -> u64 {
        self.of_one().bytes()
    }

    /// Where packed row `p` comes from: 0 for gate (or the matrix itself), 1 for up, and the row there.
    pub fn source(&self, p: u32) -> (u32, u32) {
        match (self.gated, p / BLOCK, p % BLOCK) {
            (true, block, row) => (block % 2, block / 2 * BLOCK + row),
            (false, ..) => (0, p),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_one_block_and_set() {
        for (shared, sets) in [(0, 1), (0, 2), (48, 2), (96, 2), (48, 1)] {
            let layout = Layout { n: 100, k: 32, sets, shared, gated: false, format: Format::F32 };
            for index in 0..layout.num_blocks() {
                let (block, set) = layout.at_index(index);
                assert_eq!(layout.index_of(block, set), index, "{layout:?}");
                assert!(block < layout.blocks() && set < sets, "{layout:?}: {block} {set}");
            }
            assert_eq!(layout.index_of(0, sets - 1), if shared > 0 { 0 } else { 7 * (sets - 1) });
        }
    }
}
