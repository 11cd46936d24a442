//! A bench of a kernel, and the operands that several share.

use std::cell::Cell;
use std::collections::HashMap;

use strix_engine::{Gpu, Graph, MAX_TRIPS, Resident};
use strix_model::tune::data;
use strix_model::{Config, position};
use strix_shaders::{HeadShape, Layout, Linear, RopeTables};

use crate::roofline::Arithmetic;
use crate::{Error, Result, Shape, Work};

/// Rows of a prefill: a short prompt's chunk, a long one's, and a picture's with the class token.
pub(super) const PREFILL: [u32; 3] = [64, 256, 1025];
/// Rows of a decode step of several conversations: as many as there are conversations.
pub(super) const BATCH: [u32; 4] = [2, 4, 8, 16];
/// Positions in the cache.
pub(super) const CONTEXTS: [u32; 3] = [512, 2048, 4096];

/// Bytes that repeated passes over a streamed operand go through, at the least, before they come back to the same: more
/// than the caches of most devices, which would answer in place of the memory.
pub(super) const COLD_BYTES: u64 = 128 << 20;
/// Most copies of an operand.
pub(super) const MOST_COPIES: u64 = 16;

/// Records the steps to time; with `true` the same with fewer rows, where the reference is slow.
pub(crate) type Record = Box<dyn Fn(&mut Graph, bool)>;

/// Puts the operands on the device.
pub(super) type Make = Box<dyn Fn(&mut Operands) -> Result<Record>>;

/// One bench: a kernel at one shape.
pub struct Bench {
    /// The shape that is run.
    pub shape: Shape,
    /// Bytes and operations of one run.
    pub work: Work,
    /// Its arithmetic.
    pub arithmetic: Arithmetic,
    /// Whether it is among the most telling ones.
    pub quick: bool,
    make: Make,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bench({}, {:?})", self.shape, self.work)
    }
}

/// Operands on the device that several benches share.
#[derive(Debug)]
pub struct Operands {
    gpu: Gpu,
    linears: HashMap<String, Linear>,
}

impl Operands {
    /// None so far.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), linears: HashMap::new() }
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Copies of a matrix for passes that take turns, where one is so small that a cache would hold it.
    pub(super) fn linears(&mut self, layout: Layout, bias: bool, copies: usize) -> Result<Vec<Linear>> {
        (0..copies).map(|copy| self.linear(layout, bias, copy)).collect()
    }

    pub(super) fn linear(&mut self, layout: Layout, bias: bool, copy: usize) -> Result<Linear> {
        let key = format!("{layout:?} {bias} {copy}");
        if !self.linears.contains_key(&key) {
            self.linears.insert(key.clone(), data::projection(&self.gpu, "w", layout, bias)?);
        }
        Ok(self.linears[&key].clone())
    }

    pub(super) fn tensor<const R: usize>(&self, label: &str, shape: [u32; R]) -> Result<Resident<f32, R>> {
        Ok(data::tensor(&self.gpu, label, shape)?)
    }
}

impl Bench {
    pub(super) fn new(
        shape: Shape,
        work: Work,
        make: impl Fn(&mut Operands) -> Result<Record> + 'static,
    ) -> Self {
        Self { shape, work, arithmetic: Arithmetic::F32, quick: false, make: Box::new(make) }
    }

    /// Whether it is among the most telling ones.
    pub(super) fn quick(self, quick: bool) -> Self {
        Self { quick, ..self }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.shape.to_string()
    }

    /// Puts the operands on the device and says how to record it.
    ///
    /// # Errors
    ///
    /// If the device has no room, or one invocation would loop more often than every driver does.
    pub(crate) fn record(&self, operands: &mut Operands) -> Result<Record> {
        let record = (self.make)(operands)?;
        let mut g = Graph::for_planning(operands.gpu.target());
        record(&mut g, false);
        let trips = g.plan().usage.trips;
        if trips > MAX_TRIPS {
            let reason =
                format!("one invocation would loop {trips} times; drivers drop what exceeds {MAX_TRIPS}");
            return Err(Error::Shape { shape: self.name(), reason });
        }
        Ok(record)
    }
}

/// Copies of an operand of so many bytes that passes take in turns.
pub(super) fn copies(bytes: u64) -> usize {
    COLD_BYTES.div_ceil(bytes.max(1)).min(MOST_COPIES) as usize
}

/// The next of some copies with every call.
pub(super) struct Turns<T> {
    copies: Vec<T>,
    next: Cell<usize>,
}

impl<T> Turns<T> {
    pub(super) fn new(copies: Vec<T>) -> Self {
        Self { copies, next: Cell::new(0) }
    }

    pub(super) fn next(&self) -> &T {
        let at = self.next.get();
        self.next.set((at + 1) % self.copies.len());
        &self.copies[at]
    }
}

/// The model's rotations, of heads of any size.
pub(super) fn rope_tables(positions: u32, head_dim: u32) -> RopeTables {
    let mut text = Config::from_json(b"{}").expect("every key has a default").text;
    text.hidden_size = text.num_attention_heads * head_dim as usize;
    let tables = position::rope_tables(&text, positions as usize);
    RopeTables::new("rope", positions, head_dim, &tables.cos, &tables.sin)
}

pub(super) fn heads_of(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
    HeadShape { num_heads: heads as u32, num_kv_heads: kv_heads as u32, head_dim: head_dim as u32 }
}
