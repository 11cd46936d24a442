//! The layout in which the kernels stream weights, and the rounding into it.
//!
//! A matrix `[n, k]` is cut into blocks of 16 rows; a block is a run of chunks, each 16 bytes of every one of
//! its rows: `[set][block][chunk][16 rows][16 bytes]`. Adjacent lanes take adjacent rows, so that they read
//! adjacent 16 bytes, and a workgroup reads one contiguous range. A chunk holds 4 columns of f32, 8 of bf16 or
//! 16 of int8. Rows are padded with zeros to a multiple of 16, columns to a multiple of 32.
//!
//! A gated matrix (SwiGLU) alternates blocks of gate and of up, so that the lane that has the one has the other.

use half::bf16;
use rayon::prelude::*;
use strix_engine::{Gpu, Resident, Result};

/// Rows of a block.
pub const BLOCK: u32 = 16;
/// Columns that one step of the gemm takes; columns are padded to a multiple of it.
pub const STEP: u32 = 32;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// The upper half of 32-bit floats, rounded to nearest even.
    Bf16,
    /// Symmetric 8-bit integers, the largest magnitude of a scale's weights at 127.
    Int8 {
        /// Columns that share a scale, a multiple of 32; `None`: the whole row.
        group: Option<u32>,
    },
}

impl Format {
    /// Columns in 16 bytes.
    pub fn chunk(self) -> u32 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 8,
            Self::Int8 { .. } => 16,
        }
    }

    /// Value of the gemm's `weights` variant.
    pub(crate) fn variant(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 { group: None } => "int8",
            Self::Int8 { group: Some(_) } => "int8_group",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int8 { group: Some(group) } => write!(f, "int8 group {group}"),
            other => f.write_str(other.variant()),
        }
    }
}

/// Shape of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Output columns (rows of the matrix; of one half of it when gated).
    pub n: u32,
    /// Input columns.
    pub k: u32,
    /// Matrices of this shape, one a modality.
    pub sets: u32,
    /// Whether each output has a gate row and an up row.
    pub gated: bool,
    /// How weights are stored.
    pub format: Format,
}

impl Layout {
    /// Blocks of 16 packed rows in a set.
    pub fn blocks(&self) -> u32 {
        self.n.div_ceil(BLOCK) * if self.gated { 2 } else { 1 }
    }

    /// Packed rows in a set, padding included.
    pub fn packed_rows(&self) -> u32 {
        self.blocks() * BLOCK
    }

    /// 32-column steps of a row.
    pub fn steps(&self) -> u32 {
        self.k.div_ceil(STEP)
    }

    fn chunks(&self) -> u32 {
        self.steps() * STEP / self.format.chunk()
    }

    /// Words of a block.
    fn block_words(&self) -> u32 {
        self.chunks() * BLOCK * 4
    }

    /// Words of the packed weights.
    pub fn words(&self) -> u64 {
        u64::from(self.sets) * u64::from(self.blocks()) * u64::from(self.block_words())
    }

    /// Scales of a row.
    pub fn groups(&self) -> u32 {
        match self.format {
            Format::Int8 { group: Some(group) } => (self.steps() * STEP).div_ceil(group),
            Format::Int8 { group: None } => 1,
            Format::F32 | Format::Bf16 => 0,
        }
    }

    /// Scales: `[sets, groups, packed rows]`.
    pub fn scales(&self) -> u32 {
        self.sets * self.groups() * self.packed_rows()
    }

    /// Bytes on the device, scales included, bias not.
    pub fn bytes(&self) -> u64 {
        self.words() * 4 + u64::from(self.scales()) * 4
    }

    /// Where packed row `p` comes from: 0 for gate (or the matrix itself), 1 for up, and the row there.
    pub fn source(&self, p: u32) -> (u32, u32) {
        match (self.gated, p / BLOCK, p % BLOCK) {
            (true, block, row) => (block % 2, block / 2 * BLOCK + row),
            (false, ..) => (0, p),
        }
    }

    /// The same layout cut along `n` so that no part's weights exceed `max_bytes`: first column and layout of
    /// each part. Column counts are multiples of 16 but for the last.
    pub fn split(&self, max_bytes: u64) -> Vec<(u32, Layout)> {
        let per_block =
            u64::from(self.sets) * u64::from(self.block_words()) * 4 * if self.gated { 2 } else { 1 };
        let columns =
            u32::try_from(max_bytes / per_block).unwrap_or(u32::MAX / BLOCK).clamp(1, u32::MAX / BLOCK)
                * BLOCK;
        let part = |first| (first, Layout { n: columns.min(self.n - first), ..*self });
        (0..self.n).step_by(columns as usize).map(part).collect()
    }
}

/// A packed matrix on its way to the device.
#[derive(Debug)]
pub struct Packed {
    /// The weights.
    pub words: Vec<u32>,
    /// Their scales, `[sets, groups, packed rows]`; empty for floats.
    pub scales: Vec<f32>,
}

/// Packs a matrix. `fill(set, half, row, out)` writes row `row` (k elements) of set `set`; `half` is 0, or 1
/// for the up half of a gated matrix.
pub fn pack(layout: &Layout, fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync) -> Packed {
    let mut words = vec![0; layout.words() as usize];
    let mut scales = vec![0.0; layout.scales() as usize];
    let padded = (layout.steps() * STEP) as usize;
    let packed_rows = layout.packed_rows();
    // One task a block: its words are contiguous; its scales are not, so they come back as values.
    let block_scales: Vec<Vec<f32>> = words
        .par_chunks_mut(layout.block_words() as usize)
        .enumerate()
        .map(|(index, block)| {
            let (set, first) = (index as u32 / layout.blocks(), index as u32 % layout.blocks() * BLOCK);
            let mut row = vec![0.0; padded];
            let mut scales = vec![];
            for r in 0..BLOCK {
                let (half, source) = layout.source(first + r);
                row.fill(0.0);
                if source < layout.n {
                    fill(set, half, source, &mut row[..layout.k as usize]);
                }
                scales.extend(pack_row(layout, &row, r, block));
            }
            scales
        })
        .collect();
    let groups = layout.groups() as usize;
    for (index, block) in block_scales.iter().enumerate() {
        let (set, first) =
            (index / layout.blocks() as usize, index % layout.blocks() as usize * BLOCK as usize);
        for (i, &scale) in block.iter().enumerate() {
            let (r, group) = (i / groups, i % groups);
            scales[(set * groups + group) * packed_rows as usize + first + r] = scale;
        }
    }
    Packed { words, scales }
}

/// Rounds one row into its block; returns its scales.
fn pack_row(layout: &Layout, row: &[f32], r: u32, block: &mut [u32]) -> Vec<f32> {
    let mut scales = vec![];
    let columns = layout.format.chunk() as usize;
    let at = |chunk: usize, word: usize| (chunk * BLOCK as usize + r as usize) * 4 + word;
    match layout.format {
        Format::F32 => {
            for (chunk, values) in row.chunks_exact(columns).enumerate() {
                for (i, v) in values.iter().enumerate() {
                    block[at(chunk, i)] = v.to_bits();
                }
            }
        }
        Format::Bf16 => {
            for (chunk, values) in row.chunks_exact(columns).enumerate() {
                for (i, v) in values.chunks_exact(2).enumerate() {
                    let [low, high] =
                        [bf16::from_f32(v[0]), bf16::from_f32(v[1])].map(|v| u32::from(v.to_bits()));
                    block[at(chunk, i)] = low | high << 16;
                }
            }
        }
        Format::Int8 { group } => {
            let group = group.map_or(row.len(), |g| g as usize);
            for (g, values) in row.chunks(group).enumerate() {
                let (scale, rounded) = quantize(values);
                scales.push(scale);
                for (i, four) in rounded.chunks_exact(4).enumerate() {
                    let column = g * group + i * 4;
                    let bytes = [four[0], four[1], four[2], four[3]].map(|v| v as u8);
                    block[at(column / columns, column % columns / 4)] = u32::from_le_bytes(bytes);
                }
            }
        }
    }
    scales
}

/// Symmetric rounding to nearest of weights that share a scale: `w ≈ scale · q`, `scale = max|w| / 127`.
fn quantize(values: &[f32]) -> (f32, Vec<i8>) {
    let scale = values.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
    let round =
        |v: &f32| if scale > 0.0 { (v / scale).round_ties_even().clamp(-127.0, 127.0) as i8 } else { 0 };
    (scale, values.iter().map(round).collect())
}

/// The weights of one projection on the device: one matrix, or one a modality.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Name of the projection within its layer, e.g. `q_proj`; names its dispatches.
    pub name: String,
    /// Shape and format of the whole.
    pub layout: Layout,
    /// Its parts along `n`, each within the device's binding limit.
    pub parts: Vec<LinearPart>,
}

/// Some output columns of a [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearPart {
    /// First output column.
    pub first: u32,
    /// Shape and format of this part.
    pub layout: Layout,
    /// The packed weights.
    pub weight: Resident<u32, 1>,
    /// Their scales; one zero for floats.
    pub scale: Resident<f32, 1>,
    /// Bias of each packed row, `[sets, packed rows]`.
    pub bias: Option<Resident<f32, 1>>,
}

impl Linear {
    /// The shape alone, with no content, for planning.
    pub fn declare(name: &str, label: &str, layout: Layout, bias: bool, max_binding_bytes: u64) -> Self {
        let part = |(i, (first, layout)): (usize, (u32, Layout))| LinearPart {
            first,
            layout,
            weight: Resident::zeros(&format!("{label}.weight[{i}]"), [words_u32(&layout)]),
            scale: Resident::zeros(&format!("{label}.scale[{i}]"), [layout.scales().max(1)]),
            bias: bias.then(|| {
                Resident::zeros(&format!("{label}.bias[{i}]"), [layout.sets * layout.packed_rows()])
            }),
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(part).collect();
        Self { name: name.into(), layout, parts }
    }

    /// Packs and uploads a matrix, part by part. `fill` as for [`pack`]; `bias(set, half, row)` likewise.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn upload(
        gpu: &Gpu,
        name: &str,
        label: &str,
        layout: Layout,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<&dyn Fn(u32, u32, u32) -> f32>,
    ) -> Result<Self> {
        Self::upload_split(gpu, name, label, layout, gpu.target().max_binding_bytes, fill, bias)
    }

    /// The same in parts of at most `max_binding_bytes`.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn upload_split(
        gpu: &Gpu,
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<&dyn Fn(u32, u32, u32) -> f32>,
    ) -> Result<Self> {
        let mut parts = vec![];
        for (i, (first, layout)) in layout.split(max_binding_bytes).into_iter().enumerate() {
            let mut packed = pack(&layout, |set, half, row, out| fill(set, half, first + row, out));
            if packed.scales.is_empty() {
                packed.scales.push(0.0);
            }
            let bias: Option<Vec<f32>> = bias.map(|bias| {
                let rows = (0..layout.sets).flat_map(|set| (0..layout.packed_rows()).map(move |p| (set, p)));
                let value = |(set, p)| match layout.source(p) {
                    (half, row) if row < layout.n => bias(set, half, first + row),
                    _ => 0.0,
                };
                rows.map(value).collect()
            });
            let upload = |what: &str, data: &[f32]| {
                Resident::upload(gpu, &format!("{label}.{what}[{i}]"), [data.len() as u32], data)
            };
            parts.push(LinearPart {
                first,
                layout,
                weight: Resident::upload(
                    gpu,
                    &format!("{label}.weight[{i}]"),
                    [words_u32(&layout)],
                    &packed.words,
                )?,
                scale: upload("scale", &packed.scales)?,
                bias: bias.map(|b| upload("bias", &b)).transpose()?,
            });
        }
        Ok(Self { name: name.into(), layout, parts })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let part =
            |p: &LinearPart| p.weight.bytes() + p.scale.bytes() + p.bias.as_ref().map_or(0, Resident::bytes);
        self.parts.iter().map(part).sum()
    }
}

fn words_u32(layout: &Layout) -> u32 {
    u32::try_from(layout.words()).expect("a part is within a binding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_the_largest_at_127_and_ties_to_even() {
        let (scale, q) = quantize(&[-254.0, 1.0, 3.0, 126.0, 0.0]);
        assert_eq!(scale, 2.0);
        assert_eq!(q, [-127, 0, 2, 63, 0]);
    }

    #[test]
    fn a_part_never_exceeds_the_limit_and_parts_cover_all_columns() {
        for gated in [false, true] {
            let layout = Layout { n: 1000, k: 100, sets: 2, gated, format: Format::Bf16 };
            for limit in [1, 20_000, 100_000, u64::MAX] {
                let parts = layout.split(limit);
                assert_eq!(parts.iter().map(|(_, p)| p.n).sum::<u32>(), 1000);
                let smallest = Layout { n: 16, ..layout }.words() * 4;
                assert!(parts.iter().all(|(_, p)| p.words() * 4 <= limit.max(smallest)), "{limit}");
            }
        }
    }
}
