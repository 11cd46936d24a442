//! Rows of a packed matrix as floats: the inverse of [`crate::packing`].

use half::bf16;

use crate::packing::{BLOCK, Format, Layout};

/// Bytes of a chunk of one row, and from one chunk of it to the next.
const CHUNK: usize = 16;
const STRIDE: usize = CHUNK * BLOCK as usize;

/// Reads row `row` (k elements) of one set and half of a packed matrix. `weight` is all of its bytes and `scales`
/// all of its scales, as [`crate::packing::pack`] makes them. Of int8 an element is `scale · q`, rounded to f32.
///
/// # Panics
///
/// If they are not as long as `layout` says, or there is no such row.
pub fn unpack_row(
    layout: &Layout,
    weight: &[u8],
    scales: &[f32],
    set: u32,
    half: u32,
    row: u32,
    out: &mut [f32],
) {
    assert!(row < layout.n && set < layout.sets && out.len() == layout.k as usize, "row {row} of {layout:?}");
    assert_eq!(weight.len() as u64, layout.words() * 4, "bytes of {layout:?}");
    assert_eq!(scales.len(), layout.scales() as usize, "scales of {layout:?}");
    let block = if layout.gated { row / BLOCK * 2 + half } else { row / BLOCK };
    let index = layout.index_of(block, set) as usize;
    let lane = (row % BLOCK) as usize;
    let [_, chunks, ..] = layout.weight_shape();
    let weight = &weight[index * chunks * STRIDE..][..chunks * STRIDE];
    let chunks = weight.chunks_exact(STRIDE).map(|chunk| &chunk[lane * CHUNK..][..CHUNK]);
    let outs = out.chunks_mut(layout.format.chunk() as usize);
    match layout.format {
        Format::F32 => {
            for (out, chunk) in outs.zip(chunks) {
                out.iter_mut().zip(chunk.as_chunks().0).for_each(|(out, &b)| *out = f32::from_le_bytes(b));
            }
        }
        Format::Bf16 => {
            for (out, chunk) in outs.zip(chunks) {
                let halves = chunk.as_chunks().0;
                out.iter_mut().zip(halves).for_each(|(out, &b)| *out = bf16::from_le_bytes(b).to_f32());
            }
        }
        Format::Int8 { group } => {
            let chunks_per_group = group.map_or(usize::MAX, |group| group as usize / CHUNK);
            for (i, (out, chunk)) in outs.zip(chunks).enumerate() {
                let scale = scales[layout.scale_index(index, i / chunks_per_group, lane)];
                out.iter_mut().zip(chunk).for_each(|(out, &q)| *out = scale * f32::from(q as i8));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::pack;

    fn value(set: u32, half: u32, row: u32, column: usize) -> f32 {
        (set * 7 + half * 3 + row) as f32 - column as f32 * 0.375
    }

    #[test]
    fn unpacking_is_the_inverse_of_packing() {
        let int8 = |group| Format::Int8 { group };
        for format in [Format::F32, Format::Bf16, int8(None), int8(Some(32)), int8(Some(64))] {
            for (gated, shared, n, k) in [(false, 0, 40, 70), (false, 32, 40, 70), (true, 0, 37, 100)] {
                let layout = Layout { n, k, sets: 2, shared, gated, format };
                let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
                    out.iter_mut().enumerate().for_each(|(i, v)| *v = value(set, half, row, i));
                };
                let packed = pack(&layout, fill);
                let bytes: &[u8] = bytemuck::cast_slice(&packed.words);
                let mut out = vec![0.0; k as usize];
                for (set, half) in
                    [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().filter(|&(_, h)| h == 0 || gated)
                {
                    for row in 0..n {
                        unpack_row(&layout, bytes, &packed.scales, set, half, row, &mut out);
                        let largest = (0..k as usize)
                            .map(|i| value(if row < shared { 0 } else { set }, half, row, i).abs())
                            .fold(0.0, f32::max);
                        for (i, &got) in out.iter().enumerate() {
                            let want = value(if row < shared { 0 } else { set }, half, row, i);
                            let bound = match format {
                                Format::F32 => 0.0,
                                Format::Bf16 => want.abs() / 256.0,
                                Format::Int8 { .. } => largest / 127.0 * 0.5001,
                            };
                            assert!(
                                (got - want).abs() <= bound,
                                "{format} {set} {half} {row} {i}: {got} {want}"
                            );
                        }
                    }
                }
            }
        }
    }
}
