//! Cosines and sines of the rotary positions.

use strix_engine::Resident;

/// Cosines and sines of every position.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// `[positions, head_dim]`: in each row the cosines of half a head, then the sines.
    pub cos_sin: Resident<f32, 2>,
}

impl RopeTables {
    /// From cosines and sines, `[positions, head_dim / 2]` each.
    ///
    /// # Panics
    ///
    /// If one is not of that length.
    pub fn new(label: &str, positions: u32, head_dim: u32, cos: &[f32], sin: &[f32]) -> Self {
        let values = Self::values(head_dim, cos, sin);
        Self { cos_sin: Resident::from_slice(label, [positions, head_dim], &values) }
    }

    /// What [`RopeTables::cos_sin`] holds, from cosines and sines, `[positions, head_dim / 2]` each.
    pub fn values(head_dim: u32, cos: &[f32], sin: &[f32]) -> Vec<f32> {
        let half = head_dim as usize / 2;
        let rows = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        rows.flat_map(|(cos, sin)| cos.iter().chain(sin).copied()).collect()
    }
}
