//! Cooperative matrices: what a device multiplies as units.

use wgpu::{CooperativeScalarType, Features};

/// Matrices that the device multiplies as units (`Features::EXPERIMENTAL_COOPERATIVE_MATRIX`); sums are f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Coop {
    /// Rows and columns of each matrix: 8 or 16.
    pub size: u32,
    /// Whether the factors are f16; else they are f32.
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
        Self::best(&adapter.cooperative_matrix_properties())
    }

    /// The best of those there are that the kernels know.
    fn best(all: &[wgpu::CooperativeMatrixProperties]) -> Option<Self> {
        let known = |p: &wgpu::CooperativeMatrixProperties| {
            let square = p.m_size == p.n_size && p.n_size == p.k_size && [8, 16].contains(&p.m_size);
            let f16 = p.ab_type == CooperativeScalarType::F16;
            let scalar = f16 || (p.ab_type == CooperativeScalarType::F32 && p.m_size == 8);
            let fits = square && scalar && p.cr_type == CooperativeScalarType::F32;
            fits.then_some(Self { size: p.m_size, f16 })
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
        assert_eq!(Coop::best(&apple), Some(Coop { size: 8, f16: true }));
        assert_eq!(Coop::best(&apple[..2]), Some(Coop { size: 8, f16: false }));
        let nvidia =
            [matrices([16, 8, 16], F16, F32), matrices([16; 3], I32, I32), matrices([16; 3], F16, F32)];
        assert_eq!(Coop::best(&nvidia), Some(Coop { size: 16, f16: true }));
        assert_eq!(Coop::best(&nvidia[..2]), None);
    }
}
