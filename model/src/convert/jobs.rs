//! The work that a folder is made by: tensors read from a checkpoint, changed, and given out piece by piece.

use std::ops::Range;

use half::{bf16, f16};
use rayon::prelude::*;
use strix_shaders::packing::BLOCK;
use strix_shaders::unpacking::unpack_row;
use strix_shaders::{Format, Layout};

use super::shards::Tensor;
use crate::matrix::Matrix;
use crate::packed;
use crate::weights::{FileDtype, View, Weights};
use crate::{Error, Result};

/// Elements that are worked on at a time: 16 MiB of bf16. A few pieces are in memory at once.
const PIECE_ELEMENTS: usize = 1 << 23;

/// Elements of a piece that one thread takes.
const GRAIN_ELEMENTS: usize = 1 << 16;

/// Tensors that are made together and stay in one file.
pub(super) trait Job: Sync {
    /// Unique; the journal names it so.
    fn name(&self) -> &str;
    /// Tensors that it makes.
    fn tensors(&self) -> &[Tensor];
    /// Pieces it is made in.
    fn num_pieces(&self) -> usize;
    /// Tensors of the source that a piece reads, each with the range of its elements.
    fn parts(&self, piece: usize) -> Vec<(View<'_>, Range<usize>)>;
    /// Bytes of the source that a piece is made of.
    fn read_bytes(&self, piece: usize) -> u64 {
        let bytes = |(view, elements): &(View<'_>, Range<usize>)| elements.len() * view.dtype.bitsize() / 8;
        self.parts(piece).iter().map(bytes).sum::<usize>() as u64
    }
    /// The bytes that a piece adds to each tensor.
    fn make(&self, piece: usize) -> Result<Vec<Bytes>>;
}

/// Bytes in memory, as they were made.
#[derive(Debug)]
pub(super) enum Bytes {
    Words(Vec<u32>),
    Floats(Vec<f32>),
    Halves(Vec<bf16>),
    Raw(Vec<u8>),
}

impl Bytes {
    pub(super) fn get(&self) -> &[u8] {
        match self {
            Self::Words(words) => bytemuck::cast_slice(words),
            Self::Floats(floats) => bytemuck::cast_slice(floats),
            Self::Halves(halves) => bytemuck::cast_slice(halves),
            Self::Raw(bytes) => bytes,
        }
    }
}

/// Packs a projection.
pub(super) struct Pack<'a> {
    weights: &'a Weights,
    matrix: Matrix,
    tensors: Vec<Tensor>,
    blocks_per_piece: usize,
}

impl<'a> Pack<'a> {
    pub(super) fn new(weights: &'a Weights, matrix: Matrix) -> Self {
        let Layout { k, format, .. } = matrix.layout;
        let dtype = match format {
            Format::F32 => FileDtype::F32,
            Format::Bf16 => FileDtype::BF16,
            Format::Int8 { .. } => FileDtype::I8,
        };
        let shape = matrix.layout.weight_shape().to_vec();
        let mut tensors = vec![Tensor { name: packed::weight_name(&matrix.label), dtype, shape }];
        if matrix.layout.groups() > 0 {
            let shape = matrix.layout.scale_shape();
            tensors.push(Tensor { name: packed::scale_name(&matrix.label), dtype: FileDtype::F32, shape });
        }
        let block_elements = BLOCK as usize * k as usize;
        Self { weights, matrix, tensors, blocks_per_piece: (PIECE_ELEMENTS / block_elements).max(1) }
    }

    /// The blocks of a piece, among those of all sets.
    fn blocks(&self, piece: usize) -> Range<u32> {
        let first = piece * self.blocks_per_piece;
        let last = (first + self.blocks_per_piece).min(self.matrix.layout.num_blocks() as usize);
        first as u32..last as u32
    }
}

impl Job for Pack<'_> {
    fn name(&self) -> &str {
        &self.matrix.label
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn num_pieces(&self) -> usize {
        (self.matrix.layout.num_blocks() as usize).div_ceil(self.blocks_per_piece)
    }

    fn parts(&self, piece: usize) -> Vec<(View<'_>, Range<usize>)> {
        let layout = self.matrix.layout;
        let mut parts = vec![];
        for half in 0..if layout.gated { 2 } else { 1 } {
            for (i, set) in (0..layout.sets).zip(&self.matrix.modules) {
                // Blocks of a half follow each other in its rows.
                let blocks = self.blocks(piece).map(|index| layout.at_index(index));
                let rows = blocks.filter(|&(_, of)| of == i).map(|(block, _)| layout.source(block * BLOCK));
                let mut rows = rows.filter(|&(of, _)| of == half).map(|(_, row)| row as usize);
                let Some(first) = rows.next() else { continue };
                let end = (rows.next_back().unwrap_or(first) + BLOCK as usize).min(layout.n as usize);
                let mut above = 0;
                for module in &set[half as usize] {
                    let Ok(view) = self.weights.view(&format!("{module}.weight")) else { continue };
                    let (from, to) = (first.max(above), end.min(above + view.num_rows()));
                    if from < to {
                        let k = layout.k as usize;
                        parts.push((view, (from - above) * k..(to - above) * k));
                    }
                    above += view.num_rows();
                }
            }
        }
        parts
    }

    fn make(&self, piece: usize) -> Result<Vec<Bytes>> {
        let packed = self.matrix.pack(self.weights, self.blocks(piece), &|| true)?;
        let mut bytes = vec![Bytes::Words(packed.words)];
        if self.tensors.len() > 1 {
            bytes.push(Bytes::Floats(packed.scales));
        }
        Ok(bytes)
    }
}

/// Copies a tensor, by rows as it is, into another dtype or the same.
pub(super) struct Copy<'a> {
    view: View<'a>,
    tensors: [Tensor; 1],
}

impl<'a> Copy<'a> {
    /// `dtype` is F32, F16 or BF16; F16 only of a tensor that is F16.
    pub(super) fn new(view: View<'a>, dtype: FileDtype) -> Self {
        Self { view, tensors: [Tensor { name: view.name.into(), dtype, shape: view.shape.into() }] }
    }

    fn elements(&self, piece: usize) -> Range<usize> {
        let first = piece * PIECE_ELEMENTS;
        first..(first + PIECE_ELEMENTS).min(self.view.num_elements())
    }
}

impl Job for Copy<'_> {
    fn name(&self) -> &str {
        self.view.name
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn num_pieces(&self) -> usize {
        self.view.num_elements().div_ceil(PIECE_ELEMENTS).max(1)
    }

    fn parts(&self, piece: usize) -> Vec<(View<'_>, Range<usize>)> {
        vec![(self.view, self.elements(piece))]
    }

    fn make(&self, piece: usize) -> Result<Vec<Bytes>> {
        let range = self.elements(piece);
        if self.tensors[0].dtype == self.view.dtype {
            return Ok(vec![Bytes::Raw(raw(&self.view, range)?)]);
        }
        let read = |from: usize, values: &mut [f32]| self.view.read_finite(range.start + from, values);
        Ok(vec![encode(self.tensors[0].dtype, range.len(), GRAIN_ELEMENTS, read)?])
    }
}

/// Elements of a tensor as they are.
fn raw(view: &View<'_>, range: Range<usize>) -> Result<Vec<u8>> {
    let size = view.dtype.bitsize() / 8;
    let mut bytes = vec![0; range.len() * size];
    bytes.par_chunks_mut(GRAIN_ELEMENTS * size).enumerate().try_for_each(|(run, out)| {
        let first = range.start + run * GRAIN_ELEMENTS;
        view.read_bytes(first, out)?;
        let largest16 = || out.as_chunks().0.iter().fold(0, |m, &b| (u16::from_le_bytes(b) & 0x7fff).max(m));
        let finite = match view.dtype {
            FileDtype::BF16 => largest16() < bf16::INFINITY.to_bits(),
            FileDtype::F16 => largest16() < f16::INFINITY.to_bits(),
            _ => false,
        };
        if finite {
            return Ok(());
        }
        let mut values = vec![0.0; out.len() / size];
        view.read_finite(first, &mut values)
    })?;
    Ok(bytes)
}

/// Elements that `read(first, out)` gives, as bytes of `dtype`. Threads take runs of `grain` elements.
fn encode(
    dtype: FileDtype,
    len: usize,
    grain: usize,
    read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
) -> Result<Bytes> {
    let each = |(run, out): (usize, &mut [f32])| read(run * grain, out);
    match dtype {
        FileDtype::F32 => {
            let mut floats = vec![0.0; len];
            floats.par_chunks_mut(grain).enumerate().try_for_each(each)?;
            Ok(Bytes::Floats(floats))
        }
        FileDtype::BF16 => {
            let mut halves = vec![bf16::ZERO; len];
            halves.par_chunks_mut(grain).enumerate().try_for_each(|(run, out)| {
                let mut values = vec![0.0; out.len()];
                each((run, &mut values))?;
                out.iter_mut().zip(values).for_each(|(out, value)| *out = bf16::from_f32(value));
                Ok::<_, Error>(())
            })?;
            Ok(Bytes::Halves(halves))
        }
        other => Err(Error::Option(format!("tensors are not written as {other}: F32 and BF16 are"))),
    }
}

/// Takes one checkpoint tensor out of a packed projection.
pub(super) struct Unpack<'a> {
    pub tensors: [Tensor; 1],
    pub weight: View<'a>,
    pub scales: Vec<f32>,
    pub layout: Layout,
    /// Set and half of the projection, and the row of it that is this tensor's first.
    pub set: u32,
    pub half: u32,
    pub first: u32,
}

impl Unpack<'_> {
    fn rows_per_piece(&self) -> usize {
        // Pieces are of whole blocks, so that a block is read once.
        (PIECE_ELEMENTS / self.layout.k as usize).next_multiple_of(BLOCK as usize)
    }

    fn rows(&self, piece: usize) -> Range<usize> {
        let elements: usize = self.tensors[0].shape.iter().product();
        let first = piece * self.rows_per_piece();
        first..(first + self.rows_per_piece()).min(elements / self.layout.k as usize)
    }
}

impl Job for Unpack<'_> {
    fn name(&self) -> &str {
        &self.tensors[0].name
    }

    fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    fn num_pieces(&self) -> usize {
        let elements: usize = self.tensors[0].shape.iter().product();
        (elements / self.layout.k as usize).div_ceil(self.rows_per_piece())
    }

    fn parts(&self, piece: usize) -> Vec<(View<'_>, Range<usize>)> {
        let halves = if self.layout.gated { 2 } else { 1 };
        let block = |row: usize| (row as u32 + self.first) / BLOCK * halves;
        let rows = self.rows(piece);
        let size = self.weight.num_elements() / self.layout.num_blocks() as usize;
        let index = |row| self.layout.index_of(block(row), self.set) as usize;
        vec![(self.weight, index(rows.start) * size..(index(rows.end - 1) + halves as usize) * size)]
    }

    fn read_bytes(&self, piece: usize) -> u64 {
        // Only this tensor's rows of the blocks count, so that tensors that share blocks do not count them twice.
        (self.rows(piece).len() * self.layout.k as usize * self.weight.dtype.bitsize() / 8) as u64
    }

    fn make(&self, piece: usize) -> Result<Vec<Bytes>> {
        let missing = || Error::Tensor {
            name: self.weight.name.into(),
            reason: "is not in one piece in its file".into(),
        };
        let bytes = self.weight.contiguous().ok_or_else(missing)?;
        let (rows, k) = (self.rows(piece), self.layout.k as usize);
        let read = |from: usize, values: &mut [f32]| {
            for (i, row) in values.chunks_exact_mut(k).enumerate() {
                let source = self.first as usize + rows.start + from / k + i;
                unpack_row(&self.layout, bytes, &self.scales, self.set, self.half, source as u32, row);
            }
            Ok(())
        };
        let grain = (GRAIN_ELEMENTS / k).next_multiple_of(BLOCK as usize).max(BLOCK as usize) * k;
        Ok(vec![encode(self.tensors[0].dtype, rows.len() * k, grain, read)?])
    }
}
