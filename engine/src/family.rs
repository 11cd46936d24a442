//! Families of kernels: the same results, written for different devices.

use std::fmt;
use std::str::FromStr;

use wgpu::{CooperativeScalarType, DeviceType, Features};

/// Which of the ways a kernel is written in is taken, where it is written in several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// One subgroup a workgroup, operands shared by broadcast, no workgroup memory: for software drivers.
    Subgroup,
    /// Many subgroups a workgroup, operands shared through workgroup memory: for GPUs.
    Tiled,
    /// No subgroups: what runs everywhere.
    Plain,
    /// As `Tiled`, and products of many rows by the device's units for small matrices.
    Coop,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Subgroup, Self::Tiled, Self::Plain, Self::Coop];

    /// What a device of this class takes where nothing else is asked for.
    pub(crate) fn of(device: DeviceType, subgroups: bool) -> Self {
        match device {
            DeviceType::Cpu if subgroups => Self::Subgroup,
            DeviceType::Cpu => Self::Plain,
            _ => Self::Tiled,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Subgroup => "subgroup",
            Self::Tiled => "tiled",
            Self::Plain => "plain",
            Self::Coop => "coop",
        })
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|family| family.to_string() == name);
        found.ok_or_else(|| format!("{name:?} is no family of kernels: subgroup, tiled, plain or coop"))
    }
}

/// Matrices that the device multiplies as units (`Features::EXPERIMENTAL_COOPERATIVE_MATRIX`); sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of each matrix: 8 or 16.
    pub size: u32,
    /// Whether what is multiplied is f16, else f32.
    pub f16: bool,
}

impl Coop {
    /// Features that kernels with such matrices are compiled with.
    pub(crate) const FEATURES: Features =
        Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

    /// The best that the adapter has: f16 before f32, large before small.
    pub(crate) fn of(adapter: &wgpu::Adapter) -> Option<Self> {
        if !adapter.features().contains(Self::FEATURES) {
            return None;
        }
        let known = |p: &wgpu::CooperativeMatrixProperties| {
            let square = p.m_size == p.n_size && p.n_size == p.k_size && [8, 16].contains(&p.m_size);
            let f16 = p.ab_type == CooperativeScalarType::F16;
            let fits = square
                && p.cr_type == CooperativeScalarType::F32
                && (f16 || p.ab_type == CooperativeScalarType::F32);
            fits.then_some(Self { size: p.m_size, f16 })
        };
        let all = adapter.cooperative_matrix_properties();
        all.iter().filter_map(known).max_by_key(|coop| (coop.f16, coop.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_read_by_its_name() {
        for family in Family::ALL {
            assert_eq!(family.to_string().parse(), Ok(family));
        }
        let message = "Tiles".parse::<Family>().unwrap_err();
        assert!(message.contains("\"Tiles\"") && message.contains("subgroup, tiled, plain or coop"));
    }
}
