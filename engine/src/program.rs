//! A compiled graph: replayed, read, traced, profiled.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use bytemuck::Pod;
use half::f16;
use wgpu::BufferUsages as U;

use crate::graph::{Graph, Kind, ReferenceArgs, Step};
use crate::plan::{Plan, Usage};
use crate::profile::StepTime;
use crate::resident::Place;
use crate::segments::{Load, Queue, Segment, lock, segments};
use crate::stream::{State, Stream};
use crate::{Access, Gpu, Result, Tensor, TensorId};

/// Most steps of one submit of [`Program::run_while`]: a twentieth of a picture of the 8.2B model.
const STEPS_A_PIECE: usize = 8;

/// A compiled [`Graph`]: all memory, pipelines and bind groups exist, and running it creates none.
#[derive(Debug)]
pub struct Program {
    gpu: Gpu,
    graph: Graph,
    usage: Usage,
    /// Where each tensor is; `None` where no step uses it, or where its group of a stream is.
    places: Vec<Option<Place>>,
    steps: Vec<Compiled>,
    segments: Vec<Segment>,
    streams: Vec<Arc<Stream>>,
    inputs: Inputs,
    outputs: Vec<Output>,
    audit: Option<Audit>,
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

#[derive(Debug)]
struct Output {
    id: TensorId,
    staging: wgpu::Buffer,
    mapped: bool,
}

#[derive(Debug)]
struct Audit {
    counts: Vec<wgpu::Buffer>,
}

/// One step as [`Program::trace`] saw it run.
#[derive(Debug)]
pub struct Traced<'a> {
    /// The step's name.
    pub label: &'a str,
    /// The kernel's specialisation.
    pub kernel: &'a str,
    /// Label and content of each tensor it wrote; f16 as f32.
    pub written: Vec<(&'a str, Vec<u8>)>,
}

/// Where the device and a kernel's CPU reference part.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Index of the step.
    pub step: usize,
    /// Its name.
    pub label: String,
    /// The kernel's specialisation.
    pub kernel: String,
    /// The tensor that differs.
    pub tensor: String,
    /// Its worst element.
    pub element: usize,
    /// That element on the device.
    pub got: f32,
    /// That element by the reference.
    pub want: f32,
}

/// How far the result of a step is from its CPU reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// The step's name.
    pub label: String,
    /// The kernel's specialisation.
    pub kernel: String,
    /// Largest difference, in parts of the largest expected value.
    pub max: f64,
    /// Root of the mean square of the differences, in parts of that of the expected values.
    pub rms: f64,
    /// Whether the result is stored as f16, which cannot be closer than half a step of it.
    pub is_f16: bool,
}

impl Program {
    /// Allocates and compiles everything `graph` needs on `gpu`.
    ///
    /// # Errors
    ///
    /// If a buffer is above the device's limits, memory runs out, or the driver refuses a kernel.
    pub fn compile(gpu: &Gpu, graph: Graph) -> Result<Self> {
        Self::build(gpu, graph, false)
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
        let places = allocate(gpu, &graph, &plan)?;
        let (segments, streams) = segments(&graph);
        let inputs = Inputs::new(gpu, &graph)?;
        let output = |(i, v): (usize, &crate::graph::Value)| -> Result<Output> {
            let staging =
                gpu.buffer(&format!("{} readback", v.label), v.bytes, U::MAP_READ | U::COPY_DST, false)?;
            Ok(Output { id: TensorId(i as u32), staging, mapped: false })
        };
        let outputs: Result<_> =
            graph.values.iter().enumerate().filter(|(_, v)| v.output).map(output).collect();
        let place = |step, id| place(&graph, &places, &segments, &streams, step, id);
        let (steps, audit) = compile_steps(gpu, &graph, place, audit)?;
        Ok(Self {
            gpu: gpu.clone(),
            usage: plan.usage,
            graph,
            places,
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

    /// Runs every step and waits: in one submit, or with one a group of streamed tensors. `reads` are the outputs
    /// to copy back.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn run(&mut self, reads: &[TensorId]) -> Result<()> {
        self.run_in_pieces(reads, usize::MAX, &|| true).map(drop)
    }

    /// [`Program::run`] in submits of a few steps, which ends early when `go_on` says no. It is asked before each
    /// submit; when it says no, at most two are under way and are waited for. Returns whether every step ran: only
    /// then is there anything to read.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn run_while(&mut self, reads: &[TensorId], go_on: &dyn Fn() -> bool) -> Result<bool> {
        // Streamed tensors cut it already, and another is copied during the last submit.
        let most = if self.streams.is_empty() { STEPS_A_PIECE } else { usize::MAX };
        self.run_in_pieces(reads, most, go_on)
    }

    fn run_in_pieces(&mut self, reads: &[TensorId], most: usize, go_on: &dyn Fn() -> bool) -> Result<bool> {
        self.gpu.check_alive()?;
        if !go_on() {
            return Ok(false);
        }
        let streams = self.streams.clone();
        let ran = self.run_holding(reads, most, go_on, &mut lock(&streams));
        if let Ok(true) = ran {
            return ran;
        }
        // One that ended early leaves them mapped, as one that did not.
        let mapped = self.map_inputs().and_then(|()| self.gpu.wait());
        ran.and_then(|ran| mapped.map(|()| ran))
    }

    fn run_holding(
        &mut self,
        reads: &[TensorId],
        most: usize,
        go_on: &dyn Fn() -> bool,
        states: &mut [MutexGuard<'_, State>],
    ) -> Result<bool> {
        let mut queue = Queue::new(&self.gpu);
        self.begin(queue.encoder())?;
        let pieces = self.segments.iter().flat_map(|segment| segment.pieces(most));
        for (index, Segment { steps, load }) in pieces.enumerate() {
            if index > 0 {
                queue.submit()?;
                if !go_on() {
                    return Ok(false);
                }
                if most < usize::MAX {
                    queue.wait_for_all_but_the_last()?;
                }
            }
            if let Some(load) = load {
                queue.bring(&self.streams[load.stream], load, &mut states[load.stream])?;
            }
            let mut pass = queue.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for at in steps {
                dispatch(&mut pass, &self.graph.steps[at].label, &self.steps[at]);
            }
        }
        for output in self.outputs.iter().filter(|o| reads.contains(&o.id)) {
            let from = self.places[output.id.0 as usize].as_ref().expect("an output is written");
            let bytes = output.staging.size();
            queue.encoder().copy_buffer_to_buffer(&from.buffer, from.offset, &output.staging, 0, bytes);
        }
        queue.submit()?;
        self.map_inputs()?;
        for output in self.outputs.iter_mut().filter(|o| reads.contains(&o.id)) {
            self.gpu.guarded(|| output.staging.map_async(wgpu::MapMode::Read, .., |_| ()))?;
            output.mapped = true;
        }
        if let Some(load) = self.next_load() {
            queue.bring(&self.streams[load.stream], load, &mut states[load.stream])?;
            queue.submit()?;
        }
        self.gpu.wait()?;
        self.check_mapped().map(|()| true)
    }

    /// Sees to it that what a run maps is mapped: on a lost device wgpu says of nothing that it failed.
    fn check_mapped(&self) -> Result<()> {
        if let Some(staging) = &self.inputs.staging {
            staging.get_mapped_range_mut(..4).map_err(|e| self.gpu.lose(e))?;
        }
        for output in self.outputs.iter().filter(|o| o.mapped) {
            output.staging.get_mapped_range(..4).map_err(|e| self.gpu.lose(e))?;
        }
        Ok(())
    }

    /// The group that the next run begins with, if it can come while this run ends.
    fn next_load(&self) -> Option<Load> {
        let mut loads = self.segments.iter().filter_map(|s| s.load);
        let (first, last) = (loads.next()?, loads.next_back()?);
        (first.stream == last.stream && first.slot != last.slot).then_some(first)
    }

    /// Unmaps what the last run mapped and copies the inputs that changed.
    fn begin(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        for output in self.outputs.iter_mut().filter(|o| o.mapped) {
            self.gpu.guarded(|| output.staging.unmap())?;
            output.mapped = false;
        }
        if let Some(staging) = &self.inputs.staging {
            self.gpu.guarded(|| staging.unmap())?;
            self.inputs.mapped = false;
            for (id, offset, bytes, dirty) in self.inputs.ranges.iter_mut().filter(|r| r.3) {
                if let Some(to) = &self.places[id.0 as usize] {
                    encoder.copy_buffer_to_buffer(staging, *offset, &to.buffer, to.offset, *bytes);
                }
                *dirty = false;
            }
        }
        Ok(())
    }

    /// Copies the inputs for steps that are run one by one.
    fn submit_inputs(&mut self) -> Result<()> {
        self.gpu.check_alive()?;
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.begin(&mut encoder)?;
        self.gpu.submit(encoder)?;
        self.map_inputs()
    }

    /// Maps the inputs for the next run, once what was submitted has read them.
    fn map_inputs(&mut self) -> Result<()> {
        if let (Some(staging), false) = (&self.inputs.staging, self.inputs.mapped) {
            self.gpu.guarded(|| staging.map_async(wgpu::MapMode::Write, .., |_| ()))?;
            self.inputs.mapped = true;
        }
        Ok(())
    }

    /// Brings in what a step uses of a stream, nothing else being under way, and keeps it there.
    fn hold(&self, step: usize) -> Result<Option<MutexGuard<'_, State>>> {
        let segment = self.segments.iter().find(|s| s.steps.contains(&step));
        let Some(load) = segment.and_then(|s| s.load) else { return Ok(None) };
        let stream = &self.streams[load.stream];
        let mut state = stream.state();
        let mut queue = Queue::new(&self.gpu);
        self.gpu.wait()?;
        queue.bring(stream, load, &mut state)?;
        queue.submit()?;
        Ok(Some(state))
    }

    /// Where a tensor is when a step uses it.
    fn place(&self, step: usize, id: TensorId) -> Place {
        place(&self.graph, &self.places, &self.segments, &self.streams, step, id)
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

    /// Runs step by step and shows what each wrote. Slow: two submits a step.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn trace(&mut self, mut see: impl FnMut(Traced<'_>)) -> Result<()> {
        self.submit_inputs()?;
        for (index, step) in self.graph.steps.iter().enumerate() {
            let _held = self.hold(index)?;
            self.run_step(index)?;
            let mut written = vec![];
            for arg in step.args.iter().filter(|a| a.access == Access::ReadWrite) {
                let content = self.words(arg.id, self.gpu.download(&self.place(index, arg.id))?);
                written.push((self.graph.label_of(arg.id), content));
            }
            see(Traced { label: &step.label, kernel: &step.shader.label, written });
        }
        self.gpu.wait()
    }

    /// Runs step by step, each also through its CPU reference on the same inputs, and reports the first
    /// whose result is further than `tolerance` (relative to the tensor's largest value) from it; f16 may
    /// always be off by one step, as the numbers they were rounded from are not quite equal.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn replay(&mut self, tolerance: f32) -> Result<Option<Difference>> {
        let mut found = None;
        self.beside_references(|Compared { index, step, tensor, is_f16, got, want }| {
            let tolerance = if is_f16 { tolerance.max(f16::EPSILON.to_f32()) } else { tolerance };
            if let Some((element, got, want)) = worst(got, want, tolerance) {
                let (label, kernel) = (step.label.clone(), step.shader.label.clone());
                let tensor = tensor.to_owned();
                found = Some(Difference { step: index, label, kernel, tensor, element, got, want });
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Runs step by step, each also through its CPU reference on the same inputs: how far each tensor that a step wrote
    /// is from it. Steps without a reference are left out.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    pub fn deviations(&mut self) -> Result<Vec<Deviation>> {
        let mut all = vec![];
        self.beside_references(|Compared { step, is_f16, got, want, .. }| {
            let [max, rms] = deviation(got, want);
            let (label, kernel) = (step.label.clone(), step.shader.label.clone());
            all.push(Deviation { label, kernel, max, rms, is_f16 });
            true
        })?;
        Ok(all)
    }

    /// Runs step by step, each also through its CPU reference on the same inputs, and shows both results until `see`
    /// says that it has seen enough.
    fn beside_references(&mut self, mut see: impl FnMut(Compared<'_>) -> bool) -> Result<()> {
        self.submit_inputs()?;
        'steps: for (index, step) in self.graph.steps.iter().enumerate() {
            let _held = self.hold(index)?;
            let Some(reference) = step.reference else {
                self.run_step(index)?;
                continue;
            };
            let download = |a: &crate::Arg| self.gpu.download(&self.place(index, a.id));
            let tensors: Result<Vec<_>> = step.args.iter().map(download).collect();
            let mut tensors: Vec<Vec<u64>> =
                tensors?.iter().map(|b| bytemuck::pod_collect_to_vec(b)).collect();
            self.run_step(index)?;
            let bindings = step.shader.bindings;
            reference(&mut ReferenceArgs { params: &step.params, bindings, tensors: &mut tensors });
            for (arg, want) in step.args.iter().zip(&tensors).filter(|(a, _)| a.access == Access::ReadWrite) {
                let value = &self.graph.values[arg.id.0 as usize];
                let [got, want]: [Vec<f32>; 2] = [download(arg)?, bytemuck::cast_slice(want).to_vec()]
                    .map(|bytes| bytemuck::pod_collect_to_vec(&self.words(arg.id, bytes)));
                let (tensor, is_f16) = (value.label.as_str(), value.is_f16);
                if !see(Compared { index, step, tensor, is_f16, got: &got, want: &want }) {
                    break 'steps;
                }
            }
        }
        self.gpu.wait()
    }

    /// Device time of every step of one run.
    ///
    /// # Errors
    ///
    /// If the device has no timestamp queries, or is lost.
    pub fn profile(&mut self) -> Result<Vec<StepTime>> {
        self.gpu.can_profile()?;
        // A query set holds at most 4,096 queries.
        let mut times = Vec::with_capacity(self.steps.len());
        self.submit_inputs()?;
        for Segment { steps, .. } in &self.segments {
            let _held = self.hold(steps.start)?;
            for at in steps.clone().step_by(2048) {
                times.extend(self.profile_range(at..steps.end.min(at + 2048))?);
            }
        }
        Ok(times)
    }

    fn profile_range(&self, range: Range<usize>) -> Result<Vec<StepTime>> {
        let device = self.gpu.device();
        let count = 2 * range.len() as u32;
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * 8;
        let resolved = self.gpu.buffer("profile", bytes, U::QUERY_RESOLVE | U::COPY_SRC, false)?;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, at) in range.clone().enumerate() {
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            };
            let label = self.graph.steps[at].label.as_str();
            let descriptor =
                wgpu::ComputePassDescriptor { label: Some(label), timestamp_writes: Some(writes) };
            dispatch(&mut encoder.begin_compute_pass(&descriptor), label, &self.steps[at]);
        }
        encoder.resolve_query_set(&set, 0..count, &resolved, 0);
        self.gpu.submit(encoder)?;
        let resolved = Place::of(resolved, bytes);
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.download(&resolved)?);
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let time = |(at, stamps): (usize, &[u64])| StepTime {
            label: self.graph.steps[at].label.clone(),
            kernel: self.graph.steps[at].shader.label.clone(),
            ns: stamps[1].saturating_sub(stamps[0]) as f64 * period,
        };
        Ok(range.zip(stamps.chunks_exact(2)).map(time).collect())
    }

    /// Loop iterations of each step's busiest invocation over all runs so far, and the bound that
    /// [`Graph::push`] was given: `(label, counted, bound)`.
    ///
    /// # Errors
    ///
    /// If the device is lost.
    ///
    /// # Panics
    ///
    /// If the program was not made by [`Program::compile_audited`].
    pub fn trips(&self) -> Result<Vec<(String, u64, u64)>> {
        let audit = self.audit.as_ref().expect("made by compile_audited");
        let count = |(step, buffer): (&Step, &wgpu::Buffer)| {
            let place = Place::of(buffer.clone(), 16);
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.gpu.download(&place)?);
            Ok((step.label.clone(), u64::from(words[0]), step.trips))
        };
        self.graph.steps.iter().zip(&audit.counts).map(count).collect()
    }

    /// A tensor's content with f16 as f32.
    fn words(&self, id: TensorId, bytes: Vec<u8>) -> Vec<u8> {
        if !self.graph.values[id.0 as usize].is_f16 {
            return bytes;
        }
        let halves: Vec<f16> = bytemuck::pod_collect_to_vec(&bytes);
        let floats: Vec<f32> = halves.into_iter().map(f16::to_f32).collect();
        bytemuck::cast_slice(&floats).to_vec()
    }

    fn run_step(&self, index: usize) -> Result<()> {
        let mut encoder =
            self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        dispatch(
            &mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()),
            &self.graph.steps[index].label,
            &self.steps[index],
        );
        self.gpu.submit(encoder)?;
        self.gpu.wait()
    }
}

/// Where a tensor is when a step uses it.
fn place(
    graph: &Graph,
    places: &[Option<Place>],
    segments: &[Segment],
    streams: &[Arc<Stream>],
    step: usize,
    id: TensorId,
) -> Place {
    let seat = match &graph.values[id.0 as usize].kind {
        Kind::Resident(storage) => storage.seated(),
        _ => None,
    };
    match seat {
        None => places[id.0 as usize].clone().expect("planned"),
        Some(seat) => {
            let load = segments.iter().find(|s| s.steps.contains(&step)).and_then(|s| s.load);
            let load = load.expect("a segment brings what its steps use");
            streams[load.stream].place(load.group, seat.tensor, load.slot)
        }
    }
}

fn dispatch(pass: &mut wgpu::ComputePass<'_>, label: &str, step: &Compiled) {
    pass.push_debug_group(label);
    pass.set_pipeline(&step.pipeline);
    pass.set_bind_group(0, &step.bind_group, &[]);
    if let Some(audit) = &step.audit {
        pass.set_bind_group(1, audit, &[]);
    }
    pass.dispatch_workgroups(step.groups[0], step.groups[1], step.groups[2]);
    pass.pop_debug_group();
}

/// A tensor that a step wrote, on the device and by its reference.
struct Compared<'a> {
    index: usize,
    step: &'a Step,
    tensor: &'a str,
    is_f16: bool,
    got: &'a [f32],
    want: &'a [f32],
}

/// The worst element, where it is further off than `tolerance` times the largest expected value. A tensor
/// without a normal number is one of integers (ids, counts), which must be equal.
fn worst(got: &[f32], want: &[f32], tolerance: f32) -> Option<(usize, f32, f32)> {
    let scale = scale(want);
    let error = |(got, want)| difference(got, want, scale);
    let pairs = got.iter().copied().zip(want.iter().copied());
    let (i, (g, w)) = pairs.enumerate().max_by(|a, b| error(a.1).total_cmp(&error(b.1)))?;
    (error((g, w)) > tolerance * scale).then_some((i, g, w))
}

/// The largest expected value; 0 of integers, which are no normal numbers.
fn scale(want: &[f32]) -> f32 {
    want.iter().filter(|v| v.is_normal()).fold(0.0, |most, v| most.max(v.abs()))
}

fn difference(got: f32, want: f32, scale: f32) -> f32 {
    match got - want {
        _ if got.to_bits() == want.to_bits() || got == want => 0.0,
        d if d.is_nan() || scale == 0.0 => f32::INFINITY,
        // A device may flush what is too small to be normal.
        d => d.abs(),
    }
}

/// The largest difference in parts of the largest expected value, and the root of the mean square of all in parts of
/// that of the expected values.
fn deviation(got: &[f32], want: &[f32]) -> [f64; 2] {
    let scale = scale(want);
    let (mut most, mut squares, mut expected) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (&got, &want) in got.iter().zip(want) {
        let d = f64::from(difference(got, want, scale));
        most = most.max(d);
        squares += d * d;
        expected += if want.is_finite() { f64::from(want).powi(2) } else { 0.0 };
    }
    if most == 0.0 { [0.0; 2] } else { [most / f64::from(scale), (squares / expected).sqrt()] }
}

fn allocate(gpu: &Gpu, graph: &Graph, plan: &Plan) -> Result<Vec<Option<Place>>> {
    let slot = |(i, &bytes): (usize, &u64)| -> Result<Place> {
        // Named for an error or a capture: the slot's largest tensor.
        let of_slot = graph.values.iter().zip(&plan.slot_of).filter(|(_, slot)| **slot == Some(i));
        let label = of_slot.max_by_key(|(value, _)| value.bytes).map_or("", |(value, _)| &value.label);
        let label = format!("activations {i} ({label})");
        let texels = graph.values.iter().zip(&plan.slot_of).any(|(v, slot)| *slot == Some(i) && v.texels);
        zeroed(gpu, &label, bytes, texels)
    };
    let slots: Vec<Place> = plan.slots.iter().enumerate().map(slot).collect::<Result<_>>()?;
    let mut places = vec![];
    for (v, value) in graph.values.iter().enumerate() {
        places.push(match &value.kind {
            // A slot may be longer than this one of its tensors.
            Kind::Activation => plan.slot_of[v].map(|s| Place { bytes: value.bytes, ..slots[s].clone() }),
            Kind::Input => Some(zeroed(gpu, &value.label, value.bytes, value.texels)?),
            Kind::Resident(storage) if storage.seated().is_some() => None,
            Kind::Resident(storage) => Some(storage.place(gpu)?),
        });
    }
    Ok(places)
}

/// Memory of a program's own.
fn zeroed(gpu: &Gpu, label: &str, bytes: u64, texels: bool) -> Result<Place> {
    match texels {
        true => gpu.pages(label, bytes, None),
        false => Ok(Place::of(gpu.storage_buffer(label, bytes)?, bytes)),
    }
}

impl Inputs {
    fn new(gpu: &Gpu, graph: &Graph) -> Result<Self> {
        let mut ranges = vec![];
        let mut end = 0;
        for (i, value) in graph.values.iter().enumerate().filter(|(_, v)| matches!(v.kind, Kind::Input)) {
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
    place: impl Fn(usize, TensorId) -> Place,
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
    gpu.upload(&uniform, &params)?;

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
        let places: Vec<_> = step.args.iter().map(|arg| place(index, arg.id)).collect();
        let mut args = places.iter();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_relative_to_the_largest_and_to_the_mean() {
        assert_eq!(deviation(&[3.0, 4.0], &[3.0, 4.0]), [0.0; 2]);
        assert_eq!(deviation(&[3.0, 5.0], &[3.0, 4.0]), [0.25, 0.2]);
        assert_eq!(deviation(&[f32::NAN, 4.0], &[3.0, 4.0])[0], f64::INFINITY);
        // Integers are equal or they are wrong.
        let [two, three] = [2, 3].map(f32::from_bits);
        assert_eq!(deviation(&[two], &[two]), [0.0; 2]);
        assert_eq!(deviation(&[two], &[three])[0], f64::INFINITY);
    }

    #[test]
    fn a_flushed_denormal_is_no_difference_and_another_integer_is() {
        let tiny = f32::from_bits(11_000);
        assert_eq!(worst(&[1.0, -0.0], &[1.0, -tiny], 1e-6), None);
        assert_eq!(worst(&[tiny], &[f32::from_bits(11_001)], 1e-6), Some((0, tiny, f32::from_bits(11_001))));
        assert_eq!(worst(&[0.0, 1.0], &[0.0, 1.1], 1e-3), Some((1, 1.0, 1.1)));
        assert_eq!(worst(&[0.0; 3], &[0.0; 3], 0.0), None);
        assert!(worst(&[f32::NAN, 1.0], &[1.0, 1.0], 1e-3).is_some());
    }
}
