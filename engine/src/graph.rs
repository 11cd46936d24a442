//! Recording: which kernels run on which tensors, in which order.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;

use crate::storage::Storage;
use crate::{Access, Binding, Decision, MAX_GROUPS, MAX_TRIPS, Resident, Shader, Target, Tensor, TensorId};

/// Where in a tensor a range may begin that is bound: at multiples of so many bytes, which is the most any device asks for.
pub const RANGE_ALIGNMENT: u64 = 256;

/// A recorded sequence of dispatches over named tensors. Holds no device memory.
#[derive(Debug)]
pub struct Graph {
    target: Target,
    scope: String,
    /// Whether steps that no device should run may be recorded.
    for_planning: bool,
    pub(crate) values: Vec<Value>,
    pub(crate) steps: Vec<Step>,
    /// Each once.
    decisions: Vec<Decision>,
    /// Resident tensors by the address of their storage, which the values keep alive, and the bytes of it.
    residents: HashMap<(usize, Range<u64>), TensorId>,
}

/// A tensor of the graph.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) label: String,
    /// Byte of its storage at which it begins.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) kind: ValueKind,
    /// Read back by the host, so its memory is its own.
    pub(crate) output: bool,
    /// Whether its elements are f16.
    pub(crate) is_f16: bool,
    /// Whether a kernel reads it as texels.
    pub(crate) texels: bool,
}

#[derive(Debug)]
pub(crate) enum ValueKind {
    /// Written by one step, read by later ones; shares memory with others.
    Activation,
    /// Written by the host between runs.
    Input,
    /// Shared with other programs.
    Resident(Arc<Storage>),
}

/// The bytes a [`Reference`] computes on: inputs as they were, outputs to fill.
#[derive(Debug)]
pub struct ReferenceArgs<'a> {
    /// The kernel's `Params`.
    pub params: &'a [u8],
    /// The kernel's bindings.
    pub bindings: &'a [Binding],
    /// An entry for each storage binding, in order. Bindings that are written hold their content before the step.
    pub tensors: &'a mut [Vec<u64>],
}

/// A kernel's CPU reference behind one signature, so that any step can be replayed.
pub type Reference = fn(&mut ReferenceArgs<'_>);

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name of the step, e.g. `decoder.3.q_proj`.
    pub label: String,
    /// The kernel.
    pub shader: Arc<Shader>,
    /// Bytes of its `Params`.
    pub params: Vec<u8>,
    /// Its tensors, in the order of the storage bindings.
    pub args: Vec<Arg>,
    /// Workgroups along x, y, z.
    pub groups: [u32; 3],
    /// Upper bound on the loop iterations of one invocation.
    pub trips: u64,
    /// The same computation on the CPU.
    pub reference: Option<Reference>,
}

/// One tensor of a step.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// The tensor.
    pub id: TensorId,
    /// How the kernel uses it.
    pub access: Access,
}

impl Graph {
    /// An empty graph of kernels chosen for `target`.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            scope: String::new(),
            for_planning: false,
            values: vec![],
            steps: vec![],
            decisions: vec![],
            residents: HashMap::new(),
        }
    }

    /// An empty graph that is only planned, never run. Steps that loop too often, and grids that are too wide, are
    /// recorded, so that the plan can report them.
    pub fn for_planning(target: Target) -> Self {
        Self { for_planning: true, ..Self::new(target) }
    }

    /// The target that kernels are chosen for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Notes how a kernel was specialised, for whoever would try the other ways.
    pub fn decided(&mut self, decision: Decision) {
        if !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }

    /// The choices that were made while this was recorded, each once.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Records `record` with `name` in front of every label: `decoder.3` makes `decoder.3.q_proj`.
    pub fn scoped<R>(&mut self, name: &str, record: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.scope.clone();
        self.scope = self.label(name);
        let result = record(self);
        self.scope = outer;
        result
    }

    fn label(&self, name: &str) -> String {
        if self.scope.is_empty() { name.into() } else { format!("{}.{name}", self.scope) }
    }

    fn value<T: Pod, const R: usize>(
        &mut self,
        name: &str,
        shape: [u32; R],
        kind: ValueKind,
    ) -> Tensor<T, R> {
        let elements: u64 = shape.iter().map(|&d| u64::from(d)).product();
        let label = self.label(name);
        assert!(elements > 0, "{label}: shape {shape:?} holds nothing");
        // A multiple of 16, so that kernels may read a row's tail as a vec4.
        let bytes = (elements * size_of::<T>() as u64).next_multiple_of(16);
        let (is_f16, output, texels) = (is_f16::<T>(), false, false);
        self.values.push(Value { label, offset: 0, bytes, kind, output, is_f16, texels });
        Tensor::new(TensorId(self.values.len() as u32 - 1), shape)
    }

    /// A tensor that a step will write. Its name also names the step that first writes it.
    pub fn activation<T: Pod, const R: usize>(&mut self, name: &str, shape: [u32; R]) -> Tensor<T, R> {
        self.value(name, shape, ValueKind::Activation)
    }

    /// A tensor that the host writes between runs.
    pub fn input<T: Pod, const R: usize>(&mut self, name: &str, shape: [u32; R]) -> Tensor<T, R> {
        self.value(name, shape, ValueKind::Input)
    }

    /// A weight, table or cache, made usable in this graph.
    pub fn bind<T: Pod, const R: usize>(&mut self, resident: &Resident<T, R>) -> Tensor<T, R> {
        Tensor::new(self.bind_bytes::<T>(&resident.storage, 0..resident.storage.bytes), resident.shape())
    }

    /// Some elements of such a tensor. Where it is streamed, what no step of the graph uses of it stays where it is.
    ///
    /// # Panics
    ///
    /// If it has no such elements, or the first of them is not at a multiple of [`RANGE_ALIGNMENT`] bytes.
    pub fn bind_range<T: Pod>(&mut self, resident: &Resident<T, 1>, elements: Range<u32>) -> Tensor<T, 1> {
        let (storage, [len]) = (&resident.storage, resident.shape());
        let label = &storage.label;
        assert!(
            elements.start < elements.end && elements.end <= len,
            "{label}: elements {elements:?} of {len}"
        );
        let [start, end] = [elements.start, elements.end].map(|at| u64::from(at) * size_of::<T>() as u64);
        assert!(start.is_multiple_of(RANGE_ALIGNMENT), "{label}: a range that begins at byte {start}");
        // Up to a multiple of 16, as all tensors are.
        let bytes = start..start + (end - start).next_multiple_of(16);
        Tensor::new(self.bind_bytes::<T>(storage, bytes), [elements.end - elements.start])
    }

    fn bind_bytes<T: Pod>(&mut self, storage: &Arc<Storage>, range: Range<u64>) -> TensorId {
        let key = (Arc::as_ptr(storage).addr(), range.clone());
        if let Some(&id) = self.residents.get(&key) {
            return id;
        }
        let (label, kind) = (storage.label.clone(), ValueKind::Resident(storage.clone()));
        let (offset, bytes) = (range.start, range.end - range.start);
        let (is_f16, output, texels) = (is_f16::<T>(), false, false);
        self.values.push(Value { label, offset, bytes, kind, output, is_f16, texels });
        let id = TensorId(self.values.len() as u32 - 1);
        self.residents.insert(key, id);
        id
    }

    /// Marks a tensor as one that the host reads after a run.
    pub fn output<T, const R: usize>(&mut self, tensor: Tensor<T, R>) -> Tensor<T, R> {
        self.values[tensor.id.0 as usize].output = true;
        tensor
    }

    /// Whether kernels of this graph may read a tensor as texels.
    pub fn has_texels(&self, id: TensorId) -> bool {
        let value = &self.values[id.0 as usize];
        let has = match &value.kind {
            // An image of the tensor begins where the tensor does.
            ValueKind::Resident(storage) => storage.has_texels() && value.offset == 0,
            ValueKind::Activation | ValueKind::Input => true,
        };
        self.target.texels && has
    }

    /// Label of a tensor.
    pub fn label_of(&self, id: TensorId) -> &str {
        &self.values[id.0 as usize].label
    }

    /// Appends a dispatch. Kernels of `strix_shaders` do this through its `dispatch!`.
    ///
    /// # Panics
    ///
    /// If the tensors are not as many as the kernel's bindings, a tensor is both written and read (but as texels, where
    /// the kernel promises not to read what it writes), or read as texels that has none, or the grid is empty. Unless
    /// the graph is [for planning](Graph::for_planning), if the grid is wider than [`MAX_GROUPS`], or one invocation
    /// would loop more than [`MAX_TRIPS`] times.
    pub fn push(&mut self, mut step: Step) {
        let written = step.args.iter().find(|a| a.access == Access::ReadWrite);
        if let (true, Some(written)) = (step.label.is_empty(), written) {
            let value = &self.values[written.id.0 as usize];
            step.label = if matches!(value.kind, ValueKind::Activation) {
                value.label.clone()
            } else {
                self.label(step.shader.name)
            };
        }
        let name = step.label.as_str();
        let bindings: Vec<_> = step.shader.bindings.iter().filter(|b| b.access != Access::Uniform).collect();
        assert_eq!(
            step.args.len(),
            bindings.len(),
            "{name}: tensors against bindings of {}",
            step.shader.label
        );
        let texels: Vec<bool> = bindings.iter().map(|b| b.access == Access::Texels).collect();
        for (arg, _) in step.args.iter().zip(&texels).filter(|(_, texels)| **texels) {
            assert!(self.has_texels(arg.id), "{name}: {} cannot be read as texels", self.label_of(arg.id));
            self.values[arg.id.0 as usize].texels = true;
        }
        for arg in step.args.iter().filter(|a| a.access == Access::ReadWrite) {
            let uses =
                step.args.iter().zip(&texels).filter(|(a, texels)| a.id == arg.id && !**texels).count();
            assert_eq!(uses, 1, "{name}: {} is written and bound twice", self.label_of(arg.id));
        }
        assert!(
            !step.groups.contains(&0) && (self.for_planning || step.groups.iter().all(|&n| n <= MAX_GROUPS)),
            "{name}: a grid of {:?} workgroups; each side must be 1 to {MAX_GROUPS}",
            step.groups
        );
        assert!(
            step.trips <= MAX_TRIPS || self.for_planning,
            "{name}: {} may loop {} times in one invocation; above {MAX_TRIPS} a driver drops the rest: split the work",
            step.shader.label,
            step.trips
        );
        self.steps.push(step);
    }

    /// The storage of all that is shared with other programs, each once.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Arc<Storage>> {
        let mut seen = HashSet::new();
        let all = self.values.iter().filter_map(|value| match &value.kind {
            ValueKind::Resident(storage) => Some(storage),
            ValueKind::Activation | ValueKind::Input => None,
        });
        all.filter(move |storage| seen.insert(Arc::as_ptr(storage).addr()))
    }

    /// Bytes of a tensor.
    pub fn bytes_of(&self, id: TensorId) -> u64 {
        self.values[id.0 as usize].bytes
    }

    /// Whether a tensor stays on the device from run to run: weights, a KV cache.
    pub fn is_resident(&self, id: TensorId) -> bool {
        matches!(self.values[id.0 as usize].kind, ValueKind::Resident(_))
    }

    /// The dispatches recorded so far, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

fn is_f16<T: Pod>() -> bool {
    TypeId::of::<T>() == TypeId::of::<f16>()
}
