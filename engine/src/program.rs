//! A compiled graph: its memory, its pipelines, what the host writes and reads.

mod advance;
mod costs;
pub(crate) mod inspect;
mod run;

use std::sync::Arc;

use bytemuck::Pod;
use wgpu::BufferUsages as U;

use crate::graph::{Graph, Step, ValueKind};
use crate::plan::{Plan, Usage};
use crate::region::Region;
use crate::segments::{Segment, segments};
use crate::slots::Slots;
use crate::{Access, Gpu, Result, Tensor, TensorId};
use costs::Costs;
use run::Run;

/// A compiled [`Graph`]: all memory, pipelines and bind groups exist, and running it creates none.
#[derive(Debug)]
pub struct Program {
    gpu: Gpu,
    graph: Graph,
    usage: Usage,
    /// Where each tensor is; `None` where no step uses it, or where its group of a stream is.
    regions: Vec<Option<Region>>,
    steps: Vec<Compiled>,
    segments: Vec<Segment>,
    streams: Vec<Arc<Slots>>,
    inputs: Inputs,
    outputs: Vec<Output>,
    audit: Option<Audit>,
    costs: Costs,
    run: Option<Run>,
}

#[derive(Debug)]
struct Compiled {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    audit: Option<wgpu::BindGroup>,
    groups: [u32; 3],
}

/// The host's side of all input tensors: one mapped buffer, copied from at each run.
#[derive(Debug)]
struct Inputs {
    staging: Option<wgpu::Buffer>,
    /// Whether it is mapped, or will be once what was submitted is done.
    mapped: bool,
    /// Tensor, offset in `staging`, bytes, written since the last run.
    ranges: Vec<(TensorId, u64, u64, bool)>,
}

impl Inputs {
    /// Notes that what was written was submitted.
    fn are_copied(&mut self) {
        self.ranges.iter_mut().for_each(|range| range.3 = false);
    }
}

#[derive(Debug)]
struct Output {
    id: TensorId,
    staging: wgpu::Buffer,
    /// Whether the run that is under way copies it back.
    is_wanted: bool,
    mapped: bool,
}

#[derive(Debug)]
struct Audit {
    counts: Vec<wgpu::Buffer>,
}

impl Program {
    /// Allocates and compiles everything `graph` needs on `gpu`.
    ///
    /// # Errors
    ///
    /// If a buffer is above the device's limits, memory runs out, or the driver refuses a kernel.
    pub fn compile(gpu: &Gpu, graph: Graph) -> Result<Self> {
        let program = Self::build(gpu, graph, false)?;
        program.warm()?;
        Ok(program)
    }

    /// The same with kernels that count their loop iterations, for [`Program::trips`].
    ///
    /// # Errors
    ///
    /// As [`Program::compile`].
    pub fn compile_audited(gpu: &Gpu, graph: Graph) -> Result<Self> {
        Self::build(gpu, graph, true)
    }

    fn build(gpu: &Gpu, graph: Graph, audit: bool) -> Result<Self> {
        let plan = graph.plan();
        let trips = plan.usage.trips;
        assert!(trips <= crate::MAX_TRIPS, "a graph for planning is run, and would loop {trips} times");
        let regions = allocate(gpu, &graph, &plan)?;
        let (segments, streams) = segments(&graph);
        let inputs = Inputs::new(gpu, &graph)?;
        let output = |(i, v): (usize, &crate::graph::Value)| -> Result<Output> {
            let staging =
                gpu.buffer(&format!("{} readback", v.label), v.bytes, U::MAP_READ | U::COPY_DST, false)?;
            Ok(Output { id: TensorId(i as u32), staging, is_wanted: false, mapped: false })
        };
        let outputs: Result<_> =
            graph.values.iter().enumerate().filter(|(_, v)| v.output).map(output).collect();
        let region = |step, id| region(&graph, &regions, &segments, &streams, step, id);
        let (steps, audit) = compile_steps(gpu, &graph, region, audit)?;
        Ok(Self {
            gpu: gpu.clone(),
            usage: plan.usage,
            costs: Costs::unknown(steps.len()),
            run: None,
            graph,
            regions,
            steps,
            segments,
            streams,
            inputs,
            outputs: outputs?,
            audit,
        })
    }

    /// Bytes and dispatches.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The recorded steps.
    pub fn steps(&self) -> &[Step] {
        &self.graph.steps
    }

    /// Labels of the tensors that its steps write, as [`Program::trace`] shows them.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let written = self.graph.steps.iter().flat_map(|step| &step.args);
        written.filter(|arg| arg.access == Access::ReadWrite).map(|arg| self.graph.label_of(arg.id))
    }

    /// Sets the first elements of an input for the runs that follow.
    ///
    /// # Panics
    ///
    /// If the tensor is not an input, or `data` is longer than it.
    pub fn write<T: Pod, const R: usize>(&mut self, tensor: Tensor<T, R>, data: &[T]) {
        let name = self.graph.label_of(tensor.id);
        assert!(data.len() <= tensor.len(), "{name}: {} elements into {:?}", data.len(), tensor.shape());
        let range = self.inputs.ranges.iter_mut().find(|r| r.0 == tensor.id);
        let (_, offset, _, dirty) = range.unwrap_or_else(|| panic!("{name} is not an input"));
        *dirty = true;
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if let (Some(staging), false) = (&self.inputs.staging, bytes.is_empty()) {
            // Ranges of a mapped buffer are multiples of 4; the inputs are words. They are mapped between runs, but for
            // a lost device, of which the next run tells.
            if let Ok(mut view) = staging.get_mapped_range_mut(*offset..*offset + bytes.len() as u64) {
                view.copy_from_slice(bytes);
            }
        }
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Where an output is between runs.
    pub(crate) fn output_place(&self, id: TensorId) -> &Region {
        let name = self.graph.label_of(id);
        assert!(self.outputs.iter().any(|output| output.id == id), "{name} is not an output");
        self.regions[id.0 as usize].as_ref().expect("outputs are planned")
    }

    /// Where an input is, if a step uses it, whose content is no longer the host's.
    pub(crate) fn input_place(&mut self, id: TensorId) -> Option<&Region> {
        let name = self.graph.label_of(id);
        let range = self.inputs.ranges.iter_mut().find(|range| range.0 == id);
        range.unwrap_or_else(|| panic!("{name} is not an input")).3 = false;
        self.regions[id.0 as usize].as_ref()
    }

    /// Where a tensor is when a step uses it.
    fn region(&self, step: usize, id: TensorId) -> Region {
        region(&self.graph, &self.regions, &self.segments, &self.streams, step, id)
    }

    /// Content of an output as the last run left it.
    ///
    /// # Errors
    ///
    /// If the device was lost since.
    ///
    /// # Panics
    ///
    /// If the last run was not asked to read it.
    pub fn read<T: Pod, const R: usize>(&self, tensor: Tensor<T, R>) -> Result<Vec<T>> {
        let mut content = vec![];
        self.read_into(tensor, &mut content)?;
        Ok(content)
    }

    /// [`Program::read`] into a vector that is there already, in place of what it holds.
    ///
    /// # Errors
    ///
    /// If the device was lost since.
    ///
    /// # Panics
    ///
    /// If the last run was not asked to read it.
    pub fn read_into<T: Pod, const R: usize>(
        &self,
        tensor: Tensor<T, R>,
        content: &mut Vec<T>,
    ) -> Result<()> {
        let name = self.graph.label_of(tensor.id);
        let output = self.outputs.iter().find(|o| o.id == tensor.id && o.mapped);
        let output =
            output.unwrap_or_else(|| panic!("{name} was not among the tensors of the last run's reads"));
        let bytes = (tensor.len() * size_of::<T>()) as u64;
        let view = output.staging.get_mapped_range(0..bytes.next_multiple_of(4));
        let view = view.map_err(|e| self.gpu.lose(e))?;
        content.resize(tensor.len(), T::zeroed());
        bytemuck::cast_slice_mut(content).copy_from_slice(&view[..bytes as usize]);
        Ok(())
    }
}

/// Where a tensor is when a step uses it.
fn region(
    graph: &Graph,
    regions: &[Option<Region>],
    segments: &[Segment],
    streams: &[Arc<Slots>],
    step: usize,
    id: TensorId,
) -> Region {
    let value = &graph.values[id.0 as usize];
    let seat = match &value.kind {
        ValueKind::Resident(storage) => storage.seated(),
        _ => None,
    };
    match seat {
        None => regions[id.0 as usize].clone().expect("planned"),
        Some(seat) => {
            let load = segments.iter().find(|s| s.steps.contains(&step)).and_then(|s| s.load.as_ref());
            let load = load.expect("a segment brings what its steps use");
            let end = value.offset + value.bytes;
            streams[load.stream].region(seat.tensor, load.slot, end).part(value.offset, value.bytes)
        }
    }
}

fn dispatch(pass: &mut wgpu::ComputePass<'_>, label: &str, step: &Compiled) {
    dispatch_grid(pass, label, step, step.groups);
}

fn dispatch_grid(pass: &mut wgpu::ComputePass<'_>, label: &str, step: &Compiled, groups: [u32; 3]) {
    pass.push_debug_group(label);
    pass.set_pipeline(&step.pipeline);
    pass.set_bind_group(0, &step.bind_group, &[]);
    if let Some(audit) = &step.audit {
        pass.set_bind_group(1, audit, &[]);
    }
    pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    pass.pop_debug_group();
}

fn allocate(gpu: &Gpu, graph: &Graph, plan: &Plan) -> Result<Vec<Option<Region>>> {
    let slot = |(i, &bytes): (usize, &u64)| -> Result<Region> {
        // Named for an error or a capture: the slot's largest tensor.
        let of_slot = graph.values.iter().zip(&plan.slot_of).filter(|(_, slot)| **slot == Some(i));
        let label = of_slot.max_by_key(|(value, _)| value.bytes).map_or("", |(value, _)| &value.label);
        let label = format!("activations {i} ({label})");
        let texels = graph.values.iter().zip(&plan.slot_of).any(|(v, slot)| *slot == Some(i) && v.texels);
        zeroed(gpu, &label, bytes, texels)
    };
    let slots: Vec<Region> = plan.slots.iter().enumerate().map(slot).collect::<Result<_>>()?;
    let mut regions = vec![];
    for (v, value) in graph.values.iter().enumerate() {
        regions.push(match &value.kind {
            // A slot may be longer than this one of its tensors.
            ValueKind::Activation => {
                plan.slot_of[v].map(|s| Region { bytes: value.bytes, ..slots[s].clone() })
            }
            ValueKind::Input => Some(zeroed(gpu, &value.label, value.bytes, value.texels)?),
            ValueKind::Resident(storage) if storage.seated().is_some() => None,
            ValueKind::Resident(storage) => Some(storage.region(gpu)?.part(value.offset, value.bytes)),
        });
    }
    Ok(regions)
}

/// Memory of a program's own.
fn zeroed(gpu: &Gpu, label: &str, bytes: u64, texels: bool) -> Result<Region> {
    match texels {
        true => gpu.pages(label, bytes, None),
        false => Ok(Region::of(gpu.storage_buffer(label, bytes)?, bytes)),
    }
}

impl Inputs {
    fn new(gpu: &Gpu, graph: &Graph) -> Result<Self> {
        let mut ranges = vec![];
        let mut end = 0;
        for (i, value) in graph.values.iter().enumerate().filter(|(_, v)| matches!(v.kind, ValueKind::Input))
        {
            ranges.push((TensorId(i as u32), end, value.bytes, true));
            end += value.bytes;
        }
        let usage = U::MAP_WRITE | U::COPY_SRC;
        let staging = if end > 0 { Some(gpu.buffer("inputs", end, usage, true)?) } else { None };
        Ok(Self { staging, mapped: true, ranges })
    }
}

fn compile_steps(
    gpu: &Gpu,
    graph: &Graph,
    region: impl Fn(usize, TensorId) -> Region,
    audited: bool,
) -> Result<(Vec<Compiled>, Option<Audit>)> {
    let device = gpu.device();
    let align = u64::from(device.limits().min_uniform_buffer_offset_alignment);
    let mut params = vec![];
    let mut offsets = vec![];
    for step in &graph.steps {
        params.resize((params.len() as u64).next_multiple_of(align) as usize, 0);
        offsets.push(params.len() as u64);
        params.extend(&step.params);
        params.resize(params.len().next_multiple_of(16), 0);
    }
    let uniform = gpu.buffer("params", (params.len() as u64).max(16), U::UNIFORM | U::COPY_DST, false)?;
    match gpu.is_shared() {
        true => gpu.upload_little(&uniform, &params)?,
        false => gpu.upload(&uniform, &params)?,
    }

    let audit_layout = audited.then(|| {
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("audit"),
            entries: &[wgpu::BindGroupLayoutEntry {
                binding: 0,
                visibility: wgpu::ShaderStages::COMPUTE,
                count: None,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: false },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
            }],
        })
    });

    let mut steps = vec![];
    let mut counts = vec![];
    for (index, (step, &offset)) in graph.steps.iter().zip(&offsets).enumerate() {
        let pipeline = gpu.pipeline(&step.shader, audit_layout.as_ref())?;
        let regions: Vec<_> = step.args.iter().map(|arg| region(index, arg.id)).collect();
        let mut args = regions.iter();
        let entry = |binding: &crate::Binding| wgpu::BindGroupEntry {
            binding: binding.number,
            resource: if binding.access == Access::Uniform {
                let size = std::num::NonZeroU64::new((step.params.len() as u64).next_multiple_of(16));
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &uniform, offset, size })
            } else {
                args.next().expect("checked by push").binding(binding.access)
            },
        };
        let entries: Vec<_> = step.shader.bindings.iter().map(entry).collect();
        let label = Some(step.label.as_str());
        let bind_group =
            gpu.bind_group(&wgpu::BindGroupDescriptor { label, layout: &pipeline.layout, entries: &entries });
        let mut audit = None;
        if let Some(layout) = &audit_layout {
            let count = gpu.storage_buffer("audit", 16)?;
            let entries = [wgpu::BindGroupEntry { binding: 0, resource: count.as_entire_binding() }];
            audit = Some(gpu.bind_group(&wgpu::BindGroupDescriptor { label, layout, entries: &entries }));
            counts.push(count);
        }
        steps.push(Compiled { pipeline: pipeline.pipeline, bind_group, audit, groups: step.groups });
    }
    Ok((steps, audited.then_some(Audit { counts })))
}
