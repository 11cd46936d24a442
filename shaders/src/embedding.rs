//! The rows a decoder starts from: embeddings of tokens, with the image's rows among them.

use bytemuck::Pod;
use half::bf16;
use strix_engine::{Graph, Resident, ResidentBytes, Tensor};

use crate::Variants as _;
use crate::dispatch::dispatch;
use crate::generated::variants;

pub use crate::generated::embedding::{KERNEL, Params, Variants};

/// Some rows of an embedding table on the device.
#[derive(Clone, Debug)]
pub enum Table {
    /// `[count, dim]`.
    F32(Resident<f32, 2>),
    /// `[count, ceil(dim / 2)]`: two bf16 a word, the earlier in the lower half, rows in whole words.
    Bf16(Resident<u32, 2>),
}

/// The rows `first..first + count` of an embedding table, in a buffer of their own.
#[derive(Clone, Debug)]
pub struct EmbeddingStrip {
    /// The rows.
    pub table: Table,
    /// Token of the first of them.
    pub first: u32,
    /// Number of tokens.
    pub count: u32,
}

impl EmbeddingStrip {
    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        match &self.table {
            Table::F32(table) => table.bytes(),
            Table::Bf16(table) => table.bytes(),
        }
    }

    /// The rows without their type.
    pub fn untyped(&self) -> ResidentBytes {
        match &self.table {
            Table::F32(table) => table.untyped(),
            Table::Bf16(table) => table.untyped(),
        }
    }

    /// `(first, count)` of the fewest parts of equal size (the last may be smaller) that each fit a binding.
    ///
    /// # Panics
    ///
    /// If a row is larger than a binding.
    pub fn split(rows: u32, bytes_per_row: u64, max_binding_bytes: u64) -> Vec<(u32, u32)> {
        assert!(bytes_per_row <= max_binding_bytes, "a row of {bytes_per_row} bytes fits no binding");
        let most = u32::try_from(max_binding_bytes / bytes_per_row.max(1)).unwrap_or(u32::MAX);
        let step = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
        (0..rows).step_by(step as usize).map(|first| (first, step.min(rows - first))).collect()
    }
}

/// Rows of images among those of a run.
#[derive(Clone, Copy, Debug)]
pub struct Visual {
    /// `[rows]`: 0 text, 1 image.
    pub modality: Tensor<u32, 1>,
    /// `[image rows, dim]`: encoded images, of which the run takes some rows.
    pub rows: Tensor<f32, 2>,
}

/// `x[r] = table[tokens[r]]` where the modality is 0 (text), `visual.rows[tokens[r]]` where it is 1 (image); without
/// `visual` all is text.
///
/// Ye et al. 2023, section 3.1. One dispatch a part. A row of text whose token is in no part is not written and holds
/// anything, and so does an image's row that is not among those of `visual`: the caller checks them.
///
/// | name              | shape         | dtype       |
/// |-------------------|---------------|-------------|
/// | `parts`           | `[vocab, dim]`| f32 or bf16 |
/// | `tokens`          | `[rows]`      | u32         |
/// | `visual.modality` | `[rows]`      | u32         |
/// | `visual.rows`     | `[image rows, dim]` | f32   |
/// | result            | `[rows, dim]` | f32         |
///
/// # Panics
///
/// If there is no part, or a shape does not fit the others.
pub fn embedding(
    g: &mut Graph,
    name: &str,
    parts: &[EmbeddingStrip],
    tokens: Tensor<u32, 1>,
    visual: Option<Visual>,
    dim: u32,
) -> Tensor<f32, 2> {
    let [rows] = tokens.shape();
    assert!(!parts.is_empty(), "embedding: no parts");
    if let Some(Visual { modality, rows: visual }) = visual {
        assert_eq!(modality.shape(), [rows], "embedding: modality against tokens");
        assert_eq!(visual.shape()[1], dim, "embedding: visual against the table");
    }

    let y = g.activation(name, [rows, dim]);
    for (i, part) in parts.iter().enumerate() {
        let params = Params { rows, dim, first: part.first, count: part.count, images: u32::from(i == 0) };
        let images = visual.is_some();
        let grid = |table| Variants { table, images }.over([dim.div_ceil(512), rows, 1]);
        let (modality, visual) = (visual.map(|v| v.modality), visual.map(|v| v.rows));
        match &part.table {
            Table::F32(table) => {
                assert_eq!(table.shape(), [part.count, dim], "embedding: part {i}");
                let (table, grid) = (g.bind(table), grid(variants::Table::F32));
                dispatch!(g, grid, params, [table, tokens, modality, visual => y], reference::<f32>);
            }
            Table::Bf16(table) => {
                assert_eq!(table.shape(), [part.count, dim.div_ceil(2)], "embedding: part {i}");
                let (table, grid) = (g.bind(table), grid(variants::Table::Bf16));
                dispatch!(g, grid, params, [table, tokens, modality, visual => y], reference::<bf16>);
            }
        }
    }
    y
}

/// What a table holds.
pub trait Stored: Pod {
    /// Elements of a row of `dim` as it is stored.
    fn row(dim: usize) -> usize;
    /// Its value.
    fn value(self) -> f32;
}

impl Stored for f32 {
    fn row(dim: usize) -> usize {
        dim
    }

    fn value(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    fn row(dim: usize) -> usize {
        dim.next_multiple_of(2)
    }

    fn value(self) -> f32 {
        self.to_f32()
    }
}

/// [`embedding`] of one part in the plainest code that is right; where all is text there is no modality.
pub fn reference<T: Stored>(
    p: &Params,
    part: &[T],
    tokens: &[u32],
    modality: &[u32],
    visual: &[f32],
    y: &mut [f32],
) {
    let (dim, stored) = (p.dim as usize, T::row(p.dim as usize));
    for row in 0..p.rows as usize {
        let y = &mut y[row * dim..][..dim];
        if modality.get(row) == Some(&1) {
            if p.images == 1 {
                y.copy_from_slice(&visual[tokens[row] as usize * dim..][..dim]);
            }
        } else if (p.first..p.first + p.count).contains(&tokens[row]) {
            let values = &part[(tokens[row] - p.first) as usize * stored..][..dim];
            y.iter_mut().zip(values).for_each(|(y, value)| *y = value.value());
        }
    }
}
