//! Peaks of GPUs, from data sheets: `peaks.json`, each with its source.

use std::sync::LazyLock;

use serde::Deserialize;

/// What a GPU can do at most, by its data sheet.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peak {
    /// Its key in [`FAKES`](crate::gpus::FAKES).
    pub gpu: String,
    /// The card that the figures are of.
    pub card: String,
    /// Compute units, multiprocessors or cores.
    pub units: Option<u32>,
    /// Boost clock.
    pub clock_mhz: Option<u32>,
    /// FLOPs of f32 a clock and unit.
    pub flop_per_clock: Option<f64>,
    /// FLOPs of matrices of f16 with sums of f32 a clock and unit.
    pub matrix_flop_per_clock: Option<f64>,
    /// Operations of matrices of int8 a clock and unit.
    pub matrix_int8_per_clock: Option<f64>,
    /// Bytes a second of its memory.
    pub bytes_per_s: f64,
    /// The data sheet.
    pub source: String,
    /// What another engine reaches on this card through Vulkan.
    pub published: Option<Published>,
}

/// A figure that others have published.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Published {
    /// The engine, the model and how its weights are stored.
    pub what: String,
    /// Tokens a second, one at a time.
    pub decode: Option<String>,
    /// Positions of a prompt of 512 a second.
    pub prefill: Option<String>,
    /// Where it is published.
    pub source: String,
}

impl Peak {
    /// FLOPs of f32 a second.
    pub fn flops_per_s(&self) -> Option<f64> {
        Some(self.clocks_per_s()? * self.flop_per_clock?)
    }

    /// FLOPs of matrices of f16 a second.
    pub fn matrix_flops_per_s(&self) -> Option<f64> {
        Some(self.clocks_per_s()? * self.matrix_flop_per_clock?)
    }

    /// Clocks a second of all units together.
    pub fn clocks_per_s(&self) -> Option<f64> {
        Some(f64::from(self.units?) * f64::from(self.clock_mhz?) * 1e6)
    }
}

static PEAKS: LazyLock<Vec<Peak>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("peaks.json")).unwrap_or_else(|e| panic!("peaks.json: {e}"))
});

/// The peak of a GPU, by its key.
pub fn of(gpu: &str) -> Option<&'static Peak> {
    PEAKS.iter().find(|peak| peak.gpu == gpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpus::FAKES;

    #[test]
    fn every_gpu_that_is_compiled_for_has_a_peak_with_its_source() {
        for fake in FAKES.iter().filter(|fake| !fake.computes()) {
            let peak = of(fake.key).unwrap_or_else(|| panic!("{fake} has no peak"));
            let others = peak.published.iter().flat_map(|published| [&published.source, &published.what]);
            assert!(others.into_iter().all(|text| !text.is_empty()), "{peak:?}");
            assert!(peak.bytes_per_s > 1e10 && peak.source.len() > 40 && !peak.card.is_empty(), "{peak:?}");
        }
        assert_eq!(PEAKS.len(), FAKES.iter().filter(|fake| !fake.computes()).count());
    }

    #[test]
    fn a_clock_and_its_flops_give_the_data_sheets_tera_flops() {
        let tera = |gpu: &str| of(gpu).and_then(Peak::flops_per_s).map(|f| (f / 1e11).round() / 10.0);
        let sheets =
            [("navi31", 61.4), ("navi21", 16.2), ("gfx1201", 48.7), ("turing", 10.1), ("ampere", 35.6)];
        for (gpu, sheet) in sheets.into_iter().chain([("ada", 40.1), ("m1", 2.6), ("polaris10", 6.2)]) {
            assert_eq!(tera(gpu), Some(sheet), "{gpu}");
        }
        let matrix = |gpu: &str| of(gpu).and_then(Peak::matrix_flops_per_s).map(|f| (f / 1e12).round());
        assert_eq!(
            (matrix("navi31"), matrix("gfx1201"), matrix("ampere")),
            (Some(123.0), Some(195.0), Some(71.0))
        );
        assert_eq!(tera("adreno-740"), None);
    }
}
