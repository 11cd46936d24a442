//! The inverse cosine transform of a block, with the overflows of libjpeg-turbo's vectors.
//!
//! Loeffler, Ligtenberg and Moschytz 1989, in whole numbers ("islow"). libjpeg's plain C computes in `int` and cuts samples
//! by a mask; the code for SSE2 and AVX2, which Pillow's packages run on x86-64, holds 16 bits between the steps. Both give
//! the same samples until a number outgrows 16 bits, which files with wide quantisation steps, or damaged ones, do.

/// Fractional bits of a factor.
const FACTOR: u32 = 13;

/// Fractional bits kept between the two passes.
const BETWEEN: u32 = 2;

/// The same place of eight columns.
type Lane = [i16; 8];

/// Samples of a block, row by row, from its coefficients and their quantisation steps, in rows of frequencies.
pub(super) fn idct(coefficients: &[i16; 64], steps: &[u16; 64]) -> [[u8; 8]; 8] {
    let mut rows = [[0; 8]; 8];
    for (row, (c, s)) in rows.iter_mut().zip(coefficients.as_chunks().0.iter().zip(steps.as_chunks().0)) {
        *row = product(c, s);
    }
    let flat = coefficients[8..].iter().all(|&c| c == 0);
    let columns = match flat {
        // Not cut at 16 bits, but wrapped.
        true => [rows[0].map(|dc| dc << BETWEEN); 8],
        false => pass(&rows, FACTOR - BETWEEN),
    };
    let samples = pass(&transposed(&columns), FACTOR + BETWEEN + 3);
    transposed(&samples).map(|row| row.map(|sample| (sample.clamp(-128, 127) + 128) as u8))
}

fn product(a: &Lane, b: &[u16; 8]) -> Lane {
    std::array::from_fn(|i| a[i].wrapping_mul(b[i] as i16))
}

fn transposed(rows: &[Lane; 8]) -> [Lane; 8] {
    std::array::from_fn(|y| std::array::from_fn(|x| rows[x][y]))
}

/// A transform along the columns, without the last `shift` bits.
fn pass(rows: &[Lane; 8], shift: u32) -> [Lane; 8] {
    let mut out = [[0; 8]; 8];
    for x in 0..8 {
        for (y, value) in column(std::array::from_fn(|y| rows[y][x]), shift).into_iter().enumerate() {
            out[y][x] = value;
        }
    }
    out
}

fn column(v: [i16; 8], shift: u32) -> [i16; 8] {
    /// A factor of the paper.
    const fn f(factor: f64) -> i32 {
        (factor * (1 << FACTOR) as f64 + 0.5) as i32
    }
    const COSINE: i32 = f(0.541196100);
    const ODD: i32 = f(1.175875602);
    const OUTER: i32 = f(0.899976223);
    const INNER: i32 = f(2.562915447);

    // Two products and their sum; the sum of two of 16 bits by 15 fits.
    let dot = |a: i16, by_a: i32, b: i16, by_b: i32| i32::from(a) * by_a + i32::from(b) * by_b;

    let low = i32::from(v[0].wrapping_add(v[4])) << FACTOR;
    let high = i32::from(v[0].wrapping_sub(v[4])) << FACTOR;
    let sum = dot(v[2], COSINE + f(0.765366865), v[6], COSINE);
    let difference = dot(v[2], COSINE, v[6], COSINE - f(1.847759065));
    let even = [low + sum, high + difference, high - difference, low - sum];

    let (z3, z4) = (v[7].wrapping_add(v[3]), v[5].wrapping_add(v[1]));
    let a = dot(z3, ODD - f(1.961570560), z4, ODD);
    let b = dot(z3, ODD, z4, ODD - f(0.390180644));
    let odd = [
        dot(v[7], -OUTER, v[1], f(1.501321110) - OUTER).wrapping_add(b),
        dot(v[5], -INNER, v[3], f(3.072711026) - INNER).wrapping_add(a),
        dot(v[5], f(2.053119869) - INNER, v[3], -INNER).wrapping_add(b),
        dot(v[7], f(0.298631336) - OUTER, v[1], -OUTER).wrapping_add(a),
    ];

    let rounded = |sum: i32| {
        let cut = sum.wrapping_add(1 << (shift - 1)) >> shift;
        cut.clamp(i16::MIN.into(), i16::MAX.into()) as i16
    };
    let mut out = [0; 8];
    for i in 0..4 {
        out[i] = rounded(even[i].wrapping_add(odd[i]));
        out[7 - i] = rounded(even[i].wrapping_sub(odd[i]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Pillow's samples of such blocks; files of many more are in `tests/cases/issue_13_made`.
    #[test]
    fn a_value_beyond_16_bits_wraps_in_a_flat_block_and_is_cut_in_others() {
        let mut block = [0; 64];
        block[0] = 9000;
        assert_eq!(idct(&block, &[1; 64]), [[0; 8]; 8]);
        block[63] = 1;
        assert_eq!(idct(&block, &[1; 64]), [[255; 8]; 8]);
        // 3 x 65535 is 3 x -1.
        block = [0; 64];
        block[0] = 8 * 3;
        assert_eq!(idct(&block, &[65535; 64]), [[125; 8]; 8]);
    }
}
