//! The target that kernels are chosen for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Choices, Coop, Error, Maker};

/// Kernels come in families, each right for another kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A workgroup is one subgroup, whose lanes share their loads by broadcasts. CPU drivers are good at this.
    Subgroup,
    /// Workgroups of several subgroups around tiles in workgroup memory: what GPUs are good at.
    Tiled,
    /// Needs no subgroups.
    Plain,
    /// As `Tiled`, but matrices of many rows are multiplied by the device's units for small matrices.
    Coop,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Subgroup, Self::Tiled, Self::Plain, Self::Coop];

    /// Its name: `subgroup`, `tiled`, `plain` or `coop`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subgroup => "subgroup",
            Self::Tiled => "tiled",
            Self::Plain => "plain",
            Self::Coop => "coop",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|family| family.name() == name);
        found.ok_or_else(|| Error::NoFamily { wanted: name.into() })
    }
}

/// The target that kernels are chosen for: all that a [`Graph`](crate::Graph) knows of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lanes of a subgroup where that number is fixed and subgroups may be used: kernels for CPU drivers are made for it.
    pub subgroup: Option<u32>,
    /// Whether subgroups may be used whose size is read at run time, as kernels for GPUs do.
    pub subgroups: bool,
    /// Largest storage binding, in bytes.
    pub max_binding_bytes: u64,
    /// Whether kernels may read tensors as texels of 16 bytes. A software device reads them faster so: it walks through
    /// the lanes of a buffer's load one after the other, but gathers texels as vectors.
    pub texels: bool,
    /// Whether kernels may compute in f16.
    pub f16: bool,
    /// Whether the device is the host's processor: a software driver.
    pub is_cpu: bool,
    /// Who made the device.
    pub maker: Maker,
    /// The family that was asked for, else the family of the device's class.
    pub family: Family,
    /// Whether the family was asked for. It then wins over every choice.
    pub forced: bool,
    /// Matrices to multiply as units, where the device has some that may be used.
    pub coop: Option<Coop>,
    /// The ways that were measured to be best on this device.
    pub choices: Arc<Choices>,
}

impl Target {
    /// The same device with other choices.
    pub fn with_choices(&self, choices: impl Into<Arc<Choices>>) -> Self {
        Self { choices: choices.into(), ..self.clone() }
    }

    /// The family of this device's class, even if another was asked for.
    pub fn class(&self) -> Family {
        match (self.subgroup, self.is_cpu) {
            (_, false) if self.coop.is_some() => Family::Coop,
            (_, false) => Family::Tiled,
            (Some(_), true) => Family::Subgroup,
            (None, true) => Family::Plain,
        }
    }
}

impl Default for Target {
    /// WebGPU's default limits, no subgroups: what every device has.
    fn default() -> Self {
        Self {
            subgroup: None,
            subgroups: false,
            max_binding_bytes: 128 << 20,
            texels: false,
            f16: false,
            is_cpu: false,
            maker: Maker::Other,
            family: Family::Plain,
            forced: false,
            coop: None,
            choices: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_by_the_name_they_print() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse::<Family>().unwrap(), family);
        }
        let error = "fast".parse::<Family>().unwrap_err().to_string();
        assert!(error.contains("\"fast\"") && error.contains("subgroup, tiled, plain and coop"), "{error}");
    }

    #[test]
    fn a_class_is_of_the_device_alone() {
        let cpu = Target { subgroup: Some(8), is_cpu: true, family: Family::Plain, ..Target::default() };
        assert_eq!(cpu.class(), Family::Subgroup);
        assert_eq!(Target { is_cpu: false, ..cpu.clone() }.class(), Family::Tiled);
        assert_eq!(Target { is_cpu: false, subgroup: None, ..cpu.clone() }.class(), Family::Tiled);
        assert_eq!(Target { subgroup: None, ..cpu }.class(), Family::Plain);
    }
}
