//! Handles to the tensors of a graph.

use std::marker::PhantomData;

/// A tensor of its graph, without rank and element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub(crate) u32);

/// A tensor of a [`Graph`](crate::Graph): element type and rank are in its type, row-major, last axis
/// contiguous. A handle; the bytes exist once the graph is compiled.
#[derive(Debug)]
pub struct Tensor<T, const R: usize> {
    pub(crate) id: TensorId,
    shape: [u32; R],
    of: PhantomData<fn() -> T>,
}

impl TensorId {
    /// Itself, so that code may take typed and untyped handles alike.
    pub fn id(self) -> TensorId {
        self
    }
}

impl<T, const R: usize> Clone for Tensor<T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const R: usize> Copy for Tensor<T, R> {}

impl<T, const R: usize> Tensor<T, R> {
    pub(crate) fn new(id: TensorId, shape: [u32; R]) -> Self {
        Self { id, shape, of: PhantomData }
    }

    /// Elements along each axis.
    pub fn shape(self) -> [u32; R] {
        self.shape
    }

    /// The untyped handle.
    pub fn id(self) -> TensorId {
        self.id
    }

    /// Elements in all.
    pub fn len(self) -> usize {
        self.shape.iter().map(|&d| d as usize).product()
    }

    /// Whether an axis is zero.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same elements under another shape.
    ///
    /// # Panics
    ///
    /// If the number of elements differs.
    pub fn reshape<const S: usize>(self, shape: [u32; S]) -> Tensor<T, S> {
        let reshaped = Tensor::new(self.id, shape);
        assert_eq!(self.len(), reshaped.len(), "reshape {:?} into {shape:?}", self.shape);
        reshaped
    }
}
