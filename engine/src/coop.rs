//! Cooperative matrices: what a device multiplies as units.

use wgpu::{CooperativeScalarType, Features};

use crate::Maker;

/// Matrices that the device multiplies as units (`Features::EXPERIMENTAL_COOPERATIVE_MATRIX`); sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of each matrix: 8 or 16.
    pub size: u32,
    /// Whether the factors are f16; else they are f32.
    pub f16: bool,
    /// Lanes of a subgroup that are expected: how work is shared out is best for so many, and right for any.
    pub lanes: u32,
}

impl Coop {
    /// Features that kernels with such matrices are compiled with.
    pub(crate) const FEATURES: Features =
        Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(Features::SHADER_F16).union(Features::SUBGROUP);

    /// Bytes of workgroup memory that the kernels want around matrices 16 by 16.
    const STORAGE: u32 = 36 << 10;

    /// What wgpu wants to be told of whoever opens a device with them.
    pub(crate) fn experiment() -> wgpu::ExperimentalFeatures {
        #[expect(unsafe_code, reason = "cooperative matrices are an experiment of wgpu's")]
        // SAFETY: wgpu asks us to know that its checks of them may have holes, and to report those we find.
        // They are used by one kernel alone, whose every address is within the tiles that it declares.
        unsafe {
            wgpu::ExperimentalFeatures::enabled()
        }
    }

    /// The best that the adapter has within such limits: f16 before f32, large before small.
    pub(crate) fn of(adapter: &wgpu::Adapter, limits: &wgpu::Limits) -> Option<Self> {
        if !adapter.features().contains(Self::FEATURES) {
            return None;
        }
        let largest = if limits.max_compute_workgroup_storage_size < Self::STORAGE { 8 } else { 16 };
        let mut all = adapter.cooperative_matrix_properties();
        all.retain(|matrices| matrices.m_size <= largest);
        Self::best(&all, Self::lanes(&adapter.get_info()))
    }

    /// Lanes of a subgroup: of AMD's two sizes its driver takes the larger; Metal tells a range, and has 32.
    fn lanes(info: &wgpu::AdapterInfo) -> u32 {
        match (info.subgroup_min_size, info.subgroup_max_size) {
            (min, max) if min == max => min,
            (_, max) if Maker::of(info) == Maker::Amd => max,
            _ => 32,
        }
    }

    /// The best of those there are that the kernels know.
    fn best(all: &[wgpu::CooperativeMatrixProperties], lanes: u32) -> Option<Self> {
        let known = |p: &wgpu::CooperativeMatrixProperties| {
            let square = p.m_size == p.n_size && p.n_size == p.k_size && [8, 16].contains(&p.m_size);
            let f16 = p.ab_type == CooperativeScalarType::F16;
            let scalar = f16 || (p.ab_type == CooperativeScalarType::F32 && p.m_size == 8);
            let fits = square && scalar && p.cr_type == CooperativeScalarType::F32;
            fits.then_some(Self { size: p.m_size, f16, lanes })
        };
        all.iter().filter_map(known).max_by_key(|coop| (coop.f16, coop.size))
    }
}

#[cfg(test)]
mod tests {
    use wgpu::CooperativeScalarType::{F16, F32, I32};

    use super::*;

    fn matrices(
        size: [u32; 3],
        ab: CooperativeScalarType,
        cr: CooperativeScalarType,
    ) -> wgpu::CooperativeMatrixProperties {
        wgpu::CooperativeMatrixProperties {
            m_size: size[0],
            n_size: size[1],
            k_size: size[2],
            ab_type: ab,
            cr_type: cr,
            saturating_accumulation: false,
        }
    }

    #[test]
    fn the_best_matrices_are_those_of_f16_with_sums_of_f32() {
        let apple = [matrices([8; 3], F32, F32), matrices([8; 3], F16, F16), matrices([8; 3], F16, F32)];
        assert_eq!(Coop::best(&apple, 32), Some(Coop { size: 8, f16: true, lanes: 32 }));
        assert_eq!(Coop::best(&apple[..2], 32), Some(Coop { size: 8, f16: false, lanes: 32 }));
        let nvidia =
            [matrices([16, 8, 16], F16, F32), matrices([16; 3], I32, I32), matrices([16; 3], F16, F32)];
        assert_eq!(Coop::best(&nvidia, 32), Some(Coop { size: 16, f16: true, lanes: 32 }));
        assert_eq!(Coop::best(&nvidia[..2], 32), None);
    }
}
