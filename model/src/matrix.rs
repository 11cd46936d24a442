//! Matrices as kernels stream them, packed from the tensors of a checkpoint: what loading and converting share.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use strix_shaders::Layout;
use strix_shaders::packing::{Packed, pack_blocks};

use crate::weights::{View, Weights};
use crate::{Error, Result};

/// A matrix of the model, and the tensors that it is packed from.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    /// Label on the device. Tensors of a converted file are [named](crate::packed::weight_name) by it.
    pub label: String,
    pub layout: Layout,
    /// `[set][half]`: modules (without `.weight`) joined along the output columns.
    pub modules: Vec<Vec<Vec<String>>>,
}

impl Matrix {
    /// Checkpoint tensors it is made of, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![];
        for module in self.modules.iter().flatten().flatten() {
            let name = format!("{module}.weight");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Packs some blocks of it, by their [blocks](Layout::index_of). When `go_on` says no, what is left of them is packed
    /// unread, which is soon done.
    ///
    /// # Errors
    ///
    /// If a tensor is missing, cannot be read, or holds what is no number.
    pub(crate) fn pack(
        &self,
        weights: &Weights,
        blocks: Range<u32>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Packed> {
        let rows = self.rows(weights)?;
        let packed = pack_blocks(&self.layout, blocks, |set, half, row, out| {
            if go_on() {
                rows.fill(set, half, row, out);
            }
        });
        rows.finish()?;
        Ok(packed)
    }

    /// A reader of its rows.
    pub(crate) fn rows<'a>(&self, weights: &'a Weights) -> Result<RowReader<'a>> {
        let views = |modules: &Vec<String>| -> Result<Vec<View<'a>>> {
            modules.iter().map(|module| weights.view(&format!("{module}.weight"))).collect()
        };
        let halves = self.modules.iter().flatten().map(views).collect::<Result<_>>()?;
        Ok(RowReader { views: halves, halves: self.modules[0].len(), error: Mutex::new(None) })
    }
}

/// Reads a [`Matrix`] by rows, from several threads at once, and keeps the first error.
pub(crate) struct RowReader<'a> {
    /// `[set · halves + half]`.
    views: Vec<Vec<View<'a>>>,
    halves: usize,
    error: Mutex<Option<Error>>,
}

impl RowReader<'_> {
    /// Fills `out` with a row. An error is kept for [`RowReader::finish`].
    pub(crate) fn fill(&self, set: u32, half: u32, row: u32, out: &mut [f32]) {
        let mut row = row as usize;
        for view in &self.views[set as usize * self.halves + half as usize] {
            let rows = view.num_rows();
            if row >= rows {
                row -= rows;
                continue;
            }
            if let Err(error) = view.read_finite(row * out.len(), out) {
                self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            return;
        }
    }

    /// The first error of the rows read, if there was one.
    pub(crate) fn finish(self) -> Result<()> {
        let Some(error) = self.error.into_inner().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(());
        };
        // Rows are read in parallel: which error came first is chance, so the first is looked for.
        self.views.iter().flatten().try_for_each(|view| view.to_finite().map(drop))?;
        Err(error)
    }
}
