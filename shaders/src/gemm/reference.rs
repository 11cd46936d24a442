//! Projections in the plainest code that is right.

use half::bf16;

use crate::generated::gemm::Params;
use crate::packing::BLOCK;

/// [`gemm()`](crate::gemm::gemm()) in the plainest code that is right, on packed weights of `FORMAT` 0 f32, 1 bf16, 2
/// int8. What is absent is empty; rows of x are floats, and have no scale. Sums in f64.
#[expect(clippy::too_many_arguments, reason = "the kernel's own bindings")]
pub fn reference<const FORMAT: u32>(
    p: &Params,
    x: &[f32],
    _row_scale: &[f32],
    gain: &[f32],
    routing: &[u32],
    weight: &[u32],
    scale: &[f32],
    bias: &[f32],
    residual: &[f32],
    y: &mut [f32],
) {
    let k = p.k as usize;
    let (text, image) = (routing[0] as usize, routing[1] as usize);
    let rows = routing[2..][..text + image].iter().enumerate();
    for (i, &row) in rows.skip(if p.image_only != 0 { text } else { 0 }) {
        let set = u32::from(p.sets == 2 && i >= text);
        let mut x = x[row as usize * k..][..k].to_vec();
        if !gain.is_empty() {
            let mean_square = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / k as f64;
            let scale = 1.0 / (mean_square + f64::from(p.eps)).sqrt();
            let gain = &gain[usize::from(i >= text) * k..][..k];
            x = x.iter().zip(gain).map(|(&x, &g)| (f64::from(x) * scale * f64::from(g)) as f32).collect();
        }
        let sum = |packed: u32| -> f64 {
            let dot: f64 = (0..p.k)
                .map(|c| f64::from(x[c as usize]) * weight_at::<FORMAT>(p, weight, scale, set, packed, c))
                .sum();
            let at = (block_of(p, packed, set) * BLOCK + packed % BLOCK) as usize;
            dot + bias.get(at).map_or(0.0, |&bias| f64::from(bias))
        };
        for n in 0..p.n {
            let value = match p.activation {
                2 => {
                    let gate_row = n / BLOCK * 2 * BLOCK + n % BLOCK;
                    let gate = sum(gate_row);
                    gate / (1.0 + (-gate).exp()) * sum(gate_row + BLOCK)
                }
                1 => {
                    let t = sum(n);
                    t / (1.0 + (-1.702 * t).exp())
                }
                _ => sum(n),
            };
            let at = (row * p.stride + p.first + n) as usize;
            y[at] = (value + residual.get(at).map_or(0.0, |&residual| f64::from(residual))) as f32;
        }
    }
}

/// Which of the blocks of all sets packed row `packed` of a set is in.
fn block_of(p: &Params, packed: u32, set: u32) -> u32 {
    let block = packed / BLOCK;
    if block < p.shared_blocks { block } else { block + set * (p.blocks - p.shared_blocks) }
}

/// One weight, unpacked and scaled.
fn weight_at<const FORMAT: u32>(
    p: &Params,
    weight: &[u32],
    scale: &[f32],
    set: u32,
    packed: u32,
    column: u32,
) -> f64 {
    let steps = p.k.div_ceil(32);
    let chunk = [4, 8, 16][FORMAT as usize];
    let chunks = steps * 32 / chunk;
    let block = block_of(p, packed, set);
    let first = ((block * chunks + column / chunk) * BLOCK + packed % BLOCK) * 4;
    let within = column % chunk;
    match FORMAT {
        0 => f64::from(f32::from_bits(weight[(first + within) as usize])),
        1 => bf16::from_bits((weight[(first + within / 2) as usize] >> (within % 2 * 16)) as u16).to_f64(),
        _ => {
            let q = (weight[(first + within / 4) as usize] >> (within % 4 * 8)) as u8 as i8;
            let row = packed % BLOCK;
            let at = match p.group_steps {
                0 => block * BLOCK + row,
                steps_a_group => {
                    let group = column / 32 / steps_a_group;
                    let fours = steps.div_ceil(steps_a_group).div_ceil(4);
                    ((block * fours + group / 4) * BLOCK + row) * 4 + group % 4
                }
            };
            f64::from(q) * f64::from(scale[at as usize])
        }
    }
}
