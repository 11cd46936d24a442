//! What a hot loop reaches at best on a GPU, if nothing but the issue of instructions limits it.

use serde::{Deserialize, Serialize};

use crate::gpus::Architecture;
use crate::listing::Mix;

/// What the issue of instructions allows a hot loop, of one compute unit, multiprocessor or core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bound {
    /// FMAs among what the vector unit issues, by its time: 1 is the peak.
    pub fma_share: f64,
    /// FLOPs of f32 a clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flop_per_clock: Option<f64>,
    /// The same where FMAs of one subgroup go two at a time (RDNA 3 and later, when it likes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_flop_per_clock: Option<f64>,
    /// Products of matrices among what the vector unit issues, by its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_share: Option<f64>,
    /// Bytes that it loads from buffers a clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_clock: Option<f64>,
}

impl Bound {
    /// The bound of a loop of subgroups of so many lanes; `None` where nothing is known of the architecture.
    pub fn of(architecture: Architecture, lanes: u32, mix: &Mix) -> Option<Self> {
        let lanes = f64::from(lanes.max(1));
        // Units that issue on their own, clocks of one instruction, FLOPs of matrices a clock and unit.
        let (units, clocks, special, matrix_rate) = match architecture {
            Architecture::Gcn => (4.0, 4.0, 4.0, 0.0),
            Architecture::Rdna => (2.0, lanes / 32.0, 4.0, 0.0),
            Architecture::Rdna3 => (2.0, lanes / 32.0, 4.0, 256.0),
            Architecture::Rdna4 => (2.0, lanes / 32.0, 4.0, 512.0),
            Architecture::Turing | Architecture::Ampere => return Some(Self::nvidia(architecture, mix)),
            Architecture::Adreno | Architecture::Agx => {
                return Some(Self { fma_share: ratio(mix.fma, mix.total()), ..Self::default() });
            }
            Architecture::Software | Architecture::Unknown => return None,
        };
        let vector = mix.fma + mix.dot + mix.vector - mix.pairs + special * mix.special;
        let matrix = if matrix_rate > 0.0 { mix.matrix_flops / matrix_rate } else { 0.0 };
        let time = clocks * vector + matrix;
        let flops = units * 2.0 * lanes * mix.fma;
        let two_at_once = matches!(architecture, Architecture::Rdna3 | Architecture::Rdna4) && lanes == 64.0;
        Some(Self {
            fma_share: ratio(clocks * mix.fma, time),
            flop_per_clock: Some(ratio(flops, time)),
            dual_flop_per_clock: two_at_once.then(|| ratio(flops, time - clocks / 2.0 * mix.fma)),
            matrix_share: (mix.matrix > 0.0).then(|| ratio(matrix, time)),
            bytes_per_clock: Some(ratio(units * lanes * mix.loaded_bytes, time)),
        })
    }

    /// Four schedulers issue one instruction of any kind a clock each; Turing's have 16 lanes of f32.
    fn nvidia(architecture: Architecture, mix: &Mix) -> Self {
        let clocks = if architecture == Architecture::Turing { 2.0 } else { 1.0 };
        // FLOPs of f16 with sums of f32 a clock and scheduler, as GeForce has them.
        let matrix = mix.matrix_flops / 128.0;
        let time = mix.total().max(clocks * mix.fma).max(matrix);
        Self {
            fma_share: ratio(clocks * mix.fma, time),
            flop_per_clock: Some(ratio(4.0 * 64.0 * mix.fma, time)),
            dual_flop_per_clock: None,
            matrix_share: (mix.matrix > 0.0).then(|| ratio(matrix, time)),
            bytes_per_clock: Some(ratio(4.0 * 32.0 * mix.loaded_bytes, time)),
        }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEMM: Mix = Mix {
        fma: 256.0,
        matrix: 0.0,
        matrix_flops: 0.0,
        dot: 0.0,
        special: 0.0,
        vector: 94.0,
        pairs: 0.0,
        lds: 16.0,
        vmem: 0.0,
        loaded_bytes: 0.0,
        scratch: 0.0,
        smem: 0.0,
        scalar: 11.0,
        control: 0.0,
        waits: 0.0,
        hints: 0.0,
    };

    #[test]
    fn amds_vector_units_give_the_share_of_fmas_and_two_at_once_more() {
        let bound = Bound::of(Architecture::Rdna3, 64, &GEMM).unwrap();
        assert!((bound.fma_share - 256.0 / 350.0).abs() < 1e-9, "{bound:?}");
        assert_eq!(bound.flop_per_clock.map(f64::round), Some(94.0));
        assert_eq!(bound.dual_flop_per_clock.map(f64::round), Some(148.0));
        for (architecture, lanes) in
            [(Architecture::Gcn, 64), (Architecture::Rdna, 64), (Architecture::Rdna, 32)]
        {
            let bound = Bound::of(architecture, lanes, &GEMM).unwrap();
            assert_eq!((bound.flop_per_clock.map(f64::round), bound.dual_flop_per_clock), (Some(94.0), None));
        }
    }

    #[test]
    fn products_of_matrices_take_their_time() {
        // What PORTABILITY.md counted: 8 WMMA beside 139 others, in subgroups of 32, is 65%.
        let mix = Mix { matrix: 8.0, matrix_flops: 8.0 * 8192.0, vector: 139.0, ..Mix::default() };
        let share = Bound::of(Architecture::Rdna3, 32, &mix).unwrap().matrix_share.unwrap();
        assert!((share - 256.0 / 395.0).abs() < 1e-9, "{share}");
        assert!(Bound::of(Architecture::Rdna4, 32, &mix).unwrap().matrix_share.unwrap() < share);
    }

    #[test]
    fn on_nvidia_every_instruction_takes_a_slot() {
        let ampere = Bound::of(Architecture::Ampere, 32, &GEMM).unwrap();
        assert!((ampere.fma_share - 256.0 / 377.0).abs() < 1e-9, "{ampere:?}");
        let turing = Bound::of(Architecture::Turing, 32, &GEMM).unwrap();
        assert_eq!((turing.fma_share, turing.flop_per_clock), (1.0, Some(128.0)));
    }

    #[test]
    fn bytes_are_those_of_all_lanes_and_units() {
        let mix = Mix { fma: 16.0, vector: 16.0, loaded_bytes: 16.0, ..Mix::default() };
        let bound = Bound::of(Architecture::Rdna, 64, &mix).unwrap();
        assert_eq!(bound.bytes_per_clock, Some(2.0 * 64.0 * 16.0 / 64.0));
        assert_eq!(Bound::of(Architecture::Software, 8, &mix), None);
    }
}
