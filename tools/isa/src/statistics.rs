//! What a driver says of the machine code it made: each names it in its own way, here it is typed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Statistics under the names that the driver gives them.
pub type Raw = BTreeMap<String, f64>;

/// How much of the GPU can be at work on a kernel at once, as the driver counts it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occupancy {
    /// Number that fit.
    pub fit: f64,
    /// What is counted.
    pub unit: Unit,
}

/// What an occupancy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// AMD: subgroups a vector unit, counted as if of 32 lanes on RDNA.
    SubgroupsPerSimd,
    /// NVIDIA: subgroups a multiprocessor.
    WarpsPerSm,
    /// Qualcomm: subgroups a core.
    WavesPerCore,
    /// Apple: invocations a core.
    ThreadsPerCore,
}

impl Unit {
    /// In words: `subgroups/SIMD`.
    pub fn words(self) -> &'static str {
        match self {
            Self::SubgroupsPerSimd => "subgroups/SIMD",
            Self::WarpsPerSm => "warps/SM",
            Self::WavesPerCore => "waves/core",
            Self::ThreadsPerCore => "threads/core",
        }
    }
}

/// What the driver says of a kernel. `None` is what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Lanes of the subgroups that it was compiled for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subgroup: Option<u32>,
    /// Vector registers of an invocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<u32>,
    /// Scalar or uniform registers of a subgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scalar_registers: Option<u32>,
    /// Values that were written to memory because registers had run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spills: Option<u32>,
    /// Loads of such values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fills: Option<u32>,
    /// Bytes of private memory of an invocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u32>,
    /// Bytes of workgroup memory, as the driver allots them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workgroup_bytes: Option<u32>,
    /// How much fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<Occupancy>,
    /// Bytes of machine code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_bytes: Option<u32>,
    /// Instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<u32>,
    /// Loops that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loops: Option<u32>,
    /// All that it said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: Raw,
}

impl Statistics {
    /// Reads what a driver said of an executable.
    pub fn of(subgroup: u32, raw: Raw) -> Self {
        let one = |name: &str| raw.get(name).copied();
        let first = |names: &[&str]| names.iter().find_map(|name| one(name)).map(|value| value as u32);
        let sum = |names: &[&str]| {
            let values: Vec<_> = names.iter().filter_map(|name| one(name)).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() as u32)
        };
        // Of Turnip's registers one has four values.
        let registers = first(&["VGPRs", "Number of GPRs", "GPRs"])
            .or_else(|| first(&["Registers used"]).map(|vec4s| vec4s * 4));
        let occupancies = [
            ("Subgroups per SIMD", Unit::SubgroupsPerSimd),
            ("Max warps/SM", Unit::WarpsPerSm),
            ("Max Waves Per Core", Unit::WavesPerCore),
            ("Threads", Unit::ThreadsPerCore),
        ];
        Self {
            subgroup: (subgroup > 0).then_some(subgroup),
            registers,
            scalar_registers: first(&["SGPRs", "Uniforms"]),
            // A value that moves to another kind of register costs a move, not memory: it is none here.
            spills: sum(&["Spilled VGPRs", "Spilled SGPRs"])
                .or_else(|| sum(&["Spills to memory"]))
                .or_else(|| sum(&["Spills", "STP Count"])),
            fills: first(&["Fills from memory", "Fills", "LDP Count"]),
            scratch_bytes: first(&["Scratch size", "SLM size", "Scratch"]),
            workgroup_bytes: first(&["LDS size"]),
            occupancy: occupancies.iter().find_map(|&(name, unit)| Some(Occupancy { fit: one(name)?, unit })),
            // Turnip counts words of 32 bits.
            code_bytes: first(&["Code size"])
                .map(|size| if raw.contains_key("STP Count") { size * 4 } else { size }),
            instructions: first(&["Instructions", "Instruction count", "Instruction Count"]),
            loops: first(&["Loops"]),
            raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line of what `vkGetPipelineExecutableStatisticsKHR` gave, kept as the driver's name, `=`, the value.
    fn raw(line: &str) -> Raw {
        let pair = |field: &str| field.split_once('=').map(|(n, v)| (n.to_owned(), v.parse().unwrap()));
        line.trim().split('\t').filter_map(pair).collect()
    }

    fn sample(driver: &str) -> Statistics {
        let text = include_str!("../samples/statistics.tsv");
        let line = text.lines().find(|line| line.starts_with(driver)).expect("a sample of that driver");
        Statistics::of(64, raw(line))
    }

    #[test]
    fn radv_counts_both_kinds_of_registers_and_estimates_cycles() {
        let s = sample("RADV");
        assert_eq!(
            (s.registers, s.scalar_registers, s.spills, s.scratch_bytes),
            (Some(156), Some(128), Some(0), Some(0))
        );
        assert_eq!(
            (s.workgroup_bytes, s.code_bytes, s.instructions),
            (Some(16_384), Some(25_484), Some(4983))
        );
        assert_eq!(s.occupancy, Some(Occupancy { fit: 8.0, unit: Unit::SubgroupsPerSimd }));
        assert_eq!(s.raw["Inverse Throughput"], 8550.0);
        assert_eq!(s.raw["SMEM"], 274.0);
    }

    #[test]
    fn nvk_spills_to_memory_are_spills_and_those_to_registers_are_not() {
        let s = sample("NVK");
        assert_eq!((s.registers, s.spills, s.fills), (Some(160), Some(3), Some(4)));
        assert_eq!(s.occupancy, Some(Occupancy { fit: 12.0, unit: Unit::WarpsPerSm }));
        assert_eq!(s.raw["Static cycle count"], 86_043.0);
        assert_eq!(s.workgroup_bytes, None);
    }

    #[test]
    fn turnip_counts_registers_of_four_values_and_stores_of_private_memory() {
        let s = sample("Turnip");
        assert_eq!((s.registers, s.spills, s.fills, s.loops), (Some(192), Some(1028), Some(1409), Some(193)));
        assert_eq!((s.instructions, s.code_bytes), (Some(11_440), Some(16_064 * 4)));
        assert_eq!(s.occupancy, Some(Occupancy { fit: 4.0, unit: Unit::WavesPerCore }));
    }

    #[test]
    fn honeykrisp_counts_threads() {
        let s = sample("Honeykrisp");
        assert_eq!(
            (s.registers, s.spills, s.fills, s.scratch_bytes),
            (Some(255), Some(52), Some(52), Some(208))
        );
        assert_eq!(s.occupancy, Some(Occupancy { fit: 384.0, unit: Unit::ThreadsPerCore }));
    }

    #[test]
    fn what_a_driver_does_not_say_is_none() {
        let s = Statistics::of(0, Raw::new());
        assert_eq!(s, Statistics::default());
    }
}
