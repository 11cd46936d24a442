//! The layout in which the kernels stream weights, and the rounding into it.
//!
//! A matrix `[n, k]` is cut into blocks of 16 rows; a block is a run of chunks, each 16 bytes of every one of
//! its rows: `[block][chunk][16 rows][16 bytes]`. Adjacent lanes take adjacent rows, so that they read
//! adjacent 16 bytes, and a workgroup reads one contiguous range. A chunk holds 4 columns of f32, 8 of bf16 or
//! 16 of int8. Rows are padded with zeros to a multiple of 16, columns to a multiple of 32. Scales are
//! `[block][group][16 rows]`, biases `[block][16 rows]`.
//!
//! Of several weight sets each block is followed by the same rows of the other sets, so that any run of output
//! columns, all its sets included, is one contiguous range: a matrix is packed, written to a file, mapped and
//! split over bindings piece by piece. The first blocks may be shared by all sets, and are there once.
//!
//! A gated matrix (SwiGLU) alternates blocks of gate and of up, so that the lane that has the one has the other.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;
use strix_engine::{Gpu, HostBytes, Resident, ResidentBytes, Result};

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
    /// First output columns that the sets have in common, a multiple of 16; they are held once.
    pub shared: u32,
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

    /// Value of the gemm's `x` variant: whether rows of x begin at multiples of 4 elements.
    pub(crate) fn x_variant(&self) -> &'static str {
        if self.k.is_multiple_of(4) { "vec4" } else { "scalar" }
    }

    fn chunks(&self) -> u32 {
        self.steps() * STEP / self.format.chunk()
    }

    /// Words of a block of one set.
    fn block_words(&self) -> u32 {
        self.chunks() * BLOCK * 4
    }

    /// Blocks that all sets share.
    pub fn shared_blocks(&self) -> u32 {
        self.shared / BLOCK
    }

    /// Place of block `block` of a set among those of all sets; of `blocks()`, how many there are.
    pub fn place_of(&self, block: u32, set: u32) -> u32 {
        match block.checked_sub(self.shared_blocks()) {
            Some(own) => self.shared_blocks() + own * self.sets + set,
            None => block,
        }
    }

    /// Block and set at a place: the inverse of [`Layout::place_of`].
    fn at_place(&self, place: u32) -> (u32, u32) {
        match place.checked_sub(self.shared_blocks()) {
            Some(own) => (self.shared_blocks() + own / self.sets, own % self.sets),
            None => (place, 0),
        }
    }

    /// Blocks of all sets.
    pub fn places(&self) -> u32 {
        self.place_of(self.blocks(), 0)
    }

    /// Sizes of the packed weights: blocks of all sets, chunks, rows, elements of 16 bytes.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.places(), self.chunks(), BLOCK, self.format.chunk()].map(|size| size as usize)
    }

    /// Sizes of their scales: blocks of all sets, groups, rows.
    pub fn scale_shape(&self) -> [usize; 3] {
        [self.places(), self.groups(), BLOCK].map(|size| size as usize)
    }

    /// Bytes of the packed weights of `columns` output columns (all of them, or a multiple of 16), and of
    /// their scales.
    pub fn bytes_of(&self, columns: u32) -> [u64; 2] {
        let part = Self { n: columns, shared: self.shared.min(columns), ..*self };
        [part.words() * 4, u64::from(part.scales()) * 4]
    }

    /// Words of the packed weights.
    pub fn words(&self) -> u64 {
        u64::from(self.places()) * u64::from(self.block_words())
    }

    /// The same layout of one set alone.
    fn of_one(&self) -> Self {
        Self { sets: 1, ..*self }
    }

    /// Scales of a row.
    pub fn groups(&self) -> u32 {
        match self.format {
            Format::Int8 { group: Some(group) } => (self.steps() * STEP).div_ceil(group),
            Format::Int8 { group: None } => 1,
            Format::F32 | Format::Bf16 => 0,
        }
    }

    /// Scales: `[blocks of all sets, groups, 16]`.
    pub fn scales(&self) -> u32 {
        self.places() * self.groups() * BLOCK
    }

    /// Bytes on the device, scales included, bias not.
    pub fn bytes(&self) -> u64 {
        self.words() * 4 + u64::from(self.scales()) * 4
    }

    /// Packed weights that lie on the host. Rows of text need the first set alone.
    fn on_host(&self, label: &str, words: HostBytes) -> Resident<u32, 1> {
        let block = self.block_words() as usize * 4;
        let shared = block * self.shared_blocks() as usize;
        Resident::alternating(label, [words_u32(self)], words, shared, block, self.sets as usize)
            .with_texels()
    }

    /// Bytes that rows of one modality read of it.
    pub fn set_bytes(&self) -> u64 {
        self.of_one().bytes()
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
        let per_block = u64::from(self.block_words()) * 4 * if self.gated { 2 } else { 1 };
        let fit = u32::try_from(max_bytes / per_block).unwrap_or(u32::MAX / BLOCK).min(u32::MAX / BLOCK);
        let (mut parts, mut first) = (vec![], 0);
        while first < self.n {
            let shared = self.shared.saturating_sub(first);
            let own = fit.saturating_sub(shared / BLOCK) / self.sets;
            let blocks = (fit.min(shared / BLOCK) + own).max(1);
            let n = (self.n - first).min(blocks.saturating_mul(BLOCK));
            parts.push((first, Layout { n, shared: shared.min(n), ..*self }));
            first += n;
        }
        parts
    }
}

/// A packed matrix, or some blocks of one.
#[derive(Debug)]
pub struct Packed {
    /// The weights.
    pub words: Vec<u32>,
    /// Their scales, `[blocks of all sets, groups, 16]`; empty for floats.
    pub scales: Vec<f32>,
}

/// Packs a matrix. `fill(set, half, row, out)` writes row `row` (k elements) of set `set`, of shared rows of set 0;
/// `half` is 0, or 1 for the up half of a gated matrix.
pub fn pack(layout: &Layout, fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync) -> Packed {
    pack_blocks(layout, 0..layout.blocks(), fill)
}

/// Packs some blocks of a matrix: what follows each other in [`pack`]'s result follows each other here, so
/// that a large matrix is packed a piece at a time.
///
/// # Panics
///
/// If there are no such blocks.
pub fn pack_blocks(
    layout: &Layout,
    blocks: Range<u32>,
    fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
) -> Packed {
    assert!(blocks.end <= layout.blocks(), "blocks {blocks:?} of {layout:?}");
    let places = layout.place_of(blocks.start, 0)..layout.place_of(blocks.end, 0);
    let count = places.len();
    let block_scales = (layout.groups() * BLOCK) as usize;
    let mut words = vec![0; count * layout.block_words() as usize];
    let mut scales = vec![0.0; count * block_scales];
    let pack_one = |index: usize, words: &mut [u32], scales: &mut [f32]| {
        let (block, set) = layout.at_place(places.start + index as u32);
        let mut row = vec![0.0; (layout.steps() * STEP) as usize];
        for r in 0..BLOCK {
            let (half, source) = layout.source(block * BLOCK + r);
            row.fill(0.0);
            if source < layout.n {
                fill(set, half, source, &mut row[..layout.k as usize]);
            }
            pack_row(layout, &row, r as usize, words, scales);
        }
    };
    let words_by_block = words.par_chunks_exact_mut(layout.block_words() as usize).enumerate();
    if block_scales == 0 {
        words_by_block.for_each(|(index, words)| pack_one(index, words, &mut []));
    } else {
        let both = words_by_block.zip(scales.par_chunks_exact_mut(block_scales));
        both.for_each(|((index, words), scales)| pack_one(index, words, scales));
    }
    Packed { words, scales }
}

/// Rounds row `r` of a block into the block and its scales.
fn pack_row(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "without AVX2 a conversion waits for the rounding")]
        // SAFETY: the CPU has AVX2.
        return unsafe { pack_row_avx2(layout, row, r, words, scales) };
    }
    pack_row_plain(layout, row, r, words, scales);
}

/// The same code for vectors of 8: every operation is exact or rounds as it does elsewhere, so the bits are the same.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn pack_row_avx2(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    pack_row_plain(layout, row, r, words, scales);
}

#[inline(always)]
fn pack_row_plain(layout: &Layout, row: &[f32], r: usize, words: &mut [u32], scales: &mut [f32]) {
    const ROWS: usize = BLOCK as usize;
    /// Bytes of a chunk of one row, and from one chunk of it to the next.
    const CHUNK: usize = 16;
    const STRIDE: usize = CHUNK * ROWS;
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
    let chunks = bytes[r * CHUNK..].chunks_mut(STRIDE);
    match layout.format {
        Format::F32 => {
            for (chunk, values) in chunks.zip(row.as_chunks::<4>().0) {
                chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(values));
            }
        }
        Format::Bf16 => {
            for (chunk, values) in chunks.zip(row.as_chunks::<8>().0) {
                let rounded = values.map(|v| bf16::from_f32(v).to_bits());
                chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(&rounded));
            }
        }
        Format::Int8 { group } => {
            let group = group.map_or(row.len(), |g| g as usize);
            let mut chunks = chunks;
            for (g, values) in row.chunks(group).enumerate() {
                let scale = scale_of(values);
                scales[g * ROWS + r] = scale;
                for (values, chunk) in values.as_chunks::<16>().0.iter().zip(&mut chunks) {
                    chunk[..CHUNK].copy_from_slice(bytemuck::bytes_of(&quantize(values, scale)));
                }
            }
        }
    }
}

/// Scale of weights that share one: the largest magnitude at 127.
#[inline(always)]
fn scale_of(values: &[f32]) -> f32 {
    // Magnitudes are in the order of their bits, and a largest integer is found in any order, so by vectors.
    let largest = values.iter().fold(0, |most, v| most.max(v.to_bits() as i32 & i32::MAX));
    f32::from_bits(largest as u32) / 127.0
}

/// Symmetric rounding to nearest, ties to even: `w ≈ scale · q`.
#[inline(always)]
fn quantize(values: &[f32; 16], scale: f32) -> [i8; 16] {
    // Adding 1.5 · 2^23 rounds to an integer, ties to even, whose two's complement is the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    if scale == 0.0 {
        return [0; 16];
    }
    values.map(|v| ((v / scale).clamp(-127.0, 127.0) + ROUND).to_bits() as i8)
}

/// Bias of an output: `bias(set, half, row)`.
pub type Bias<'a> = &'a dyn Fn(u32, u32, u32) -> f32;

/// Where a matrix goes when it has been packed.
#[derive(Clone, Copy, Debug)]
pub enum Contents<'a> {
    /// To the device, at once.
    Upload(&'a Gpu),
    /// It stays on the host until a program uses it.
    OnHost,
}

/// What a projection makes of the rows it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// Nothing.
    #[default]
    F32,
    /// Each row becomes multiples of a 127th of its largest magnitude, where the weights are int8: sums of products are
    /// then exact, and what is lost is lost in the rounding.
    Int8,
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
    /// What becomes of the rows it is given; of no effect where the weights are not int8.
    pub activations: Activations,
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
    /// Bias of each packed row, `[blocks of all sets, 16]`.
    pub bias: Option<Resident<f32, 1>>,
}

impl Linear {
    /// The same projection of rows that are rounded so.
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// Whether its rows are rounded.
    pub(crate) fn rounds(&self) -> bool {
        self.activations == Activations::Int8 && matches!(self.layout.format, Format::Int8 { .. })
    }

    /// The shape alone, with no content, for planning.
    pub fn declare(name: &str, label: &str, layout: Layout, bias: bool, max_binding_bytes: u64) -> Self {
        let part = |(i, (first, layout)): (usize, (u32, Layout))| LinearPart {
            first,
            layout,
            weight: Resident::zeros(&format!("{label}.weight[{i}]"), [words_u32(&layout)]).with_texels(),
            scale: Resident::zeros(&format!("{label}.scale[{i}]"), [layout.scales().max(1)]),
            bias: bias.then(|| Resident::zeros(&format!("{label}.bias[{i}]"), [layout.places() * BLOCK])),
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(part).collect();
        Self { name: name.into(), layout, parts, activations: Activations::F32 }
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
        bias: Option<Bias<'_>>,
    ) -> Result<Self> {
        let limit = gpu.target().max_binding_bytes;
        Self::pack(Contents::Upload(gpu), name, label, layout, limit, fill, bias)
    }

    /// The same in parts of at most `max_binding_bytes`, each to where `contents` says.
    ///
    /// # Errors
    ///
    /// If the device has no room for it.
    pub fn pack(
        contents: Contents<'_>,
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
        bias: Option<Bias<'_>>,
    ) -> Result<Self> {
        let mut parts = vec![];
        for (i, (first, layout)) in layout.split(max_binding_bytes).into_iter().enumerate() {
            let mut packed = pack(&layout, |set, half, row, out| fill(set, half, first + row, out));
            if packed.scales.is_empty() {
                packed.scales.push(0.0);
            }
            let labels = ["weight", "scale"].map(|what| format!("{label}.{what}[{i}]"));
            let shapes = [[packed.words.len() as u32], [packed.scales.len() as u32]];
            let (weight, scale) = match contents {
                Contents::Upload(gpu) => (
                    Resident::zeros(&labels[0], shapes[0]).with_texels().filled(gpu, &packed.words)?,
                    Resident::upload(gpu, &labels[1], shapes[1], &packed.scales)?,
                ),
                Contents::OnHost => (
                    layout.on_host(&labels[0], HostBytes::from_vec(packed.words)),
                    Resident::from_host(&labels[1], shapes[1], HostBytes::from_vec(packed.scales)),
                ),
            };
            parts.push(LinearPart {
                first,
                layout,
                weight,
                scale,
                bias: bias.map(|b| pack_bias(b, label, i, first, layout)),
            });
        }
        Ok(Self { name: name.into(), layout, parts, activations: Activations::F32 })
    }

    /// A matrix that was packed before: `weight` is all of [`pack`]'s words and `scale` all of its scales. Parts
    /// are ranges of them; nothing is copied before they come to the device.
    ///
    /// # Panics
    ///
    /// If they are not as long as `layout` says.
    pub fn from_host(
        name: &str,
        label: &str,
        layout: Layout,
        max_binding_bytes: u64,
        weight: &HostBytes,
        scale: Option<&HostBytes>,
        bias: Option<Bias<'_>>,
    ) -> Self {
        let part = |(i, (first, part)): (usize, (u32, Layout))| {
            let [before, now] = [layout.bytes_of(first), part.bytes_of(part.n)];
            let range = |what: usize| before[what] as usize..(before[what] + now[what]) as usize;
            let words = part.on_host(&format!("{label}.weight[{i}]"), weight.slice(range(0)));
            let label_scale = format!("{label}.scale[{i}]");
            let scale = match scale {
                Some(scale) => Resident::from_host(&label_scale, [part.scales()], scale.slice(range(1))),
                None => Resident::from_slice(&label_scale, [1], &[0.0]),
            };
            LinearPart {
                first,
                layout: part,
                weight: words,
                scale,
                bias: bias.map(|b| pack_bias(b, label, i, first, part)),
            }
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(part).collect();
        Self { name: name.into(), layout, parts, activations: Activations::F32 }
    }

    /// Bytes that a row of text reads: the first set's, where there are several.
    pub fn text_bytes(&self) -> u64 {
        let others = |p: &LinearPart| (p.layout.words() - p.layout.of_one().words()) * 4;
        self.bytes() - self.parts.iter().map(others).sum::<u64>()
    }

    /// Its tensors.
    pub fn residents(&self) -> impl Iterator<Item = ResidentBytes> {
        self.parts.iter().flat_map(|part| {
            let bias = part.bias.as_ref().map(Resident::untyped);
            [part.weight.untyped(), part.scale.untyped()].into_iter().chain(bias)
        })
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let part =
            |p: &LinearPart| p.weight.bytes() + p.scale.bytes() + p.bias.as_ref().map_or(0, Resident::bytes);
        self.parts.iter().map(part).sum()
    }
}

/// Biases of a part whose first output column is `first`.
fn pack_bias(bias: Bias<'_>, label: &str, part: usize, first: u32, layout: Layout) -> Resident<f32, 1> {
    let value = |i: u32| {
        let (block, set) = layout.at_place(i / BLOCK);
        match layout.source(block * BLOCK + i % BLOCK) {
            (half, row) if row < layout.n => bias(set, half, first + row),
            _ => 0.0,
        }
    };
    let values: Vec<f32> = (0..layout.places() * BLOCK).map(value).collect();
    Resident::from_slice(&format!("{label}.bias[{part}]"), [values.len() as u32], &values)
}

fn words_u32(layout: &Layout) -> u32 {
    u32::try_from(layout.words()).expect("a part is within a binding")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_the_largest_at_127_and_ties_to_even() {
        let mut values = [0.0; 16];
        values[..5].copy_from_slice(&[-254.0, 1.0, 3.0, 126.0, -5.0]);
        let scale = scale_of(&values);
        assert_eq!(scale, 2.0);
        assert_eq!(quantize(&values, scale)[..6], [-127, 0, 2, 63, -2, 0]);
        assert_eq!(quantize(&[0.0; 16], 0.0), [0; 16]);
    }

    #[test]
    fn every_cpu_packs_the_same_bits() {
        let row: Vec<f32> =
            (0..4096_u32).map(|i| (i.wrapping_mul(0x9e37_79b9) as i32) as f32 * 1e-11).collect();
        for format in
            [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }]
        {
            let layout = Layout { n: 16, k: 4096, sets: 1, shared: 0, gated: false, format };
            let pack = |pack_row: fn(&Layout, &[f32], usize, &mut [u32], &mut [f32])| {
                let mut words = vec![0; layout.words() as usize];
                let mut scales = vec![0.0; layout.scales() as usize];
                pack_row(&layout, &row, 3, &mut words, &mut scales);
                (words, scales)
            };
            assert!(pack(pack_row) == pack(pack_row_plain), "{format}");
        }
    }

    #[test]
    fn blocks_packed_one_by_one_are_the_whole() {
        for format in
            [Format::F32, Format::Bf16, Format::Int8 { group: None }, Format::Int8 { group: Some(32) }]
        {
            for (shared, gated) in [(0, true), (32, false), (80, false)] {
                let n = if gated { 40 } else { 90 };
                let layout = Layout { n, k: 70, sets: 2, shared, gated, format };
                let fill = |set: u32, half: u32, row: u32, out: &mut [f32]| {
                    for (i, v) in out.iter_mut().enumerate() {
                        *v = (set * 7 + half * 3 + row) as f32 - i as f32 * 0.37;
                    }
                };
                let whole = pack(&layout, fill);
                let parts: Vec<_> =
                    [0..1, 1..4, 4..6].map(|blocks| pack_blocks(&layout, blocks, fill)).into();
                assert_eq!((layout.blocks(), layout.places()), (6, 12 - shared / 16));
                assert_eq!(whole.words, parts.iter().flat_map(|p| p.words.clone()).collect::<Vec<_>>());
                assert_eq!(whole.scales, parts.iter().flat_map(|p| p.scales.clone()).collect::<Vec<_>>());
                let sizes = [
                    layout.weight_shape().iter().product::<usize>() * 16 / format.chunk() as usize,
                    whole.scales.len(),
                ];
                assert_eq!(sizes, [whole.words.len() * 4, layout.scale_shape().iter().product()]);
            }
        }
    }

    #[test]
    fn a_place_is_of_one_block_and_set() {
        for (shared, sets) in [(0, 1), (0, 2), (48, 2), (96, 2), (48, 1)] {
            let layout = Layout { n: 100, k: 32, sets, shared, gated: false, format: Format::F32 };
            for place in 0..layout.places() {
                let (block, set) = layout.at_place(place);
                assert_eq!(layout.place_of(block, set), place, "{layout:?}");
                assert!(block < layout.blocks() && set < sets, "{layout:?}: {block} {set}");
            }
            assert_eq!(layout.place_of(0, sets - 1), if shared > 0 { 0 } else { sets - 1 });
        }
    }

    #[test]
    fn a_part_never_exceeds_the_limit_and_parts_cover_all_columns() {
        for (gated, shared) in [(false, 0), (true, 0), (false, 400), (false, 992)] {
            let layout = Layout { n: 1000, k: 100, sets: 2, shared, gated, format: Format::Bf16 };
            for limit in [1, 20_000, 33_000, 100_000, u64::MAX] {
                let parts = layout.split(limit);
                assert_eq!(parts.iter().map(|(_, p)| p.n).sum::<u32>(), 1000);
                assert_eq!(parts.iter().map(|(_, p)| p.shared).sum::<u32>(), shared);
                let smallest = Layout { n: 16, shared: 0, ..layout }.words() * 4;
                assert!(parts.iter().all(|(_, p)| p.words() * 4 <= limit.max(smallest)), "{limit}");
                // Each begins where those before it end.
                let mut bytes = [0; 2];
                for (first, part) in &parts {
                    assert_eq!(layout.bytes_of(*first), bytes, "{limit}");
                    bytes[0] += part.words() * 4;
                }
                assert_eq!(bytes[0], layout.words() * 4);
            }
        }
    }
}
