//! The layout in which the kernels stream weights, and the rounding into it.
//!
//! A matrix `[n, k]` is cut into blocks of 16 rows; a block is a run of chunks, each 16 bytes of every one of
//! its rows: `[block][chunk][16 rows][16 bytes]`. Adjacent lanes take adjacent rows, so that they read
//! adjacent 16 bytes, and a workgroup reads one contiguous range. A chunk holds 4 columns of f32, 8 of bf16 or
//! 16 of int8. Rows are padded with zeros to a multiple of 16, columns to a multiple of 32. Scales are
//! `[block][16 rows]`, those of groups `[block][groups / 4][16 rows][4 groups]`, so that one load has four; biases are
//! `[block][16 rows]`.
//!
//! Blocks come first, so that any run of output columns is one contiguous range: a matrix is packed, written to a
//! file, mapped and split over bindings piece by piece. Of two weight sets the first is followed by the blocks of
//! the second; the first blocks may be shared by both, and are there once. So what text reads lies together.
//!
//! A gated matrix (SwiGLU) alternates blocks of gate and of up, so that the lane that has the one has the other.

use std::ops::Range;

use bytemuck::Pod;
use half::bf16;
use rayon::prelude::*;
use strix_engine::{Gpu, Graph, HostBytes, Resident, ResidentBytes, Result};

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
        /// Columns that share a scale, a power of two from 32 on; `None`: the whole row.
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

    /// Place of block `block` of a set among those of all sets.
    pub fn place_of(&self, block: u32, set: u32) -> u32 {
        let own = block >= self.shared_blocks();
        block + if own { set * (self.blocks() - self.shared_blocks()) } else { 0 }
    }

    /// Block and set at a place: the inverse of [`Layout::place_of`].
    pub fn at_place(&self, place: u32) -> (u32, u32) {
        match place.checked_sub(self.blocks()) {
            None => (place, 0),
            Some(after) => {
                let own = self.blocks() - self.shared_blocks();
                (self.shared_blocks() + after % own, 1 + after / own)
            }
        }
    }

    /// Blocks of all sets.
    pub fn places(&self) -> u32 {
        self.blocks() + (self.sets - 1) * (self.blocks() - self.shared_blocks())
    }

    /// Sizes of the packed weights: blocks of all sets, chunks, rows, elements of 16 bytes.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.places(), self.chunks(), BLOCK, self.format.chunk()].map(|size| size as usize)
    }

    /// Sizes of their scales: blocks of all sets, one, rows; of groups blocks, loads, rows, groups a load.
    pub fn scale_shape(&self) -> Vec<usize> {
        let load = self.groups_a_load();
        let mut shape = vec![self.places(), self.groups().div_ceil(load), BLOCK, load];
        shape.truncate(if load == 1 { 3 } else { 4 });
        shape.into_iter().map(|size| size as usize).collect()
    }

    /// Where the scale of a group of row `row` of the block at `place` is among all.
    pub(crate) fn scale_place(&self, place: usize, group: usize, row: usize) -> usize {
        let load = self.groups_a_load() as usize;
        place * self.block_scales() as usize + (group / load * BLOCK as usize + row) * load + group % load
    }

    /// Groups of a row whose scales are loaded together.
    fn groups_a_load(&self) -> u32 {
        if matches!(self.format, Format::Int8 { group: Some(_) }) { 4 } else { 1 }
    }

    /// Scales of a block of one set.
    fn block_scales(&self) -> u32 {
        self.groups().next_multiple_of(self.groups_a_load()) * BLOCK
    }

    /// Words of the packed weights.
    pub fn words(&self) -> u64 {
        u64::from(self.places()) * u64::from(self.block_words())
    }

    /// The same layout of one set alone.
    fn of_one(&self) -> Self {
        Self { sets: 1, shared: 0, ..*self }
    }

    /// Scales of a row.
    pub fn groups(&self) -> u32 {
        match self.format {
            Format::Int8 { group: Some(group) } => (self.steps() * STEP).div_ceil(group),
            Format::Int8 { group: None } => 1,
            Format::F32 | Format::Bf16 => 0,
        }
    }

    /// Numbers among its scales, padding included.
    pub fn scales(&self) -> u32 {
        self.places() * self.block_scales()
    }

    /// Bytes on the device, scales included, bias not.
    pub fn bytes(&self) -> u64 {
        self.words() * 4 + u64::from(self.scales()) * 4
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

    /// Parts whose weights do not exceed `max_bytes`: all of it; else the first set, then the blocks of the others,
    /// each cut along `n`. Column counts are multiples of 16 but for the last of a set.
    pub fn split(&self, max_bytes: u64) -> Vec<Part> {
        if self.words() * 4 <= max_bytes {
            return vec![Part { first: 0, place: 0, image: false, layout: *self }];
        }
        let halves = if self.gated { 2 } else { 1 };
        let per_block = u64::from(self.block_words()) * 4 * u64::from(halves);
        let columns =
            u32::try_from(max_bytes / per_block).unwrap_or(u32::MAX / BLOCK).clamp(1, u32::MAX / BLOCK)
                * BLOCK;
        let of_set = |set: u32| {
            let start = if set == 0 { 0 } else { self.shared };
            (start..self.n).step_by(columns as usize).map(move |first| Part {
                first,
                place: self.place_of(first / BLOCK * halves, set),
                image: set > 0,
                layout: Self { n: columns.min(self.n - first), ..self.of_one() },
            })
        };
        (0..self.sets).flat_map(of_set).collect()
    }
}

/// Some output columns of a matrix, within a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// First output column.
    pub first: u32,
    /// Place of its first block in the whole.
    place: u32,
    /// Whether it is the second set's, apart from the first: for image rows alone, whose columns the first set's
    /// part has written before.
    pub image: bool,
    /// Its shape.
    pub layout: Layout,
}

impl Part {
    /// The set and the row of the whole that are those of the part.
    fn source(&self, set: u32, row: u32) -> (u32, u32) {
        (if self.image { 1 } else { set }, self.first + row)
    }

    /// Blocks that rows of text read: the first ones.
    fn text_blocks(&self) -> u32 {
        if self.image { 0 } else { self.layout.blocks() }
    }

    /// Content of so many bytes a block that lies on the host, of which text needs the first blocks alone.
    fn on_host<T: Pod>(&self, label: &str, content: HostBytes, block_bytes: u32) -> Resident<T, 1> {
        let elements =
            u32::try_from(content.get().len() / size_of::<T>()).expect("a part is within a binding");
        Resident::with_first(label, [elements], content, self.text_blocks() as usize * block_bytes as usize)
    }

    fn weight_on_host(&self, label: &str, words: HostBytes) -> Resident<u32, 1> {
        self.on_host(label, words, self.layout.block_words() * 4).with_texels()
    }

    fn scale_on_host(&self, label: &str, scales: HostBytes) -> Resident<f32, 1> {
        self.on_host(label, scales, self.layout.block_scales() * 4)
    }
}

/// A packed matrix, or some blocks of one.
#[derive(Debug)]
pub struct Packed {
    /// The weights.
    pub words: Vec<u32>,
    /// Their scales, as [`Layout::scale_shape`] says; empty for floats.
    pub scales: Vec<f32>,
}

/// Packs a matrix. `fill(set, half, row, out)` writes row `row` (k elements) of set `set`, of shared rows of set 0;
/// `half` is 0, or 1 for the up half of a gated matrix.
pub fn pack(layout: &Layout, fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync) -> Packed {
    pack_blocks(layout, 0..layout.places(), fill)
}

/// Packs some blocks of a matrix, by their [places](Layout::place_of): what follows each other in [`pack`]'s result
/// follows each other here, so that a large matrix is packed a piece at a time.
///
/// # Panics
///
/// If there are no such blocks.
pub fn pack_blocks(
    layout: &Layout,
    places: Range<u32>,
    fill: impl Fn(u32, u32, u32, &mut [f32]) + Sync,
) -> Packed {
    assert!(places.end <= layout.places(), "blocks {places:?} of {layout:?}");
    let count = places.len();
    let block_scales = layout.block_scales() as usize;
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
                scales[layout.scale_place(0, g, r)] = scale;
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
    /// Its parts, each within the device's binding limit, in the order in which they are run.
    pub parts: Vec<LinearPart>,
    /// What becomes of the rows it is given; of no effect where the weights are not int8.
    pub activations: Activations,
}

/// Some output columns of a [`Linear`].
#[derive(Clone, Debug)]
pub struct LinearPart {
    /// Which, and their shape.
    pub part: Part,
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

    /// The parts that a graph reads: where no row is an image's, none needs what is theirs alone.
    pub(crate) fn parts_read<'a>(&'a self, g: &Graph) -> impl Iterator<Item = &'a LinearPart> + use<'a> {
        let skips = g.is_first_only();
        self.parts.iter().filter(move |p| !(p.part.image && skips))
    }

    /// The shape alone, with no content, for planning.
    pub fn declare(name: &str, label: &str, layout: Layout, bias: bool, max_binding_bytes: u64) -> Self {
        let declared = |(i, part @ Part { layout, .. }): (usize, Part)| LinearPart {
            part,
            weight: Resident::zeros(&format!("{label}.weight[{i}]"), [words_u32(&layout)]).with_texels(),
            scale: Resident::zeros(&format!("{label}.scale[{i}]"), [layout.scales().max(1)]),
            bias: bias.then(|| Resident::zeros(&format!("{label}.bias[{i}]"), [layout.places() * BLOCK])),
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(declared).collect();
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
        for (i, part) in layout.split(max_binding_bytes).into_iter().enumerate() {
            let mut packed = pack(&part.layout, |set, half, row, out| {
                let (set, row) = part.source(set, row);
                fill(set, half, row, out);
            });
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
                    part.weight_on_host(&labels[0], HostBytes::from_vec(packed.words)),
                    part.scale_on_host(&labels[1], HostBytes::from_vec(packed.scales)),
                ),
            };
            parts.push(LinearPart {
                part,
                weight,
                scale,
                bias: bias.map(|b| pack_bias(b, &format!("{label}.bias[{i}]"), &part)),
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
        let [block, block_scales] = [layout.block_words(), layout.block_scales()].map(|n| n as usize * 4);
        assert_eq!(weight.get().len(), layout.places() as usize * block, "{label}: bytes of {layout:?}");
        let mapped = |(i, part): (usize, Part)| {
            let (first, count) = (part.place as usize, part.layout.places() as usize);
            let words = weight.slice(first * block..(first + count) * block);
            let label_scale = format!("{label}.scale[{i}]");
            let scale = match scale {
                Some(scale) => {
                    let bytes = scale.slice(first * block_scales..(first + count) * block_scales);
                    part.scale_on_host(&label_scale, bytes)
                }
                None => Resident::from_slice(&label_scale, [1], &[0.0]),
            };
            LinearPart {
                part,
                weight: part.weight_on_host(&format!("{label}.weight[{i}]"), words),
                scale,
                bias: bias.map(|b| pack_bias(b, &format!("{label}.bias[{i}]"), &part)),
            }
        };
        let parts = layout.split(max_binding_bytes).into_iter().enumerate().map(mapped).collect();
        Self { name: name.into(), layout, parts, activations: Activations::F32 }
    }

    /// Bytes that a row of text reads: the first set's, where there are several.
    pub fn text_bytes(&self) -> u64 {
        let bytes = |p: &LinearPart| {
            let bias = if p.bias.is_some() { BLOCK } else { 0 };
            let layout = p.part.layout;
            u64::from(p.part.text_blocks())
                * u64::from(layout.block_words() + layout.block_scales() + bias)
                * 4
        };
        self.parts.iter().map(bytes).sum()
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
        self.parts.iter().map(LinearPart::bytes).sum()
    }
}

impl LinearPart {
    fn bytes(&self) -> u64 {
        self.weight.bytes() + self.scale.bytes() + self.bias.as_ref().map_or(0, Resident::bytes)
    }
}

/// Biases of a part.
fn pack_bias(bias: Bias<'_>, label: &str, part: &Part) -> Resident<f32, 1> {
    let layout = part.layout;
    let value = |i: u32| {
        let (block, set) = layout.at_place(i / BLOCK);
        match layout.source(block * BLOCK + i % BLOCK) {
            (half, row) if row < layout.n => {
                let (set, row) = part.source(set, row);
                bias(set, half, row)
            }
            _ => 0.0,
        }
    };
    let values: Vec<f32> = (0..layout.places() * BLOCK).map(value).collect();
    part.on_host(label, HostBytes::from_vec(values), BLOCK * 4)
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
                let ends = [0, 1, 5, layout.places()];
                let parts: Vec<_> =
                    ends.windows(2).map(|ends| pack_blocks(&layout, ends[0]..ends[1], fill)).collect();
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
            assert_eq!(layout.place_of(0, sets - 1), if shared > 0 { 0 } else { 7 * (sets - 1) });
        }
    }

    #[test]
    fn a_part_never_exceeds_the_limit_and_parts_cover_all_blocks_in_order() {
        for (gated, sets, shared) in [(false, 2, 0), (true, 1, 0), (false, 2, 400), (false, 2, 992)] {
            let layout = Layout { n: 1000, k: 100, sets, shared, gated, format: Format::Bf16 };
            for limit in [1, 20_000, 33_000, 200_000, u64::MAX] {
                let parts = layout.split(limit);
                let smallest = Layout { n: 16, ..layout.of_one() }.words() * 4;
                assert!(parts.iter().all(|p| p.layout.words() * 4 <= limit.max(smallest)), "{limit}");
                let mut place = 0;
                for part in &parts {
                    assert_eq!(part.place, place, "{limit}");
                    place += part.layout.places();
                }
                assert_eq!(place, layout.places());
                let columns =
                    |image| -> u32 { parts.iter().filter(|p| p.image == image).map(|p| p.layout.n).sum() };
                let apart = if sets == 2 && limit < layout.words() * 4 { 1000 - shared } else { 0 };
                assert_eq!([false, true].map(columns), [1000, apart], "{limit}");
            }
        }
    }
}
