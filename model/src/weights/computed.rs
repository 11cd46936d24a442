//! Tensors that are in no file: each element is computed from a hash, roughly normal.

use std::sync::Arc;

use half::{bf16, f16};

use super::FileDtype;

/// Levels an element can have: the sum of four bytes.
const LEVELS: usize = 4 * 255 + 1;

/// Standard deviation of the sum of four uniform bytes: √(4 · (256² - 1) / 12).
const SUM_STD: f64 = 147.799_86;

/// Golden ratio, 64 bits of it: the step of splitmix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Source of a tensor's values.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    pub(super) seed: u64,
    pub(super) levels: Arc<Levels>,
}

/// The values of every level, rounded to the dtype.
#[derive(Debug)]
pub(super) struct Levels {
    as_f32: [f32; LEVELS],
    /// Little-endian, in the dtype; the first two or all four bytes.
    as_bytes: [[u8; 4]; LEVELS],
}

/// Mean and standard deviation of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) mean: f64,
    pub(super) std: f64,
}

impl Levels {
    pub(super) fn new(spread: Spread, dtype: FileDtype) -> Self {
        let mut levels = Self { as_f32: [0.0; LEVELS], as_bytes: [[0; 4]; LEVELS] };
        for (sum, (value, bytes)) in levels.as_f32.iter_mut().zip(&mut levels.as_bytes).enumerate() {
            let exact = (spread.mean + (sum as f64 - 510.0) * spread.std / SUM_STD) as f32;
            match dtype {
                FileDtype::F32 => (*value, *bytes) = (exact, exact.to_le_bytes()),
                FileDtype::F16 => {
                    let half = f16::from_f32(exact);
                    *value = half.to_f32();
                    bytes[..2].copy_from_slice(&half.to_le_bytes());
                }
                FileDtype::BF16 => {
                    let half = bf16::from_f32(exact);
                    *value = half.to_f32();
                    bytes[..2].copy_from_slice(&half.to_le_bytes());
                }
                other => panic!("a synthetic checkpoint of {other}: only F32, F16 and BF16 are computed"),
            }
        }
        levels
    }
}

impl Computed {
    pub(super) fn read_f32(&self, start: usize, values: &mut [f32]) {
        self.fill(start, values, |level| self.levels.as_f32[level]);
    }

    /// The elements as a file holds them: `N` bytes each.
    pub(super) fn read_bytes<const N: usize>(&self, start: usize, values: &mut [[u8; N]]) {
        self.fill(start, values, |level| *self.levels.as_bytes[level].first_chunk().expect("2 or 4 bytes"));
    }

    /// Every hash gives two elements, the even one from its lower half.
    #[inline(always)]
    fn fill<T>(&self, start: usize, values: &mut [T], value: impl Fn(usize) -> T) {
        let mut pair = start as u64 / 2;
        let (head, values) = values.split_at_mut(values.len().min(start % 2));
        for odd in head {
            *odd = value(sums(hash(self.seed, pair))[1]);
            pair += 1;
        }
        let (pairs, tail) = values.as_chunks_mut();
        for out in pairs {
            *out = sums(hash(self.seed, pair)).map(&value);
            pair += 1;
        }
        for even in tail {
            *even = value(sums(hash(self.seed, pair))[0]);
        }
    }
}

/// The bytes of each half of a hash, added up.
fn sums(hash: u64) -> [usize; 2] {
    const EVEN_BYTES: u64 = 0x00ff_00ff_00ff_00ff;
    let twos = (hash & EVEN_BYTES) + (hash >> 8 & EVEN_BYTES);
    let fours = (twos + (twos >> 16)) & 0x0000_07ff_0000_07ff;
    [fours as u32 as usize, (fours >> 32) as usize]
}

/// splitmix64 (Steele, Lea and Flood 2014), its `n`th output.
fn hash(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(STEP));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Each tensor has a stream of its own.
pub(super) fn hash_name(seed: u64, name: &str) -> u64 {
    name.bytes().fold(hash(seed, 1), |seed, byte| hash(seed ^ u64::from(byte), 1))
}
