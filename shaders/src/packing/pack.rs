//! Rounding a matrix into the packed layout.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::packing::{BLOCK, Format, Layout, STEP};

/// A packed matrix, or some blocks of one.
#[derive(Debug)]
pub struct Packed {
    /// The weights.
    pub words: Vec<u32>,
    /// Their scales, as [`Layout::scale_shape`] says; empty for floats.
    pub scales: Vec<f32>,
}

/// Packs a matrix. `fill(set, half, row, out)` writes row `row` (k elements) of set `set`, of shared rows of set 0;
/// `half` is 0, or 1 for the up half of a gated matrix.
pub fn pack(layout: &Layout, fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync) -> Packed {
    pack_blocks(layout, 0..layout.num_blocks(), fill)
}

/// Packs some blocks of a matrix, by their [blocks](Layout::index_of): what follows each other in [`pack`]'s result
/// follows each other here, so that a large matrix is packed a piece at a time.
///
/// # Panics
///
/// If there are no such blocks.
pub fn pack_blocks(
    layout: &Layout,
    blocks: Range<u32>,
    fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
) -> Packed {
    assert!(blocks.end <= layout.num_blocks(), "blocks {blocks:?} of {layout:?}");
    let count = blocks.len();
    let block_scales = layout.block_scales() as usize;
    let mut words = vec![0; count * layout.block_words() as usize];
    let mut scales = vec![0.0; count * block_scales];
    let pack_one = |index: usize, words: &mut [u32], scales: &mut [f32]| {
        let (block, set) = layout.at_index(blocks.start + index as u32);
        let mut row = vec![0.0; (layout.steps() * STEP) as usize];
        for r in 0..BLOCK {
            let (half, source) = layout.source(block * BLOCK + r);
            row.fill(0.0);
            if source < layout.n {
                fill(set, half, source, &mut row[..layout.k as usize]);
            }
            pack_row(layout, &row, r as usize, words, scales);
        }
    };
    let words_by_block = words.par_chunks_exact_mut(layout.block_words() as usize).enumerate();
    if block_scales == 0 {
        words_by_block.for_each(|(index, words)| pack_one(index, words, &mut []));
    } else {
        let both = words_by_block.zip(scales.par_chunks_exact_mut(block_scales));
        both.for_each(|((index, words), scales)| pack_one(index, words, scales));
    }
    Packed { words, scales }
}

/// Rounds row `r` of a block into the block and its scales.
fn pack_row(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "without AVX2 a conversion waits for the rounding")]
        // SAFETY: the CPU has AVX2.
        return unsafe { pack_row_avx2(layout, row, r, words, scales) };
    }
    pack_row_plain(layout, row, r, words, scales);
}

/// The same code for vectors of 8: every operation is exact or rounds as it does elsewhere, so the bits are the same.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_row_avx2(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    pack_row_plain(layout, row, r, words, scales);
}

#[inline(always)]
fn pack_row_plain(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    const ROWS: usize = BLOCK as usize;
    /// Bytes of a chunk of one row, and from one chunk of it to the next.
    const CHUNK: usize = 16;
    const STRIDE: usize = CHUNK * ROWS;
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
    let chunks = bytes[r * CHUNK..].chunks_mut(STRIDE);
    match layout.format {
        Format::F32 => {
            for (chunk, values) in chunks.zip(row.as_chunks::<4>().0) {
                chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(values));
            }
        }
        Format::Bf16 => {
            for (chunk, values) in chunks.zip(row.as_chunks::<8>().0) {
                let rounded = values.map(|v| bf16::from_f32(v).to_bits());
                chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(&rounded));
            }
        }
        Format::Int8 { group } => {
            let group = group.map_or(row.len(), |g| g as usize);
            let mut chunks = chunks;
            for (g, values) in row.chunks(group).enumerate() {
                let scale = scale_of(values);
                scales[layout.scale_index(0, g, r)] = scale;
                for (values, chunk) in values.as_chunks::<16>().0.iter().zip(&mut chunks) {
                    chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(&quantize(values, scale)));
                }
            }
        }
    }
}

/// Scale of weights that share one: the largest magnitude at 127.
#[inline(always)]
fn scale_of(values: &[f32]) -> f32 {
    // Magnitudes are in the order of their bits, and a largest integer is found in any order, so by vectors.
    let largest = values.iter().fold(0, |most, v| most.max(v.to_bits() as i32 & i32::MAX));
    f32::from_bits(largest as u32) / 127.0
}

/// Symmetric rounding to nearest, ties to even: `w ≈ scale · q`.
#[inline(always)]
fn quantize(values: &[f32; 16], scale: f32) -> [i8; 16] {
    // Adding 1.5 · 2^23 rounds to an integer, ties to even, whose two's complement is the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    if scale == 0.0 {
        return [0; 16];
    }
    values.map(|v| ((v / scale).clamp(-127.0, 127.0) + ROUND).to_bits() as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_the_largest_at_127_and_ties_to_even() {
        let mut values = [0.0; 16];
        values[..5].copy_from_slice(&[-254.0, 1.0, 3.0, 126.0, -5.0]);
        let scale = scale_of(&values);
        assert_eq!(scale, 2.0);
        assert_eq!(quantize(&values, scale)[..6], [-127, 0, 2, 63, -2, 0]);
        assert_eq!(quantize(&[0.0; 16], 0.0), [0; 16]);
    }

    #[test]
    fn every_cpu_packs_the_same_bits() {
        let row: Vec<f32> =
            (0..4096_u32).map(|i| (i.wrapping_mul(0x9e37_79b9) as i32) as f32 * 1e-11).collect();
        for format in
            [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }]
        {
            let layout = Layout { n: 16, k: 4096, sets: 1, shared: 0, gated: false, format };
            let pack = |pack_row: fn(&Layout, &[f32], usize, &mut [u32], &mut [f32])| {
                let mut words = vec![0; layout.words() as usize];
                let mut scales = vec![0.0; layout.scales() as usize];
                pack_row(&layout, &row, 3, &mut words, &mut scales);
                (words, scales)
            };
            assert!(pack(pack_row) == pack(pack_row_plain), "{format}");
        }
    }

    #[test]
    fn blocks_packed_one_by_one_are_the_whole() {
        for format in
            [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }]
        {
            for (shared, gated) in [(0, true), (32, false), (80, false)] {
                let n = if gated { 40 } else { 90 };
                let layout = Layout { n, k: 70, sets: 2, shared, gated, format };
                let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
                    for (i, v) in out.iter_mut().enumerate() {
                        *v = (set * 7 + half * 3 + row) as f32 - i as f32 * 0.37;
                    }
                };
                let whole = pack(&layout, fill);
                let ends = [0, 1, 5, layout.num_blocks()];
                let parts: Vec<_> =
                    ends.windows(2).map(|ends| pack_blocks(&layout, ends[0]..ends[1], fill)).collect();
                assert_eq!((layout.blocks(), layout.num_blocks()), (6, 12 - shared / 16));
                assert_eq!(whole.words, parts.iter().flat_map(|p| p.words.clone()).collect::<Vec<_>>());
                assert_eq!(whole.scales, parts.iter().flat_map(|p| p.scales.clone()).collect::<Vec<_>>());
                let sizes = [
                    layout.weight_shape().iter().product::<usize>() * 16 / format.chunk() as usize,
                    whole.scales.len(),
                ];
                assert_eq!(sizes, [whole.words.len() * 4, layout.scale_shape().iter().product()]);
            }
        }
    }
}
