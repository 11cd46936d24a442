//! The benches of kernels: each at the shapes of the 8.2B model, or at one that the user names.

mod attention;
mod projections;
mod rows;

use std::cell::Cell;
use std::collections::HashMap;

use strix_engine::{Gpu, Graph, MAX_TRIPS, Resident};
use strix_model::tune::data;
use strix_model::{Config, position};
use strix_shaders::{HeadShape, Layout, Linear, RopeTables};

use crate::roofline::Arithmetic;
use crate::{Error, Result, Shape, Work};

/// Rows of a prefill: a short prompt's chunk, a long one's, and a picture's with the class token.
const PREFILL: [u32; 3] = [64, 256, 1025];
/// Rows of a decode step of several conversations: as many as there are conversations.
const BATCH: [u32; 4] = [2, 4, 8, 16];
/// Positions in the cache.
const CONTEXTS: [u32; 3] = [512, 2048, 4096];

/// Bytes that repeated passes over a streamed operand go through, at the least, before they come back to the same: more
/// than the caches of most devices, which would answer in place of the memory.
const COLD_BYTES: u64 = 128 << 20;
/// Most copies of an operand.
const MOST_COPIES: u64 = 16;

/// Records the steps to time; with `true` the same with fewer rows, where the reference is slow.
pub(crate) type Record = Box<dyn Fn(&mut Graph, bool)>;

/// Puts the operands on the device.
type Make = Box<dyn Fn(&mut Operands) -> Result<Record>>;

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
    fn linears(&mut self, layout: Layout, bias: bool, copies: usize) -> Result<Vec<Linear>> {
        (0..copies).map(|copy| self.linear(layout, bias, copy)).collect()
    }

    fn linear(&mut self, layout: Layout, bias: bool, copy: usize) -> Result<Linear> {
        let key = format!("{layout:?} {bias} {copy}");
        if !self.linears.contains_key(&key) {
            self.linears.insert(key.clone(), data::projection(&self.gpu, "w", layout, bias)?);
        }
        Ok(self.linears[&key].clone())
    }

    fn tensor<const R: usize>(&self, label: &str, shape: [u32; R]) -> Result<Resident<f32, R>> {
        Ok(data::tensor(&self.gpu, label, shape)?)
    }
}

impl Bench {
    fn new(shape: Shape, work: Work, make: impl Fn(&mut Operands) -> Result<Record> + 'static) -> Self {
        Self { shape, work, arithmetic: Arithmetic::F32, quick: false, make: Box::new(make) }
    }

    /// The bench of a shape.
    ///
    /// # Errors
    ///
    /// If its kernel is none of [`SIGNATURES`](crate::shape::SIGNATURES).
    pub fn of(shape: Shape) -> Result<Self> {
        match shape.kernel.as_str() {
            name if name.starts_with("gem") => projections::bench(shape),
            name if name.contains("attention") => attention::bench(shape),
            _ => rows::bench(shape),
        }
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

/// Every bench at the shapes of the 8.2B model.
///
/// # Panics
///
/// If a shape in the list is none of the kernel's: a bug.
pub fn kernels() -> Vec<Bench> {
    let config = Config::from_json(b"{}").expect("every key has a default");
    let mut list = vec![];
    projections::list(&config, &mut list);
    attention::list(&config, &mut list);
    rows::list(&config, &mut list);
    let bench = |(shape, quick): (Shape, bool)| {
        let bench = Bench::of(shape).expect("the list is of kernels that have benches");
        Bench { quick, ..bench }
    };
    list.into_iter().map(bench).collect()
}

/// Copies of an operand of so many bytes that passes take in turns.
fn copies(bytes: u64) -> usize {
    COLD_BYTES.div_ceil(bytes.max(1)).min(MOST_COPIES) as usize
}

/// The next of some copies with every call.
struct Turns<T> {
    copies: Vec<T>,
    next: Cell<usize>,
}

impl<T> Turns<T> {
    fn new(copies: Vec<T>) -> Self {
        Self { copies, next: Cell::new(0) }
    }

    fn next(&self) -> &T {
        let at = self.next.get();
        self.next.set((at + 1) % self.copies.len());
        &self.copies[at]
    }
}

/// The model's rotations, of heads of any size.
fn rope_tables(positions: u32, head_dim: u32) -> RopeTables {
    let mut text = Config::from_json(b"{}").expect("every key has a default").text;
    text.hidden_size = text.num_attention_heads * head_dim as usize;
    let tables = position::rope_tables(&text, positions as usize);
    RopeTables::new("rope", positions, head_dim, &tables.cos, &tables.sin)
}

fn heads_of(heads: usize, kv_heads: usize, head_dim: usize) -> HeadShape {
    HeadShape { num_heads: heads as u32, num_kv_heads: kv_heads as u32, head_dim: head_dim as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_list_can_be_asked_for_and_is_there_once() {
        let mut names: Vec<_> = kernels().iter().map(Bench::name).collect();
        for name in &names {
            let shapes = Shape::parse(name).unwrap();
            assert_eq!(shapes.iter().map(Shape::to_string).collect::<Vec<_>>(), [name.as_str()]);
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(kernels().iter().any(|b| b.quick) && kernels().iter().all(|b| b.work.bytes > 0));
    }

    #[test]
    fn the_list_has_every_kernel_row_count_context_and_dtype() {
        let names: Vec<_> = kernels().iter().map(Bench::name).collect();
        let has = |part: &str| assert!(names.iter().any(|name| name.contains(part)), "{part} of {names:#?}");
        for signature in crate::shape::SIGNATURES {
            has(&format!("{}/", signature.kernel));
        }
        for dtype in ["bf16", "int8", "int8g128", "int8g64", "int8g32"] {
            for rows in PREFILL {
                has(&format!("gemm_swiglu/prefill/{rows}x11008x4096/{dtype}"));
            }
            has(&format!("gemv_swiglu/decode/11008x4096/{dtype}"));
        }
        for context in CONTEXTS {
            has(&format!("decode_attention/decode/1x{context}x32x128/f16"));
            has(&format!("attention/prefill/256x{context}x32x128/f32"));
        }
    }
}
